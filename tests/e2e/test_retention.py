"""The artifact claim on the real cluster: in time what nobody needs any more is gone, and a version's files are all there."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import Kubectl, Manifest, condition, finished, training, until

WRITE = """
import os, pathlib
for variable in ("NORIA_OUTPUT_DIR", "NORIA_CHECKPOINT_DIR"):
    (pathlib.Path(os.environ[variable]) / "model.onnx").write_text("weights")
"""
AGE = """
import os, pathlib, shutil, time
jobs = pathlib.Path("/jobs")
for path in ("orphan-0123abcd/attempt-1", "notes-0123abcd/attempt-1", "notes-0123abcd/mine"):
    (jobs / path).mkdir(parents=True)
    (jobs / path / "file").write_text("x")
# Only an owner may set times, and the kubelet owns what it made: the copies are the user's.
for job in list(jobs.iterdir()):
    copy = job.with_name("copy")
    shutil.copytree(job, copy)
    shutil.rmtree(job)
    copy.rename(job)
day = time.time() - 86400
for path in (*jobs.glob("*"), *jobs.glob("*/*")):
    os.utime(path, (day, day))
"""
LOOK = """
import json, pathlib
jobs = pathlib.Path("/jobs")
print(json.dumps(sorted(str(path.relative_to(jobs)) for path in jobs.rglob("*") if path.is_file())))
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
    """Runs Python in a Job that sees the claim's folder of jobs; its log."""
    container: dict[str, Any] = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", code],
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "artifacts", "mountPath": "/jobs", "subPath": "jobs"}],
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


def test_what_nobody_needs_is_swept_and_a_version_keeps_its_files(
    kubectl: Kubectl, swept: str, images: dict[str, str]
) -> None:
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
            f"folder-{uids['folder']}/attempt-1/manifest.json",
            f"folder-{uids['folder']}/attempt-1/model.onnx",
            "notes-0123abcd/mine/file",
            f"version-{uids['version']}/attempt-1/manifest.json",
            f"version-{uids['version']}/attempt-1/model.onnx",
        ]
    ), retention()
    events = kubectl.run(
        "get", "events", "-n", "default", "--field-selector", f"involvedObject.name={swept},reason=Swept", "-o", "json"
    )
    assert json.loads(events.stdout)["items"]
    assert condition(kubectl.get("workspace", swept), "Ready")["status"] == "True"
