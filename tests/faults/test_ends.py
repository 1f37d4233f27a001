"""The judges of tests/faults find what they are to find: requests that would be lost while a version changes."""

import json
from typing import Any

import pytest

from .ends import outages
from .proxy import Answer, Asked, Passed


def routed(at: float, generation: int, *servers: str) -> Passed:
    """The operator writes the route."""
    backends = [{"name": f"{each}-predictor", "weight": 1} for each in servers]
    route = {"metadata": {"name": "r", "generation": generation}, "spec": {"rules": [{"backendRefs": backends}]}}
    asked = Asked("PATCH", "httproutes", "n", "r", "", False, b"")
    return Passed(asked, Answer(200, json.dumps(route).encode()), at)


def deleted(at: float, name: str) -> Passed:
    return Passed(Asked("DELETE", "inferenceservices", "n", name, "", False, b""), Answer(200), at)


def ready(at: float, name: str) -> tuple[float, Any]:
    return at, {"kind": "InferenceService", "metadata": {"name": name}}


def taken(at: float, generation: int) -> tuple[float, Any]:
    return at, {"kind": "HTTPRoute", "metadata": {"name": "r", "generation": generation}}


WRITES = [routed(2, 1, "a"), routed(5, 2, "b"), deleted(7, "a")]
SAID = [ready(1, "a"), taken(3, 1), ready(4, "b"), taken(6, 2)]


def test_none_where_the_old_server_goes_last() -> None:
    assert outages(WRITES, SAID) == []


@pytest.mark.parametrize(
    ("passed", "said_of", "found"),
    [
        (WRITES, [ready(1, "a"), taken(3, 1), taken(6, 2), ready(8, "b")], "b was not ready"),
        ([*WRITES[:2], deleted(5.5, "a")], SAID, "a was deleted"),
        ([routed(2, 1, "a", "b"), deleted(7, "a")], [ready(1, "a"), ready(1, "b"), taken(3, 1)], "a was deleted"),
    ],
    ids=["moved before it was ready", "deleted before the gateway moved", "deleted while it has a share"],
)
def test_some(passed: list[Passed], said_of: list[Any], found: str) -> None:
    assert outages(passed, said_of) == [found]
