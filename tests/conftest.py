"""Options of the whole test suite. How long one example takes says more of the machine than of the code: no deadline."""

import pytest
from hypothesis import settings

settings.register_profile("noria", deadline=None)
settings.load_profile("noria")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write plan.yaml of the golden cases anew, for review")
    parser.addoption("--every-fault", action="store_true", help="all faults of tests/faults instead of a sample: hours")
    parser.addoption(
        "--listed",
        action="store_true",
        help="tests/e2e and tests/evidence in one listed namespace, without what is of Workspaces",
    )
