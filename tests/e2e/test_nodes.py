"""A node dies in the middle of a training: the next attempt goes on elsewhere from the checkpoint, and it does not count."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from .conftest import ROOT, Kubectl, condition, finished, training, until

VICTIM = "noria-2"


def cluster(*arguments: str) -> None:
    subprocess.run([sys.executable, str(ROOT / "hack" / "cluster"), *arguments], check=True, timeout=300)


@pytest.fixture
def operator_elsewhere(kubectl: Kubectl) -> Iterator[None]:
    """The operator runs on the other node; the victim is alive again afterwards."""
    kubectl.run("cordon", VICTIM)
    for pod in kubectl.list("pods", "noria-system"):
        if pod["spec"].get("nodeName") == VICTIM:
            kubectl.run("delete", "pod", pod["metadata"]["name"], "-n", "noria-system")
    kubectl.run("rollout", "status", "deployment/noria", "-n", "noria-system", "--timeout=100s")
    kubectl.run("uncordon", VICTIM)
    yield
    cluster("up")
    until(lambda: condition(kubectl.get("node", VICTIM), "Ready").get("status") == "True", f"{VICTIM} is back")


@pytest.mark.usefixtures("operator_elsewhere")
def test_a_lost_node(kubectl: Kubectl, workspace: str) -> None:
    preferred = {
        "weight": 100,
        "preference": {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [VICTIM]}]},
    }
    spec = {
        "recipe": {"name": "classifier", "parameters": {"epochs": "600", "batchSize": "32"}},
        "inputs": [{"name": "train", "uri": "pvc://noria-artifacts/data/digits"}],
        "resources": {"cpu": "500m", "memory": "1Gi"},
        "placement": {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preferred]}}},
        "checkpoint": {"intervalSeconds": 1},
        "output": {"model": "survivor"},
    }
    kubectl.apply(training("survivor", workspace, **spec))
    until(
        lambda: (
            kubectl.get("trainingjob", "survivor", workspace).get("status", {}).get("progress", {}).get("step", 0) > 300
        ),
        "steps are done",
    )
    labels = "noria.dev/owner-name=survivor,noria.dev/attempt=1"
    assert kubectl.list("pods", workspace, labels)[0]["spec"]["nodeName"] == VICTIM
    cluster("lose", VICTIM)

    def second() -> list[object]:
        return [*kubectl.list("pods", workspace, "noria.dev/owner-name=survivor,noria.dev/attempt=2")]

    until(second, "a second attempt", 180)
    job = finished(kubectl, "survivor", workspace, 400)
    assert condition(job, "Succeeded")["status"] == "True", condition(job, "Succeeded")
    lost = job["status"]["attempts"][0]
    assert (lost["cause"], lost["counted"]) == ("NodeLost", False)
    logs = kubectl.run(
        "logs", "-n", workspace, "-l", "noria.dev/owner-name=survivor,noria.dev/attempt=2", "-c", "main", "--tail=-1"
    ).stdout
    assert "resumed after step" in logs
