"""Replaying tells when a training would have begun, with the same decisions and with other thresholds."""

from datetime import UTC, datetime, timedelta

import pytest

from noria.api import Endpoint, ModelVersion
from noria.plan.contract import Answer, Query, Row, Settings
from noria.plan.wheel import measures
from noria.plan.wheel.replay import replay, with_thresholds

BEGIN = datetime(2026, 11, 24, 12, tzinfo=UTC)
SETTINGS = Settings(
    agent_image="a", trainer_image="t", serving_runtime="s", server_image="v", prometheus_url="http://p"
)
ENDPOINT = Endpoint.model_validate(
    {
        "metadata": {"name": "digits", "namespace": "vision", "uid": "u"},
        "spec": {
            "model": {"name": "digits", "track": "Latest"},
            "monitoring": {"signals": [{"name": "drift", "type": "DataDrift", "threshold": 0.2, "minSamples": 10}]},
            "retrain": {
                "signals": ["drift"],
                "cooldownSeconds": 120,
                "template": {"recipe": {"name": "classifier"}},
            },
        },
        "status": {
            "current": {"version": "digits-1", "inferenceService": "digits-1-x", "since": "2026-11-24T11:00:00Z"}
        },
    }
)
VERSION = ModelVersion.model_validate(
    {
        "metadata": {"name": "digits-1", "namespace": "vision", "uid": "v"},
        "spec": {"model": "digits", "version": 1, "uri": "pvc://c/x", "format": "onnx"},
    }
)


def recorded(*drift: float) -> tuple[dict[Query, dict[datetime, Answer]], list[datetime]]:
    """One evaluation a minute."""
    times = [BEGIN + timedelta(minutes=number) for number in range(len(drift))]
    asked = measures.questions(ENDPOINT.spec.monitoring.signals[0], "vision")
    labels = {"version": "digits-1", "feature": "p0"}
    values = {at: Answer((Row(labels, value),)) for at, value in zip(times, drift, strict=True)}
    counts = {at: Answer((Row({"version": "digits-1"}, 500.0),)) for at in times}
    assert asked.samples
    return {asked.values: values, asked.samples: counts}, times


def told(endpoint: Endpoint, *drift: float) -> list[str]:
    answers, times = recorded(*drift)
    happenings = replay(endpoint, (VERSION,), SETTINGS, answers, times, cycle_seconds=60)
    return [f"{each.at:%H:%M} {each.what}" for each in happenings]


def test_a_training_begins_when_the_signal_fires_and_the_cooldown_is_kept() -> None:
    assert told(ENDPOINT, 0.1, 0.3, 0.3, 0.3, 0.3, 0.3) == [
        "12:00 signal drift: OK 0.1 (threshold 0.2)",
        "12:01 signal drift: Firing 0.3 (threshold 0.2) at p0",
        "12:01 a training would have begun: drift 0.3",
        "12:02 trainings: CoolingDown",
        "12:04 trainings: Armed",
        "12:04 a training would have begun: drift 0.3",
        "12:05 trainings: CoolingDown",
    ]


def test_another_threshold_would_have_done_something_else() -> None:
    assert told(with_thresholds(ENDPOINT, {"drift": 0.5}), 0.1, 0.3, 0.3) == [
        "12:00 signal drift: OK 0.1 (threshold 0.5)"
    ]


def test_a_signal_that_does_not_exist_is_named() -> None:
    with pytest.raises(KeyError, match="no nope; it has drift"):
        with_thresholds(ENDPOINT, {"nope": 1.0})
