"""What flows between steps: typed ports, and where an input comes from."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, WithJsonSchema

from noria.api.meta import DNS_LABEL, Model, map_list, rules

ValueType = Literal["string", "integer", "number", "boolean", "json"]
ArtifactType = Literal["dataset", "model", "metrics", "directory"]
PortType = Literal["string", "integer", "number", "boolean", "json", "dataset", "model", "metrics", "directory"]
VALUE_TYPES: frozenset[str] = frozenset(get_args(ValueType))

Value = Annotated[Any, WithJsonSchema({"x-kubernetes-preserve-unknown-fields": True})]
"""Any JSON value but null."""

PortName = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$")]
StepName = Annotated[str, Field(min_length=1, max_length=20, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")]
Reference = Annotated[
    str,
    Field(
        min_length=3,
        max_length=61,
        pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?\.[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$",
    ),
]
"""`STEP.PORT`: an output of another step, which therefore runs before."""
ObjectName = Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)]
DataUri = Annotated[
    str, Field(min_length=1, max_length=1024, pattern=r"^pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[^ ]*)?$")
]
"""`pvc://CLAIM/PATH`, a claim of the same namespace."""


class Parameter(Model):
    """A value that whoever starts a run may give."""

    name: PortName
    """Name."""
    type: ValueType = "string"
    """Its type. Default string."""
    default: Value | None = None
    """Value if none is given; absent: it must be given."""


class Given(Model):
    """A parameter's value."""

    name: PortName
    """Name."""
    value: Value
    """Value, of the parameter's type."""


class Port(Model):
    """Something that a step gives."""

    name: PortName
    """Name."""
    type: PortType
    """string, integer, number, boolean, json: values, at most 1 kB each as JSON; dataset, model, metrics, directory: a folder."""


class InputPort(Model):
    """Something that a component takes."""

    name: PortName
    """Name."""
    type: PortType
    """Its type, as of outputs."""
    default: Value | None = None
    """Value if the step binds none; absent: it must be bound."""


class Binding(Model):
    """Something that a step takes, and where from."""

    model_config = Model.model_config | {
        "json_schema_extra": rules(
            (
                "[has(self.from), has(self.parameter), has(self.uri), has(self.item)].filter(each, each).size() <= 1",
                "set exactly one of from, parameter, value, uri and item",
            ),
        )
    }

    name: PortName
    """Name under which the step sees it."""
    type: PortType | None = None
    """The type that the step expects; absent: whatever the source gives."""
    from_: Annotated[Reference | None, Field(alias="from")] = None
    """STEP.PORT, an output of another step. Of a step with foreach: all of its outputs in order, values as one JSON list."""
    parameter: PortName | None = None
    """A parameter of the pipeline."""
    value: Value | None = None
    """A value as it stands."""
    uri: DataUri | None = None
    """Data from outside of the pipeline."""
    item: bool | None = None
    """True: the item of foreach that this is run for."""


Parameters = Annotated[list[Parameter], Field(max_length=128, json_schema_extra=map_list("name"))]
Bindings = Annotated[list[Binding], Field(max_length=64, json_schema_extra=map_list("name"))]
Outputs = Annotated[list[Port], Field(max_length=32, json_schema_extra=map_list("name"))]
