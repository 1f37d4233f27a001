"""Whatever happens around an Endpoint, in whatever order: who has traffic is never taken away, and nobody gets any unjudged."""

from hypothesis import HealthCheck, settings
from wheel import Latest, explored


def test_whatever_happens_around_an_endpoint() -> None:
    limits = settings(
        max_examples=300, stateful_step_count=60, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
    )
    explored(
        Latest,
        limits,
        "a challenger with traffic",
        "a challenger that takes over",
        "Signal",
        "Manual",
        "Rollback",
        "NewVersion",
    )
