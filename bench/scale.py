"""Many objects on one operator: requests and memory at rest, a restart, a standby that takes over, and a tenant who floods.

`python bench/scale.py` (half an hour; builds kwok the first time): one control plane whose nodes and pods kwok plays, and on it one
figure after the other. Ends with 1 if something is made twice, or does not come to its end.
"""

import asyncio
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import figures
import plane
import yaml
from engines import COMMAND, IMAGE, NAMESPACE, RESOURCES, Noria, submit
from local import ROOT, until
from plane import Plane
from prometheus_client.parser import text_string_to_metric_families
from trainers import claim

CALM = "calm"
"""The namespace of another tenant."""
FOREIGN, TRAINED, SUSPENDED, FLOOD, IN_FLIGHT = 10_000, 1_000, 9_000, 5_000, 100
CALM_JOBS, CALM_RATE = 200, 2
REST_SECONDS, QUIET_SECONDS, LIMIT_SECONDS = 600, 5, 900
AUDIT = plane.AUDIT | {
    "rules": [
        {"level": "Metadata", "users": ["engine"]},
        {"level": "None", "verbs": ["get", "list", "watch"]},
        {"level": "Metadata", "resources": [{"group": "noria.dev"}, {"group": "batch"}], "verbs": ["create"]},
        {"level": "None"},
    ]
}
Manifest = dict[str, Any]


class Operator:
    """A process of Noria and what its page of metrics says."""

    def __init__(self, place: Plane) -> None:
        self.began = time.monotonic()
        self.process, self._port = Noria().launch(place)

    def metrics(self) -> dict[str, float]:
        """Each metric's sum over its labels; empty while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as answer:
                families = text_string_to_metric_families(answer.read().decode())
                found = Counter[str]()
                for each in (sample for family in families for sample in family.samples):
                    found[each.name] += each.value
                    found[f"{each.name}/{each.labels.get('kind', '')}"] += each.value
                return found
        except OSError:
            self.process.alive()
            return {}

    def leads(self) -> bool:
        return self.metrics().get("noria_leader", 0) == 1

    def rested(self, count: int) -> bool:
        """Whether it has looked at so many TrainingJobs at least, and none waits for a look."""
        told = self.metrics()
        waiting = sum(told.get(f"noria_{each}", 1) for each in ("queue_depth", "active_workers", "held_statuses"))
        return told.get("noria_reconciles_total/TrainingJob", 0) >= count and waiting == 0


def training(name: str, namespace: str = NAMESPACE, **spec: Any) -> Manifest:
    metadata = {"name": name, "namespace": namespace}
    spec |= {"image": IMAGE, "command": COMMAND, "resources": RESOURCES}
    return {"apiVersion": "noria.dev/v1alpha1", "kind": "TrainingJob", "metadata": metadata, "spec": spec}


def foreign(name: str) -> Manifest:
    """A pod of somebody else, which no scheduler takes."""
    container = {"name": "main", "image": IMAGE, "command": COMMAND}
    spec = {"schedulingGates": [{"name": "bench.noria.dev/never"}], "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}


def trainings(namespace: str) -> str:
    return f"apis/noria.dev/v1alpha1/namespaces/{namespace}/trainingjobs"


def since(place: Plane, known: int) -> list[dict[str, Any]]:
    """The engine's requests after the first `known` lines of the log, watches once, the lease and reviews of rights left out."""
    engine = (each for each in place.audit()[known:] if each["user"]["username"] == "engine")
    stages = (each for each in engine if (each["verb"] == "watch") == (each["stage"] == "ResponseStarted"))
    return [each for each in stages if (each.get("objectRef") or {}).get("resource") not in figures.UNCOUNTED]


def written(events: Iterable[dict[str, Any]]) -> Counter[str]:
    return figures.writes(each for each in events if each["verb"] != "watch")["engine"]


async def at_rest(place: Plane) -> float:
    """Requests a minute while nothing happens."""
    known = len(place.audit())
    await asyncio.sleep(REST_SECONDS)
    seen = since(place, known)
    print(f"  {dict(Counter(each['verb'] for each in seen))} in {REST_SECONDS} s", flush=True)
    return len(seen) / REST_SECONDS * 60


