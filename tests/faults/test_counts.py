"""How much the operator asks of the API server in each scenario: any change is to be seen, and to be meant."""

import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from .proxy import Passed
from .scenarios import COUNTS, SCENARIOS
from .stage import Outcome, playing

QUIET_RENEWALS = 2
VERSION = re.compile(rb'"resourceVersion":"\d+"')


def counted(passed: Iterable[Passed]) -> dict[str, int]:
    """Writes, reads, and the bytes of both directions; a version counts the same however many digits it has."""
    asked = [each for each in passed if not each.asked.leads]
    return {
        "writes": sum(each.asked.written for each in asked),
        "reads": sum(not each.asked.written for each in asked),
        "sent": sum(_size(each.asked.body) for each in asked),
        "received": sum(_size(each.answer.body) for each in asked),
    }


def _size(body: bytes) -> int:
    return len(VERSION.sub(b"", body))


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_scenario_costs_what_it_cost(
    name: str, plane: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Quiet is short here: the longer it is, the more of what comes by the clock is among the requests."""
    began = time.monotonic()
    async with playing(plane, SCENARIOS[name], tmp_path) as play:
        outcome = await Outcome.of(play, QUIET_RENEWALS)
    found = counted(outcome.passed)
    lines = [f"{each.asked} {each.answer.status}" for each in outcome.passed]
    print(f"{name}: {time.monotonic() - began:.1f} s", *lines, sep="\n")
    known = yaml.safe_load(COUNTS.read_text())
    if request.config.getoption("--rewrite"):
        COUNTS.write_text(yaml.safe_dump(known | {name: found}, sort_keys=False))
    assert known.get(name) == found or request.config.getoption("--rewrite"), "if it is meant: --rewrite"
