"""How much the operator asks of the API server in each scenario: any change is to be seen, and to be meant."""

import re
import time
from collections.abc import Iterable
from typing import Any

import pytest
import yaml

from .proxy import Passed
from .scenarios import COUNTS, SCENARIOS

VERSION = re.compile(rb'"resourceVersion":"\d+"')


def counted(passed: Iterable[Passed]) -> dict[str, int]:
    """Writes, reads, and the bytes of both directions; a version counts the same however many digits it has. Whether a kind is
    served by now is asked by the clock, and not counted."""
    asked = [each for each in passed if not each.asked.leads and not (each.asked.listed and each.answer.status == 404)]
    return {
        "writes": sum(each.asked.written for each in asked),
        "reads": sum(not each.asked.written for each in asked),
        "sent": sum(_size(each.asked.body) for each in asked),
        "received": sum(_size(each.answer.body) for each in asked),
    }


def _size(body: bytes) -> int:
    return len(VERSION.sub(b"", body))


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_scenario_costs_what_it_cost(name: str, undisturbed: Any, request: pytest.FixtureRequest) -> None:
    began = time.monotonic()
    outcome = await undisturbed(name)
    found = counted(outcome.passed)
    lines = [f"{each.asked} {each.answer.status}" for each in outcome.passed]
    print(f"{name}: {time.monotonic() - began:.1f} s", *lines, sep="\n")
    known = yaml.safe_load(COUNTS.read_text())
    if request.config.getoption("--rewrite"):
        COUNTS.write_text(yaml.safe_dump(known | {name: found}, sort_keys=False))
    assert known.get(name) == found or request.config.getoption("--rewrite"), "if it is meant: --rewrite"
