"""Why pods wait, and why they ended, in the words that a user reads; and who is believed where several have something to tell."""

from datetime import UTC, datetime
from typing import Any

import pytest

from noria.plan.causes import crashed, failure, over, refused, waiting
from noria.plan.contract import Observed, Settings
from noria.plan.wheel.trouble import trouble

PULL = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}

SETTINGS = Settings(agent_image="a", trainer_image="t", serving_runtime="s", server_image="v")


def container(name: str, **state: Any) -> dict[str, Any]:
    return {"name": name, "image": f"registry/{name}", "state": state}


def failed(name: str, at: str, code: int = 1) -> dict[str, Any]:
    ended = container("trainer", terminated={"exitCode": code, "finishedAt": at})
    return {"metadata": {"name": name}, "status": {"phase": "Failed", "containerStatuses": [ended]}}


def test_a_container_that_runs_hides_none_that_waits() -> None:
    pod = {"status": {"containerStatuses": [container("trainer", running={}), container("agent", **PULL)]}}
    found = waiting([{"status": {}}, pod])
    assert found and found.reason == "ImagePullFailed" and "image registry/agent: no such image" in found.message


def test_the_pod_that_ended_first_tells_why() -> None:
    found = failure([failed("a", "2026-01-01T00:00:09Z", 7), failed("b", "2026-01-01T00:00:01Z", 3)], "trainer")
    assert found and found.exit_code == 3 and found.at == "2026-01-01T00:00:01Z"


def test_the_pod_that_was_disrupted_first_tells_why() -> None:
    def disrupted(name: str, reason: str, at: str) -> dict[str, Any]:
        told = {"type": "DisruptionTarget", "status": "True", "reason": reason, "lastTransitionTime": at}
        return {"metadata": {"name": name}, "status": {"phase": "Running", "conditions": [told]}}

    evicted = disrupted("a", "EvictionByEvictionAPI", "2026-01-01T00:00:09Z")
    found = failure([evicted, disrupted("b", "PreemptionByScheduler", "2026-01-01T00:00:01Z")], "trainer")
    assert found and found.reason == "Preempted" and not found.counted


def test_a_service_of_which_nothing_is_told_yet_is_simply_on_its_way() -> None:
    service = {"kind": "InferenceService", "metadata": {"name": "digits-1"}}
    observed = Observed(settings=SETTINGS, now=datetime(2026, 1, 1, tzinfo=UTC), children=(service,))
    assert trouble(observed, "digits-1") is None


def condition(type: str, reason: str = "", **more: str) -> dict[str, Any]:
    return {"type": type, "status": "True", "reason": reason, "lastTransitionTime": "2026-01-01T00:00:05Z"} | more


def pod(*containers: Any, phase: str = "Failed", conditions: Any = (), **status: Any) -> dict[str, Any]:
    told = {"phase": phase, "containerStatuses": list(containers), "conditions": list(conditions)}
    return {"metadata": {"name": "p"}, "status": told | status}


def ended(code: int = 1, **more: Any) -> dict[str, Any]:
    return container("trainer", terminated={"exitCode": code, "finishedAt": "2026-01-01T00:00:01Z"} | more)


def unscheduled(message: str) -> dict[str, Any]:
    told = {"type": "PodScheduled", "status": "False", "message": message}
    return pod(phase="Pending", conditions=[condition("PodReadyToStartContainers"), told])


def held_up(reason: str, **more: str) -> dict[str, Any]:
    return pod(container("trainer", waiting={"reason": reason} | more), phase="Pending")


WAITS: dict[str, tuple[Any, Any]] = {
    "no node": (unscheduled("0/3 nodes: no GPU."), ("Unschedulable", "0/3 nodes: no GPU. Ask for less, free or add nodes, or correct spec.placement.")),
    "no claim": (
        unscheduled('PersistentVolumeClaim "data" not found'),
        ("ClaimUnavailable", 'PersistentVolumeClaim "data" not found. Create the claim in this namespace, or correct the uri.'),
    ),
    "no image, in the kubelet's words": (
        held_up("ErrImagePull", message="denied"),
        ("ImagePullFailed", "image registry/trainer: denied. Correct the image's name or imagePullSecrets."),
    ),
    "no image, without a word": (
        held_up("InvalidImageName"),
        ("ImagePullFailed", "image registry/trainer: InvalidImageName. Correct the image's name or imagePullSecrets."),
    ),
    "no config, in the kubelet's words": (
        held_up("CreateContainerConfigError", message='secret "s" not found'),
        ("ContainerConfigError", 'container trainer: secret "s" not found'),
    ),
    "no config, without a word": (held_up("RunContainerError"), ("ContainerConfigError", "container trainer: RunContainerError")),
    "an init container": (
        pod(phase="Pending", initContainerStatuses=[container("agent", waiting={"reason": "ErrImageNeverPull"})]),
        ("ImagePullFailed", "image registry/agent: ErrImageNeverPull. Correct the image's name or imagePullSecrets."),
    ),
    "its turn": (held_up("ContainerCreating"), None),
    "a reason that is not said": (pod(container("trainer", waiting={}), container("agent", waiting={"message": "x"}), phase="Pending"), None),
    "nothing": (pod(container("trainer", running={}), phase="Running", conditions=[condition("PodScheduled")]), None),
}  # fmt: skip