async def quiet(place: Plane) -> None:
    """Until the engine has written nothing for QUIET_SECONDS."""
    deadline, before = time.monotonic() + LIMIT_SECONDS, -1
    while before != (before := written(since(place, 0)).total()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the operator still writes after {LIMIT_SECONDS} s")
        await asyncio.sleep(QUIET_SECONDS)


async def ended(session: aiohttp.ClientSession, namespace: str, names: set[str]) -> None:
    """Until all of them have succeeded."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while names:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(names)} trainings have not succeeded after {LIMIT_SECONDS} s")
        await asyncio.sleep(1)
        async with session.get(f"/{trainings(namespace)}", params={"resourceVersion": "0"}) as answer:
            items = (await answer.json())["items"]
        names = names - {each["metadata"]["name"] for each in items if (each.get("status") or {}).get("completionTime")}


class Wait(NamedTuple):
    """Seconds of one TrainingJob, by the API server's clock."""

    create: float
    """What its own create took: nothing of Noria's is in it."""
    request: float
    """From the answer to that until the request to create its Job came."""
    job: float
    """What that request took."""


async def waits(place: Plane, prefix: str) -> list[Wait]:
    """Of a tenant who makes few, one every half second, as a user of its own: none waits behind another tenant's requests."""
    known, names = len(place.audit()), {f"{prefix}{number}" for number in range(CALM_JOBS)}
    async with place.session("calm") as session:
        await submit(session, trainings(CALM), (training(name, CALM) for name in sorted(names)), CALM_RATE)
        await ended(session, CALM, names)
    made = {
        (each["objectRef"]["resource"], each["objectRef"]["name"].partition("-")[0]): (
            figures.asked(each),
            figures.at(each),
        )
        for each in place.audit()[known:]
        if each["verb"] == "create" and each["responseStatus"]["code"] == 201 and "name" in each["objectRef"]
    }
    whole = [(*made["trainingjobs", name], *made["jobs", name]) for name in names]
    return [Wait(answered - begun, asked - answered, given - asked) for begun, answered, asked, given in whole]


def told(seconds: list[float]) -> str:
    return (
        f"{figures.at_share(seconds, 0.5) * 1000:.0f} ms (p50), {figures.at_share(seconds, 0.99) * 1000:.0f} ms (p99)"
    )


def whole(seen: list[Wait]) -> str:
    """create -> Job created, and of what it is made."""
    parts = (f"{name} {told([getattr(each, name) for each in seen])}" for name in Wait._fields)
    return f"{told([each.request + each.job for each in seen])}; {', '.join(parts)}"


async def phases(place: Plane) -> dict[str, str]:
    """All figures, by their name in the table."""
    found: dict[str, str] = {}

    def say(figure: str, value: str) -> None:
        found[figure] = value
        print(f"{figure}: {value}", flush=True)

    operator = Operator(place)
    await asyncio.to_thread(until, operator.leads, "the operator leads", 60)
    async with place.session("bench") as session:
        await waits(place, "warm")
        start = operator.process.held()
        say("memory at rest", f"{start:.0f} MiB")
        await submit(
            session, f"api/v1/namespaces/{NAMESPACE}/pods", (foreign(f"foreign{n}") for n in range(FOREIGN)), 0
        )
        say(f"memory more with {FOREIGN:,} foreign pods", f"{operator.process.held() - start:.1f} MiB")
        calm = await waits(place, "calm")
        say("create -> Job created, nothing else under way", whole(calm))

        before, names = operator.process.held(), {f"trained{number}" for number in range(TRAINED)}
        await submit(session, trainings(NAMESPACE), (training(name) for name in names), 0)
        await ended(session, NAMESPACE, names)
        await quiet(place)
        say(
            "memory more for each 1,000 objects with children",
            f"{(operator.process.held() - before) * 1000 / TRAINED:.1f} MiB",
        )
        say(f"requests a minute with {TRAINED:,} objects at rest", f"{await at_rest(place):.1f}")
        idle = (training(f"idle{number}", suspend=True) for number in range(SUSPENDED))
        await submit(session, trainings(NAMESPACE), idle, 0)
        await quiet(place)
        objects = TRAINED + SUSPENDED
        say(f"memory with {objects:,} objects", f"{operator.process.held():.0f} MiB")
        say(f"requests a minute with {objects:,} objects at rest", f"{await at_rest(place):.1f}")

        await restarted(place, operator, objects, say)
        operator = Operator(place)
        await asyncio.to_thread(until, lambda: operator.rested(objects), "the operator rests", 120)
        operator = await taken_over(place, session, operator, objects, say)

    say(f"the same while another tenant floods {FLOOD:,}", whole(await flooded(place)))
    return found


def fairness() -> list[Manifest]:
    """How the chart lets writes of Noria's objects wait in the API server."""
    command = [plane.tool("helm"), "template", "noria", ROOT / "charts/noria", "-s", "templates/fairness.yaml"]
    return list(yaml.safe_load_all(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


async def flooded(place: Plane) -> list[Wait]:
    """Of the calm tenant, while another makes FLOOD trainings as fast as it may, and still waits for some of their Jobs."""
    async with place.session("flood") as session:
        manifests = (training(f"flood{number}") for number in range(FLOOD))
        flooding = asyncio.create_task(submit(session, trainings(NAMESPACE), manifests, 0))
        await asyncio.sleep(QUIET_SECONDS)
        found = await waits(place, "among")
        await flooding
    jobs = [each for each in place.audit() if each["verb"] == "create" and each["objectRef"]["resource"] == "jobs"]
    last = {
        name: max(figures.asked(each) for each in jobs if each["objectRef"]["namespace"] == name)
        for name in (CALM, NAMESPACE)
    }
    if last[NAMESPACE] < last[CALM]:
        raise RuntimeError(
            f"the flood was over {last[CALM] - last[NAMESPACE]:.0f} s before the last of the calm tenant"
        )
    return found


async def restarted(place: Plane, operator: Operator, objects: int, say: Any) -> None:
    """Ended as a rollout ends it, and begun anew."""
    operator.process.process.terminate()
    await asyncio.to_thread(operator.process.process.wait, 30)
    known, again = len(place.audit()), Operator(place)
    await asyncio.to_thread(until, lambda: again.leads() and again.rested(objects), "the operator rests", 120)
    seconds = time.monotonic() - again.began
    await asyncio.sleep(2 * QUIET_SECONDS)
    say(f"restart with {objects:,} objects, until all were looked at", f"{seconds:.1f} s")
    writes = written(since(place, known))
    if writes:
        raise RuntimeError(f"a restart wrote: {writes}")
    say("its writes", "0")
    again.process.process.terminate()
    await asyncio.to_thread(again.process.process.wait, 30)


async def taken_over(
    place: Plane, session: aiohttp.ClientSession, leader: Operator, objects: int, say: Any
) -> Operator:
    """kill -9 of the one that leads, trainings under way, a standby beside it."""
    standby = Operator(place)
    held = "noria_store_objects/TrainingJob"
    await asyncio.to_thread(until, lambda: standby.metrics().get(held, 0) >= objects, "the standby knows all", 120)
    known, names = len(place.audit()), {f"flight{number}" for number in range(IN_FLIGHT)}
    await submit(session, trainings(NAMESPACE), (training(name) for name in names), 0)
    os.kill(leader.process.process.pid, signal.SIGKILL)
    began = time.monotonic()
    await asyncio.to_thread(until, standby.leads, "the standby leads", 60)
    say("a standby leads after kill -9", f"{time.monotonic() - began:.1f} s")
    await ended(session, NAMESPACE, names)
    made = Counter(
        each["objectRef"]["name"].partition("-")[0]
        for each in since(place, known)
        if each["verb"] == "create"
        and each["objectRef"]["resource"] == "jobs"
        and each["responseStatus"]["code"] == 201
    )
    if made != Counter(names):
        raise RuntimeError(f"Jobs were made twice or not at all: {made}")
    say(f"Jobs made for {IN_FLIGHT} trainings under way", f"{made.total()}")
    return standby


def main() -> int:
    print(f"{platform.node()}, {os.cpu_count()} cores", flush=True)
    with tempfile.TemporaryDirectory(prefix="noria-bench-") as folder, plane.running(Path(folder), AUDIT) as place:
        place.define(ROOT / "crds")
        account = {"apiVersion": "v1", "kind": "ServiceAccount"}
        accounts = [account | {"metadata": {"name": name, "namespace": CALM}} for name in ("default", "noria-runner")]
        place.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": CALM}})
        place.apply(*accounts, *claim(NAMESPACE), *claim(CALM), *fairness())
        found = asyncio.run(phases(place))
    print("| figure | measured |\n|---|---|")
    for figure, value in found.items():
        print(f"| {figure} | {value} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
