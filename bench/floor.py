"""The floor of the training bench: a TrainingJob's writes, as Noria makes them, by a process that decides nothing.

`python bench/floor.py SERVER TOKEN NAMESPACE` (PYTHONPATH=operator) renders the Job, the Event and both statuses once, from the plans
themselves, and fills in name and uid. It holds no state but which TrainingJob began, and watches what Noria must watch for it.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import aiohttp

from noria.plan.contract import Observed, Settings
from noria.plan.trainingjob import CONTROLLER
from noria.runtime import report
from noria.runtime.diff import stamped

SETTINGS = Settings(agent_image="a", trainer_image="t", server_image="s", serving_runtime="r")
NAME, UID, VERSION = "name-to-fill-in", "00000000-0000-4000-8000-000000000000", "7007007007"
AT_ONCE = 8
"""Jobs, and ends, that are written at the same time."""
PODS = {"labelSelector": "app.kubernetes.io/managed-by=noria"}
Manifest = dict[str, Any]


class Bodies(NamedTuple):
    """What is sent for one TrainingJob, as text; the first two when it comes, the others when its pod has succeeded."""

    job: str
    begun: str
    event: str
    ended: str

    def of(self, name: str, uid: str, version: str) -> "Bodies":
        """For one of that name, uid and resourceVersion."""
        return Bodies(*(each.replace(NAME, name).replace(UID, uid).replace(VERSION, version) for each in self))


def rendered(manifest: Manifest, namespace: str) -> Bodies:
    """As the plans say, of a TrainingJob like `manifest`."""
    now = datetime.now(UTC)
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata = {"name": NAME, "namespace": namespace, "uid": UID, "resourceVersion": VERSION, "generation": 1}
    live = manifest | {"metadata": metadata | {"creationTimestamp": stamp}}

    def planned(*children: Manifest) -> Any:
        observed = Observed(
            settings=SETTINGS, now=now, children=children, related={}, answers={}, absent=frozenset[str]()
        )
        return CONTROLLER.plan(CONTROLLER.resource.model_validate(live), observed)

    def told(status: Manifest) -> str:
        named = {"name": NAME, "namespace": namespace, "resourceVersion": VERSION}
        whole = {"apiVersion": live["apiVersion"], "kind": live["kind"], "metadata": named}
        return json.dumps(whole | {"status": report.groomed(status, live)})

    first = planned()
    job = next(each for each in (*first.creates, *first.children) if each["kind"] == "Job")
    live["status"] = first.status.manifest()
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job["metadata"]["name"], "uid": "job", "controller": True}
    template = job["spec"]["template"]["metadata"]
    about = template | {"name": f"{NAME}-1-0", "namespace": namespace, "uid": "pod", "ownerReferences": [owner]}
    over = {"exitCode": 0, "finishedAt": stamp}
    agent = over | {"message": json.dumps({"digest": "sha256:" + "0" * 64, "format": "files"})}
    status = {
        "phase": "Succeeded",
        "containerStatuses": [{"name": "main", "state": {"terminated": over}}],
        "initContainerStatuses": [{"name": "agent", "state": {"terminated": agent}}],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": about, "status": status}
    born = job | {"metadata": job["metadata"] | {"uid": "job", "creationTimestamp": stamp}, "status": {}}
    last = planned(born, pod)
    (event,) = last.events
    return Bodies(
        json.dumps(stamped(job, None)),
        told(first.status.manifest()),
        json.dumps(report.event(live, event, now)),
        told(last.status.manifest()),
    )


async def main(server: str, token: str, namespace: str) -> None:
    headers, started = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}, dict[str, Bodies]()
    known: list[Bodies] = []
    early: set[str] = set()
    """Those whose pod had ended before the status that tells of their beginning was written."""
    ours, core = (f"/{group}/namespaces/{namespace}" for group in ("apis/noria.dev/v1alpha1", "api/v1"))
    few = asyncio.Semaphore(AT_ONCE)
    connector = aiohttp.TCPConnector(ssl=False, limit=32)
    async with (
        aiohttp.ClientSession(server, headers=headers, connector=connector, raise_for_status=True) as session,
        asyncio.TaskGroup() as tasks,
    ):

        async def send(method: str, path: str, body: str) -> Manifest:
            async with session.request(method, path, data=body) as answer:
                return json.loads(await answer.read())

        async def begin(live: Manifest) -> None:
            if not known:
                known.append(
                    rendered({key: live[key] for key in ("apiVersion", "kind", "metadata", "spec")}, namespace)
                )
            metadata = live["metadata"]
            bodies = known[0].of(metadata["name"], metadata["uid"], metadata["resourceVersion"])
            async with few:
                await send("POST", f"/apis/batch/v1/namespaces/{namespace}/jobs", bodies.job)
                answer = await send("PUT", f"{ours}/trainingjobs/{metadata['name']}/status", bodies.begun)
            version = answer["metadata"]["resourceVersion"]
            started[metadata["name"]] = known[0].of(metadata["name"], metadata["uid"], version)
            if metadata["name"] in early:
                await end(metadata["name"])

        async def end(name: str) -> None:
            if not (bodies := started.pop(name, None)):
                return  # its pod's end was told twice
            async with few:
                await send("POST", f"{core}/events", bodies.event)
                await send("PUT", f"{ours}/trainingjobs/{name}/status", bodies.ended)

        def trained(change: str, live: Manifest) -> Awaitable[None] | None:
            return begin(live) if change == "ADDED" else None

        def ran(change: str, live: Manifest) -> Awaitable[None] | None:
            name = live["metadata"].get("labels", {}).get("noria.dev/owner-name")
            over = live.get("status", {}).get("phase") == "Succeeded"
            if over and name not in started:
                early.add(name)
            return end(name) if over and name in started else None

        async def watch(path: str, query: dict[str, str], act: Callable[[str, Manifest], Any]) -> None:
            """Goes on where it was when the API server ends it, as it does with who reads slowly."""
            timeout, params = aiohttp.ClientTimeout(total=None), {"watch": "true", **query}
            while True:
                async with session.get(path, params=params, timeout=timeout, read_bufsize=1 << 20) as changes:
                    async for line in changes.content:
                        change = json.loads(line)
                        params["resourceVersion"] = change["object"]["metadata"]["resourceVersion"]
                        if due := act(change["type"], change["object"]):
                            tasks.create_task(due)

        tasks.create_task(watch(f"{ours}/trainingjobs", {}, trained))
        tasks.create_task(watch(f"{core}/pods", PODS, ran))
        print("watching", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
