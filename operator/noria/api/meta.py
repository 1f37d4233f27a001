"""The parts that every resource shares: base model, metadata, conditions, printer columns."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

GROUP = "noria.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"


class Model(BaseModel):
    """A frozen value of the API: camelCase on the wire, unknown fields ignored (the CRD refuses or prunes them)."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Itself, since it is frozen: pydantic copies defaults that hold lists, 500 times for a pipeline of 500 steps."""
        return self

    def manifest(self) -> dict[str, Any]:
        """The JSON object of this value, without fields that are null."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def rules(*pairs: tuple[str, str]) -> dict[str, Any]:
    """CEL rules for a schema: (rule, message) pairs as `x-kubernetes-validations`."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in pairs]}


def map_list(*keys: str) -> dict[str, Any]:
    """A list that server-side apply merges by `keys`."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


class Condition(Model):
    """One aspect of the object's state, as metav1.Condition."""

    type: Annotated[str, Field(max_length=316)]
    """Name of the aspect in CamelCase."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    """Cause in one CamelCase word, for programs."""
    message: Annotated[str, Field(max_length=32768)]
    """Cause and remedy, for people."""
    observed_generation: Annotated[int, Field(ge=0)] = 0
    """metadata.generation of the spec that was judged."""
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When `status` last changed (RFC 3339, UTC)."""


Conditions = Annotated[list[Condition], Field(json_schema_extra=map_list("type"))]


class OwnerReference(Model):
    """The part of metav1.OwnerReference that ownership is proven by."""

    kind: str
    name: str
    uid: str


class ObjectMeta(Model):
    """The part of metav1.ObjectMeta that a decision may depend on."""

    name: str
    namespace: str | None = None
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: list[OwnerReference] = []


class Column(NamedTuple):
    """A column of `kubectl get`: its title, its JSONPath, its OpenAPI type, 1 if only `-o wide` shows it."""

    name: str
    json_path: str
    type: str = "string"
    priority: int = 0


class Status(Model):
    """What every status holds."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """metadata.generation that this status judges."""
    conditions: Conditions = []
    """Aspects of the state; the first named in `kubectl get` sums them up."""


class Resource(Model):
    """A custom resource. A subclass names itself by the ClassVars and types `spec` and `status`."""

    plural: ClassVar[str]
    short_names: ClassVar[tuple[str, ...]]
    singular: ClassVar[str]
    namespaced: ClassVar[bool] = True
    categories: ClassVar[tuple[str, ...]] = ("noria",)
    columns: ClassVar[tuple[Column, ...]]
    summary: ClassVar[str]
    """Type of the condition that sums up the others: Ready for what lives, Succeeded for what ends."""
    progress: ClassVar[str | None] = None
    """Type of the condition that tells why a change is not carried out while the summary still holds; None: the summary."""
    root_rules: ClassVar[tuple[tuple[str, str], ...]] = ()
    """CEL rules that need metadata or both spec and status."""
    has_status: ClassVar[bool] = True
    mutable: ClassVar[tuple[str, ...] | None] = None
    """Fields of `spec` that may change after creation; None: all of them."""

    metadata: ObjectMeta
    spec: Any
    status: Any

    @classmethod
    def kind(cls) -> str:
        """The kind's name, which is the class's."""
        return cls.__name__
