"""Options of the whole test suite."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write plan.yaml of the golden cases anew, for review")
    parser.addoption("--every-fault", action="store_true", help="all faults of tests/faults instead of a sample: hours")
