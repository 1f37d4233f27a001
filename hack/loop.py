"""`make demo-loop`: three Endpoints whose inputs drift; one promotes what it trained, one rejects it, one rolls it back.

A client asks all the time and posts the labels a moment later. It ends with 1 if an outcome is another than the one that is
due, or if one request failed.
"""

import asyncio
import itertools
import json
import random
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import demo
from demo import NAMESPACE, kubectl, read, summary, wait

LOOP = demo.ROOT / "examples" / "loop"
PICTURE = demo.ROOT / ".cluster" / "loop.svg"
DUE = {"scans": "Promoted", "scans-mislabelled": "Rejected", "scans-heavy": "RolledBack"}
REQUESTS_A_SECOND = 20
QUIET_SECONDS = 45
"""So long the client asks about site a alone before site b joins."""
AFTER_SECONDS = 30
"""So long it goes on after the outcome, to see whether the accuracy is back."""
LIMIT_SECONDS = 600
RECENT = 100
"""Answers over which the client's own accuracy is taken."""
READ = """import json, numpy
held_out = numpy.load("/data/sites/mixed/test.npz")
print(json.dumps({name: held_out[name].tolist() for name in ("x", "y", "site")}))"""


@dataclass
class Moment:
    """What was to be seen at one time."""

    seconds: float
    drift: float | None
    weight: float
    accuracy: float | None
    stage: str


