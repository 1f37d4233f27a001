"""Workspace: a team's place on the cluster, with its members, quota, storage and isolation."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from noria.api.meta import DNS_LABEL, Column, Model, Resource, Status, map_list, rules
from noria.api.pod import Name, Quantity, Resources

RESERVED_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


class Member(Model):
    """A person, group or service account and what they may do in the workspace."""

    kind: Literal["User", "Group", "ServiceAccount"] = "User"
    """What `name` names. A ServiceAccount is one of the workspace's own namespace. Default User."""
    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Name as the cluster's authentication gives it."""
    role: Literal["Admin", "Editor", "Viewer"] = "Editor"
    """Admin may do everything in the namespace, grants included; Editor runs and serves; Viewer reads. Default Editor."""


class Quota(Model):
    """Upper bounds on what all pods and claims of the workspace may request together. Absent: unbounded."""

    cpu: Quantity | None = None
    """Cores."""
    memory: Quantity | None = None
    """Memory."""
    gpus: Annotated[int, Field(ge=0, le=100000)] | None = None
    """GPUs (nvidia.com/gpu)."""
    storage: Quantity | None = None
    """Storage of all claims, the artifact claim included."""
    pods: Annotated[int, Field(ge=0, le=100000)] | None = None
    """Pods that are not finished."""


class Retention(Model):
    """When artifacts go that nothing needs any more."""

    interval_seconds: Annotated[int, Field(ge=60, le=31_536_000)] = 86400
    """Seconds from one sweep of the claim to the next. A sweep removes the folders of attempts and checkpoints that no
    TrainingJob, PipelineRun, ModelVersion or served version needs any more. Default 86400 s, a day."""


class Storage(Model):
    """The claim `noria-artifacts`, which holds inputs, checkpoints and models."""

    size: Quantity = "10Gi"
    """Size of the claim. Default 10Gi; it can grow where the StorageClass allows it."""
    storage_class_name: Annotated[str, Field(max_length=253)] | None = None
    """StorageClass; absent: the cluster's default. Fixed once the claim exists."""
    access_mode: Literal["ReadWriteMany", "ReadWriteOnce"] = "ReadWriteMany"
    """ReadWriteOnce keeps all pods that use artifacts on one node. Default ReadWriteMany. Fixed once the claim exists."""
    retention: Retention = Retention()
    """When artifacts go that nothing needs any more."""


class WorkspaceSpec(Model):
    """What the team has."""

    model_config = Model.model_config | {
        "json_schema_extra": rules(
            (
                "(has(self.storage) && has(self.storage.storageClassName) ? self.storage.storageClassName : '') == "
                "(has(oldSelf.storage) && has(oldSelf.storage.storageClassName) ? oldSelf.storage.storageClassName : '')",
                "storage.storageClassName cannot change once the claim exists",
            ),
            (
                "self.storage.accessMode == oldSelf.storage.accessMode",
                "storage.accessMode cannot change once the claim exists",
            ),
        )
    }

    namespace: (
        Annotated[
            str,
            Field(
                min_length=1,
                max_length=63,
                pattern=DNS_LABEL,
                json_schema_extra=rules(
                    (
                        f"!(self in {list(RESERVED_NAMESPACES)!r}) && !self.startsWith('kube-')",
                        "namespace belongs to the cluster; choose one of the team's own",
                    )
                ),
            ),
        ]
        | None
    ) = None
    """Namespace that is made for the workspace; absent: the Workspace's name. It must not exist before."""
    members: Annotated[list[Member], Field(max_length=500, json_schema_extra=map_list("kind", "name"))] = []
    """Who may use it; each becomes a RoleBinding."""
    quota: Quota = Quota()
    """Upper bounds for the whole workspace."""
    defaults: Resources = Resources(cpu="500m", memory="512Mi")
    """Requests and limits of containers that state none (LimitRange)."""
    storage: Storage = Storage()
    """Where artifacts lie."""
    isolation: Literal["Namespace", "None"] = "Namespace"
    """Namespace: pods accept traffic from their own namespace and from those that the administrator named when installing
    (ingressNamespaces: the gateway, Prometheus). Default Namespace."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """Retain leaves the namespace with all models when the Workspace is deleted; Delete removes everything. Default Retain."""


class RetentionStatus(Model):
    """What became of the sweeps of the artifact claim."""

    number: Annotated[int, Field(ge=0)] = 0
    """Number of the newest sweep; its Job is named noria-sweep-<number>."""
    state: Literal["Due", "Running"] | None = None
    """Due: it begins at once; Running: its Job runs; absent: it has ended."""
    last_sweep_time: str | None = None
    """When the newest sweep ended."""
    removed_folders: int | None = None
    """Folders of attempts and checkpoints that it removed."""
    freed_bytes: int | None = None
    """Bytes that lay in them."""
    message: str | None = None
    """How it goes or went, and what could not be removed."""


class WorkspaceStatus(Status):
    """What was found."""

    namespace: str | None = None
    """The namespace that was made."""
    used: dict[str, str] | None = None
    """What is requested of each bound of the quota, by resource name."""
    retention: RetentionStatus | None = None
    """How the artifact claim is kept free of what nothing needs; absent before the first sweep."""


class Workspace(Resource):
    """A team's place on the cluster: a namespace with members, quota, artifact storage and isolation."""

    plural: ClassVar[str] = "workspaces"
    singular: ClassVar[str] = "workspace"
    short_names: ClassVar[tuple[str, ...]] = ("nws",)
    namespaced: ClassVar[bool] = False
    categories: ClassVar[tuple[str, ...]] = ()
    summary: ClassVar[str] = "Ready"
    mutable: ClassVar[tuple[str, ...] | None] = (
        "members",
        "quota",
        "defaults",
        "storage",
        "isolation",
        "deletionPolicy",
    )
    columns: ClassVar[tuple[Column, ...]] = (
        Column("Namespace", ".status.namespace"),
        Column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
        Column("Reason", ".status.conditions[?(@.type=='Ready')].reason"),
        Column("Age", ".metadata.creationTimestamp", "date"),
        Column("Message", ".status.conditions[?(@.type=='Ready')].message", priority=1),
    )
    root_rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("self.metadata.name.size() <= 63", "the name becomes a namespace and a label: at most 63 characters"),
        (
            "has(self.spec.__namespace__) || !self.metadata.name.contains('.')",
            "the name becomes a namespace, which has no dots; set spec.namespace or choose another name",
        ),
        (
            f"has(self.spec.__namespace__) || (!(self.metadata.name in {list(RESERVED_NAMESPACES)!r}) && !self.metadata.name.startsWith('kube-'))",
            "the name would be the name of a namespace of the cluster; set spec.namespace or choose another name",
        ),
    )

    spec: WorkspaceSpec
    status: WorkspaceStatus = WorkspaceStatus()

    @property
    def namespace(self) -> str:
        """The namespace that this workspace has."""
        return self.spec.namespace or self.metadata.name


__all__ = [
    "Member",
    "Name",
    "Quota",
    "Retention",
    "RetentionStatus",
    "Storage",
    "Workspace",
    "WorkspaceSpec",
    "WorkspaceStatus",
]
