"""What counting and prediction ids cost the model server: one process, requests of one sample, with and without, interleaved.

    PYTHONPATH=images/server:images/torch python3 bench/server_counting.py FOLDER [REQUESTS]

FOLDER is a published model with tabular data, best of 64 features. One JSON line: the answer's time (p50, microseconds of wall
clock) and the CPU's (mean, microseconds of the whole process, the counting after the answer included) for `bare`, `counting`
and `counting and ids`, the ratios to `bare`, and what a scrape costs. A request is decoded, predicted and encoded; HTTP is not
in it, so the ratios are those of the worst case.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from server.baseline import outcome_of, read_baseline
from server.counts import Counts
from server.formats import detect, load
from server.ids import Ids, Slices
from server.model import ServedModel
from server.signature import read_card, read_signature

REQUESTS = 20_000
WARM_UP = 500


class Uncounted:
    """Stands for Counts and counts nothing."""

    def add(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> bool:
        """Nothing."""
        return False


async def measure(
    models: Mapping[str, ServedModel], rows: list[list[float]], requests: int
) -> dict[str, dict[str, float]]:
    """p50 and mean CPU time of a request by variant; each row goes through every variant before the next."""
    wall: dict[str, list[int]] = {name: [] for name in models}
    cpu: dict[str, list[int]] = {name: [] for name in models}
    names = list(models)
    for number in range(WARM_UP + requests):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            payload = {"instances": [rows[number % len(rows)]]}
            began, started = time.process_time_ns(), time.perf_counter_ns()
            await models[name].predict(payload, {})
            answered = time.perf_counter_ns()
            await asyncio.sleep(0)  # what was put off until after the answer
            wall[name].append(answered - started)
            cpu[name].append(time.process_time_ns() - began)
    return {
        name: {
            "p50": round(statistics.median(wall[name][WARM_UP:]) / 1e3, 1),
            "cpu": round(statistics.fmean(cpu[name][WARM_UP:]) / 1e3, 1),
        }
        for name in models
    }


def main() -> None:
    """Command line."""
    folder, requests = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else REQUESTS
    runtime = load(detect(folder), folder, read_signature(read_card(folder)), 1)
    signature, baseline = runtime.signature, read_baseline(folder)
    outcome, width = outcome_of(signature, baseline), len(signature.inputs[0].columns)
    counts = [Counts(("bench", "bench-1"), signature, baseline, outcome) for _ in range(2)]
    without = Ids("bench-1", None)
    models = {
        "bare": ServedModel("bench", "bench-1", runtime, Uncounted(), without, Slices()),  # type: ignore[arg-type]
        "counting": ServedModel("bench", "bench-1", runtime, counts[0], without, Slices()),
        "counting and ids": ServedModel("bench", "bench-1", runtime, counts[1], Ids("bench-1", outcome), Slices()),
    }
    rows = np.random.default_rng(0).uniform(0, 16, (1000, width)).round(1).tolist()
    found = asyncio.run(measure(models, rows, requests))
    registry = CollectorRegistry()
    registry.register(counts[1])
    began = time.process_time_ns()
    text = generate_latest(registry)
    scrape = (time.process_time_ns() - began) / 1e6
    ratios = {
        name: {key: round(value / found["bare"][key], 4) for key, value in one.items()}
        for name, one in found.items()
        if name != "bare"
    }
    series = sum(not line.startswith(b"#") for line in text.splitlines())
    told = {"requests": requests, "features": width, "microseconds": found, "ratio": ratios}
    print(json.dumps(told | {"series": series, "scrapeMilliseconds": round(scrape, 1)}))


if __name__ == "__main__":
    main()
