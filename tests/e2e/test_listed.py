"""Noria in one listed namespace on the real cluster: a training, its version, an Endpoint and a pipeline, without any right elsewhere."""

from collections.abc import Iterator

import pytest

from ..rights.rights import asked, bound, refused
from .conftest import AUDIT_LOG, OPERATOR, Kubectl, Manifest, endpoint, lose, tell, untell, until
from .test_serving import FLOWER, SMALL, ask, serving, train

POD = "authentication.kubernetes.io/pod-name"
GIVE = "import os, pathlib; pathlib.Path(os.environ['NORIA_OUTPUT_MODEL'], 'model.onnx').write_text('weights')"


@pytest.fixture
def listed(kubectl: Kubectl, workspace: str) -> Iterator[str]:
    """Name of the pod of an operator that is told of the Workspace's namespace alone; afterwards it sees the cluster again."""
    pod = tell(kubectl, workspace)
    try:
        yield pod
    finally:
        untell(kubectl)


def pipeline(name: str, namespace: str, image: str) -> list[Manifest]:
    """A Pipeline whose model becomes a version, and a run of it that deletes itself."""
    run = {"image": image, "command": ["python3", "-c", GIVE], "resources": {"cpu": "100m", "memory": "128Mi"}}
    give = {"name": "give", "run": run, "outputs": [{"name": "model", "type": "model"}]}
    register = {"name": "register", "inputs": [{"name": "model", "from": "give.model"}], "register": {"model": name}}
    base = {"apiVersion": "noria.dev/v1alpha1", "metadata": {"name": name, "namespace": namespace}}
    return [
        base | {"kind": "Pipeline", "spec": {"steps": [give, register]}},
        base | {"kind": "PipelineRun", "spec": {"pipeline": name, "ttlSecondsAfterFinished": 0}},
    ]


def test_a_listed_namespace_is_enough(
    kubectl: Kubectl, workspace: str, gateway: str, images: dict[str, str], listed: str
) -> None:
    roles = bound(kubectl.list("clusterroles,clusterrolebindings,roles,rolebindings"), "noria-system")
    assert {(each["kind"], each["metadata"].get("namespace")) for each in roles} == {
        ("Role", workspace),
        ("Role", "noria-system"),
    }
    kubectl.apply(*pipeline("piped", workspace, images["trainer"]))
    train(kubectl, workspace, "listed", "sklearn", {}, "iris")
    model = {"name": "listed", "version": 1}
    kubectl.apply(endpoint("listed", workspace, model=model, predictor={"resources": SMALL}))
    host = serving(kubectl, "listed", workspace, "listed-1")
    status, answer = ask(gateway, host, "/v1/models/listed:predict", {"instances": [FLOWER]})
    assert status == 200, answer
    until(lambda: kubectl.get("modelversion", "piped-1", workspace), "the pipeline's version")
    until(lambda: not kubectl.get("pipelinerun", "piped", workspace), "the run deletes itself")
    mine = [each for each in asked(AUDIT_LOG) if listed in each["user"]["extra"][POD]]
    assert {each["objectRef"]["resource"] for each in mine} >= {
        "jobs",
        "pods",
        "inferenceservices",
        "pipelineruns",
        "leases",
    }
    assert refused(mine) == []
    beside = [each for each in mine if each["objectRef"].get("namespace") != workspace]
    assert {(each["objectRef"].get("namespace"), each["objectRef"]["resource"]) for each in beside} == {
        ("noria-system", "leases")
    }


def test_a_listed_namespace_that_goes_stops_no_other(kubectl: Kubectl, workspace: str) -> None:
    """Its Role goes with it: a new process may not list there, and does all that is elsewhere."""
    gone = f"{workspace}-gone"
    kubectl.run("create", "namespace", gone)
    pod = tell(kubectl, workspace, gone)
    lose(kubectl)
    try:
        kubectl.run("delete", "namespace", gone)
        kubectl.run("delete", "pod", pod, "-n", "noria-system")
        train(kubectl, workspace, "onward", "sklearn", {}, "iris")
        (operator,) = kubectl.list("pods", "noria-system", OPERATOR)
        assert operator["metadata"]["name"] != pod and not operator["status"]["containerStatuses"][0]["restartCount"]
        mine = {pod, operator["metadata"]["name"]}
        beside = refused(each for each in asked(AUDIT_LOG) if mine & {*each["user"]["extra"][POD]})
        assert beside and all(f"/namespaces/{gone}/" in each for each in beside), "that namespace alone is refused"
    finally:
        untell(kubectl)
