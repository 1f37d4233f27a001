"""Every two harms of different kinds after one another: what recovers from each must recover from both."""

import itertools
import random
from pathlib import Path
from typing import Any

import pytest

from .harm import KILLS, WATCH_HARMS, WRITE_HARMS
from .proxy import Fault
from .scenarios import SCENARIOS, WRITES
from .stage import Outcome, playing, the_same
from .test_watches import ONE_BY_ONE, WATCHED, watching

ACTS = WRITE_HARMS | {f"killed {when}": act for when, act in KILLS.items()}
BENDS = {f"watch {harm}": bend for harm, bend in WATCH_HARMS.items()}
PAIRS = list(zip(itertools.cycle(SCENARIOS), itertools.combinations([*ACTS, *BENDS], 2), strict=False))


def planned(name: str, harms: tuple[str, str]) -> list[Fault]:
    """At two writes, the one after the other, and at watches of two kinds that matter: which, a seed says. Of one kind the second
    harm would wait for ever behind a first that does not end the watch. Beside a kill the next watch is bent too: the first may end
    with its process before it has told anything."""
    chance = random.Random(f"{name} {harms}")
    first = chance.randint(1, WRITES[name] // 2)
    numbers = first, first + chance.randint(1, WRITES[name] // 2 - 1)
    order, plurals = chance.sample(harms, 2), chance.sample(_bendable(name, harms), 2)
    watches = 1 + any(harm.startswith("killed") for harm in harms)
    return [
        Fault(watching(plural), bend=BENDS[harm], times=watches)
        if harm in BENDS
        else Fault(lambda asked: asked.written, ACTS[harm], number=number)
        for harm, number, plural in zip(order, numbers, plurals, strict=True)
    ]


def _bendable(name: str, harms: tuple[str, str]) -> list[str]:
    stiff = [each for harm in harms for each in ONE_BY_ONE.get(harm.removeprefix("watch "), ())]
    return [plural for plural in WATCHED[name] if (name, plural) not in stiff]


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("name", "harms"), PAIRS, ids=lambda value: value if isinstance(value, str) else "+".join(value)
)
async def test_two_harms(name: str, harms: Any, plane: Any, undisturbed: Any, tmp_path: Path) -> None:
    expected, faults = await undisturbed(name), planned(name, harms)
    async with playing(plane, SCENARIOS[name], tmp_path, early=faults) as play:
        outcome = await Outcome.of(play)
        assert all(each.done for each in faults)
        assert set(play.operator.ends) <= {-9}, play.operator.words()[-3000:]
    the_same(outcome, expected)
    assert expected.end.events <= outcome.end.events
