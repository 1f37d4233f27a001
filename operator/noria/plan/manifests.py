"""What all children share: names, labels, owner references, hashes, and the security of a pod."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from noria.api.meta import API_VERSION, GROUP, Resource
from noria.api.pod import EnvVar, Placement, Resources
from noria.plan.contract import KINDS, Manifest

MANAGED_BY = "app.kubernetes.io/managed-by"
OWNER_KIND, OWNER_NAME, OWNER_UID = (f"{GROUP}/owner-{part}" for part in ("kind", "name", "uid"))
ARTIFACT_CLAIM = "noria-artifacts"
SERVICE_ACCOUNT = "noria-runner"
USER = 1000


def canonical(value: Any) -> str:
    """`value` as JSON with sorted keys and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any) -> str:
    """`sha256:` and the hash of the canonical JSON of `value`."""
    return "sha256:" + hashlib.sha256(canonical(value).encode()).hexdigest()


def rfc3339(moment: datetime) -> str:
    """A moment (UTC) as the API server writes it, to the second."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str) -> datetime:
    """The moment that `rfc3339` wrote."""
    return datetime.fromisoformat(text)


def owner_labels(owner: Resource) -> dict[str, str]:
    """Labels by which a child, and a child's pods, are found and traced back."""
    return {
        MANAGED_BY: "noria",
        OWNER_KIND: owner.kind(),
        OWNER_NAME: owner.metadata.name,
        OWNER_UID: owner.metadata.uid,
    }


def owner_reference(owner: Resource) -> Manifest:
    """The reference by which the garbage collector deletes a child after its owner."""
    return {
        "apiVersion": API_VERSION,
        "kind": owner.kind(),
        "name": owner.metadata.name,
        "uid": owner.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def controller(live: Manifest) -> Manifest:
    """The reference to what controls an object, empty without one. It alone proves whose it is: anyone may write labels."""
    references = live["metadata"].get("ownerReferences") or ()
    return next((each for each in references if each.get("controller")), {})


def child(
    owner: Resource,
    kind: str,
    name: str,
    body: Mapping[str, Any],
    *,
    namespace: str | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    referenced: bool = True,
) -> Manifest:
    """A child of `owner`: `body` under complete metadata; without `referenced` it outlives its owner."""
    metadata: Manifest = {"name": name, "labels": owner_labels(owner) | dict(labels or {})}
    if KINDS[kind].namespaced:
        metadata["namespace"] = namespace or owner.metadata.namespace
    if annotations:
        metadata["annotations"] = dict(annotations)
    if referenced:
        metadata["ownerReferences"] = [owner_reference(owner)]
    return {"apiVersion": KINDS[kind].api_version, "kind": kind, "metadata": metadata, **body}


def pinned(live: Manifest) -> Manifest:
    """A live object as the wish to leave it as it is: what was rendered when it was made stays, whatever renders now."""
    metadata = live["metadata"]
    kept = {
        key: metadata[key]
        for key in ("name", "namespace", "labels", "annotations", "ownerReferences")
        if key in metadata
    }
    return {key: value for key, value in live.items() if key != "status"} | {"metadata": kept}


def claim_of(uri: str) -> tuple[str, str]:
    """Claim and path of a pvc:// uri."""
    claim, _, path = uri.removeprefix("pvc://").partition("/")
    return claim, path.strip("/")


POD_SECURITY: Manifest = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""Pod Security `restricted`, for pods; the user is forced since most training images would run as root."""

CONTAINER_SECURITY: Manifest = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
"""Pod Security `restricted`, for containers."""


def resources(wanted: Resources, gpus: int = 0) -> Manifest:
    """Requests equal to limits."""
    amounts = {"cpu": str(wanted.cpu), "memory": str(wanted.memory)} | ({"nvidia.com/gpu": str(gpus)} if gpus else {})
    return {"requests": amounts, "limits": dict(amounts)}


def placement(wanted: Placement) -> Manifest:
    """The fields of a PodSpec that say where it runs; absent ones are left out."""
    fields = {
        "nodeSelector": wanted.node_selector,
        "tolerations": [toleration.manifest() for toleration in wanted.tolerations],
        "affinity": wanted.affinity,
        "priorityClassName": wanted.priority_class_name,
    }
    return {key: value for key, value in fields.items() if value}


def environment(variables: list[EnvVar]) -> list[Manifest]:
    """Environment variables as a container states them."""
    return [variable.manifest() for variable in variables]
