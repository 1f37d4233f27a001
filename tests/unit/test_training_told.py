"""What a TrainingJob tells of its attempts, and what it takes from a message of the agent of which nothing is trusted."""

import json
from typing import Any

import pytest
from variants import Variant

from noria.api.trainingjob import Attempt, TrainingJob
from noria.plan import attempts
from noria.plan.contract import Answer, Manifest, Observed, Query, Row, Settings
from noria.plan.manifests import moment
from noria.plan.modelversion import Published, modelversion, read

SETTINGS = Settings(agent_image="a", trainer_image="t", serving_runtime="s", server_image="v")
NOON = moment("2026-11-24T12:00:00Z")
DIGEST = "sha256:" + "d" * 64


def job(**spec: Any) -> TrainingJob:
    metadata = {"name": "j", "namespace": "n", "uid": "12345678-0000"}
    given = {"recipe": {"name": "classifier", "parameters": {"epochs": "3"}}, "output": {"model": "m"}}
    return TrainingJob.model_validate({"metadata": metadata, "spec": given | spec})


def ended(*causes: tuple[str | None, bool | None]) -> list[Attempt]:
    return [Attempt(number=number + 1, cause=cause, counted=counted) for number, (cause, counted) in enumerate(causes)]


LOST, FAILED = ("NodeLost", False), ("ExitCode", True)
DELETED, SUSPENDED = ("JobDeleted", False), ("Suspended", False)


@pytest.mark.parametrize(
    ("causes", "failures", "seconds"),
    [
        ([FAILED], 1, 10),
        ([FAILED, FAILED], 2, 20),
        ([FAILED], 50, 600),
        ([LOST], 0, 0),
        ([LOST, LOST], 0, 5),
        ([LOST, LOST, LOST], 0, 10),
        ([LOST] * 50, 0, 300),
        ([LOST, FAILED, LOST], 1, 0),
        ([LOST, LOST, SUSPENDED, LOST], 0, 0),
        ([LOST, DELETED, LOST, LOST], 0, 5),
        ([LOST, LOST, SUSPENDED], 0, 0),
        ([FAILED, DELETED], 1, 0),
    ],
)
def test_the_next_attempt_waits_longer_each_time(causes: Any, failures: int, seconds: float) -> None:
    assert attempts.backoff(job(), ended(*causes), failures) == seconds


def test_gpu_seconds_are_those_of_all_gpus_and_attempts() -> None:
    both = [
        Attempt(number=1, start_time="2026-11-24T12:00:00Z", end_time="2026-11-24T12:01:00Z"),
        Attempt(number=2, start_time="2026-11-24T12:02:00Z", end_time="2026-11-24T12:02:30Z"),
        Attempt(number=3, start_time="2026-11-24T12:02:00Z"),
    ]
    two = job(nodes=2, gpusPerNode=4)
    assert attempts.gpu_seconds(two, both) == 720 and attempts.gpu_seconds(job(), both) is None
    before = two.model_copy(update={"status": two.status.model_copy(update={"gpu_seconds": 100})})
    assert attempts.gpu_seconds(before, both[:1]) == 580
    back = [Attempt(number=1, start_time="2026-11-24T12:01:00Z", end_time="2026-11-24T12:00:00Z")]
    assert attempts.gpu_seconds(job(gpusPerNode=1), back) == 0, "a clock that went back takes nothing away"


def progress(*values: tuple[str, float, int]) -> Manifest | None:
    rows = tuple(Row({"__name__": f"noria_training_{name}", "attempt": str(of)}, value) for name, value, of in values)
    asked = Query('{__name__=~"noria_training_.+"}', "trainingjob")
    told = attempts.progress(Observed(settings=SETTINGS, now=NOON, answers={asked: Answer(rows)}))
    return told and told.manifest()


