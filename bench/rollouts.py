"""Not one request fails while versions change: flips of all traffic between two warm versions, and full rollouts, under load.

`python bench/rollouts.py --flips 200 --full 5` on the local cluster (`make up`); ends with 1 if a request failed.
"""

import argparse
import asyncio
import json
import platform
import statistics
import sys
import time
from collections import Counter

import aiohttp
from local import FLOWER, Place, kubectl, until, user

PLACE = Place("bench-rollouts", "flip")
CLIENTS = 4


def gateway() -> str:
    """Its address."""
    services = kubectl("get", "svc", "-A", "-l", "gateway.envoyproxy.io/owning-gateway-name=noria", "-o", "json")
    return str(json.loads(services)["items"][0]["spec"]["clusterIP"])


async def client(session: aiohttp.ClientSession, address: str, answers: Counter[str]) -> None:
    url = f"http://{address}/v1/models/{PLACE.name}:predict"
    headers = {"Host": f"{PLACE.name}.{PLACE.namespace}.noria.internal"}
    while True:
        try:
            async with session.post(url, json={"instances": [FLOWER]}, headers=headers) as response:
                await response.read()
                answers[str(response.status)] += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            answers[repr(error)] += 1


def flip(number: int) -> float:
    """All traffic to a warm version; seconds until it is recorded."""
    wish = [f"noria.dev/by={user()}", f"noria.dev/rollback-to={PLACE.name}-{number}"]
    began = time.monotonic()
    kubectl("annotate", "mep", PLACE.name, "-n", PLACE.namespace, *wish)
    until(lambda: PLACE.serves(number), f"version {number} serves")
    until(granted, "the wish is granted")
    return time.monotonic() - began


def granted() -> bool:
    """Whether the request by hand is done with."""
    return "noria.dev/by" not in PLACE.read("modelendpoint", PLACE.name)["metadata"]["annotations"]


async def measure(address: str, flips: int, full: int) -> tuple[list[float], Counter[str]]:
    answers, seconds = Counter[str](), []
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        clients = [asyncio.create_task(client(session, address, answers)) for _ in range(CLIENTS)]
        for number in range(2, full + 2):
            await asyncio.to_thread(PLACE.train, number)
            await asyncio.to_thread(until, lambda each=number: PLACE.serves(each), f"version {number} serves")
            print(f"rollout {number - 1} of {full}: {sum(answers.values())} answers, {dict(answers)}", flush=True)
        for number in range(flips):
            seconds.append(await asyncio.to_thread(flip, full + number % 2))
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
    try:
        PLACE.prepare({"drainSeconds": 5, "warmSeconds": 3600})
        seconds, answers = asyncio.run(measure(gateway(), given.flips, given.full))
    finally:
        PLACE.remove()
    failed = sum(count for answer, count in answers.items() if answer != "200")
    quantiles = statistics.quantiles(seconds, n=100)
    print(f"{platform.node()}, {platform.machine()}, {CLIENTS} clients: {given.full} rollouts and {given.flips} flips,")
    print(
        f"{sum(answers.values())} requests, {failed} failed; a flip: median {quantiles[49]:.2f} s, p99 {quantiles[98]:.2f} s"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
