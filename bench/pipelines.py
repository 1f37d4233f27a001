"""Pipelines beside Argo Workflows, on nodes and pods that kwok plays: the wait between two steps, writes, CPU, memory.

`python bench/pipelines.py [ROUNDS]` (default 3; about 9 minutes each; builds both peers the first time): each round runs one engine and
then the other, the next round the other way round, each on an empty control plane of its own. Ends with 1 if a pipeline fails,
a step runs twice, or one hangs.
"""

import asyncio
import os
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import figures
import plane
from engines import Argo, Engine, Noria, submit
from plane import Plane, Process

LIMIT_SECONDS, LOOK_SECONDS, QUIET_SECONDS = 600, 1, 3


@dataclass(frozen=True)
class Load:
    """`count` pipelines of `width` chains with `depth` steps, begun `rate` a second (0: at once)."""

    name: str
    count: int
    width: int
    depth: int
    rate: float

    @property
    def steps(self) -> int:
        return self.count * self.width * self.depth


LOADS = (
    Load("60 pipelines of 3 steps, one begun a second", 60, 1, 3, 1),
    Load("one pipeline of 500 steps in 10 chains", 1, 10, 50, 0),
    Load("200 pipelines of 3 steps, begun at once", 200, 1, 3, 0),
)


@dataclass(frozen=True)
class Result:
    """One load on one engine: writes and CPU seconds a step, of the engine and of the Job controller; MiB; the load average."""

    gaps: list[float]
    writes: float
    jobs_writes: float
    cpu: float
    jobs_cpu: float
    seconds: float
    peak: float
    load: float


async def measured(engine: Engine, load: Load, place: Plane, process: Process) -> Result:
    """Runs one load to its end, and until the engine writes nothing more."""
    jobs = place.processes["kube-controller-manager"]
    known, cpu, jobs_cpu, began = len(place.audit()), process.cpu(), jobs.cpu(), time.monotonic()
    names = [f"{'abc'[LOADS.index(load)]}{number}" for number in range(load.count)]
    async with place.session("bench") as session:
        await submit(
            session, engine.plural, (engine.written(name, load.width, load.depth) for name in names), load.rate
        )
        while not {*names} <= await over(session, engine):
            process.alive()
            if time.monotonic() > began + LIMIT_SECONDS:
                raise RuntimeError(f"{engine.name}, {load.name}: not over within {LIMIT_SECONDS} s")
            await asyncio.sleep(LOOK_SECONDS)
    seconds = time.monotonic() - began
    await asyncio.to_thread(fall_silent, place)
    events = place.audit()[known:]
    written = figures.writes(events)
    result = Result(
        gaps=figures.gaps(events, engine.step, load.width),
        writes=written["engine"].total() / load.steps,
        jobs_writes=written["jobs"].total() / load.steps,
        cpu=(process.cpu() - cpu) / load.steps,
        jobs_cpu=(jobs.cpu() - jobs_cpu) / load.steps,
        seconds=seconds,
        peak=process.peak(),
        load=os.getloadavg()[0],
    )
    print(f"  {engine.name}, {load.name}: {told([result])}; wrote {dict(written['engine'])}", flush=True)
    return result


async def over(session: aiohttp.ClientSession, engine: Engine) -> set[str]:
    """Names of the pipelines that have ended; none where the API server was too busy to say."""
    async with session.get(f"/{engine.plural}", raise_for_status=False) as answer:
        items = (await answer.json())["items"] if answer.status == 200 else []
    return {each["metadata"]["name"] for each in items if engine.over(each)}


def fall_silent(place: Plane) -> None:
    """Until the engine has written nothing for QUIET_SECONDS."""
    before = -1
    while before != (before := figures.writes(place.audit())["engine"].total()):
        time.sleep(QUIET_SECONDS)


async def accompanied(engine: Engine, place: Plane, process: Process) -> list[Result]:
    player = asyncio.create_task(engine.accompany(place))
    try:
        return [await measured(engine, load, place, process) for load in LOADS]
    finally:
        player.cancel()


def round_of(engine: Engine) -> list[Result]:
    """All loads on one engine, on a control plane of its own."""
    with tempfile.TemporaryDirectory(prefix="noria-bench-") as folder, plane.running(Path(folder)) as place:
        return asyncio.run(accompanied(engine, place, engine.start(place)))


def told(results: list[Result]) -> str:
    waits = sorted(each for result in results for each in result.gaps)
    p99 = waits[min(len(waits) - 1, int(len(waits) * 0.99))]
    middle = {
        name: statistics.median(getattr(each, name) for each in results)
        for name in ("writes", "jobs_writes", "cpu", "jobs_cpu", "seconds", "peak", "load")
    }
    return (
        f"pod to pod {statistics.median(waits):.3f} s (p50), {p99:.3f} s (p99) of {len(waits)}; "
        "{writes:.2f} writes and {cpu:.4f} s CPU a step (Job controller {jobs_writes:.2f}, {jobs_cpu:.4f}); "
        "all complete in {seconds:.1f} s; {peak:.0f} MiB; load {load:.1f}".format(**middle)
    )


def main(rounds: int) -> int:
    engines: list[Engine] = [Noria(), Argo()]
    results: dict[tuple[str, str], list[Result]] = {}
    print(f"{platform.node()}, {os.cpu_count()} cores, pods of {plane.POD_SECONDS} s, {rounds} rounds", flush=True)
    for number in range(rounds):
        for engine in engines if number % 2 == 0 else reversed(engines):
            for load, result in zip(LOADS, round_of(engine), strict=True):
                results.setdefault((load.name, engine.name), []).append(result)
    for load in LOADS:
        print(load.name)
        for engine in engines:
            print(f"  {engine.name}: {told(results[load.name, engine.name])}")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