@pytest.mark.parametrize("case", WAITS)
def test_what_a_pod_waits_for_is_told_with_the_remedy(case: str) -> None:
    waits, told = WAITS[case]
    assert waiting([waits]) == told


def test_a_pod_that_was_refused_is_told_in_the_words_of_the_api_server() -> None:
    assert waiting([], [{"message": "forbidden"}, {"message": "later"}]) == ("PodRefused", "forbidden")
    assert waiting([], [{}]) == ("PodRefused", "")
    quota = "forbidden: exceeded quota: workspace"
    remedy = "It starts when others end; or ask for less, or raise the Workspace's quota."
    assert waiting([], [{"message": quota}]) == ("QuotaExceeded", f"{quota}. {remedy}")


LOST = "2026-01-01T00:00:05Z"
FAILURES: dict[str, tuple[Any, Any]] = {
    "in its last words": (pod(ended(3, message=" boom\n")), ("ExitCode", "pod p ended with exit code 3; its last lines:\nboom", 3, True)),
    "without a word": (pod(ended(3)), ("ExitCode", "pod p ended with exit code 3", 3, True)),
    "out of memory": (
        pod(ended(137, reason="OOMKilled")),
        ("OOMKilled", "pod p used more memory than resources.memory allows; raise it or use less", 137, True),
    ),
    "by the kubelet": (pod(reason="NodeAffinity", message="no such label"), ("NodeAffinity", "pod p: no such label", None, False)),
    "for no reason": (pod(), ("PodFailed", "pod p: it ended without a word", None, False)),
    "preempted": (
        pod(ended(137), conditions=[condition("DisruptionTarget", "PreemptionByScheduler")]),
        ("Preempted", "pod p: a pod of higher priority took its place", 137, False),
    ),
    "disrupted by somebody new": (
        pod(ended(137), conditions=[condition("DisruptionTarget", "ByTheMoon", message="it is full")]),
        ("Disrupted", "pod p: it is full", 137, False),
    ),
    "of its own doing": (
        pod(ended(137), reason="Evicted", message='Usage of EmptyDir volume "values" exceeds the limit "1Mi"'),
        ("Evicted", 'pod p: Usage of EmptyDir volume "values" exceeds the limit "1Mi"', 137, True),
    ),
    "disrupted without a word": (pod(conditions=[condition("DisruptionTarget")]), ("Disrupted", "pod p: ", None, False)),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILURES)
def test_how_a_pod_failed_is_told_and_whether_it_counts(case: str) -> None:
    failed, told = FAILURES[case]
    found = failure([failed], "trainer")
    assert found and found[:4] == told
    disrupted = bool(failed["status"]["conditions"])
    assert found.at == (LOST if disrupted else "2026-01-01T00:00:01Z" if failed["status"]["containerStatuses"] else "")


def test_a_pod_that_somebody_deletes_did_not_fail_by_itself() -> None:
    deleted = pod(ended(143))
    deleted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert failure([deleted], "trainer") == ("PodDeleted", "pod p was deleted", 143, False, "2026-01-01T00:00:01Z")
    deleted["status"]["containerStatuses"] = []
    assert failure([deleted], "trainer") == ("PodDeleted", "pod p was deleted", None, False, "2026-01-01T00:00:00Z")
    assert failure([deleted, failed("q", "2026-01-01T00:00:09Z")], "trainer")[0] == "ExitCode", "it followed from it"


def test_nothing_runs_any_more_in_a_pod_that_ended_or_went_with_its_node() -> None:
    for reason in ("DeletionByTaintManager", "DeletionByPodGC"):
        assert over(pod(phase="Running", conditions=[condition("DisruptionTarget", reason)]))
    evicted = condition("DisruptionTarget", "EvictionByEvictionAPI")
    assert not over(pod(phase="Running", conditions=[evicted])), "it still saves its checkpoint"
    assert (
        over(pod(phase="Failed")) and over(pod(phase="Succeeded")) and not over(pod(phase="Pending")) and not over({})
    )


