"""Why a cycle of the wheel ends before its version serves, in the words that its history keeps."""

from collections.abc import Callable
from typing import Any

import pytest
from variants import Variant

from noria.plan.contract import Manifest


def ended(variant: Variant) -> tuple[str, str, str]:
    """What came of the cycle that was in flight."""
    told = variant.plan().status.manifest()
    assert "cycle" not in told, told["cycle"]
    newest = told["history"][0]
    assert newest["steps"][-1]["message"] == newest["message"]
    return newest["outcome"], newest["reason"], newest["message"]


def scoring() -> Variant:
    return Variant("endpoint/scoring-runs")


def job_ends(variant: Variant, type: str, **more: Any) -> Manifest:
    """The Job that scores ends at noon."""
    found = variant.child("Job", "digits-score-2")
    at = {"status": "True", "lastTransitionTime": "2026-11-24T12:00:00Z"}
    found["status"] = {"conditions": [{"type": type, **at, **more}]}
    return found


def pod_ends(variant: Variant, code: int = 1) -> Variant:
    status = variant.child("Pod")["status"]
    status["phase"] = "Failed" if code else "Succeeded"
    status["containerStatuses"][0]["state"] = {"terminated": {"exitCode": code}}
    return variant


def test_a_gate_that_was_taken_away_is_passed_over() -> None:
    variant = scoring()
    del variant.spec["gate"]
    told = variant.plan().status.manifest()["cycle"]
    assert told["stage"] == "Starting"
    passed = {
        "name": "Scoring",
        "result": "Skipped",
        "message": "spec.gate was removed",
        "endTime": "2026-11-24T12:00:00Z",
    }
    assert told["steps"][0].items() >= passed.items()


def test_a_champion_that_was_deleted_leaves_nothing_to_compare_with() -> None:
    text = "ModelVersion digits-1 was deleted, nothing can be compared with it"
    assert ended(scoring().without("ModelVersion", "digits-1")) == ("Failed", "ChampionDeleted", text)


@pytest.mark.parametrize("number", [1, 2])
def test_a_version_that_cannot_be_scored_is_rejected(number: int) -> None:
    variant = scoring()
    variant.related("ModelVersion")[number - 1]["spec"]["uri"] = "s3://b/m"
    outcome, reason, message = ended(variant)
    assert (outcome, reason) == ("Rejected", "Unscorable")
    assert message.startswith(f"digits-{number} lies at s3://b/m; only pvc:// can be scored")
    (rejected,) = variant.plan().status.manifest()["rejected"]
    assert rejected.startswith("digits-2-")


def test_a_message_that_is_lost_is_waited_for_a_minute() -> None:
    variant = scoring().without("Pod")
    job_ends(variant, "Complete")
    assert variant.plan().requeue_after == 60 and variant.told("UpToDate").startswith("False Scoring")
    assert variant.later(59).plan().requeue_after == 1
    text = "Job digits-score-2 completed, but its pod and its message are gone"
    assert ended(variant.later(1)) == ("Failed", "ScoreLost", text)
    job_ends(variant, "Complete")["status"]["completionTime"] = "2026-11-24T12:00:30Z"
    assert variant.plan().requeue_after == 30, "the Job's own time counts"


def test_a_scorer_that_fails_is_told_by_its_pod_or_by_its_job() -> None:
    variant = scoring()
    job_ends(variant, "Failed", reason="BackoffLimitExceeded", message="too often")
    assert ended(variant) == ("Failed", "BackoffLimitExceeded", "Job digits-score-2: too often")
    job_ends(variant, "Failed")
    assert ended(variant) == ("Failed", "JobFailed", "Job digits-score-2: its pods are gone")
    text = "Job digits-score-2: pod digits-score-2-x ended with exit code 3"
    assert ended(pod_ends(variant, 3)) == ("Failed", "ExitCode", text)


def test_a_scorer_that_waits_says_for_what() -> None:
    variant = scoring()
    waits = {"waiting": {"reason": "ErrImagePull"}}
    variant.child("Pod")["status"]["containerStatuses"][0]["state"] = waits
    remedy = "image x: ErrImagePull. Correct the image's name or imagePullSecrets."
    assert variant.told("UpToDate") == f"False Scoring: digits-2 is scored beside digits-1: {remedy}"


def starts(variant: Variant) -> None:
    variant.spec["predictor"] = {"runtime": "another"}


def pins(variant: Variant) -> None:
    variant.spec["model"] = {"name": "digits", "version": 1}


def forgets(variant: Variant) -> None:
    del variant.spec["retrain"]


def loses(variant: Variant) -> None:
    variant.without("ModelVersion", "digits-2")


def registers(variant: Variant) -> None:
    versions = variant.related("ModelVersion")
    newer = versions[-1]["metadata"] | {"name": "digits-3", "uid": "mv-digits-3"}
    versions.append(versions[-1] | {"metadata": newer, "spec": versions[-1]["spec"] | {"version": 3}})


def asks(**annotations: str) -> Callable[[Variant], None]:
    def change(variant: Variant) -> None:
        variant.asks(**annotations)

    return change