def test_progress_is_that_of_the_newest_attempt_as_far_as_it_is_told() -> None:
    assert progress() is None and progress(("loss", 0.5, 1)) is None
    assert progress(("step", 7, 1)) == {"step": 7} == progress(("step", 7, 1), ("steps", 0, 1))
    told = [
        ("step", 2, 2),
        ("steps", 8, 2),
        ("loss", 0.5, 2),
        ("samples_per_second", 9, 2),
        ("epoch", 1, 2),
        ("eta_seconds", 30, 2),
    ]
    whole = {"step": 2, "total": 8, "loss": 0.5, "samplesPerSecond": 9, "epoch": 1, "etaSeconds": 30, "percent": "25%"}
    assert progress(("step", 8, 1), ("steps", 8, 1), *told) == whole
    assert progress(("step", 2, 1), ("loss", float("nan"), 1)) == {"step": 2}


def test_progress_is_asked_for_until_the_training_has_ended() -> None:
    variant = Variant("trainingjob/running-with-progress")
    (asked,) = variant.needs().queries
    assert asked == Query('{__name__=~"noria_training_.+"}', "trainingjob")
    variant.observed["settings"] = {"prometheus_url": ""}
    assert variant.needs().queries == ()
    assert Variant("trainingjob/finished-ttl-ahead").needs().queries == ()


def said(**more: Any) -> Published:
    return read(json.dumps({"digest": DIGEST, "format": "onnx", **more}))


def test_a_message_with_an_error_is_told_in_its_words() -> None:
    assert read('{"error": "EmptyOutput", "message": "nothing"}') == ({}, "EmptyOutput", "nothing")
    assert read('{"error": "no word"}') == ({}, "PublishFailed", "")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "Expecting property name"),
        ("[]", "'list' object has no attribute 'get'"),
        ("{}", "'digest'"),
        ('{"digest": 3}', "its digest is no text"),
        ('{"digest": "d", "metrics": {"a": NaN}}', "NaN is not a finite number"),
        ('{"digest": "d", "metrics": {"a": 1e999}}', "1e999 is not a finite number"),
        ('{"digest": "d", "metrics": {"a": "x"}}', "1 validation error for dict[str,float]"),
        ('{"digest": "d", "format": "pickle"}', "1 validation error for literal"),
        ('{"digest": "d", "signature": 3}', "1 validation error for Signature"),
        ('{"digest": "d", "baseline": 3}', "1 validation error for Baseline"),
    ],
)
def test_a_message_that_cannot_be_read_says_why(text: str, why: str) -> None:
    found = read(text)
    assert (found.message, found.error) == ({}, "InvalidMessage")
    assert found.text.startswith(f"the agent's message cannot be read: {why}")


def recorded(**more: Any) -> Manifest:
    found: Manifest = modelversion(job(), 2, said(**more), 7, "t@sha256:1", SETTINGS)["spec"]
    return found


def test_a_version_records_what_the_message_says() -> None:
    spec = recorded(
        seed=5, bytes=9, baseModel="b", metrics={"f1": 0.5, "accuracy": 1}, parameters={"epochs": 4, "rate": "x"}
    )
    assert (spec["model"], spec["version"], spec["digest"], spec["format"]) == ("m", 7, DIGEST, "onnx")
    assert spec["uri"] == "pvc://noria-artifacts/jobs/j-12345678/attempt-2" and spec["sizeBytes"] == 9
    assert list(spec["metrics"].items()) == [("accuracy", 1), ("f1", 0.5)]
    assert spec["parameters"] == {"epochs": "4", "rate": "x"}
    lineage = {"trainingJob": "j", "uid": "12345678-0000", "attempt": 2, "image": "t", "imageDigest": "t@sha256:1"}
    assert spec["lineage"].items() >= (lineage | {"baseModel": "b", "seed": 5}).items()
    assert recorded()["format"] == "onnx" and said(format=None).message["format"] == "custom"
    assert not {"seed", "baseModel"} & recorded()["lineage"].keys() and "sizeBytes" not in recorded()


@pytest.mark.parametrize(
    ("seed", "kept"),
    [(2**63 - 1, True), (2**63, False), (-(2**63), True), (-(2**63) - 1, False), ("5", False), (0, True)],
)
def test_a_seed_is_kept_if_it_is_a_number_that_the_record_can_hold(seed: Any, kept: bool) -> None:
    assert ("seed" in recorded(seed=seed)["lineage"]) == kept


def test_of_many_metrics_64_are_kept() -> None:
    assert list(recorded(metrics={f"m{number:03}": number for number in range(65)})["metrics"])[-1] == "m063"


