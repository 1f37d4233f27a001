"""Trainings on the real cluster: recipes, a script of one's own, two nodes, a pod killed in the middle, and what goes wrong."""

import json
from typing import Any

import pytest
import yaml

from .conftest import ROOT, Kubectl, Manifest, condition, finished, says, training, until

DIGITS = [{"name": "train", "uri": "pvc://noria-artifacts/data/digits"}]
SMALL = {"cpu": "500m", "memory": "1Gi"}


def pods(kubectl: Kubectl, workspace: str, job: str) -> list[Manifest]:
    return kubectl.list("pods", workspace, f"noria.dev/owner-name={job},noria.dev/role=training")


def example(name: str, workspace: str, images: dict[str, str]) -> Manifest:
    manifest: Manifest = yaml.safe_load((ROOT / "examples/training" / name).read_text())
    manifest["metadata"]["namespace"] = workspace
    manifest["spec"]["image"] = images["trainer"]
    return manifest


def test_a_script_that_never_heard_of_noria(kubectl: Kubectl, workspace: str, images: dict[str, str]) -> None:
    kubectl.apply(example("own-script.yaml", workspace, images))
    job = finished(kubectl, "own-script", workspace)
    assert condition(job, "Succeeded")["status"] == "True", condition(job, "Succeeded")
    version = kubectl.get("modelversion", job["status"]["modelVersion"], workspace)
    assert version["spec"]["format"] == "torch-export"
    assert version["spec"]["lineage"]["uid"] == job["metadata"]["uid"]
    assert version["spec"]["lineage"]["inputs"][0]["digest"].startswith("sha256:")
    assert version["spec"]["lineage"]["imageDigest"]
    assert "ownerReferences" not in version["metadata"]


def test_two_nodes_meet_by_torchrun(kubectl: Kubectl, workspace: str, images: dict[str, str]) -> None:
    kubectl.apply(example("two-nodes.yaml", workspace, images))
    job = finished(kubectl, "two-nodes", workspace)
    assert condition(job, "Succeeded")["status"] == "True", condition(job, "Succeeded")
    assert job["status"]["metrics"]["world_size"] == 2


def test_two_processes_of_one_pod_meet_by_torchrun(kubectl: Kubectl, workspace: str, images: dict[str, str]) -> None:
    job = example("two-nodes.yaml", workspace, images)
    job["metadata"]["name"], job["spec"]["nodes"], job["spec"]["processesPerNode"] = "two-processes", 1, 2
    kubectl.apply(job)
    job = finished(kubectl, "two-processes", workspace)
    assert condition(job, "Succeeded")["status"] == "True", condition(job, "Succeeded")
    assert job["status"]["metrics"]["world_size"] == 2


def test_a_killed_pod_goes_on_from_its_checkpoint(kubectl: Kubectl, workspace: str) -> None:
    """The step log of the second attempt begins after a checkpoint of the first, and both end at the same step."""
    spec: dict[str, Any] = {
        "recipe": {"name": "classifier", "parameters": {"epochs": "400", "seed": "1", "batchSize": "32"}},
        "inputs": DIGITS,
        "resources": SMALL,
        "checkpoint": {"intervalSeconds": 1},
        "output": {"model": "resumed"},
        "terminationGracePeriodSeconds": 5,
    }
    kubectl.apply(training("resumed", workspace, **spec))

    def progressed() -> int | None:
        progress = kubectl.get("trainingjob", "resumed", workspace).get("status", {}).get("progress", {})
        return progress.get("step") if progress.get("step", 0) > 500 else None

    before = until(progressed, "progress past step 500", 240)
    victim = pods(kubectl, workspace, "resumed")[0]["metadata"]["name"]
    kubectl.run("delete", "pod", victim, "-n", workspace, "--grace-period=0", "--force")
    second = until(
        lambda: [
            pod for pod in pods(kubectl, workspace, "resumed") if pod["metadata"]["labels"]["noria.dev/attempt"] == "2"
        ],
        "a second attempt",
    )
    name = second[0]["metadata"]["name"]
    until(
        lambda: kubectl.get("pod", name, workspace).get("status", {}).get("phase") in ("Running", "Succeeded"),
        "it runs",
    )
    resumed = until(
        lambda: [
            line
            for line in kubectl.run("logs", name, "-n", workspace, "-c", "main", check=False).stdout.splitlines()
            if "resum" in line.lower()
        ],
        "it says that it resumes",
    )
    job = finished(kubectl, "resumed", workspace)
    assert condition(job, "Succeeded")["status"] == "True", condition(job, "Succeeded")
    first, last = job["status"]["attempts"]
    assert (first["cause"], first["counted"], last["cause"]) == ("PodDeleted", False, "Completed")
    total = job["status"]["progress"]["total"]
    steps = [int(word.strip(".,:")) for word in resumed[0].split() if word.strip(".,:").isdigit()]
    assert any(0 < step < total for step in steps), resumed[0]
    assert before < total
    assert job["status"].get("failures") is None


