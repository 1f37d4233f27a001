"""Nodes go: one dies in the middle of a training, which goes on elsewhere from its checkpoint; one is drained under a served model."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from .conftest import ROOT, Kubectl, Manifest, condition, endpoint, finished, training, until
from .test_serving import load, serving, train

VICTIM = "noria-2"


def cluster(*arguments: str) -> None:
    subprocess.run([sys.executable, str(ROOT / "hack" / "cluster"), *arguments], check=True, timeout=300)


def lacking(kubectl: Kubectl) -> list[str]:
    """Deployments of which a pod is not ready; the node's end is known to the API server before its pods' is."""
    found = kubectl.list("deployments")
    return [
        each["metadata"]["name"]
        for each in found
        if each["status"].get("readyReplicas", 0) < each["spec"]["replicas"]
        or each["status"].get("unavailableReplicas")
    ]


@pytest.fixture
def operator_elsewhere(kubectl: Kubectl) -> Iterator[None]:
    """The operator runs on the other node; the victim, and all that runs on it, is back afterwards."""
    kubectl.run("cordon", VICTIM)
    for pod in kubectl.list("pods", "noria-system"):
        if pod["spec"].get("nodeName") == VICTIM:
            kubectl.run("delete", "pod", pod["metadata"]["name"], "-n", "noria-system")
    kubectl.run("rollout", "status", "deployment/noria", "-n", "noria-system", "--timeout=100s")
    kubectl.run("uncordon", VICTIM)
    yield
    cluster("up")
    until(lambda: condition(kubectl.get("node", VICTIM), "Ready").get("status") == "True", f"{VICTIM} is back")
    until(lambda: not lacking(kubectl), "all Deployments have their pods again")


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
    versions = kubectl.list("modelversions", workspace)
    assert [each["metadata"]["name"] for each in versions if each["spec"]["model"] == "survivor"] == ["survivor-1"]
    for kind in ("jobs", "pods"):
        made = kubectl.list(kind, workspace, "noria.dev/owner-name=survivor")
        assert sorted(each["metadata"]["labels"]["noria.dev/attempt"] for each in made) == ["1", "2"], kind


@pytest.fixture
def uncordoned(kubectl: Kubectl) -> Iterator[None]:
    """Both nodes take pods again afterwards."""
    yield
    kubectl.run("uncordon", "noria-1", "noria-2")


def drain(kubectl: Kubectl, node: str, labels: str) -> None:
    """Evicts the pods with these labels, by the eviction API, and returns when they are gone."""
    words = ["--ignore-daemonsets", "--delete-emptydir-data", f"--pod-selector={labels}", "--timeout=100s"]
    kubectl.run("drain", node, *words)


@pytest.mark.usefixtures("uncordoned")
def test_no_request_is_lost_while_a_node_is_drained(kubectl: Kubectl, workspace: str, gateway: str) -> None:
    """Both replicas stand on the node. Only they are evicted: what runs once here, as the gateway, would go down with it."""
    labels = "noria.dev/owner-name=drained,component=predictor"

    def where() -> list[str]:
        """The nodes of its pods, while both are ready and no other is left."""
        pods: list[Manifest] = kubectl.list("pods", workspace, labels)
        ready = all(condition(each, "Ready").get("status") == "True" for each in pods)
        return [each["spec"]["nodeName"] for each in pods] if ready and len(pods) == 2 else []

    train(kubectl, workspace, "drained", "sklearn", {}, "iris")
    model = {"name": "drained", "version": 1}
    predictor = {"replicas": 2, "resources": {"cpu": "250m", "memory": "1Gi"}}
    kubectl.run("cordon", "noria-2")
    kubectl.apply(endpoint("drained", workspace, model=model, predictor=predictor))
    host = serving(kubectl, "drained", workspace, "drained-1")
    assert until(where, "two replicas") == ["noria-1"] * 2
    kubectl.run("uncordon", "noria-2")
    with load(gateway, host) as answers:
        until(lambda: answers["200"] > 100, "clients are served")
        drain(kubectl, "noria-1", labels)
        until(lambda: where() == ["noria-2"] * 2, "both replicas are on the other node")
    assert set(answers) == {"200"}, answers
    one = '{"spec": {"predictor": {"replicas": 1}}}'
    kubectl.run("patch", "modelendpoint", "drained", "-n", workspace, "--type=merge", "-p", one)
    until(lambda: not kubectl.list("poddisruptionbudgets", workspace), "one pod alone holds up no drain")
