"""Every leaf of every object that lives, wrong in every way and back again: refused with a sentence; or taken, the operator
settles, and after the way back all is as it was, with no help."""

import math
import random
from collections import Counter, deque
from typing import Any

import pytest

from .lives import SCENARIO, WRITES, Ground, Life, World, grounds
from .mutations import Mutation, mutations
from .stage import playing

SAMPLE = 4
"""Edits of each object, unless all are made."""
LIVES = 16
"""So many of one object live at a time, if it takes edits at all."""
EDITED = ("Workspace", "Endpoint", "Pipeline")
"""Kinds of which more than a switch or two may change."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """With --every-fault each object has a test, and an operator, of its own: together they take the better part of an hour."""
    if "known" in metafunc.fixturenames:
        every = metafunc.config.getoption("--every-fault")
        groups = {each.name: [each] for each in grounds()} if every else {"sample": grounds()}
        metafunc.parametrize("known", groups.values(), ids=groups)


async def test_every_edit_is_refused_or_can_be_taken_back(
    known: list[Ground], plane: Any, tmp_path: Any, request: Any, record_property: Any
) -> None:
    every = request.config.getoption("--every-fault")
    left = {each.name: _edits(each, every) for each in known}
    count = {name: len(edits) for name, edits in left.items()}
    outcomes: dict[str, Counter[str]] = {each.name: Counter() for each in known}
    wrong: list[str] = []
    told = 0
    async with playing(plane, SCENARIO, tmp_path) as play:
        world = World(play)
        while any(left.values()):
            await world.born([each for each in known for _ in range(_missing(each, left[each.name], world))])
            for life in await _edited(world, left, outcomes, wrong):
                outcomes[life.ground.name]["wrong" if life.wrong else "taken"] += 1
                outcomes[life.ground.name]["most writes"] = max(life.writes, outcomes[life.ground.name]["most writes"])
                wrong += [f"{life.ground.name}: {life.mutation}: {life.wrong}"] if life.wrong else []
                if life.wrong or life.final:
                    await world.gone(life)
                life.mutation, life.wrong = None, ""
            print(f"{sum(map(len, left.values()))} edits left", *wrong[told:], sep="\n", flush=True)
            told = len(wrong)
        for life in [*world.lives]:
            await world.gone(life)
        words = play.operator.words()
    for ground in known:
        record_property(
            "figure",
            f"{ground.name}: {len(ground.leaves)} leaves, {count[ground.name]} edits, {dict(outcomes[ground.name])}",
        )
    assert not wrong, f"{len(wrong)} wrong\n" + "\n".join(wrong[:40])
    assert "Traceback" not in words, words[words.index("Traceback") :][:3000]


def _edits(ground: Ground, every: bool) -> deque[Mutation]:
    found = [each for leaf in ground.leaves for each in mutations(leaf)]
    return deque(found if every else random.Random(ground.name).sample(found, SAMPLE))


def _missing(ground: Ground, left: deque[Mutation], world: World) -> int:
    wanted = min(LIVES, math.ceil(len(left) / 4)) if ground.manifest["kind"] in EDITED else min(1, len(left))
    return max(0, wanted - sum(each.ground.name == ground.name for each in world.lives))


async def _edited(
    world: World, left: dict[str, deque[Mutation]], outcomes: dict[str, Counter[str]], wrong: list[str]
) -> list[Life]:
    """Each gets the next mistake that is taken, all settle, and each gets back what it had: those that took one."""
    for life in world.lives:
        edits = left[life.ground.name]
        while life.mutation is None and edits:
            await world.edit(life, mutation := edits.popleft())
            if life.mutation is None:
                outcomes[life.ground.name]["wrong" if life.wrong else "refused"] += 1
                wrong += [f"{life.ground.name}: {mutation}: {life.wrong}"] if life.wrong else []
                life.wrong = ""
    taken = [each for each in world.lives if each.mutation]
    await world.settled()
    for life in taken:
        await world.undo(life)
    await world.returned([each for each in taken if not each.final and not each.wrong])
    world.count()
    for life in taken:
        if life.writes > WRITES and not life.wrong:
            life.wrong = f"{life.writes} writes"
    return taken