def test_two_jobs_for_one_model_get_two_versions(kubectl: Kubectl, workspace: str) -> None:
    for name in ("twin-a", "twin-b"):
        spec = {
            "recipe": {"name": "classifier", "parameters": {"epochs": "2"}},
            "inputs": DIGITS,
            "resources": SMALL,
            "output": {"model": "twin"},
        }
        kubectl.apply(training(name, workspace, **spec))
    ended = [finished(kubectl, name, workspace) for name in ("twin-a", "twin-b")]
    assert {job["status"]["modelVersion"] for job in ended} == {"twin-1", "twin-2"}


def test_code_that_fails_says_its_last_lines(kubectl: Kubectl, workspace: str, images: dict[str, str]) -> None:
    spec = {
        "image": images["trainer"],
        "command": ["python3", "-c", "raise ValueError('column age is missing')"],
        "retry": {"limit": 1, "backoffSeconds": 0},
        "resources": SMALL,
    }
    kubectl.apply(training("fails", workspace, **spec))
    job = finished(kubectl, "fails", workspace)
    said = condition(job, "Succeeded")
    assert (said["status"], said["reason"]) == ("False", "ExitCode")
    assert "ValueError: column age is missing" in said["message"]
    assert [each["cause"] for each in job["status"]["attempts"]] == ["ExitCode", "ExitCode"]
    events = kubectl.list("events", workspace)
    assert [each for each in events if each["involvedObject"]["name"] == "fails" and each["reason"] == "ExitCode"]


def test_a_parameter_that_does_not_exist_is_not_retried(kubectl: Kubectl, workspace: str) -> None:
    spec = {
        "recipe": {"name": "classifier", "parameters": {"epoch": "3"}},
        "inputs": DIGITS,
        "resources": SMALL,
        "retry": {"fatalExitCodes": [2]},
    }
    kubectl.apply(training("typo", workspace, **spec))
    job = finished(kubectl, "typo", workspace)
    assert "epoch" in condition(job, "Succeeded")["message"]
    assert len(job["status"]["attempts"]) == 1


def test_too_little_memory(kubectl: Kubectl, workspace: str, images: dict[str, str]) -> None:
    spec = {
        "image": images["trainer"],
        "command": ["python3", "-c", "x = bytearray(1 << 30)"],
        "resources": {"cpu": "500m", "memory": "128Mi"},
        "retry": {"limit": 0},
    }
    kubectl.apply(training("hungry", workspace, **spec))
    assert condition(finished(kubectl, "hungry", workspace), "Succeeded")["reason"] == "OOMKilled"


def test_an_empty_output_folder(kubectl: Kubectl, workspace: str, images: dict[str, str]) -> None:
    spec = {
        "image": images["trainer"],
        "command": ["python3", "-c", "print('done')"],
        "resources": SMALL,
        "output": {"model": "empty"},
    }
    kubectl.apply(training("empty", workspace, **spec))
    assert condition(finished(kubectl, "empty", workspace), "Succeeded")["reason"] == "EmptyOutput"