def began(reason: str, change: Callable[[Variant], None]) -> Callable[[Variant], None]:
    def both(variant: Variant) -> None:
        variant.status["cycle"]["trigger"] = {"reason": reason}
        change(variant)

    return both


CASES: dict[str, tuple[str, Callable[[Variant], None], tuple[str, str, str]]] = {
    "back by hand": ("scoring-runs", asks(rollback_to="digits-1", by="ada"), ("Failed", "ByHand", "ada asked for digits-1")),
    "back by nobody": ("scoring-runs", asks(rollback_to="digits-1"), ("Failed", "ByHand", "somebody asked for digits-1")),
    "the version is gone": ("scoring-runs", loses, ("Failed", "VersionDeleted", "digits-2 was deleted")),
    "no trainings any more": ("training-runs", forgets, ("Failed", "Superseded", "spec.retrain was removed")),
    "one version is asked for": ("training-runs", pins, ("Failed", "Superseded", "spec.model.version asks for one version")),
    "another version": ("scoring-runs", began("NewVersion", registers), ("Failed", "Superseded", "digits-3 is wanted instead")),
    "another runtime": ("new-version-ready-route-moves", starts, ("Failed", "Superseded", "digits-2 is to be served otherwise")),
    "the training is gone": (
        "training-runs",
        lambda variant: variant.status["cycle"].update(trainingJob="t") or variant.without("TrainingJob"),
        ("Failed", "TrainingDeleted", "TrainingJob t was deleted"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_worth_going_on_with_ends(case: str) -> None:
    name, change, told = CASES[case]
    variant = Variant(f"endpoint/{name}")
    change(variant)
    assert ended(variant) == told


def test_a_version_that_cannot_be_gone_back_to_ends_nothing() -> None:
    for asked in ("digits-2", "digits-9"):
        assert scoring().asks(rollback_to=asked).plan().status.manifest()["cycle"]["stage"] == "Scoring"


def test_a_challenger_with_traffic_gives_it_back_before_the_cycle_ends() -> None:
    variant = Variant("endpoint/canary-holds").without("ModelVersion", "digits-2")
    told = variant.plan().status.manifest()["cycle"]
    assert (told["stage"], told["outcome"], told["reason"]) == ("RollingBack", "RolledBack", "VersionDeleted")
    assert told["steps"][-2]["result"] == "Fail" and told["steps"][-1]["name"] == "RollingBack"
    assert "Warning RollbackStarted: all traffic goes back to digits-1: digits-2 was deleted" in variant.events()


@pytest.mark.parametrize("lost", ["ScoreLost", "Preempted"])
def test_what_the_cluster_did_to_a_scorer_does_not_speak_against_the_version(lost: str) -> None:
    variant = scoring()
    if lost == "ScoreLost":
        job_ends(variant.without("Pod"), "Complete")
        variant.later(60)
    else:
        job_ends(variant, "Failed")
        gone = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
        pod_ends(variant, 137).child("Pod")["status"]["conditions"] = [gone]
    assert ended(variant)[:2] == ("Failed", lost) and "rejected" not in variant.plan().status.manifest()


def test_a_scorer_whose_pod_is_refused_says_why() -> None:
    variant = scoring().without("Pod")
    about = {"kind": "Job", "name": "digits-score-2"}
    event = {"kind": "Event", "metadata": {"name": "e"}, "involvedObject": about, "message": "exceeded quota: x"}
    variant.observed["children"].append(event)
    assert variant.told("UpToDate").startswith("False Scoring: digits-2 is scored beside digits-1: exceeded quota: x")


def test_a_gate_that_was_edited_is_not_judged_by_an_answer_to_what_it_asked_before() -> None:
    variant = Variant("endpoint/scored-better-is-started")
    assert variant.plan().status.manifest()["cycle"]["stage"] == "Starting"
    asked = next(
        each
        for each in Variant("endpoint/scoring-is-recorded-its-job-is-made").plan().children
        if each["kind"] == "Job"
    )
    variant.child("Job", "digits-score-2")["metadata"]["annotations"] = asked["metadata"]["annotations"]
    assert variant.plan().status.manifest()["cycle"]["stage"] == "Starting"
    variant.spec["gate"]["metrics"].append({"name": "f1"})
    plan = variant.plan()
    assert plan.status.manifest()["cycle"]["stage"] == "Scoring"
    assert "digits-score-2" not in [each["metadata"]["name"] for each in plan.children], "it goes, and is made anew"
    made = [each["metadata"]["name"] for each in variant.without("Job").plan().children if each["kind"] == "Job"]
    assert made == ["digits-score-2"]


def test_who_has_passed_the_gate_goes_on_without_the_champions_record() -> None:
    for reason in ("NewVersion", "Signal"):
        variant = Variant("endpoint/canary-holds").without("ModelVersion", "digits-1")
        variant.status["cycle"]["trigger"] = {"reason": reason}
        assert variant.plan().status.manifest()["cycle"]["stage"] == "Canary"
