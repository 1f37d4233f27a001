"""Endpoint: which model is served under one address, and how its versions follow one another."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from noria.api.meta import Column, Model, Resource, Status, rules
from noria.api.pod import Name, Placement, PullSecrets, Resources


class ModelReference(Model):
    """Which version is wanted."""

    model_config = Model.model_config | {
        "json_schema_extra": rules(("has(self.version) != has(self.track)", "set exactly one of version and track"))
    }

    name: Annotated[Name, Field(max_length=40)]
    """Name of the model."""
    version: Annotated[int, Field(ge=1, le=2147483647)] | None = None
    """Number of one version."""
    track: Literal["Latest"] | None = None
    """Latest: the highest version that exists, now and later."""


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


class Rollout(Model):
    """How traffic moves to a new version."""

    drain_seconds: Annotated[int, Field(ge=1, le=3600)] = 15
    """Seconds for which the old version goes on running after the gateway has accepted the new route. Default 15."""


class EndpointSpec(Model):
    """What is served, and how."""

    model: ModelReference
    """Which model, which version."""
    predictor: Predictor = Predictor()
    """The pods that serve it."""
    rollout: Rollout = Rollout()
    """How traffic moves to a new version."""


class Served(Model):
    """A version on its way through the Endpoint."""

    version: str
    """Name of the ModelVersion."""
    inference_service: str
    """Name of its InferenceService."""
    since: str
    """When it came into this place (RFC 3339)."""


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
    retiring: Served | None = None
    """The version that had the traffic and finishes its requests."""
    replicas: Replicas | None = None
    """Pods of the current version."""


class Endpoint(Resource):
    """A model behind one address. A new version is ready before traffic moves to it; then the old one goes."""

    plural: ClassVar[str] = "modelendpoints"
    singular: ClassVar[str] = "modelendpoint"
    short_names: ClassVar[tuple[str, ...]] = ("mep",)
    summary: ClassVar[str] = "Ready"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("Status", ".status.conditions[?(@.type=='Ready')].reason"),
        Column("Current", ".status.current.version"),
        Column("Next", ".status.next.version"),
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