def test_what_keeps_pods_from_starting_is_said(kubectl: Kubectl, workspace: str, images: dict[str, str]) -> None:
    base = {"image": images["trainer"], "command": ["python3", "-V"], "resources": SMALL}
    kubectl.apply(
        training("many-gpus", workspace, **base, gpusPerNode=9),
        training("no-claim", workspace, **base, inputs=[{"name": "x", "uri": "pvc://nowhere/x"}]),
        training("no-image", workspace, **(base | {"image": "noria.dev/nothing:1"})),
    )
    assert (
        "nvidia.com/gpu"
        in says(kubectl, "trainingjob", "many-gpus", workspace, "Succeeded", "Unschedulable")["message"]
    )
    assert "nowhere" in says(kubectl, "trainingjob", "no-claim", workspace, "Succeeded", "ClaimUnavailable")["message"]
    assert (
        "noria.dev/nothing:1"
        in says(kubectl, "trainingjob", "no-image", workspace, "Succeeded", "ImagePullFailed")["message"]
    )
    for name in ("many-gpus", "no-claim", "no-image"):
        kubectl.run("delete", "trainingjob", name, "-n", workspace)
        until(
            lambda each=name: not kubectl.list("jobs", workspace, f"noria.dev/owner-name={each}"),
            f"the Jobs of {name} are gone",
        )


def test_gpus_are_given_and_counted(kubectl: Kubectl, workspace: str, images: dict[str, str]) -> None:
    spec = {
        "image": images["trainer"],
        "command": ["python3", "-c", "import time; time.sleep(3)"],
        "resources": SMALL,
        "gpusPerNode": 2,
    }
    kubectl.apply(training("gpus", workspace, **spec))
    assert finished(kubectl, "gpus", workspace)["status"]["gpuSeconds"] >= 6


def test_suspended_and_resumed(kubectl: Kubectl, workspace: str, images: dict[str, str]) -> None:
    spec = {
        "image": images["trainer"],
        "command": ["python3", "-c", "import time; time.sleep(20)"],
        "resources": SMALL,
        "terminationGracePeriodSeconds": 1,
    }
    kubectl.apply(training("paused", workspace, **spec))
    says(kubectl, "trainingjob", "paused", workspace, "Succeeded", "Running")
    patch = json.dumps({"spec": {"suspend": True}})
    kubectl.run("patch", "trainingjob", "paused", "-n", workspace, "--type=merge", "-p", patch)
    says(kubectl, "trainingjob", "paused", workspace, "Succeeded", "Suspended")
    until(lambda: not pods(kubectl, workspace, "paused"), "its pods end")
    kubectl.run("patch", "trainingjob", "paused", "-n", workspace, "--type=merge", "-p", patch.replace("true", "false"))
    job = finished(kubectl, "paused", workspace)
    assert condition(job, "Succeeded")["status"] == "True"
    assert [each["cause"] for each in job["status"]["attempts"]] == ["Suspended", "Completed"]


def test_a_finished_job_deletes_itself_and_leaves_its_model(kubectl: Kubectl, workspace: str) -> None:
    spec = {
        "recipe": {"name": "sklearn"},
        "inputs": [{"name": "train", "uri": "pvc://noria-artifacts/data/iris"}],
        "resources": SMALL,
        "output": {"model": "brief"},
        "ttlSecondsAfterFinished": 2,
    }
    kubectl.apply(training("brief", workspace, **spec))
    until(lambda: kubectl.get("modelversion", "brief-1", workspace), "a version", 240)
    until(lambda: not kubectl.get("trainingjob", "brief", workspace), "the job deletes itself")
    assert kubectl.get("modelversion", "brief-1", workspace)


@pytest.mark.workspaces
def test_a_quota_that_is_used_up_is_named(kubectl: Kubectl, images: dict[str, str]) -> None:
    name = "e2e-tight"
    workspace = {"apiVersion": "noria.dev/v1alpha1", "kind": "Workspace", "metadata": {"name": name}}
    kubectl.apply(workspace | {"spec": {"deletionPolicy": "Delete", "quota": {"cpu": "300m"}}})
    try:
        until(lambda: condition(kubectl.get("workspace", name), "Ready").get("status") == "True", "it is ready")
        kubectl.apply(training("big", name, image=images["trainer"], command=["python3", "-V"], resources=SMALL))
        said = says(kubectl, "trainingjob", "big", name, "Succeeded", "QuotaExceeded")
        assert "limited: requests.cpu=300m" in said["message"]
        kubectl.apply(workspace | {"spec": {"deletionPolicy": "Delete", "quota": {"cpu": "2"}}})
        assert condition(finished(kubectl, "big", name), "Succeeded")["status"] == "True"
    finally:
        kubectl.run("delete", "workspace", name, "--wait=false")
