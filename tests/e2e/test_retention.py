"""The artifact claim on the real cluster: in time what nobody needs any more is gone, and a version's files are all there."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import Kubectl, Manifest, condition, finished, says, training, until

WRITE = """
import os, pathlib
for variable in ("NORIA_OUTPUT_DIR", "NORIA_CHECKPOINT_DIR"):
    (pathlib.Path(os.environ[variable]) / "model.onnx").write_text("weights")
"""
AGE = """
import os, pathlib, shutil, time
claim = pathlib.Path("/claim")
for path in ("orphan-0123abcd/attempt-1", "notes-0123abcd/attempt-1", "notes-0123abcd/mine"):
    (claim / "jobs" / path).mkdir(parents=True)
    (claim / "jobs" / path / "file").write_text("x")
# Only an owner may set times, and the kubelet owns what it made: the copies are the user's.
for folder in list(claim.glob("*/*")):
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    shutil.rmtree(folder)
    copy.rename(folder)
day = time.time() - 86400
for path in (*claim.glob("*/*"), *claim.glob("*/*/*"), *claim.glob("runs/*/*/*")):
    os.utime(path, (day, day))
"""
LOOK = """
import json, pathlib
claim = pathlib.Path("/claim")
print(json.dumps(sorted(str(path.relative_to(claim)) for path in claim.rglob("*") if path.is_file())))
"""
GIVE = """
import os, pathlib, sys
for name, path in os.environ.items():
    if name.startswith("NORIA_OUTPUT_"):
        (pathlib.Path(path) / "model.onnx").write_text("weights")
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def swept(kubectl: Kubectl) -> Iterator[str]:
    """A Workspace whose claim is swept every minute."""
    name = f"swept-{uuid.uuid4().hex[:6]}"
    storage = {"size": "1Gi", "retention": {"intervalSeconds": 60}}
    workspace = {"apiVersion": "noria.dev/v1alpha1", "kind": "Workspace", "metadata": {"name": name}}
    kubectl.apply(workspace | {"spec": {"deletionPolicy": "Delete", "storage": storage}})
    until(lambda: condition(kubectl.get("workspace", name), "Ready").get("status") == "True", f"Workspace {name} Ready")
    yield name
    kubectl.run("delete", "workspace", name, "--wait=false")


def on_the_claim(kubectl: Kubectl, name: str, workspace: str, image: str, code: str) -> str:
    """Runs Python in a Job that sees what is swept of the claim, the folders of jobs and runs; its log."""
    container: dict[str, Any] = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", code],
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": "artifacts", "mountPath": f"/claim/{each}", "subPath": each} for each in ("jobs", "runs")
        ],
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "runAsGroup": 1000,
            "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "artifacts", "persistentVolumeClaim": {"claimName": "noria-artifacts"}}],
    }
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": workspace}}
    kubectl.apply(job | {"spec": {"backoffLimit": 0, "template": {"spec": pod}}})

    def ended() -> Manifest:
        status: Manifest = kubectl.get("job", name, workspace).get("status", {})
        return status if status.get("succeeded") or status.get("failed") else {}

    status = until(ended, f"Job {name} ended")
    log = kubectl.run("logs", f"job/{name}", "-n", workspace).stdout
    assert status.get("succeeded"), log
    return log


def pipeline_run(name: str, workspace: str, image: str, *steps: Manifest) -> Manifest:
    """A run of step `good`, which gives a model, of `bad`, which writes one and fails, and of others."""

    def step(name: str, code: int) -> Manifest:
        container = {"image": image, "command": ["python3", "-c", GIVE, str(code)]}
        container["resources"] = {"cpu": "100m", "memory": "128Mi"}
        return {"name": name, "run": container, "outputs": [{"name": "model", "type": "model"}]}

    kind = {"apiVersion": "noria.dev/v1alpha1", "kind": "PipelineRun"}
    spec = {"inline": {"steps": [step("good", 0), step("bad", 1), *steps]}}
    return kind | {"metadata": {"name": name, "namespace": workspace}, "spec": spec}


@pytest.mark.workspaces
def test_what_nobody_needs_is_swept_and_a_version_keeps_its_files(
    kubectl: Kubectl, swept: str, images: dict[str, str]
) -> None:
    bound = [{"name": "model", "from": "good.model"}]
    kubectl.apply(
        pipeline_run("stays", swept, images["trainer"]),
        pipeline_run("goes", swept, images["trainer"]),
        pipeline_run(
            "made", swept, images["trainer"], {"name": "register", "inputs": bound, "register": {"model": "ours"}}
        ),
    )
    common = {"image": images["trainer"], "command": ["python3", "-c", WRITE]}
    common["resources"] = {"cpu": "100m", "memory": "128Mi"}
    kubectl.apply(
        training("version", swept, **common, output={"model": "digits"}),
        training("folder", swept, **common),
        training("deleted", swept, **common, output={"model": "other"}),
    )
    uids = {}
    for name in ("version", "folder", "deleted"):
        job = finished(kubectl, name, swept)
        assert condition(job, "Succeeded")["status"] == "True", condition(job, "Succeeded")
        uids[name] = job["metadata"]["uid"][:8]
    kubectl.run("delete", "trainingjob", "deleted", "-n", swept)
    kubectl.run("delete", "modelversion", "other-1", "-n", swept)
    for name in ("stays", "goes", "made"):
        says(kubectl, "pipelinerun", name, swept, "Succeeded", "ExitCode", 300)
        uids[name] = kubectl.get("pipelinerun", name, swept)["metadata"]["uid"][:8]
    for name in ("goes", "made"):
        kubectl.run("delete", "pipelinerun", name, "-n", swept)
    on_the_claim(kubectl, "age", swept, images["agent"], AGE)

    def retention() -> Manifest:
        return dict(kubectl.get("workspace", swept).get("status", {}).get("retention", {}))

    # The one that runs at this moment may have seen the folders while they were young; the next one has not.
    due = retention().get("number", 0) + 1
    until(
        lambda: (
            (found := retention()).get("number", 0) > due or (found.get("number") == due and not found.get("state"))
        ),
        f"sweep {due} ended",
        300,
    )
    left = json.loads(on_the_claim(kubectl, "look", swept, images["agent"], LOOK))
    assert left == sorted(
        [
            f"jobs/folder-{uids['folder']}/attempt-1/manifest.json",
            f"jobs/folder-{uids['folder']}/attempt-1/model.onnx",
            "jobs/notes-0123abcd/mine/file",
            f"jobs/version-{uids['version']}/attempt-1/manifest.json",
            f"jobs/version-{uids['version']}/attempt-1/model.onnx",
            f"runs/made-{uids['made']}/good/1/model/manifest.json",
            f"runs/made-{uids['made']}/good/1/model/model.onnx",
            f"runs/stays-{uids['stays']}/good/1/model/manifest.json",
            f"runs/stays-{uids['stays']}/good/1/model/model.onnx",
        ]
    ), retention()
    events = kubectl.run(
        "get", "events", "-n", "default", "--field-selector", f"involvedObject.name={swept},reason=Swept", "-o", "json"
    )
    assert json.loads(events.stdout)["items"]
    assert condition(kubectl.get("workspace", swept), "Ready")["status"] == "True"
