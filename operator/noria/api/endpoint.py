"""Endpoint: which model is served under one address, and how its versions follow one another."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from noria.api.cycle import Cycle, ProbeStatus, RetrainStatus, SignalStatus
from noria.api.meta import Column, Model, Resource, Status, map_list, rules
from noria.api.monitoring import Monitoring, Retrain
from noria.api.pod import Name, Placement, PullSecrets, Resources
from noria.api.rollout import Gate, Rollout


class ModelReference(Model):
    """Which version is wanted."""

    model_config = Model.model_config | {
        "json_schema_extra": rules(("has(self.version) != has(self.track)", "set exactly one of version and track"))
    }

    name: Annotated[Name, Field(max_length=40)]
    """Name of the model."""
    version: Annotated[int, Field(ge=1, le=2147483647)] | None = None
    """Number of one version."""
    track: Literal["Latest", "Deployed"] | None = None
    """Latest: the highest version that exists, now and later. Deployed: the version that the newest deploy step of a
    PipelineRun asked for."""


class Predictor(Model):
    """The pods that serve."""

    replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """Pods of the current version. Default 1."""
    gpus: Annotated[int, Field(ge=0, le=64)] = 0
    """GPUs (nvidia.com/gpu) of each pod. Default 0."""
    resources: Resources = Resources(cpu="500m", memory="1Gi")
    """CPU and memory of each pod."""
    placement: Placement = Placement()
    """Which nodes to run on."""
    runtime: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """A ServingRuntime or ClusterServingRuntime of one's own; absent: Noria's server, which verifies the model's digest."""
    image_pull_secrets: PullSecrets = []
    """Names of Secrets for private registries."""


class EndpointSpec(Model):
    """What is served, and how; what is watched, and what follows from it."""

    model_config = Model.model_config | {
        "json_schema_extra": rules(
            (
                "!has(self.retrain) || has(self.model.track)",
                "retrain needs model.track: Latest or Deployed, or what it trains would never be served",
            ),
            (
                "!has(self.retrain) || has(self.monitoring.signals) && "
                "self.retrain.signals.all(name, self.monitoring.signals.exists(each, each.name == name))",
                "retrain.signals must name signals of monitoring.signals",
            ),
            (
                "!has(self.retrain) || !has(self.retrain.template) || !has(self.retrain.template.output) || "
                "!has(self.retrain.template.output.model) || self.retrain.template.output.model == self.model.name",
                "retrain.template.output.model must be model.name, or be left out",
            ),
            (
                "!has(self.retrain) || !has(self.retrain.template) || !has(self.retrain.template.suspend) || "
                "!self.retrain.template.suspend",
                "retrain.template cannot be suspended; retrain.frozen stops the loop",
            ),
            (
                "!has(self.retrain) || !has(self.retrain.template) || "
                "!has(self.retrain.template.ttlSecondsAfterFinished)",
                "retrain.template cannot have ttlSecondsAfterFinished: the loop reads what came of the training from it, and keeps the newest three",
            ),
            (
                "self.model.name == oldSelf.model.name",
                "model.name cannot change: what was judged was another model; make a new Endpoint",
            ),
        )
    }

    model: ModelReference
    """Which model, which version."""
    predictor: Predictor = Predictor()
    """The pods that serve it."""
    gate: Gate | None = None
    """The offline gate that every new version must pass before it is started beside a served one."""
    rollout: Rollout = Rollout()
    """How traffic moves to a new version."""
    monitoring: Monitoring = Monitoring()
    """What is watched."""
    retrain: Retrain | None = None
    """When a training is set off, and which."""


class Served(Model):
    """A version on its way through the Endpoint."""

    version: str
    """Name of the ModelVersion."""
    uri: str | None = None
    """Where the files of that record lay: a deleted version's number may be used again."""
    digest: str | None = None
    """Their digest, if the record had one."""
    inference_service: str
    """Name of its InferenceService."""
    since: str
    """When it came into this place (RFC 3339)."""
    until: str | None = None
    """Of a retiring version: when it goes."""


class Replicas(Model):
    """Pods of the current version."""

    ready: int
    """Pods that answer."""
    desired: int
    """Pods that are wanted."""


class EndpointStatus(Status):
    """What is served."""

    url: str | None = None
    """Address under which clients reach it."""
    current: Served | None = None
    """The version that has the traffic."""
    next: Served | None = None
    """The version that is being started."""
    retiring: list[Served] = []
    """Versions that had traffic: they finish their requests; the one before stays warm for a rollback."""
    cycle: Cycle | None = None
    """The change of version that is in flight."""
    cycles: int = 0
    """How many have begun so far."""
    history: Annotated[list[Cycle], Field(json_schema_extra=map_list("number"))] = []
    """The newest ten that are over, the newest first."""
    rejected: list[str] = []
    """InferenceServices of versions newer than the served one that did not earn the traffic, and uids of those that were gone back
    behind; annotation noria.dev/retry lets one try again."""
    signals: Annotated[list[SignalStatus], Field(json_schema_extra=map_list("name"))] = []
    """What is watched, as it is now."""
    probes: Annotated[list[ProbeStatus], Field(json_schema_extra=map_list("uri"))] = []
    """What is known of the data that signals watch by their uri."""
    worst_signal: str | None = None
    """The signal that is worst, in one line."""
    retrain: RetrainStatus | None = None
    """Whether a signal may set off a training."""
    replicas: Replicas | None = None
    """Pods of the current version."""

    def manifest(self) -> dict[str, Any]:
        """Without empty lists, of which an Endpoint that does nothing special has many."""
        return {key: value for key, value in super().manifest().items() if value != []}


class Endpoint(Resource):
    """A model behind one address. A new version is ready before traffic moves to it; then the old one goes."""

    plural: ClassVar[str] = "modelendpoints"
    singular: ClassVar[str] = "modelendpoint"
    short_names: ClassVar[tuple[str, ...]] = ("mep",)
    summary: ClassVar[str] = "Ready"
    progress: ClassVar[str | None] = "UpToDate"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("Status", ".status.conditions[?(@.type=='Ready')].reason"),
        Column("Current", ".status.current.version"),
        Column("Next", ".status.next.version"),
        Column("Stage", ".status.cycle.stage"),
        Column("Signal", ".status.worstSignal"),
        Column("Ready", ".status.replicas.ready", "integer"),
        Column("URL", ".status.url"),
        Column("Age", ".metadata.creationTimestamp", "date"),
        Column("Message", ".status.conditions[?(@.type=='Ready')].message"),
    )
    root_rules: ClassVar[tuple[tuple[str, str], ...]] = (
        (
            "self.metadata.name.size() <= 30",
            "the name must leave room for its InferenceServices' names: at most 30 characters",
        ),
        (
            "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            "the name becomes a host name: it starts with a letter and has no dots",
        ),
    )

    spec: EndpointSpec
    status: EndpointStatus = EndpointStatus()
