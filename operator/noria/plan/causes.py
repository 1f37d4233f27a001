"""One table of causes: why pods do not start or have ended, from what the cluster says of them, with the remedy."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from noria.plan.contract import Manifest


class Waiting(NamedTuple):
    """Why a pod does not run yet."""

    reason: str
    message: str


class Failure(NamedTuple):
    """Why a pod ended. `counted`: it is the user's to mend, so it counts against retry.limit."""

    reason: str
    message: str
    exit_code: int | None
    counted: bool
    at: str


DISRUPTIONS = {
    "PreemptionByScheduler": ("Preempted", "a pod of higher priority took its place"),
    "DeletionByTaintManager": ("NodeLost", "its node became unreachable or was tainted"),
    "EvictionByEvictionAPI": ("Evicted", "its node is being drained"),
    "DeletionByPodGC": ("NodeLost", "its node is gone"),
    "TerminationByKubelet": ("Evicted", "its node ran short of a resource or shut down"),
}
IMAGE_REASONS = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
CONFIG_REASONS = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}


def statuses(pod: Manifest) -> Iterator[Manifest]:
    """Container statuses, the main containers' first."""
    status = pod.get("status", {})
    yield from status.get("containerStatuses", [])
    yield from status.get("initContainerStatuses", [])


def terminated(pod: Manifest, container: str) -> Manifest | None:
    """How the container of that name ended, or None."""
    for status in statuses(pod):
        if status["name"] == container:
            ended: Manifest | None = status.get("state", {}).get("terminated") or status.get("lastState", {}).get(
                "terminated"
            )
            return ended
    return None


def said(pods: Iterable[Manifest], container: str) -> str | None:
    """The message that the container of that name left in a pod that succeeded; None if it left none, or went with its pod."""
    ended = (terminated(pod, container) for pod in pods if pod.get("status", {}).get("phase") == "Succeeded")
    return next((str(each["message"]) for each in ended if each and each.get("message")), None)


def pod_condition(pod: Manifest, type: str) -> Manifest | None:
    """The pod's condition of that type."""
    return next((each for each in pod.get("status", {}).get("conditions", []) if each["type"] == type), None)


def waiting(pods: Iterable[Manifest], refusals: Iterable[Manifest] = ()) -> Waiting | None:
    """The first reason for which pods wait that somebody must act on; `refusals` are Events of pods refused at creation."""
    for pod in pods:
        scheduled = pod_condition(pod, "PodScheduled")
        if scheduled and scheduled["status"] == "False":
            message = scheduled.get("message", "")
            if "persistentvolumeclaim" in message.lower():
                return Waiting(
                    "ClaimUnavailable", f"{message}. Create the claim in this namespace, or correct the uri."
                )
            return Waiting("Unschedulable", f"{message} Ask for less, free or add nodes, or correct spec.placement.")
        for status in statuses(pod):
            state = status.get("state", {}).get("waiting")
            if not state:
                continue
            reason, message = state.get("reason", ""), state.get("message", "")
            if reason in IMAGE_REASONS:
                return Waiting(
                    "ImagePullFailed",
                    f"image {status.get('image', '')}: {message or reason}. Correct the image's name or imagePullSecrets.",
                )
            if reason in CONFIG_REASONS:
                return Waiting("ContainerConfigError", f"container {status['name']}: {message or reason}")
    for event in refusals:
        message = event.get("message", "")
        return over_quota(message) or Waiting("PodRefused", message)
    return None


def over_quota(message: str) -> Waiting | None:
    """That what the API server refuses would exceed a quota, if it says so."""
    if "exceeded quota" not in message:
        return None
    return Waiting(
        "QuotaExceeded", f"{message}. It starts when others end; or ask for less, or raise the Workspace's quota."
    )


def failure(pods: Iterable[Manifest], container: str) -> Failure | None:
    """Why the pods failed. A disruption comes first, then the pod that ended first: the others mostly follow from it."""
    failed = [
        _failure(pod, container) for pod in pods if pod.get("status", {}).get("phase") == "Failed" or disrupted(pod)
    ]
    return min(
        failed, key=lambda each: (each.reason == "PodDeleted", each.counted, each.at, each.message), default=None
    )


def disrupted(pod: Manifest) -> Manifest | None:
    """The condition that says that the cluster took the pod away; on a lost node its phase never changes any more."""
    disruption = pod_condition(pod, "DisruptionTarget")
    return disruption if disruption and disruption["status"] == "True" else None


def _failure(pod: Manifest, container: str) -> Failure:
    name = pod["metadata"]["name"]
    ended = terminated(pod, container) or {}
    at = str(ended.get("finishedAt") or pod["metadata"].get("deletionTimestamp") or "")
    code = ended.get("exitCode")
    if disruption := disrupted(pod):
        reason, text = DISRUPTIONS.get(disruption.get("reason", ""), ("Disrupted", disruption.get("message", "")))
        return Failure(reason, f"pod {name}: {text}", code, False, str(disruption.get("lastTransitionTime") or at))
    if ended.get("reason") == "OOMKilled":
        return Failure(
            "OOMKilled",
            f"pod {name} used more memory than resources.memory allows; raise it or use less",
            code,
            True,
            at,
        )
    if pod.get("status", {}).get("reason") == "Evicted":  # of its own doing, as an emptyDir that is full: no disruption
        return Failure("Evicted", f"pod {name}: {pod['status'].get('message', 'it was evicted')}", code, True, at)
    if pod["metadata"].get("deletionTimestamp"):
        return Failure("PodDeleted", f"pod {name} was deleted", code, False, at)
    if code is None:
        status = pod.get("status", {})
        return Failure(
            status.get("reason") or "PodFailed",
            f"pod {name}: {status.get('message') or 'it ended without a word'}",
            None,
            False,
            at,
        )
    last_lines = str(ended.get("message") or "").strip()
    return Failure(
        "ExitCode",
        f"pod {name} ended with exit code {code}" + (f"; its last lines:\n{last_lines}" if last_lines else ""),
        code,
        True,
        at,
    )


def over(pod: Manifest) -> bool:
    """Whether nothing of the pod runs any more: it has ended, or it went with its node."""
    disruption = disrupted(pod)
    lost = disruption and disruption.get("reason") in ("DeletionByTaintManager", "DeletionByPodGC")
    return bool(lost) or pod.get("status", {}).get("phase") in ("Failed", "Succeeded")


def crashed(pods: Iterable[Manifest], container: str) -> Waiting | None:
    """How a server that should run for ever ended; its message may begin with a reason of its own, as `DigestMismatch: file ...`."""
    for pod in pods:
        ended = terminated(pod, container)
        if not ended or ended.get("exitCode") == 0:
            continue
        if ended.get("reason") == "OOMKilled":
            return Waiting("OOMKilled", "the server used more memory than predictor.resources.memory allows; raise it")
        text = str(ended.get("message") or "").strip()
        reason, colon, rest = text.partition(": ")
        if colon and re.fullmatch("[A-Z][A-Za-z]{0,63}", reason):
            return Waiting(reason, rest)
        return Waiting(
            "ServerFailed",
            f"the server ended with exit code {ended.get('exitCode')}" + (f"; its last lines:\n{text}" if text else ""),
        )
    return None


def refused(deployment: Manifest) -> Waiting | None:
    """Why the API server refuses the pods of a Deployment."""
    for each in deployment.get("status", {}).get("conditions", []):
        if each["type"] == "ReplicaFailure" and each["status"] == "True":
            return waiting((), ({"message": each.get("message", "")},))
    return None
