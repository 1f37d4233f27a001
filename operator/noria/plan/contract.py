"""The contract between decisions and effects: what a plan may look at, and what it may ask for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

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
    fixed: bool = False
    """Whether what it is made with never changes: no field is ever taken back, so that it is created, not applied, at first."""


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("Workspace", API_VERSION, "workspaces", namespaced=False),
        Kind("TrainingJob", API_VERSION, "trainingjobs", fixed=True),
        Kind("ModelVersion", API_VERSION, "modelversions"),
        Kind("Endpoint", API_VERSION, "modelendpoints"),
        Kind("Component", API_VERSION, "components"),
        Kind("Pipeline", API_VERSION, "pipelines"),
        Kind("PipelineRun", API_VERSION, "pipelineruns"),
        Kind("Namespace", "v1", "namespaces", namespaced=False),
        Kind("ServiceAccount", "v1", "serviceaccounts"),
        Kind("ResourceQuota", "v1", "resourcequotas"),
        Kind("LimitRange", "v1", "limitranges"),
        Kind("PersistentVolumeClaim", "v1", "persistentvolumeclaims"),
        Kind("ConfigMap", "v1", "configmaps"),
        Kind("Service", "v1", "services"),
        Kind("Pod", "v1", "pods"),
        Kind("Event", "v1", "events"),
        Kind("Job", "batch/v1", "jobs", fixed=True),
        Kind("Deployment", "apps/v1", "deployments"),
        Kind("Lease", "coordination.k8s.io/v1", "leases"),
        Kind("RoleBinding", "rbac.authorization.k8s.io/v1", "rolebindings"),
        Kind("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies"),
        Kind("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets", fixed=True),
        Kind("InferenceService", "serving.kserve.io/v1beta1", "inferenceservices"),
        Kind("PrometheusRule", "monitoring.coreos.com/v1", "prometheusrules"),
        Kind("PodMonitor", "monitoring.coreos.com/v1", "podmonitors"),
        Kind("HTTPRoute", "gateway.networking.k8s.io/v1", "httproutes"),
    )
}


class Ref(NamedTuple):
    """One object by its kind and name; namespace is None for a cluster-scoped kind."""

    kind: str
    namespace: str | None
    name: str


class Selector(NamedTuple):
    """All objects of a kind in a namespace; with a label, those whose label, or field among FIELDS, has the value."""

    kind: str
    namespace: str | None
    label: str = ""
    value: str = ""


FIELDS: Mapping[str, tuple[str, tuple[str, ...]]] = {"PipelineRun": (".pipeline", ("spec", "status"))}
"""A field of a kind that a selector may ask for, under a name that no label has, and where it stands: the first that is set."""


def marks(manifest: Manifest) -> Mapping[str, str]:
    """What selectors know an object by: its labels, and its field."""
    labels = manifest["metadata"].get("labels") or {}
    if manifest["kind"] not in FIELDS:
        return labels
    name, places = FIELDS[manifest["kind"]]
    found = (value for part in places if (value := (manifest.get(part) or {}).get(name[1:])))
    value = next(found, None)
    return labels | {name: value} if value else labels


class Query(NamedTuple):
    """A question to Prometheus, asked again and again while somebody needs it."""

    promql: str
    label: str = ""
    """Of a query that answers for all objects at once: the label that names the object, beside label `namespace`.
    Empty: the whole answer is for the object that asks."""


class Row(NamedTuple):
    """One element of the instant vector that answers a query; a scalar is a row without labels."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Answer:
    """What Prometheus said last: rows, or why there are none."""

    rows: tuple[Row, ...] = ()
    error: str | None = None
    at: datetime | None = field(default=None, compare=False)
    """When it was asked, in UTC: what happened later is not in it. Two answers that differ in nothing else are equal."""


class Look(IntEnum):
    """How soon an object is looked at since a new answer came."""

    NONE = 0
    """Not at all: planning would change nothing."""
    NEWS = 1
    """If it says something else than the answer before; once, after the other answers of the round."""
    NOW = 2
    """At once: something may begin because of it."""


class Judge(Protocol):
    """Something that is recorded of an object, and that answers may change."""

    def look(self, answer: Callable[[Query], Answer | None]) -> Look:
        """By the newest answers; NONE while planning anew would record the same."""


class Steady(NamedTuple):
    """What answers to a query leave as it is recorded: cheaper to tell, for a thousand objects, than by a plan for each."""

    version: str
    """Value of label `version` in the rows that count."""
    low: float
    high: float
    """As long as the answer is one row of that version from `low` to `high`, planning anew would record the same."""
    judges: tuple[Judge, ...]
    """They tell of any other answer."""


@dataclass(frozen=True)
class Needs:
    """What a plan must see beside its own children. Answers stand in `Observed.related` and `Observed.answers`."""

    refs: tuple[Ref, ...] = ()
    selectors: tuple[Selector, ...] = ()
    queries: tuple[Query, ...] = ()
    fresh: tuple[Query, ...] = ()
    """Those of which every answer is looked at, also one that says the same as before: a newer one is awaited."""
    steady: Mapping[Query, Steady] = field(default_factory=dict)
    """What answers to these leave as it is. Of the other queries each answer is news."""

    def objects(self) -> tuple[Ref | Selector, ...]:
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
    server_image: str
    """Image of Noria's own server, which scores models too."""
    gateway_name: str = ""
    """Gateway that HTTPRoutes attach to; empty: no route is made and the InferenceService's own address is shown."""
    gateway_namespace: str = ""
    """Namespace of that Gateway."""
    gateway_mirrors: bool = False
    """Whether that Gateway honours RequestMirror filters. One that does not may answer 500 to every request of such a route."""
    domain: str = "noria.internal"
    """An Endpoint answers to <name>.<namespace>.<domain>."""
    ingress_namespaces: list[str] = []
    """Namespaces whose pods may reach those of an isolated Workspace: the gateway's data plane, Prometheus."""
    prometheus_url: str = ""
    """Where progress and signals are read from; empty: no progress is shown, and every signal is Unknown."""
    evaluation_seconds: int = 10
    """Seconds between two evaluations of what is asked of Prometheus."""
    monitor_labels: dict[str, str] = {}
    """Labels of PodMonitors and PrometheusRules, by which a Prometheus selects them."""
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
    answers: Mapping[Query, Answer] = field(default_factory=dict)
    """Newest answer to each of the queries; what has not been asked yet is absent."""
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
    deletes: tuple[Manifest, ...] = ()
    """Other objects whose time is over, as observed: deleted by their uid, so that a new one of the name stays."""
    events: tuple[Event, ...] = ()
    requeue_after: float | None = None
    """Seconds until time alone may change the decision."""
    passing: bool = False
    """The status says only that something begins: it may wait a moment for what comes of it, and not be told at all."""
    clear_annotations: tuple[str, ...] = ()
    """Annotations of the object that asked for something which the status now records, or which cannot be done."""
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