def test_what_the_api_server_would_refuse_is_told_with_its_field() -> None:
    variant = Variant("trainingjob/completed-asks-for-a-version")
    states = [each for each in variant.child("Pod")["status"]["initContainerStatuses"] if each["name"] == "agent"]
    told = json.loads(states[0]["state"]["terminated"]["message"]) | {"bytes": "9"}
    states[0]["state"]["terminated"]["message"] = json.dumps(told)
    assert not variant.plan().creates
    assert "its ModelVersion would be refused: spec.sizeBytes: Input should be a valid integer" in variant.told(
        "Succeeded"
    )
    assert variant.told("Succeeded").startswith("False InvalidOutput")


def test_a_retry_beyond_the_limit_is_the_end() -> None:
    variant = Variant("trainingjob/retry-limit-used-up")
    assert variant.told("Succeeded").startswith("False ExitCode") and "is used up." in variant.told("Succeeded")
    variant.spec["retry"] = variant.spec.get("retry", {}) | {"limit": variant.spec.get("retry", {}).get("limit", 2) + 1}
    assert variant.told("Succeeded").startswith("Unknown ")


def test_an_attempt_is_told_by_an_event_a_warning_unless_somebody_wished_its_end() -> None:
    def told(cause: str | None) -> str:
        found = attempts.event(Attempt(number=3, cause=cause, message="so it is"))
        return f"{found.type} {found.reason}: {found.message} [{found.cycle}]"

    assert told("ExitCode") == "Warning ExitCode: attempt 3: so it is [attempt-3]"
    assert told("Suspended").startswith("Normal Suspended") and told("JobDeleted").startswith("Normal JobDeleted")


def test_an_attempt_whose_pods_are_gone_counts_for_nobody() -> None:
    variant = Variant("trainingjob/exit-1-retried").without("Pod").later(3600)
    (attempt,) = (each for each in variant.plan().status.manifest()["attempts"] if each.get("endTime"))
    assert (attempt["cause"], attempt["counted"]) == ("PodDeleted", False)
    assert attempt["message"].startswith("its pods are gone (")


def test_a_training_begins_when_its_first_attempt_did() -> None:
    variant = Variant("trainingjob/running")
    variant.status.pop("startTime", None)
    began = variant.child("Job")["metadata"]["creationTimestamp"]
    assert variant.plan().status.manifest()["startTime"] == began
    variant.status["startTime"] = "2026-11-20T00:00:00Z"
    assert variant.plan().status.manifest()["startTime"] == "2026-11-20T00:00:00Z"


def test_a_publisher_that_runs_waits_for_nothing() -> None:
    """It was told as refused for as long as the Event stood that told so."""
    variant = Variant("trainingjob/publisher-does-not-start")
    refused = "pods is forbidden: exceeded quota: noria, requested: requests.cpu=4, used: requests.cpu=7, limited: requests.cpu=8"
    about = {"involvedObject": {"kind": "Job", "name": "digits-1-publish", "uid": "job-1-publish"}}
    event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "vision"}, **about}
    variant.observed["children"].append(event | {"reason": "FailedCreate", "message": f"Error creating: {refused}"})
    pods = [each for each in variant.observed["children"] if each["kind"] == "Pod"]
    (publisher,) = (each for each in pods if each["metadata"]["labels"]["noria.dev/role"] == "publish")
    publisher["status"] = {"phase": "Running"}
    assert variant.told("Succeeded").startswith("Unknown Publishing")
    variant.observed["children"].remove(publisher)
    assert variant.told("Succeeded").startswith("Unknown QuotaExceeded")


def test_an_ended_training_goes_after_its_time() -> None:
    variant = Variant("trainingjob/finished-ttl-ahead")
    variant.spec["ttlSecondsAfterFinished"] = 60
    variant.status["completionTime"] = "2026-11-24T11:59:01Z"
    assert variant.plan().requeue_after == 1 and not variant.plan().delete_self
    assert variant.later(1).plan().delete_self and variant.plan().requeue_after is None
    last = Variant("trainingjob/retry-limit-used-up")
    last.spec["ttlSecondsAfterFinished"] = 60
    assert last.plan().requeue_after == 60
