"""What Noria takes from a training: samples a second as a TrainingJob, beside the same pod as a bare Job, which has no agent.

`.venv/bin/python bench/training_throughput.py [ROUNDS]` (default 5, some 3 min a round) on the local cluster (`make up`). Both run
bench/training_script.py under torchrun with one core. A round runs Noria, bare, bare, Noria, so that a machine that becomes slower
slows both. Ends with 1 if a training fails.
"""

import argparse
import copy
import json
import platform
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from local import ROOT, Place, apply, kubectl, until
from prometheus_client.parser import text_string_to_metric_families

PLACE = Place("bench-throughput", "throughput")
SCRIPT = Path(__file__).with_name("training_script.py")
STEPS, LIMIT_SECONDS, RESAMPLES = 3000, 240, 10_000
BEGUN_SECONDS, SAMPLE_SECONDS = 8, 20
"""The agent's CPU is counted from so long after the pod was ready, for so long: the training is past its imports then."""
ORDER = ("noria", "bare", "bare", "noria")
OF_NORIA = ("config", "run", "artifacts")
"""Volumes by which a pod is told, tells and publishes."""

Told = dict[str, float]


def noria(name: str) -> Told:
    """A TrainingJob, until it has succeeded; its samples a second."""
    PLACE.make(
        "TrainingJob",
        name,
        image=json.loads((ROOT / ".cluster/images.json").read_text())["trainer"],
        command=["python3", "-m", "torch.distributed.run", "/noria/code/train.py", str(STEPS)],
        code={"train.py": SCRIPT.read_text()},
        env=[{"name": "OMP_NUM_THREADS", "value": "1"}],
        resources={"cpu": "1", "memory": "1Gi"},
    )
    for condition in ("create", "jsonpath={.status.ready}=1"):
        kubectl("wait", "job", f"{name}-1", "-n", PLACE.namespace, f"--for={condition}", f"--timeout={LIMIT_SECONDS}s")
    time.sleep(BEGUN_SECONDS)
    before = used(name)
    time.sleep(SAMPLE_SECONDS)
    share = {"agentShare": (after := used(name))["agent"] - before["agent"]}
    share["agentShare"] /= after["main"] - before["main"]
    return ended("trainingjob", name, "Succeeded", f"{name}-1") | share


def used(name: str) -> Told:
    """CPU seconds of each container of its pod so far, as the kubelet tells them."""
    selector = f"noria.dev/owner-name={name},noria.dev/role=training"
    (pod,) = json.loads(kubectl("get", "pods", "-n", PLACE.namespace, "-l", selector, "-o", "json"))["items"]
    page = kubectl("get", f"--raw=/api/v1/nodes/{pod['spec']['nodeName']}/proxy/metrics/resource")
    samples = (each for family in text_string_to_metric_families(page) for each in family.samples)
    return {
        each.labels["container"]: each.value
        for each in samples
        if each.name == "container_cpu_usage_seconds_total" and each.labels["pod"].startswith(f"{name}-")
    }


def bare(name: str, like: str) -> Told:
    """A Job with the pod of that TrainingJob, less the agent, Noria's volumes and its variables."""
    pod = copy.deepcopy(PLACE.read("job", f"{like}-1")["spec"]["template"]["spec"])
    del pod["initContainers"]
    (main,) = pod["containers"]
    main["env"] = [each for each in main["env"] if not each["name"].startswith("NORIA_")]
    main["volumeMounts"] = [each for each in main["volumeMounts"] if each["name"] not in OF_NORIA]
    pod["volumes"] = [each for each in pod["volumes"] if each["name"] not in OF_NORIA]
    metadata = {"name": name, "namespace": PLACE.namespace}
    apply(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": metadata,
            "spec": {"backoffLimit": 0, "template": {"spec": pod}},
        }
    )
    return ended("job", name, "Complete", name)


def ended(kind: str, name: str, condition: str, job: str) -> Told:
    """What the training told at its end. One watch waits for it: to look again and again would take from both."""
    kubectl("wait", kind, name, "-n", PLACE.namespace, f"--for=condition={condition}", f"--timeout={LIMIT_SECONDS}s")
    log = kubectl("logs", f"job/{job}", "-c", "main", "-n", PLACE.namespace)
    return dict(json.loads(next(line for line in reversed(log.splitlines()) if line.startswith("{"))))


def turns(number: int) -> list[tuple[str, Told]]:
    """A round: each arm that had its turn, and what its training told."""
    found = []
    for turn, arm in enumerate(ORDER):
        name = f"{arm}-{number}-{turn}"
        one = noria(name) if arm == "noria" else bare(name, f"noria-{number}-0")
        print(f"round {number}, {arm}: {json.dumps(one)}", flush=True)
        found.append((arm, one))
    return found


def measure(rounds: int) -> dict[str, list[Told]]:
    """What each training told, by arm and in order."""
    found: dict[str, list[Told]] = {"noria": [], "bare": []}
    for number in range(1, rounds + 1):
        for arm, one in turns(number):
            found[arm].append(one)
    return found


def ratio(noria: list[float], bare: list[float]) -> str:
    """Noria's median by the bare one's, and the 95 % interval of that, by 10,000 draws of runs with a fixed seed."""
    draw = random.Random(0)
    drawn = sorted(
        statistics.median(draw.choices(noria, k=len(noria))) / statistics.median(draw.choices(bare, k=len(bare)))
        for _ in range(RESAMPLES)
    )
    low, high = drawn[RESAMPLES // 40], drawn[RESAMPLES - RESAMPLES // 40]
    return f"{statistics.median(noria) / statistics.median(bare):.4f} ({low:.4f} to {high:.4f})"


def table(found: dict[str, list[Told]]) -> None:
    """The rates by the clock, and by the CPU time of the process, which other work on the machine moves less."""
    rates: dict[str, dict[str, list[Any]]] = {
        arm: {
            "samples a second": [one["samplesPerSecond"] for one in told],
            "samples a second of CPU": [one["samplesPerSecond"] * one["seconds"] / one["cpuSeconds"] for one in told],
        }
        for arm, told in found.items()
    }
    print("| figure | Noria | bare | ratio |\n|---|---|---|---|")
    for figure in rates["noria"]:
        values = [rates[arm][figure] for arm in ("noria", "bare")]
        told = [f"{statistics.median(each):.0f} ({min(each):.0f} to {max(each):.0f})" for each in values]
        print(f"| {figure} | {told[0]} | {told[1]} | {ratio(*values)} |")
    shares = [100 * one["agentShare"] for one in found["noria"]]
    print(
        f"| the agent's CPU, of the training's | {statistics.median(shares):.2f} % ({min(shares):.2f} to {max(shares):.2f}) | | |"
    )
    shortest = min(one["seconds"] for told in found.values() for one in told)
    print(
        f"{platform.node()}, {platform.machine()}: {len(found['bare'])} trainings of each, of {shortest:.0f} s and more"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=5)
    given = parser.parse_args()
    try:
        PLACE.make("Workspace", PLACE.namespace, deletionPolicy="Delete", storage={"size": "1Gi"})
        until(lambda: PLACE.holds("workspace", PLACE.namespace, "Ready"), "workspace")
        table(measure(given.rounds))
    finally:
        PLACE.remove()
    return 0


if __name__ == "__main__":
    sys.exit(main())
