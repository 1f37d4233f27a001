"""Whatever the order in which things happen, the end is that of an undisturbed process, and nothing is made twice.

`NORIA_SCHEDULES=N` draws N orders (default 300); `make faults` draws 100,000.
"""

import os
from collections import Counter
from collections.abc import Callable
from functools import cache
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inmemory import Case, Server
from schedule import Schedule
from stories import SETTINGS, WORKSPACE, canary, deploying, found, pipeline_run, scheduled, sweeping, trainings

from noria.plan.controllers import CONTROLLERS

STORIES: dict[str, Callable[[], Case]] = {
    "a training and its version": trainings,
    "a pipeline with a fan-out, a training and its evaluation": pipeline_run,
    "a pipeline that deploys": lambda: deploying("first"),
    "a pipeline by the clock": lambda: scheduled("Forbid"),
    "a canary": canary,
    "a Workspace whose claim is swept": lambda: Case(
        objects=[WORKSPACE], settings=SETTINGS, world=sweeping, controllers=CONTROLLERS
    ),
}
ORDERS = int(os.environ.get("NORIA_SCHEDULES", "300"))
"""Of all stories together."""


@cache
def undisturbed(story: str) -> Server:
    case = STORIES[story]()
    server = case.serve()
    case.run(server)
    return server


def born(server: Server) -> Counter[str]:
    """How often each name was taken."""
    return Counter({f"{ref.kind} {ref.name}": times for ref, times in server._born.items()})


@pytest.mark.parametrize("story", STORIES)
@settings(max_examples=ORDERS // len(STORIES), derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_order_comes_to_the_same_end(story: str, seed: int) -> None:
    case, expected = STORIES[story](), undisturbed(story)
    schedule = Schedule(case, Random(seed), len(expected.writes))
    server = schedule.play()
    assert server.state() == expected.state(), schedule.told
    assert born(server) == born(expected), schedule.told
    assert not schedule.deaths, f"somebody was yet to die after {schedule.deaths} writes: {schedule.told}"
    server.writes.clear()
    case.run(server)
    assert server.writes == [], "a process that starts at the end has nothing to write"


def test_processes_die_at_every_stage_of_a_canary() -> None:
    """A limit of the draws left the deaths of a hundred thousand orders in the first quarter of their stories."""
    seen = Counter[str]()

    class Noting(Schedule):
        async def _die(self, how: str) -> None:
            (endpoint,) = found(self.server, "Endpoint").values()
            status = endpoint.get("status", {})
            second = status.get("cycle", {}).get("challenger") == "digits-2"
            stage = status.get("cycle", {}).get("stage", "rest")
            seen[f"{stage} of the second" if second else f"{stage} beside {len(status.get('retiring', ()))}"] += 1
            await super()._die(how)

    writes = len(undisturbed("a canary").writes)
    for seed in range(60):
        Noting(canary(), Random(seed), writes).play()
    assert {f"{each} of the second" for each in ("Starting", "Mirroring", "Canary", "Moving")} <= seen.keys(), seen
    assert seen["rest beside 1"], f"nobody died while the first version drained: {seen}"