@dataclass
class Client:
    """Asks one Endpoint, posts labels, counts failures, and remembers what it saw."""

    name: str
    samples: dict[str, Any]
    session: aiohttp.ClientSession
    address: str
    sites: str = "a"
    asked: int = 0
    failed: list[str] = field(default_factory=list)
    right: deque[bool] = field(default_factory=lambda: deque(maxlen=RECENT))
    answered_by: dict[str, int] = field(default_factory=dict)
    seen: list[Moment] = field(default_factory=list)

    @property
    def accuracy(self) -> float | None:
        """Share of the newest answers that were right."""
        return sum(self.right) / len(self.right) if len(self.right) == RECENT else None

    async def ask(self) -> None:
        """For ever, at a steady pace, a sample of the sites that are there now."""
        count = len(self.samples["y"])
        order = itertools.cycle(random.Random(0).sample(range(count), count))
        async with asyncio.TaskGroup() as group:
            while True:
                index = next(each for each in order if self.samples["site"][each] in self.sites)
                group.create_task(self._one(self.samples["x"][index], self.samples["y"][index]))
                await asyncio.sleep(1 / REQUESTS_A_SECOND)

    async def _one(self, x: list[float], y: int) -> None:
        answer = await self._post("predict", {"instances": [x]})
        if answer is None:
            return
        predicted = answer["predictions"][0]
        self.right.append(predicted["label"] == y)
        self.answered_by[answer["modelVersion"]] = self.answered_by.get(answer["modelVersion"], 0) + 1
        await asyncio.sleep(1)
        await self._post("feedback", {"labels": [{"id": answer["predictionIds"][0], "label": y}]})

    async def _post(self, verb: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """The answer; whatever is not 2xx is a failed request."""
        url = f"http://{self.address}/v1/models/{self.name}:{verb}"
        headers = {"Host": f"{self.name}.{NAMESPACE}.noria.internal"}
        self.asked += 1
        try:
            async with self.session.post(url, json=body, headers=headers) as response:
                if response.status < 300:
                    return dict(await response.json())
                self.failed.append(f"{verb}: {response.status} {(await response.text())[:200]}")
        except (aiohttp.ClientError, TimeoutError) as error:
            self.failed.append(f"{verb}: {error!r}")
        return None


def shares(route: dict[str, Any], following: str | None) -> float:
    """Percent of the requests that the next version answers."""
    backends = route.get("spec", {}).get("rules", [{}])[0].get("backendRefs", [])
    total = sum(each.get("weight", 1) for each in backends) or 1
    new = sum(each.get("weight", 1) for each in backends if following and each["name"].startswith(following))
    return float(100 * new / total)


def look(client: Client, began: float) -> dict[str, Any]:
    """The Endpoint now, remembered and returned."""
    endpoint = read("modelendpoint", client.name, "-n", NAMESPACE)
    route = read("httproute", client.name, "-n", NAMESPACE)
    status = endpoint.get("status", {})
    drift = next((each.get("value") for each in status.get("signals", []) if each["name"] == "drift"), None)
    cycle = status.get("cycle") or {}
    following = (status.get("next") or {}).get("inferenceService")
    promoted = (status.get("history") or [{}])[0].get("outcome") == "Promoted" and status.get("cycles", 0) > 1
    weight = 100.0 if promoted and not cycle else shares(route, following)
    client.seen.append(Moment(time.monotonic() - began, drift, weight, client.accuracy, cycle.get("stage", "")))
    return endpoint


def sentence(client: Client, endpoint: dict[str, Any]) -> str:
    """Where it stands, for people."""
    status = endpoint.get("status", {})
    cycle = status.get("cycle") or {}
    accuracy = "" if client.accuracy is None else f"; accuracy {client.accuracy:.2f}"
    state = (
        summary(endpoint, "UpToDate").get("message", "")
        if cycle
        else f"{status.get('current', {}).get('version')} serves"
    )
    return f"{state} [{status.get('worstSignal')}]{accuracy if cycle else ''}"


async def drive(client: Client) -> dict[str, Any]:
    """Quiet, then drift, until the cycle that it sets off is over; the record of that cycle."""
    began, said = time.monotonic(), ""
    asking = asyncio.create_task(client.ask())
    arrived, ended = False, None
    try:
        while ended is None or time.monotonic() - ended < AFTER_SECONDS:
            endpoint = await asyncio.to_thread(look, client, began)
            seconds = time.monotonic() - began
            words = stage_words(endpoint)
            if words != said:
                print(f"  {seconds:5.0f} s  {client.name}: {sentence(client, endpoint)}", flush=True)
                said = words
            if not arrived and seconds > QUIET_SECONDS:
                print(f"  {seconds:5.0f} s  {client.name}: site b joins", flush=True)
                client.sites, arrived = "ab", True
            history = endpoint.get("status", {}).get("history", [])
            if ended is None and history and history[0]["number"] > 1 and not endpoint["status"].get("cycle"):
                ended = time.monotonic()
                client.right.clear()
            if seconds > LIMIT_SECONDS or asking.done():
                raise SystemExit(f"{client.name} is not done after {seconds:.0f} s: {sentence(client, endpoint)}")
            await asyncio.sleep(1)
        return dict(history[0])
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


def stage_words(endpoint: dict[str, Any]) -> str:
    """What changes when there is something to tell."""
    status = endpoint.get("status", {})
    cycle = status.get("cycle") or {}
    fires = [each["name"] for each in status.get("signals", []) if each["state"] == "Firing"]
    return f"{cycle.get('stage')} {cycle.get('step')} {status.get('current', {}).get('version')} {fires}"


def judge(client: Client, record: dict[str, Any]) -> Iterator[str]:
    """What is not as it should be."""
    if record["outcome"] != DUE[client.name]:
        yield f"{client.name}: {record['outcome']} ({record.get('message')}), {DUE[client.name]} was due"
    if client.failed:
        yield f"{client.name}: {len(client.failed)} of {client.asked} requests failed, first: {client.failed[0]}"
    if DUE[client.name] == "Promoted" and not (client.accuracy and client.accuracy > 0.9):
        yield f"{client.name}: accuracy {client.accuracy} after the promotion, more than 0.9 was due"


def samples() -> dict[str, Any]:
    """The held-out digits of both sites, which no training reads: a pod prints them from the claim."""
    template = json.loads(kubectl("get", "job", "loop-data", "-n", NAMESPACE, "-o", "json"))["spec"]["template"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "loop-samples", "namespace": NAMESPACE},
        "spec": template["spec"] | {"restartPolicy": "Never"},
    }
    pod["spec"]["containers"][0]["command"] = ["python3", "-c", READ]
    kubectl("apply", "-f", "-", stdin=json.dumps(pod))
    kubectl("wait", "pod/loop-samples", "-n", NAMESPACE, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s")
    read_out = json.loads(kubectl("logs", "loop-samples", "-n", NAMESPACE))
    kubectl("delete", "pod", "loop-samples", "-n", NAMESPACE, "--wait=false")
    return dict(read_out)


def serving(name: str) -> tuple[bool, str]:
    found = read("modelendpoint", name, "-n", NAMESPACE)
    ready = summary(found, "Ready")
    return ready.get("status") == "True", ready.get("message", "waiting for the operator")


def finished(job: str) -> tuple[bool, str]:
    done = bool(read("job", job, "-n", NAMESPACE).get("status", {}).get("succeeded"))
    return done, "written" if done else "being written"


async def run() -> int:
    held_out, address, faults = samples(), demo.gateway(), []
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        clients = [Client(name, held_out, session, address) for name in DUE]
        records = [await drive(each) for each in clients]
    for client, record in zip(clients, records, strict=True):
        faults += list(judge(client, record))
        print(f"\n{client.name}: {record['outcome']}: {record.get('message')}")
        for step in record["steps"]:
            print(f"    {step['name']:12} {step.get('result', ''):13} {step.get('message') or ''}")
        print(f"    {client.asked} requests, {len(client.failed)} failed; answered by {client.answered_by}")
    PICTURE.write_text(picture(clients[0].seen))
    print(f"\nThe run of scans as a picture: {PICTURE}")
    print(f"$ kubectl get mep -n {NAMESPACE}\n" + kubectl("get", "modelendpoints", "-n", NAMESPACE))
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def picture(seen: list[Moment]) -> str:
    """Drift, weight and accuracy over time, one below the other, as SVG."""
    import io

    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams["svg.hashsalt"] = "noria"
    figure, axes = pyplot.subplots(3, 1, sharex=True, figsize=(9, 6), layout="constrained")
    times = [each.seconds for each in seen]
    nothing = float("nan")
    axes[0].plot(times, [nothing if each.drift is None else each.drift for each in seen], color="tab:red")
    axes[0].set_ylabel("drift (PSI)")
    axes[1].step(times, [each.weight for each in seen], where="post", color="tab:blue")
    axes[1].set_ylabel("challenger's\nshare (%)")
    axes[2].plot(times, [nothing if each.accuracy is None else each.accuracy for each in seen], color="tab:green")
    axes[2].set_ylabel("accuracy")
    axes[2].set_xlabel("seconds")
    for stage, group in itertools.groupby(seen, key=lambda each: each.stage):
        at = next(group).seconds
        if stage:
            for axis in axes:
                axis.axvline(at, color="lightgrey", linewidth=0.8, zorder=0)
            axes[0].annotate(stage, (at, 1), xycoords=("data", "axes fraction"), rotation=35, fontsize=7)
    axes[0].set_title(" ")
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def main() -> None:
    print("Applying examples/loop")
    kubectl("apply", "-f", str(demo.QUICKSTART / "00-workspace.yaml"))
    wait("Workspace vision", demo.workspace)
    for name in DUE:  # begin anew: what an earlier run left would be another beginning
        kubectl("delete", "modelendpoint,trainingjob", name, "-n", NAMESPACE, "--ignore-not-found")
        kubectl("delete", "modelversions", "-n", NAMESPACE, "-l", f"noria.dev/model={name}")
    kubectl("delete", "job", "loop-data", "loop-arrival", "-n", NAMESPACE, "--ignore-not-found")
    kubectl("apply", "-f", str(LOOP / "10-data.yaml"))
    wait("Job loop-data", lambda: finished("loop-data"))
    for path in sorted(Path(LOOP).glob("[2-9]*.yaml")):
        kubectl("apply", "-f", str(path))
    kubectl("apply", "-f", str(LOOP / "arrival.yaml"))
    wait("Job loop-arrival", lambda: finished("loop-arrival"))
    for name in DUE:
        wait(f"Endpoint {name}", lambda name=name: serving(name))  # type: ignore[misc]
    sys.exit(asyncio.run(run()))


if __name__ == "__main__":
    main()
