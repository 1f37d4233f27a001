"""What the pods of all Jobs share: the restricted head, a scratch folder, what they are told, and data from claims."""

import posixpath
from collections.abc import Iterable, Mapping

from noria.plan.contract import Manifest
from noria.plan.manifests import ARTIFACT_CLAIM, POD_SECURITY, SERVICE_ACCOUNT, claim_of, controller, digest

RESTRICTED: Manifest = {
    "restartPolicy": "Never",
    "serviceAccountName": SERVICE_ACCOUNT,
    "automountServiceAccountToken": False,
    "enableServiceLinks": False,
    "securityContext": POD_SECURITY,
}
"""How each of them begins: no token, no variables about Services, Pod Security `restricted`. The Job's plan retries, not the kubelet."""

HOME: Mapping[str, str] = {"HOME": "/tmp", "USER": "noria", "TMPDIR": "/tmp"}
"""Variables for the scratch folder; torch asks for a user's name, which the user 1000 of most images lacks."""

TMP: tuple[Manifest, Manifest] = ({"name": "tmp", "mountPath": "/tmp"}, {"name": "tmp", "emptyDir": {}})
"""Mount and volume of the scratch folder, since the root is read only."""
SHM: tuple[Manifest, Manifest] = (
    {"name": "shm", "mountPath": "/dev/shm"},
    {"name": "shm", "emptyDir": {"medium": "Memory"}},
)
"""Mount and volume of the memory that torch's loaders share."""
CONFIG: Manifest = {"name": "config", "mountPath": "/noria/config", "readOnly": True}
"""Mount of what a pod is told."""


def by_job(children: Iterable[Manifest]) -> dict[str, list[Manifest]]:
    """The pods among `children` by the name of the Job that controls them: the live one, or one that is gone and that they
    outlive. Those of an earlier Job of the same name are left out."""
    live, found = list(children), dict[str, list[Manifest]]()
    uids = {each["metadata"]["name"]: each["metadata"].get("uid") for each in live if each["kind"] == "Job"}
    for each in live:
        owner = controller(each) if each["kind"] == "Pod" else {}
        if owner.get("kind") == "Job" and uids.get(owner["name"], owner["uid"]) == owner["uid"]:
            found.setdefault(owner["name"], []).append(each)
    return found


def told(files: Mapping[str, str], name: str = "config") -> Manifest:
    """The volume of what a pod is told: annotations of its own, by file name. So it needs no ConfigMap."""
    items = [
        {"path": path, "fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{annotation}']"}}
        for path, annotation in files.items()
    ]
    return {"name": name, "downwardAPI": {"items": items}}


def volume(claim: str) -> str:
    """Name of a claim's volume."""
    return "artifacts" if claim == ARTIFACT_CLAIM else f"input-{digest(claim)[7:15]}"


def source(claim: str) -> Manifest:
    """Of a claim that is only read the volume is read only: a path that is not there is told, where else the kubelet makes it."""
    return {"claimName": claim} | ({} if claim == ARTIFACT_CLAIM else {"readOnly": True})


def mounted(uri: str, path: str, name: str | None = None) -> Manifest:
    """The mount of what lies at a pvc:// uri, read only; `name` is the volume's, by default `volume` of its claim. No uri
    leads above its claim, whoever wrote it."""
    claim, written = claim_of(uri)
    inner = posixpath.normpath(f"/{written}").strip("/")
    mount = {"name": name or volume(claim), "mountPath": path, "readOnly": True}
    return mount | ({"subPath": inner} if inner else {})
