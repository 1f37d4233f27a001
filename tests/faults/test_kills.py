"""kill -9 before and after every write of every scenario: the same end, the same number made, no orphan, and quiet."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from .harm import KILLS, Later
from .proxy import Fault
from .scenarios import SCENARIOS, WRITES
from .stage import Outcome, playing, the_same

SINGLE = [(name, when, number) for name, count in WRITES.items() for number in range(1, count + 1) for when in KILLS]
WRITTEN_TWICE = [(name, *pair) for name, count in WRITES.items() for pair in itertools.combinations(range(1, count), 2)]
"""Without the last write of each: a successor may have nothing left to tell."""
PAIRS = list(zip(WRITTEN_TWICE, itertools.cycle(itertools.product(KILLS, KILLS)), strict=False))


@pytest.mark.sample(3)
@pytest.mark.parametrize(("name", "when", "number"), SINGLE, ids=lambda value: str(value))
async def test_killed_at_a_write(
    name: str, when: str, number: int, plane: Any, undisturbed: Any, tmp_path: Path
) -> None:
    fault = Fault(lambda asked: asked.written, KILLS[when], number=number)
    expected = await undisturbed(name)
    async with playing(plane, SCENARIOS[name], tmp_path, [fault]) as play:
        outcome = await Outcome.of(play)
        assert fault.done and play.operator.ends == [-9], play.operator.words()[-3000:]
    the_same(outcome, expected)
    assert outcome.end.events == expected.end.events


@pytest.mark.sample(1)
@pytest.mark.parametrize(("written", "when"), PAIRS, ids=lambda value: "-".join(map(str, value)))
async def test_killed_twice(
    written: tuple[str, int, int], when: tuple[str, str], plane: Any, undisturbed: Any, tmp_path: Path
) -> None:
    """At one write, and its successor at a later one: nobody may rely on having lived long."""
    (name, first, second), (one, other) = written, when
    expected = await undisturbed(name)
    async with playing(plane, SCENARIOS[name], tmp_path) as play:
        fault = Fault(lambda asked: asked.written, KILLS[one], number=first)
        play.proxy.faults = [
            fault,
            Later(lambda asked: asked.written, KILLS[other], second, lambda: bool(play.operator.ends)),
        ]
        outcome = await Outcome.of(play)
        assert play.operator.ends == [-9, -9], play.operator.words()[-3000:]
    the_same(outcome, expected)
    assert outcome.end.events == expected.end.events
