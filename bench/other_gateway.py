"""A rollout behind a gateway that does not mirror: Traefik, built from its Go module (bench/traefik), on the local cluster.

`python bench/other_gateway.py`: the mirror is passed over and the record says so, the canary's weights are right within
four standard errors, and no request fails. Ends with 1 if not. Noria is installed with the other gateway meanwhile, and as before afterwards.
"""

import asyncio
import math
import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
from local import FLOWER, KUBECONFIG, ROOT, Place, apply, run, until

PLACE = Place("bench-other-gateway", "other")
GATEWAY = "bench-traefik"
PORT = 18080
WEIGHT, HOLD_SECONDS, SAMPLE = 20, 20, 1500
ROLLOUT = {
    "drainSeconds": 5,
    "mirror": {"holdSeconds": 5},
    "steps": [{"weight": WEIGHT, "holdSeconds": HOLD_SECONDS}],
}


def built() -> Path:
    """Traefik's program; some eight minutes the first time."""
    source, program = ROOT / "bench/traefik", ROOT / ".cluster/traefik"
    words = ["go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", program]
    subprocess.run(
        [*words, "github.com/traefik/traefik/v3/cmd/traefik"],
        cwd=source,
        env=os.environ | {"CGO_ENABLED": "0"},
        check=True,
    )
    return program


@contextmanager
def traefik(program: Path) -> Iterator[None]:
    """Traefik as a process of this machine, with a GatewayClass and a Gateway of its own, and Noria's routes at it."""
    apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": GATEWAY}},
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "GatewayClass",
            "metadata": {"name": GATEWAY},
            "spec": {"controllerName": "traefik.io/gateway-controller"},
        },
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"name": GATEWAY, "namespace": GATEWAY},
            "spec": {
                "gatewayClassName": GATEWAY,
                "listeners": [
                    {"name": "http", "port": PORT, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}}
                ],
            },
        },
    )
    words = [f"--entrypoints.web.address=127.0.0.1:{PORT}", "--providers.kubernetesgateway=true"]
    environment = {"KUBECONFIG": str(KUBECONFIG), "PATH": os.environ["PATH"]}
    with (ROOT / ".cluster/traefik.log").open("w") as log:
        process = subprocess.Popen(
            [program, *words, "--global.checknewversion=false", "--global.sendanonymoususage=false"],
            env=environment, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        install("--set", f"gateway.name={GATEWAY},gateway.namespace={GATEWAY},gateway.mirrors=false")
        yield
    finally:
        install("--set", "gateway.name=noria,gateway.namespace=noria-gateway,gateway.mirrors=true")
        process.terminate()
        process.wait()
        for kind, name in (("gatewayclass", GATEWAY), ("namespace", GATEWAY)):
            run("kubectl", "delete", kind, name, "--wait=false")


def install(*values: str) -> None:
    """Noria with other values."""
    chart = str(ROOT / "charts/noria")
    run("helm", "upgrade", "noria", chart, "-n", "noria-system", "--reuse-values", "--wait", *values)


async def ask(session: aiohttp.ClientSession, answers: Counter[str]) -> None:
    """One prediction; counts the version that answered, or what went wrong."""
    url = f"http://127.0.0.1:{PORT}/v1/models/{PLACE.name}:predict"
    headers = {"Host": f"{PLACE.name}.{PLACE.namespace}.noria.internal"}
    try:
        async with session.post(url, json={"instances": [FLOWER]}, headers=headers) as response:
            body = await response.json(content_type=None)
            answers[body["modelVersion"] if response.status == 200 else f"{response.status} {body}"] += 1
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        answers[repr(error)] += 1


async def measure() -> tuple[Counter[str], Counter[str]]:
    """A rollout under requests all the time; all answers, and those of the canary's hold."""
    every, sample = Counter[str](), Counter[str]()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:

        async def steadily() -> None:
            while True:
                await ask(session, every)

        client = asyncio.create_task(steadily())
        await asyncio.to_thread(PLACE.train, 2)
        await asyncio.to_thread(until, held, "the canary holds")
        for _ in range(SAMPLE):
            await ask(session, sample)
        assert held(), "the hold was over before the sample was"
        await asyncio.to_thread(until, lambda: PLACE.serves(2), "the new version serves")
        client.cancel()
        await asyncio.gather(client, return_exceptions=True)
    return every + sample, sample


def held() -> bool:
    """Whether the gateway has taken the canary's route."""
    cycle = PLACE.status.get("cycle", {})
    return cycle.get("stage") == "Canary" and "settledTime" in cycle


def main() -> int:
    program = built()
    with traefik(program):
        try:
            PLACE.prepare(ROLLOUT, isolation="None")
            every, sample = asyncio.run(measure())
            record, mirror = PLACE.status["history"][0], PLACE.condition("modelendpoint", PLACE.name, "MirrorAvailable")
        finally:
            PLACE.remove()
    names = {f"{PLACE.name}-{number}" for number in (1, 2)}
    failed = {answer: count for answer, count in every.items() if answer not in names}
    share = sample[f"{PLACE.name}-2"] / SAMPLE
    steps = {each["name"]: each["result"] for each in record["steps"]}
    print(
        f"{platform.node()}, {platform.machine()}: {sum(every.values())} requests, {sum(failed.values())} failed {failed or ''}"
    )
    print(f"weight {WEIGHT} %: {100 * share:.1f} % of {SAMPLE}; {record['outcome']}; {steps}; {mirror['reason']}")
    near = abs(share - WEIGHT / 100) <= 4 * math.sqrt(WEIGHT / 100 * (1 - WEIGHT / 100) / SAMPLE)
    right = (record["outcome"], steps["Mirroring"], mirror["reason"]) == ("Promoted", "Skipped", "NotDeclared")
    return 0 if near and right and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
