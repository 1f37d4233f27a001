"""Every way in which the API server can fail to answer: the same end, the same number made, no orphan, and quiet."""

from pathlib import Path
from typing import Any

import pytest

from .harm import READ_HARMS, WRITE_HARMS, Outage, hung
from .proxy import Asked, Fault
from .scenarios import SCENARIOS, WRITES
from .stage import Outcome, playing, the_same

WRITTEN = [
    (name, harm, number) for name, count in WRITES.items() for number in range(1, count + 1) for harm in WRITE_HARMS
]
READ = [(name, harm) for name in SCENARIOS for harm in READ_HARMS]


def written(asked: Asked) -> bool:
    return asked.written


def read(asked: Asked) -> bool:
    return not asked.written and not asked.leads and not asked.watch


async def ends_the_same(
    name: str,
    plane: Any,
    undisturbed: Any,
    folder: Path,
    *faults: Fault,
    early: tuple[Fault, ...] = (),
    ends: tuple[int, ...] = (),
) -> None:
    """Events about the trouble itself may come on top. `ends`: the codes with which the operator ends meanwhile."""
    expected = await undisturbed(name)
    async with playing(plane, SCENARIOS[name], folder, faults, early) as play:
        outcome = await Outcome.of(play)
        assert all(each.done for each in (*faults, *early))
        assert tuple(play.operator.ends) == ends, play.operator.words()[-3000:]
    the_same(outcome, expected)
    assert expected.end.events <= outcome.end.events


@pytest.mark.sample(1)
@pytest.mark.parametrize(("name", "harm", "number"), WRITTEN)
async def test_a_write_meets(name: str, harm: str, number: int, plane: Any, undisturbed: Any, tmp_path: Path) -> None:
    await ends_the_same(name, plane, undisturbed, tmp_path, Fault(written, WRITE_HARMS[harm], number=number))


@pytest.mark.sample(0)
@pytest.mark.parametrize(("name", "harm"), READ)
async def test_the_first_reads_meet(name: str, harm: str, plane: Any, undisturbed: Any, tmp_path: Path) -> None:
    """The lists of the start."""
    await ends_the_same(name, plane, undisturbed, tmp_path, early=(Fault(read, READ_HARMS[harm], times=3),))


@pytest.mark.sample(0)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, count in WRITES.items() for number in range(1, count + 1)]
)
async def test_a_write_hangs_for_30_seconds(
    name: str, number: int, after: bool, plane: Any, undisturbed: Any, tmp_path: Path
) -> None:
    fault = Fault(written, hung(30, after), number=number)
    await ends_the_same(name, plane, undisturbed, tmp_path, fault)


@pytest.mark.sample(0)
@pytest.mark.parametrize("name", SCENARIOS)
async def test_nothing_is_served_for_90_seconds(name: str, plane: Any, undisturbed: Any, tmp_path: Path) -> None:
    """From the second write on, the lease and the watches included: the leader gives up, and begins anew."""
    await ends_the_same(name, plane, undisturbed, tmp_path, Outage(written, 2, 90), ends=(1,))


@pytest.mark.sample(0)
@pytest.mark.parametrize("name", SCENARIOS)
async def test_nobody_is_known_for_30_seconds(name: str, plane: Any, undisturbed: Any, tmp_path: Path) -> None:
    """401 to everything, as by an API server that is only beginning, or whose keys were changed."""
    await ends_the_same(name, plane, undisturbed, tmp_path, Outage(written, 2, 30, 401), ends=(1,))
