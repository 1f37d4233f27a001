"""The contract between decisions and effects: what a plan may look at, and what it may ask for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from noria.api.meta import API_VERSION, Model, Resource, Status

Manifest = dict[str, Any]
"""A Kubernetes object as its JSON."""

R = TypeVar("R", bound=Resource)


class Kind(NamedTuple):
    """A kind of the Kubernetes API that Noria reads or writes."""

    name: str
    api_version: str
    plural: str
    namespaced: bool = True


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("Workspace", API_VERSION, "workspaces", namespaced=False),
        Kind("TrainingJob", API_VERSION, "trainingjobs"),
        Kind("ModelVersion", API_VERSION, "modelversions"),
        Kind("Endpoint", API_VERSION, "modelendpoints"),
        Kind("Namespace", "v1", "namespaces", namespaced=False),
        Kind("ServiceAccount", "v1", "serviceaccounts"),
        Kind("ResourceQuota", "v1", "resourcequotas"),
        Kind("LimitRange", "v1", "limitranges"),
        Kind("PersistentVolumeClaim", "v1", "persistentvolumeclaims"),
        Kind("ConfigMap", "v1", "configmaps"),
        Kind("Service", "v1", "services"),
        Kind("Pod", "v1", "pods"),
        Kind("Event", "v1", "events"),
        Kind("Job", "batch/v1", "jobs"),
        Kind("Deployment", "apps/v1", "deployments"),
        Kind("Lease", "coordination.k8s.io/v1", "leases"),
        Kind("RoleBinding", "rbac.authorization.k8s.io/v1", "rolebindings"),
        Kind("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies"),
        Kind("InferenceService", "serving.kserve.io/v1beta1", "inferenceservices"),
        Kind("HTTPRoute", "gateway.networking.k8s.io/v1", "httproutes"),
    )
}


class Ref(NamedTuple):
    """One object by its kind and name; namespace is None for a cluster-scoped kind."""

    kind: str
    namespace: str | None
    name: str


class Selector(NamedTuple):
    """All objects of a kind in a namespace; with a label, those whose label has the value."""

    kind: str
    namespace: str | None
    label: str = ""
    value: str = ""


@dataclass(frozen=True)
class Needs:
    """What a plan must see beside its own children. Answers stand in `Observed.related` under the same key."""

    refs: tuple[Ref, ...] = ()
    selectors: tuple[Selector, ...] = ()

    def all(self) -> tuple[Ref | Selector, ...]:
        """Refs and selectors together."""
        return (*self.refs, *self.selectors)


class Settings(Model):
    """What the administrator set when installing: read once at start, from the chart's values."""

    agent_image: str
    """Image of the sidecar that publishes what a training wrote."""
    trainer_image: str
    """Image of the recipes."""
    serving_runtime: str
    """Name of the ClusterServingRuntime of Noria's own server."""
    gateway_name: str = ""
    """Gateway that HTTPRoutes attach to; empty: no route is made and the InferenceService's own address is shown."""
    gateway_namespace: str = ""
    """Namespace of that Gateway."""
    domain: str = "noria.internal"
    """An Endpoint answers to <name>.<namespace>.<domain>."""
    ingress_namespaces: list[str] = []
    """Namespaces whose pods may reach those of an isolated Workspace: the gateway's data plane, Prometheus."""
    prometheus_url: str = ""
    """Where progress is read from; empty: no progress is shown."""
    namespaces: list[str] = []
    """If not empty, only these are watched, and Workspaces are left alone."""


@dataclass(frozen=True)
class Observed:
    """Everything that a decision may depend on, the clock included."""

    settings: Settings
    now: datetime
    children: tuple[Manifest, ...] = ()
    """Live objects of the kinds in `owns` and `watches` that carry our owner label, sorted by kind and name."""
    related: Mapping[Ref | Selector, tuple[Manifest, ...]] = field(default_factory=dict)
    """Live objects for each of the needs; empty where nothing matches."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Newest values from Prometheus for this object by metric name; empty without Prometheus."""
    absent: frozenset[str] = frozenset()
    """Kinds that the API server does not serve (KServe or Gateway API not installed)."""


class Event(NamedTuple):
    """Something that happened, told once: the same `cycle` never posts twice."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    cycle: str
    """What makes this happening distinct from the next of the same reason, for example the attempt's number."""


@dataclass(frozen=True)
class Plan:
    """What should be. Planning again on its own result changes nothing."""

    status: Status
    children: tuple[Manifest, ...] = ()
    """The full desired set: applied where it differs; what we own of the kinds in `owns` and is not listed is deleted."""
    creates: tuple[Manifest, ...] = ()
    """Objects to create, never to apply; AlreadyExists means: observe and plan again."""
    events: tuple[Event, ...] = ()
    requeue_after: float | None = None
    """Seconds until time alone may change the decision."""
    delete_self: bool = False
    """The object's own time is over (TTL)."""


@dataclass(frozen=True)
class Controller(Generic[R]):
    """One kind: its resource, its children and its two pure functions."""

    resource: type[R]
    owns: tuple[str, ...]
    """Kinds of children that are pruned when no longer planned."""
    watches: tuple[str, ...]
    """Kinds that carry our owner label and are observed, never pruned (a child's Pods; a claim that must survive)."""
    needs: Callable[[R, Settings], Needs]
    plan: Callable[[R, Observed], Plan]
    owned_by_label: bool = False
    """Whether the owner label alone proves ownership (no ownerReference), as under a Workspace that retains."""
