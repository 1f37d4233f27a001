"""kill -9 before and after every write of every scenario: the same end, the same number made, no orphan, and quiet."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from .harm import KILLS
from .proxy import Fault
from .scenarios import SCENARIOS, WRITES
from .stage import Outcome, playing, the_same

SINGLE = [(name, when, number) for name, count in WRITES.items() for number in range(1, count + 1) for when in KILLS]
WRITTEN_TWICE = [
    (name, *pair) for name, count in WRITES.items() for pair in itertools.combinations(range(1, count + 1), 2)
]
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
    name, *numbers = written
    faults = [
        Fault(lambda asked: asked.written, KILLS[each], number=number)
        for each, number in zip(when, numbers, strict=True)
    ]
    expected = await undisturbed(name)
    async with playing(plane, SCENARIOS[name], tmp_path, faults) as play:
        outcome = await Outcome.of(play)
        assert all(each.done for each in faults) and play.operator.ends == [-9, -9], play.operator.words()[-3000:]
    the_same(outcome, expected)
    assert outcome.end.events == expected.end.events
