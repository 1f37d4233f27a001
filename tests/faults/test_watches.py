"""Watches that break, lie, repeat themselves or say nothing, and lists of yesterday: the same end all the same."""

from collections.abc import Set
from pathlib import Path
from typing import Any

import pytest

from noria.runtime.informer import RELIST_SECONDS

from .harm import WATCH_HARMS, killed_after, silent, stale, suppressed
from .proxy import Asked, Fault
from .scenarios import SCENARIOS
from .stage import Outcome, playing, the_same

WATCHED = {
    "workspace": ("workspaces", "namespaces", "persistentvolumeclaims"),
    "train": ("trainingjobs", "jobs", "pods", "modelversions"),
    "resume": ("trainingjobs", "jobs", "pods"),
    "serve": ("modelendpoints", "modelversions", "inferenceservices", "httproutes"),
    "pipeline": ("pipelineruns", "pipelines", "trainingjobs", "jobs", "pods"),
}
KINDS = [(name, plural) for name, plurals in WATCHED.items() for plural in plurals]
ONE_BY_ONE = {
    "reordered": [
        ("train", "jobs"), ("train", "modelversions"), ("resume", "jobs"), ("serve", "modelversions"),
        ("pipeline", "pipelines"), ("pipeline", "jobs"),
    ],
    "repeated": [("train", "modelversions")],
}  # fmt: skip
"""Of these kinds one thing is told at a time, or only one: what has no neighbour cannot be told in another order."""
HARMED = [
    (name, plural, harm)
    for name, plural in KINDS
    for harm in WATCH_HARMS
    if (name, plural) not in ONE_BY_ONE.get(harm, ())
]
RELISTED_SECONDS = RELIST_SECONDS + 100
"""Within this long everything has been listed anew."""


def watching(plural: str) -> Any:
    return lambda asked: asked.watch and asked.plural == plural


def listing(asked: Asked) -> bool:
    return asked.listed and asked.plural != ""


async def ends_the_same(
    name: str, plane: Any, undisturbed: Any, folder: Path, *early: Fault, later: tuple[Fault, ...] = (), seconds: float = 120, ends: Set[int] = frozenset()
) -> None:  # fmt: skip
    """All that is told is the same, too. `ends`: the codes with which the operator ends meanwhile, each once or more."""
    expected = await undisturbed(name)
    async with playing(plane, SCENARIOS[name], folder, later, early) as play:
        play.deadline = seconds
        outcome = await Outcome.of(play)
        assert all(each.done for each in (*early, *later))
        assert set(play.operator.ends) == ends, play.operator.words()[-3000:]
    the_same(outcome, expected)
    assert outcome.end.events == expected.end.events


@pytest.mark.sample(1)
@pytest.mark.parametrize(("name", "plural", "harm"), HARMED)
async def test_a_watch_is(name: str, plural: str, harm: str, plane: Any, undisturbed: Any, tmp_path: Path) -> None:
    await ends_the_same(name, plane, undisturbed, tmp_path, Fault(watching(plural), bend=WATCH_HARMS[harm]))


@pytest.mark.sample(0)
@pytest.mark.parametrize("bend", [suppressed(3), silent(120)], ids=["suppressed", "silent"])
@pytest.mark.parametrize(("name", "plural"), KINDS)
async def test_a_watch_says_nothing(
    name: str, plural: str, bend: Any, plane: Any, undisturbed: Any, tmp_path: Path
) -> None:
    fault = Fault(watching(plural), bend=bend)
    await ends_the_same(name, plane, undisturbed, tmp_path, fault, seconds=RELISTED_SECONDS)


@pytest.mark.sample(0)
@pytest.mark.parametrize("number", [1, 3, 5])
@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_successor_is_shown_lists_of_before_the_beginning(
    name: str, number: int, plane: Any, undisturbed: Any, tmp_path: Path
) -> None:
    early = Fault(listing, stale(), times=10_000)
    later = Fault(lambda asked: asked.written, killed_after, number=number)
    await ends_the_same(name, plane, undisturbed, tmp_path, early, later=(later,), ends={-9})
