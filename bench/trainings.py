"""TrainingJobs beside Kubeflow Trainer with JobSet, and beside bare Jobs: requests, waits, CPU, memory, all at once.

`python bench/trainings.py [ROUNDS [JOBS]]` (default 5 and 300, bench/README.md says how long; builds the peers the first time). Each round
runs every arm, the next round the other way round, each on an empty control plane of its own, where nodes and pods are kwok's.
Ends with 1 if a job fails or hangs.
"""

import asyncio
import os
import platform
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import figures
import plane
from engines import NAMESPACE, submit
from plane import Plane, Process
from trainers import ARMS, Arm

WARM, IDLE, IDLE_RATE = 5, 60, 2
LIMIT_SECONDS, LOOK_SECONDS, QUIET_SECONDS = 900, 2, 5
RAW, RAW_SENDERS = 1000, 32
STATUS = [
    {"group": "batch", "resources": ["jobs/status"]},
    {"group": "noria.dev", "resources": ["trainingjobs/status"]},
    {"group": "trainer.kubeflow.org", "resources": ["trainjobs/status"]},
    {"group": "", "resources": ["pods/status"]},
]
AUDIT = plane.AUDIT | {
    "rules": [
        {"level": "Metadata", "users": ["engine", "trainer", "jobset"], "verbs": [*figures.READS]},
        {"level": "None", "verbs": ["get", "list", "watch"]},
        {"level": "Request", "resources": STATUS},
        {"level": "Metadata"},
    ]
}


@dataclass(frozen=True)
class Load:
    """What some jobs cost: requests of the operator a job, CPU seconds a job by process, seconds from the first created to the last
    that succeeded, and each one's waits in seconds."""

    writes: float
    events: float
    reads: float
    cpu: dict[str, float]
    seconds: float
    to_job: list[float]
    to_told: list[float]


@dataclass(frozen=True)
class Result:
    """One round of an arm: raw writes a second before it began, its two loads, and its processes' memory in MiB."""

    raw: float
    raw_alone: float
    idle: Load
    burst: Load
    memory_idle: float
    memory_each_1000: float
    memory_peak: float
    load: float = field(default_factory=lambda: os.getloadavg()[0])


async def raw_writes(session: aiohttp.ClientSession, count: int, senders: int) -> float:
    """ConfigMaps created a second by that many senders: what API server, etcd and this client can do now."""

    async def send(sender: int) -> None:
        for _ in range(sender, count, senders):
            manifest = {"metadata": {"generateName": "raw-"}, "data": {"key": "value"}}
            async with session.post(f"/api/v1/namespaces/{NAMESPACE}/configmaps", json=manifest) as answer:
                await answer.read()

    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for sender in range(senders):
            tasks.create_task(send(sender))
    return count / (time.monotonic() - began)


async def measured(
    arm: Arm, place: Plane, processes: list[Process], session: aiohttp.ClientSession, names: list[str], rate: float
) -> Load:
    """Runs them to their end, and until the operator writes nothing more."""
    watched = {"operator": processes} | {
        name: [place.processes[name]] for name in ("kube-apiserver", "kube-controller-manager")
    }
    known = len(place.audit())
    before = {name: sum(each.cpu() for each in group) for name, group in watched.items()}
    deadline = time.monotonic() + LIMIT_SECONDS
    await submit(session, arm.path, (arm.written(name) for name in names), rate)
    while not {*names} <= await over(session, arm):
        for each in processes:
            each.alive()
        if time.monotonic() > deadline:
            raise RuntimeError(f"{arm.name}: not over within {LIMIT_SECONDS} s")
        await asyncio.sleep(LOOK_SECONDS)
    await asyncio.to_thread(fall_silent, place, arm)
    cpu = {name: sum(each.cpu() for each in group) - before[name] for name, group in watched.items()}
    events = place.audit()[known:]
    lives = [life for name, life in figures.lives(events, arm.kind, arm.done).items() if name in names]
    if len(lives) != len(names) or not all(each.job and each.ended and each.told for each in lives):
        raise RuntimeError(f"{arm.name}: the log does not hold the whole life of each job")
    seen, read = (
        sum((counted[user] for user in arm.users), Counter[str]())
        for counted in (figures.writes(events), figures.reads(events))
    )
    of_events = sum(count for what, count in seen.items() if what.split()[1] == "events")
    print(f"  {arm.name}, {len(names)} jobs: {dict(seen + read)}", flush=True)
    return Load(
        writes=(seen.total() - of_events) / len(names),
        events=of_events / len(names),
        reads=read.total() / len(names),
        cpu={name: used / len(names) for name, used in cpu.items()},
        seconds=max(each.told for each in lives) - min(each.created for each in lives),
        to_job=[each.job - each.created for each in lives],
        to_told=[each.told - each.ended for each in lives],
    )


async def over(session: aiohttp.ClientSession, arm: Arm) -> set[str]:
    """Names of the jobs that have succeeded; raises when one has failed."""
    async with session.get(f"/{arm.path}", params={"resourceVersion": "0"}) as answer:
        items = (await answer.json())["items"]
    ended = set()
    for each in items:
        said = {one["type"]: one for one in each.get("status", {}).get("conditions", [])}
        if said.get(arm.done, {}).get("status") == "False" or said.get("Failed", {}).get("status") == "True":
            raise RuntimeError(f"{arm.name}: {each['metadata']['name']}: {said}")
        if said.get(arm.done, {}).get("status") == "True":
            ended.add(each["metadata"]["name"])
    return ended


