"""What a Workspace tells of its namespace, its claim and its sweeps, and when it looks again."""

import json
from typing import Any

import pytest
from variants import Variant

from noria.plan.contract import Manifest


def case(name: str) -> Variant:
    return Variant(f"workspace/{name}")


def retention(variant: Variant) -> Manifest:
    found: Manifest = variant.plan().status.manifest().get("retention", {})
    return found


def test_it_is_ready_once_and_says_so_once() -> None:
    variant = case("ready")
    name = variant.resource["metadata"]["name"]
    assert variant.told("Ready") == f"True Provisioned: namespace {name} is ready"
    assert variant.events() == [f"Normal Provisioned: namespace {name} is ready"]
    variant.resource["status"] = {"conditions": variant.plan().status.manifest()["conditions"]}
    assert variant.events() == []
    variant.without("PersistentVolumeClaim")
    assert variant.told("Ready") == f"Unknown Provisioning: namespace {name} is being made" and variant.events() == []


def test_what_is_lost_or_goes_is_told() -> None:
    variant = case("ready")
    variant.child("PersistentVolumeClaim")["status"] = {"phase": "Lost"}
    lost = "the volume of claim noria-artifacts is gone; restore it, or delete the claim to start with an empty one"
    assert variant.told("Ready") == f"False ClaimLost: {lost}"
    variant.child("Namespace")["metadata"]["deletionTimestamp"] = "2026-11-24T12:00:00Z"
    name = variant.resource["metadata"]["name"]
    gone = f"namespace {name} is being deleted; it is made anew afterwards"
    assert variant.told("Ready") == f"False NamespaceTerminating: {gone}"
    assert variant.plan().requeue_after == 5 and not variant.plan().children


def test_what_is_bounded_is_a_quota_and_what_is_not_is_none() -> None:
    variant = case("ready")
    variant.spec["quota"] = {"cpu": "4", "memory": "8Gi", "gpus": 0, "storage": "1Ti", "pods": 9}
    quota = next(each for each in variant.plan().children if each["kind"] == "ResourceQuota")
    assert quota["spec"]["hard"] == {
        "requests.cpu": "4",
        "requests.memory": "8Gi",
        "requests.nvidia.com/gpu": "0",
        "requests.storage": "1Ti",
        "pods": "9",
    }
    variant.spec["quota"] = {}
    assert "ResourceQuota" not in {each["kind"] for each in variant.plan().children}


def reports(message: str) -> Variant:
    variant = case("sweep-done")
    (status,) = variant.child("Pod")["status"]["containerStatuses"]
    status["state"]["terminated"]["message"] = message
    return variant


def test_a_sweep_tells_what_it_removed_and_what_it_could_not() -> None:
    told: dict[str, Any] = {"removed": 2, "bytes": 9, "kept": 3}
    done = reports(json.dumps(told | {"failed": ["jobs/a", "jobs/b"]}))
    text = "removed 2 folders with 9 bytes, kept 3"
    assert retention(done)["message"] == f"{text}; not removed: jobs/a; jobs/b"
    assert (retention(done)["removedFolders"], retention(done)["freedBytes"]) == (2, 9)
    assert done.events() == [f"Normal Swept: {text} on claim noria-artifacts"]
    nothing = reports(json.dumps(told | {"removed": 0, "bytes": 0}))
    assert retention(nothing)["message"] == "removed 0 folders with 0 bytes, kept 3" and nothing.events() == []


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("{", "swept; its report cannot be read: Invalid JSON: EOF while parsing an object at line 1 column 1"),
        ('{"removed": -1, "bytes": 0, "kept": 0}', "swept; its report cannot be read: Input should be greater than or equal to 0"),
        ("", "swept; its report went with its pod"),
    ],
)  # fmt: skip
def test_a_report_that_cannot_be_read_is_told(message: str, text: str) -> None:
    told = retention(reports(message))
    assert told["message"] == text and "state" not in told and "removedFolders" not in told


def test_the_next_sweep_is_due_an_interval_after_the_last() -> None:
    variant = case("sweep-ahead")
    left = variant.plan().requeue_after
    assert left and left > 1
    assert variant.later(left - 1).plan().requeue_after == 1 and "state" not in retention(variant)
    assert retention(variant.later(1))["state"] == "Due"


def test_a_sweep_whose_job_is_gone_or_failed_says_so() -> None:
    gone = case("sweep-runs").without("Job")
    assert retention(gone)["message"] == "not swept: its Job was refused or deleted"
    variant = case("sweep-runs").without("Pod")
    job = variant.child("Job")
    failed = {"type": "Failed", "status": "True", "lastTransitionTime": "2026-11-24T11:59:30Z"}
    job["status"] = {"conditions": [failed | {"reason": "BackoffLimitExceeded"}]}
    told = retention(variant)
    assert (told["message"], told["lastSweepTime"]) == ("not swept: its pod is gone", "2026-11-24T11:59:30Z")
    job["status"]["conditions"][0]["reason"] = "DeadlineExceeded"
    assert retention(variant)["message"] == "not swept: it did not end within 600 s"
    variant.status["retention"]["message"] = "waits: x"
    assert retention(variant)["message"] == "not swept: it did not end within 600 s; waits: x"
