"""How much the operator asks of the API server in each scenario: any change is to be seen, and to be meant."""

import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from .proxy import Passed
from .scenarios import COUNTS, PLAIN, SCENARIOS, Scenario
from .stage import Outcome, playing

QUIET_RENEWALS = 2
PATIENT = """
import sys
from noria.__main__ import main
from noria.runtime import held

held.PASSING_SECONDS = 60
sys.exit(main())
"""
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


async def played(
    scenario: Scenario, plane: Any, folder: Path, program: Iterable[str] = ("-m", "noria")
) -> list[Passed]:
    """Its requests. Quiet is short here: the longer it is, the more of what comes by the clock is among them."""
    async with playing(plane, scenario, folder, program=program) as play:
        play.hurried = scenario is PLAIN
        passed = (await Outcome.of(play, QUIET_RENEWALS)).passed
    print(scenario.name, *(f"{each.asked} {each.answer.status}" for each in passed), sep="\n")
    return passed


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_scenario_costs_what_it_cost(
    name: str, plane: Any, tmp_path: Path, request: pytest.FixtureRequest, record_property: Any
) -> None:
    began = time.monotonic()
    found = counted(await played(SCENARIOS[name], plane, tmp_path))
    record_property("figure", f"{name}: {found}, {time.monotonic() - began:.1f} s")
    known = yaml.safe_load(COUNTS.read_text())
    if request.config.getoption("--rewrite"):
        COUNTS.write_text(yaml.safe_dump(known | {name: found}, sort_keys=False))
    assert known.get(name) == found or request.config.getoption("--rewrite"), "if it is meant: --rewrite"


async def test_a_training_without_a_model_costs_three_writes_beside_its_event(plane: Any, tmp_path: Path) -> None:
    """Where its pod runs before it is told that it begins."""
    passed = await played(PLAIN, plane, tmp_path, ("-c", PATIENT))
    asked = [str(each.asked) for each in passed if each.asked.plural != "events"]
    assert asked == ["POST jobs", "PUT trainingjobs train status", "PUT trainingjobs train status"]