SERVERS: dict[str, tuple[Any, Any]] = {
    "in its last words": (ended(1, message=" boom\n"), ("ServerFailed", "the server ended with exit code 1; its last lines:\nboom")),
    "without a word": (ended(1), ("ServerFailed", "the server ended with exit code 1")),
    "with a reason of its own": (ended(1, message="DigestMismatch: file x"), ("DigestMismatch", "file x")),
    "with what is no reason": (ended(1, message="error: x"), ("ServerFailed", "the server ended with exit code 1; its last lines:\nerror: x")),
    "in another alphabet": (ended(1, message="Échec: x"), ("ServerFailed", "the server ended with exit code 1; its last lines:\nÉchec: x")),
    "with what is no word": (ended(1, message="Line 3: x"), ("ServerFailed", "the server ended with exit code 1; its last lines:\nLine 3: x")),
    "out of memory": (
        ended(137, reason="OOMKilled"),
        ("OOMKilled", "the server used more memory than predictor.resources.memory allows; raise it"),
    ),
    "as it should": (ended(0), None),
}  # fmt: skip


@pytest.mark.parametrize("case", SERVERS)
def test_how_a_server_ended_is_told(case: str) -> None:
    status, told = SERVERS[case]
    fine = pod(container("trainer", running={}), phase="Running")
    again = container("trainer", running={}) | {"lastState": status["state"]}
    assert crashed([fine, pod(status)], "trainer") == crashed([pod(again)], "trainer") == told
    assert crashed([pod(status)], "agent") is None


def test_a_deployment_tells_whose_pods_are_refused() -> None:
    told = [condition("Available", message="no"), condition("ReplicaFailure", message="exceeded quota: q")]
    found = refused({"status": {"conditions": told}})
    assert found and found.reason == "QuotaExceeded"
    assert refused({"status": {"conditions": [condition("ReplicaFailure")]}}) == ("PodRefused", "")
    assert refused({"status": {"conditions": [told[1] | {"status": "False"}]}}) is None and refused({}) is None


def service(*conditions: Any, **status: Any) -> dict[str, Any]:
    return {"kind": "InferenceService", "metadata": {"name": "s"}, "status": {"conditions": list(conditions)} | status}


def unready(reason: str, message: str = "") -> dict[str, Any]:
    return condition("PredictorReady", reason, message=message) | {"status": "False"}


def beside(kind: str, name: str, status: Any, labels: Any = None) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name, "labels": labels or {}}, "status": status}


def server(*containers: Any, of: str = "s") -> dict[str, Any]:
    status = pod(*({**each, "name": "kserve-container"} for each in containers), phase="Running")["status"]
    return beside("Pod", "p", status, {"serving.kserve.io/inferenceservice": of})


REFUSING = beside("Deployment", "s-predictor", {"conditions": [condition("ReplicaFailure", message="no")]})
UNREADY: dict[str, tuple[list[Any], Any]] = {
    "KServe's own words": ([service(unready("X", "no such runtime"))], ("NotReady", "no such runtime")),
    "no words": ([service(unready("X"), condition("Ready", message="y"))], None),
    "pods are on their way": ([service(unready("MinimumReplicasUnavailable", "0 of 1"))], None),
    "the model": (
        [service(unready("X", "y"), modelStatus={"lastFailureInfo": {"reason": "NoModel", "message": "not there"}})],
        ("NoModel", "not there"),
    ),
    "the model, for no reason": ([service(modelStatus={"lastFailureInfo": {"message": "not there"}})], ("ModelLoadFailed", "not there")),
    "its server": ([service(unready("X", "y")), server(ended(1))], ("ServerFailed", "the server ended with exit code 1")),
    "its server's image": (
        [service(), server(container("x", **PULL))],
        ("ImagePullFailed", "image registry/x: no such image. Correct the image's name or imagePullSecrets."),
    ),
    "the server of another": ([service(), server(ended(1), of="t")], None),
    "its pods are refused": ([service(unready("X", "y")), REFUSING], ("PodRefused", "no")),
    "it is ready": ([service(condition("Ready")), server(ended(1))], None),
}  # fmt: skip


@pytest.mark.parametrize("case", UNREADY)
def test_why_a_version_does_not_serve_is_told_by_who_knows_best(case: str) -> None:
    children, told = UNREADY[case]
    observed = Observed(settings=SETTINGS, now=datetime(2026, 1, 1, tzinfo=UTC), children=tuple(children))
    assert trouble(observed, "s") == told