def fall_silent(place: Plane, arm: Arm) -> None:
    """Until the arm's users have written nothing for QUIET_SECONDS."""
    before = -1
    while before != (before := sum(figures.writes(place.audit())[user].total() for user in arm.users)):
        time.sleep(QUIET_SECONDS)


async def phases(arm: Arm, place: Plane, count: int) -> Result:
    async with place.session("bench") as session:
        await raw_writes(session, 100, 1)
        raw_alone, raw = await raw_writes(session, RAW // 5, 1), await raw_writes(session, RAW, RAW_SENDERS)
        processes = await asyncio.to_thread(arm.start, place)
        await measured(arm, place, processes, session, [f"warm{number}" for number in range(WARM)], IDLE_RATE)
        held = sum(each.held() for each in processes)
        idle = await measured(arm, place, processes, session, [f"idle{number}" for number in range(IDLE)], IDLE_RATE)
        burst = await measured(arm, place, processes, session, [f"burst{number}" for number in range(count)], 0)
        grown = sum(each.held() for each in processes) - held
        return Result(
            raw=raw,
            raw_alone=raw_alone,
            idle=idle,
            burst=burst,
            memory_idle=held,
            memory_each_1000=grown / (IDLE + count) * 1000,
            memory_peak=sum(each.peak() for each in processes),
        )


def round_of(arm: Arm, count: int) -> Result:
    """One arm on a control plane of its own."""
    with tempfile.TemporaryDirectory(prefix="noria-bench-") as folder, plane.running(Path(folder), AUDIT) as place:
        return asyncio.run(phases(arm, place, count))


def rows(count: int) -> dict[str, Any]:
    """What is told of a round, by its name in the table."""

    def milliseconds(of: str, load: str, share: float) -> Any:
        return lambda result: figures.at_share(getattr(getattr(result, load), of), share) * 1000

    return {
        "raw writes a second before, 1 sender": lambda result: result.raw_alone,
        f"raw writes a second before, {RAW_SENDERS} senders": lambda result: result.raw,
        "writes a job, one every 0.5 s": lambda result: result.idle.writes,
        "reads a job, one every 0.5 s": lambda result: result.idle.reads,
        "Events a job, one every 0.5 s": lambda result: result.idle.events,
        "create -> Job created, p50, ms": milliseconds("to_job", "idle", 0.5),
        "create -> Job created, p99, ms": milliseconds("to_job", "idle", 0.99),
        "pod finished -> Succeeded, p50, ms": milliseconds("to_told", "idle", 0.5),
        "pod finished -> Succeeded, p99, ms": milliseconds("to_told", "idle", 0.99),
        "operator CPU a job, one every 0.5 s, ms": lambda result: result.idle.cpu["operator"] * 1000,
        f"{count} at once: all Succeeded, s": lambda result: result.burst.seconds,
        f"{count} at once: jobs a second": lambda result: count / result.burst.seconds,
        f"{count} at once: writes a job": lambda result: result.burst.writes,
        f"{count} at once: reads a job": lambda result: result.burst.reads,
        f"{count} at once: Events a job": lambda result: result.burst.events,
        f"{count} at once: create -> Job created, p50, ms": milliseconds("to_job", "burst", 0.5),
        f"{count} at once: create -> Job created, p99, ms": milliseconds("to_job", "burst", 0.99),
        f"{count} at once: pod finished -> Succeeded, p50, ms": milliseconds("to_told", "burst", 0.5),
        f"{count} at once: pod finished -> Succeeded, p99, ms": milliseconds("to_told", "burst", 0.99),
        f"{count} at once: operator CPU a job, ms": lambda result: result.burst.cpu["operator"] * 1000,
        f"{count} at once: API server CPU a job, ms": lambda result: result.burst.cpu["kube-apiserver"] * 1000,
        f"{count} at once: Job controller CPU a job, ms": lambda result: (
            result.burst.cpu["kube-controller-manager"] * 1000
        ),
        "memory after the start, MiB": lambda result: result.memory_idle,
        f"memory more for each 1,000 objects, after {IDLE + count}, MiB": lambda result: result.memory_each_1000,
        "most memory held, MiB": lambda result: result.memory_peak,
        "load average": lambda result: result.load,
    }


def told(values: list[float]) -> str:
    """Their median, and the least and the greatest."""
    low, middle, high = (
        f"{each:.2f}" if each < 10 else f"{each:,.0f}" for each in (min(values), statistics.median(values), max(values))
    )
    return middle if len(values) == 1 else f"{middle} ({low} to {high})"


def main(rounds: int, count: int) -> int:
    print(
        f"{platform.node()}, {os.cpu_count()} cores, pods of {plane.POD_SECONDS} s, {rounds} rounds, {count} jobs at once",
        flush=True,
    )
    results: dict[str, list[Result]] = {arm.name: [] for arm in ARMS}
    for number in range(rounds):
        for arm in ARMS if number % 2 == 0 else reversed(ARMS):
            began = time.monotonic()
            results[arm.name].append(result := round_of(arm, count))
            print(
                f"{arm.name}, round {number + 1}, {time.monotonic() - began:.0f} s, load {result.load:.1f}", flush=True
            )
            print("  " + "; ".join(f"{row} {told([value(result)])}" for row, value in rows(count).items()), flush=True)
    print("| figure | " + " | ".join(results) + " |")
    print("|---" * (len(results) + 1) + "|")
    for row, value in rows(count).items():
        print(f"| {row} | " + " | ".join(told([value(each) for each in found]) for found in results.values()) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main(*(int(word) for word in (sys.argv[1:] + ["5", "300"][len(sys.argv) - 1 :])[:2])))
