"""Not one request fails while versions change: flips of all traffic between two warm versions, and full rollouts, under load.

`python bench/rollouts.py --flips 200 --full 5` on the local cluster (`make up`); ends with 1 if a request failed.
"""

import argparse
import asyncio
import json
import platform
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).resolve().parent.parent
NAMESPACE, NAME = "bench-rollouts", "flip"
FLOWER = [5.1, 3.5, 1.4, 0.2]
CLIENTS = 4


def kubectl(*words: str, stdin: str | None = None) -> str:
    command = [ROOT / ".cluster/bin/kubectl", "--kubeconfig", ROOT / ".cluster/kubeconfig", *words]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout


def read(kind: str, name: str, namespace: str | None = NAMESPACE) -> dict[str, Any]:
    scope = ["-n", namespace] if namespace else []
    text = kubectl("get", kind, name, *scope, "-o", "json", "--ignore-not-found")
    return dict(json.loads(text)) if text.strip() else {}


def until(look: Any, what: str, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            sys.exit(f"not within {seconds} s: {what}")
        time.sleep(0.2)


def noria(kind: str, name: str, namespace: str | None, **spec: Any) -> None:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    manifest = {"apiVersion": "noria.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}
    kubectl("apply", "-f", "-", stdin=json.dumps(manifest))


def holds(kind: str, name: str, type: str, namespace: str | None = NAMESPACE) -> bool:
    conditions = read(kind, name, namespace).get("status", {}).get("conditions", [])
    return any(each["type"] == type and each["status"] == "True" for each in conditions)


def serves(version: str) -> bool:
    """Whether that version has the traffic and nothing is under way."""
    status = read("modelendpoint", NAME).get("status", {})
    return "cycle" not in status and status.get("current", {}).get("version") == version


def train(number: int) -> None:
    noria(
        "TrainingJob",
        f"train-{number}",
        NAMESPACE,
        recipe={"name": "sklearn", "parameters": {"seed": str(number)}},
        inputs=[{"name": "train", "uri": "pvc://noria-artifacts/data/iris"}],
        resources={"cpu": "500m", "memory": "1Gi"},
        output={"model": NAME},
    )
    until(lambda: holds("trainingjob", f"train-{number}", "Succeeded"), f"training {number}")


def prepare() -> str:
    """A Workspace with data, one version that serves; address of the gateway."""
    noria("Workspace", NAMESPACE, None, deletionPolicy="Delete", storage={"size": "1Gi"})
    until(lambda: holds("workspace", NAMESPACE, "Ready", None), "workspace")
    images = json.loads((ROOT / ".cluster/images.json").read_text())
    job = json.loads(
        kubectl("create", "--dry-run=client", "-f", str(ROOT / "examples/quickstart/10-data.yaml"), "-o", "json")
    )
    job["metadata"] = {"name": "data", "namespace": NAMESPACE}
    container = job["spec"]["template"]["spec"]["containers"][0]
    container |= {"image": images["trainer"], "command": ["python3", "-m", "trainer.datasets", "iris", "/data/iris"]}
    kubectl("apply", "-f", "-", stdin=json.dumps(job))
    until(lambda: read("job", "data").get("status", {}).get("succeeded"), "data")
    train(1)
    noria(
        "Endpoint",
        NAME,
        NAMESPACE,
        model={"name": NAME, "track": "Latest"},
        predictor={"resources": {"cpu": "500m", "memory": "1Gi"}},
        rollout={"drainSeconds": 5, "warmSeconds": 3600},
    )
    until(lambda: serves(f"{NAME}-1"), "the first version serves")
    services = json.loads(
        kubectl("get", "svc", "-A", "-l", "gateway.envoyproxy.io/owning-gateway-name=noria", "-o", "json")
    )
    return str(services["items"][0]["spec"]["clusterIP"])


async def client(session: aiohttp.ClientSession, address: str, answers: Counter[str]) -> None:
    url = f"http://{address}/v1/models/{NAME}:predict"
    headers = {"Host": f"{NAME}.{NAMESPACE}.noria.internal"}
    while True:
        try:
            async with session.post(url, json={"instances": [FLOWER]}, headers=headers) as response:
                await response.read()
                answers[str(response.status)] += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            answers[repr(error)] += 1


def flip(version: str) -> float:
    """All traffic to a warm version; seconds until it is recorded."""
    user = json.loads(kubectl("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"]
    began = time.monotonic()
    kubectl("annotate", "mep", NAME, "-n", NAMESPACE, f"noria.dev/by={user}", f"noria.dev/rollback-to={version}")
    until(lambda: serves(version), f"{version} serves")
    until(lambda: "noria.dev/by" not in read("modelendpoint", NAME)["metadata"]["annotations"], "the wish is granted")
    return time.monotonic() - began


async def measure(address: str, flips: int, full: int) -> tuple[list[float], Counter[str]]:
    answers, seconds = Counter[str](), []
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        clients = [asyncio.create_task(client(session, address, answers)) for _ in range(CLIENTS)]
        for number in range(2, full + 2):
            await asyncio.to_thread(train, number)
            await asyncio.to_thread(
                until, lambda version=f"{NAME}-{number}": serves(version), f"version {number} serves"
            )
            print(f"rollout {number - 1} of {full}: {sum(answers.values())} answers, {dict(answers)}", flush=True)
        pair = [f"{NAME}-{full}", f"{NAME}-{full + 1}"]
        for number in range(flips):
            seconds.append(await asyncio.to_thread(flip, pair[number % 2]))
            if (number + 1) % 20 == 0:
                print(f"flip {number + 1} of {flips}: {sum(answers.values())} answers, {dict(answers)}", flush=True)
        for each in clients:
            each.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    return seconds, answers


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--full", type=int, default=5)
    given = parser.parse_args()
    address = prepare()
    try:
        seconds, answers = asyncio.run(measure(address, given.flips, given.full))
    finally:
        kubectl("delete", "workspace", NAMESPACE, "--wait=false")
    failed = sum(count for answer, count in answers.items() if answer != "200")
    quantiles = statistics.quantiles(seconds, n=100)
    print(f"{platform.node()}, {platform.machine()}, {CLIENTS} clients: {given.full} rollouts and {given.flips} flips,")
    print(
        f"{sum(answers.values())} requests, {failed} failed; a flip: median {quantiles[49]:.2f} s, p99 {quantiles[98]:.2f} s"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
