"""Workspace: a namespace with members, quota, artifact storage and isolation.

What holds data or guards it (Namespace, claim, quota, policies) has no owner reference under `Retain`: the garbage collector
would take it with the Workspace. The owner label stands for it. Grants go with the Workspace in any case.
"""

from collections.abc import Iterator
from dataclasses import replace

from noria.api.meta import Condition
from noria.api.workspace import RetentionStatus, Workspace, WorkspaceStatus
from noria.plan import retention
from noria.plan.conditions import condition
from noria.plan.contract import Controller, Event, Manifest, Needs, Observed, Plan, Settings
from noria.plan.manifests import ARTIFACT_CLAIM, SERVICE_ACCOUNT, child, digest

CLUSTER_ROLES = {"Admin": "admin", "Editor": "edit", "Viewer": "view"}
RBAC_GROUP = "rbac.authorization.k8s.io"


def needs(workspace: Workspace, settings: Settings) -> Needs:
    """Nothing beside its own children; but what may need an artifact when a sweep is due, and only then: at other times
    no change of a TrainingJob has the Workspace planned anew."""
    due = workspace.status.retention and workspace.status.retention.state == "Due"
    return Needs(selectors=retention.selectors(workspace)) if due else Needs()


def plan(workspace: Workspace, observed: Observed) -> Plan:
    """What should be for one Workspace."""
    observed = replace(observed, children=tuple(each for each in observed.children if _inside(workspace, each)))
    live = {each["kind"]: each for each in observed.children}
    namespace, claim = live.get("Namespace"), live.get("PersistentVolumeClaim")
    if namespace and namespace["metadata"].get("deletionTimestamp"):
        ready = condition(
            observed,
            "Ready",
            False,
            "NamespaceTerminating",
            f"namespace {workspace.namespace} is being deleted; it is made anew afterwards",
        )
        stopped = retention.step(workspace, observed, usable=False)
        return Plan(status=_status(workspace, live, ready, stopped.status), requeue_after=5)
    phase = claim.get("status", {}).get("phase") if claim else None
    swept = retention.step(workspace, observed, usable=bool(namespace) and phase == "Bound")
    if phase == "Lost":
        ready = condition(
            observed,
            "Ready",
            False,
            "ClaimLost",
            f"the volume of claim {ARTIFACT_CLAIM} is gone; restore it, or delete the claim to start with an empty one",
        )
    elif namespace and claim:
        ready = condition(observed, "Ready", True, "Provisioned", f"namespace {workspace.namespace} is ready")
    else:
        ready = condition(observed, "Ready", None, "Provisioning", f"namespace {workspace.namespace} is being made")
    events: tuple[Event, ...] = ()
    if ready.status == "True" and not any(each.status == "True" for each in workspace.status.conditions):
        events = (Event("Normal", "Provisioned", ready.message, str(workspace.metadata.generation)),)
    return Plan(
        status=_status(workspace, live, ready, swept.status),
        children=(*_children(workspace, observed), *swept.children),
        events=(*events, *swept.events),
        requeue_after=swept.wait,
    )


def _inside(workspace: Workspace, live: Manifest) -> bool:
    """Whether it lies in the workspace's own namespace: anyone may write labels elsewhere."""
    return bool(live["kind"] == "Namespace" or live["metadata"].get("namespace") == workspace.namespace)


def _status(
    workspace: Workspace, live: dict[str, Manifest], ready: Condition, swept: RetentionStatus | None
) -> WorkspaceStatus:
    used = live.get("ResourceQuota", {}).get("status", {}).get("used") or None
    return WorkspaceStatus(namespace=workspace.namespace, used=used, conditions=[ready], retention=swept)


def _children(workspace: Workspace, observed: Observed) -> Iterator[Manifest]:
    deleted_too = workspace.spec.deletion_policy == "Delete"
    labels = {
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/enforce-version": "latest",
        "noria.dev/workspace": workspace.metadata.name,
    }
    yield child(workspace, "Namespace", workspace.namespace, {}, labels=labels, referenced=deleted_too)

    def inside(kind: str, name: str, body: Manifest, referenced: bool = False) -> Manifest:
        return child(workspace, kind, name, body, namespace=workspace.namespace, referenced=referenced)

    yield inside("ServiceAccount", SERVICE_ACCOUNT, {"automountServiceAccountToken": False})
    yield inside("LimitRange", "noria", {"spec": {"limits": [_limits(workspace)]}})
    if hard := _hard(workspace):
        yield inside("ResourceQuota", "noria", {"spec": {"hard": hard}})
    if workspace.spec.isolation == "Namespace":
        yield inside("NetworkPolicy", "noria-isolation", {"spec": _isolation(observed.settings)})
    for member in workspace.spec.members:
        subject: Manifest = {"kind": member.kind, "name": member.name}
        subject |= {"namespace": workspace.namespace} if member.kind == "ServiceAccount" else {"apiGroup": RBAC_GROUP}
        role = CLUSTER_ROLES[member.role]
        body = {"roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": role}, "subjects": [subject]}
        yield inside("RoleBinding", f"noria-{role}-{digest(subject)[7:17]}", body, referenced=True)
    # Last: a size that the StorageClass refuses must not keep the others from being applied.
    yield inside("PersistentVolumeClaim", ARTIFACT_CLAIM, {"spec": _claim(workspace)})


def _claim(workspace: Workspace) -> Manifest:
    storage = workspace.spec.storage
    spec: Manifest = {"accessModes": [storage.access_mode], "resources": {"requests": {"storage": str(storage.size)}}}
    return spec | ({"storageClassName": storage.storage_class_name} if storage.storage_class_name else {})


def _limits(workspace: Workspace) -> Manifest:
    amounts = {"cpu": str(workspace.spec.defaults.cpu), "memory": str(workspace.spec.defaults.memory)}
    return {"type": "Container", "default": amounts, "defaultRequest": dict(amounts)}


def _hard(workspace: Workspace) -> dict[str, str]:
    quota = workspace.spec.quota
    bounds = {
        "requests.cpu": quota.cpu,
        "requests.memory": quota.memory,
        "requests.nvidia.com/gpu": quota.gpus,
        "requests.storage": quota.storage,
        "pods": quota.pods,
    }
    return {name: str(bound) for name, bound in bounds.items() if bound is not None}


def _isolation(settings: Settings) -> Manifest:
    sources: list[Manifest] = [{"podSelector": {}}]
    sources += [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
        for name in settings.ingress_namespaces
    ]
    return {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": sources}]}


CONTROLLER = Controller(
    resource=Workspace,
    owns=("RoleBinding", "ResourceQuota", "NetworkPolicy", "Job"),
    watches=("Namespace", "LimitRange", "PersistentVolumeClaim", "ServiceAccount", "Pod", "Event"),
    needs=needs,
    plan=plan,
    owned_by_label=True,
)
