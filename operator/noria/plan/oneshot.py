"""A Job of the agent alone: one pod that is told something, sees one claim, and leaves a message."""

from collections.abc import Iterable
from typing import NamedTuple

from noria.api.meta import Resource
from noria.plan import causes
from noria.plan.contract import Manifest, Settings
from noria.plan.manifests import CONTAINER_SECURITY, child, owner_labels
from noria.plan.pods import CONFIG, RESTRICTED, told
from noria.plan.training import AGENT, AGENT_RESOURCES, ROLE

DEADLINE_SECONDS = 600


class Errand(NamedTuple):
    """What the agent is sent for."""

    kind: str
    """sweep or probe. `noria.dev/<kind>` is the label with the number, and the annotation of the pod with its order."""
    mode: str
    """The agent's mode."""
    number: int
    order: str
    """What it is told (docs/pod-contract.md)."""
    claim: Manifest
    """The volume source."""
    mount: Manifest
    """Where the volume is mounted."""
    retries: int = 0
    """Pods that are started anew after one that was lost."""
    others: tuple[Manifest, ...] = ()
    """Where else it is mounted."""


def number_of(live: Manifest, kind: str) -> int:
    """Which errand of a kind a Job or pod belongs to; 0 for what belongs to none."""
    label = live["metadata"]["labels"].get(_mark(kind), "")
    return int(label) if label.isdecimal() else 0


def job(owner: Resource, name: str, errand: Errand, settings: Settings, *, namespace: str | None = None) -> Manifest:
    """The Job of one errand; it ends after 600 s at the latest."""
    mark, kind = _mark(errand.kind), errand.kind
    labels = {ROLE: kind, mark: str(errand.number)}
    container = {
        "name": AGENT,
        "image": settings.agent_image,
        "imagePullPolicy": "IfNotPresent",
        "args": [errand.mode],
        "env": [{"name": f"NORIA_{kind.upper()}_FILE", "value": f"/noria/config/{kind}.json"}],
        "resources": AGENT_RESOURCES,
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [CONFIG, errand.mount, *errand.others],
    }
    pod = {
        **RESTRICTED,
        "terminationGracePeriodSeconds": 30,
        "containers": [container],
        "volumes": [
            told({f"{kind}.json": mark}),
            {"name": errand.mount["name"], "persistentVolumeClaim": errand.claim},
        ],
    }
    template = {"metadata": {"labels": owner_labels(owner) | labels, "annotations": {mark: errand.order}}, "spec": pod}
    body = {
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": errand.retries,
            "activeDeadlineSeconds": DEADLINE_SECONDS,
            "template": template,
        }
    }
    return child(owner, "Job", name, body, namespace=namespace, labels=labels)


def said(pods: Iterable[Manifest]) -> str | None:
    """The agent's message; None if it went with its pod."""
    return causes.said(pods, AGENT)


def why_failed(failed: Manifest, pods: Iterable[Manifest], waits: str | None) -> str:
    """Why the Job with condition `failed` did not do it; `waits` says what its pod waited for until then."""
    if failed.get("reason") == "DeadlineExceeded":
        return f"it did not end within {DEADLINE_SECONDS} s" + (f"; {waits}" if waits else "")
    cause = causes.failure(pods, AGENT)
    return f"{cause.reason}: {cause.message}" if cause else "its pod is gone"


def _mark(kind: str) -> str:
    return f"noria.dev/{kind}"
