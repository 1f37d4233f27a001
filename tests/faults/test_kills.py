"""kill -9 before and after every write of every scenario: the same end, the same number made, no orphan, and quiet."""

from pathlib import Path
from typing import Any

import pytest

from .harm import KILLS
from .proxy import Fault
from .scenarios import SCENARIOS, WRITES
from .stage import Outcome, playing, the_same

SINGLE = [(name, when, number) for name, count in WRITES.items() for number in range(1, count + 1) for when in KILLS]
PAIRS = [
    (name, first, second) for name, count in WRITES.items() for first in range(1, count) for second in range(1, count)
]


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
@pytest.mark.parametrize(("name", "first", "second"), PAIRS, ids=lambda value: str(value))
async def test_killed_twice(name: str, first: int, second: int, plane: Any, undisturbed: Any, tmp_path: Path) -> None:
    """Behind one write, and behind a later one of its successor: nobody may rely on having lived long."""
    faults = [Fault(lambda asked: asked.written, KILLS["after"], number=number) for number in (first, first + second)]
    expected = await undisturbed(name)
    async with playing(plane, SCENARIOS[name], tmp_path, faults) as play:
        outcome = await Outcome.of(play)
        assert set(play.operator.ends) == {-9}, play.operator.words()[-3000:]
    the_same(outcome, expected)
    assert outcome.end.events == expected.end.events
