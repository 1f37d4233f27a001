"""Pipeline and Component: a graph of typed steps, and a step with a typed interface that several graphs use."""

from typing import Annotated, ClassVar

from pydantic import Field

from noria.api.meta import Column, Model, Resource, Status, map_list, rules
from noria.api.ports import InputPort, Outputs, Parameters, PortName, Reference
from noria.api.step import BARE, Run, Steps
from noria.api.trainingjob import TrainingJobSpec


class PipelineOutput(Model):
    """Something that the whole pipeline gives."""

    name: PortName
    """Name."""
    from_: Annotated[Reference, Field(alias="from")]
    """STEP.PORT."""


class PipelineSpec(Model):
    """The graph."""

    parameters: Parameters = []
    """Values that a run may give."""
    steps: Steps
    """The steps, in any order."""
    outputs: Annotated[list[PipelineOutput], Field(max_length=32, json_schema_extra=map_list("name"))] = []
    """What it gives as a whole; shown in the run's status."""


class Pipeline(Resource):
    """A graph of typed steps. A PipelineRun executes it; a run that has begun is not changed by an edit."""

    plural: ClassVar[str] = "pipelines"
    singular: ClassVar[str] = "pipeline"
    short_names: ClassVar[tuple[str, ...]] = ("npl",)
    summary: ClassVar[str] = "Ready"
    has_status: ClassVar[bool] = False
    columns: ClassVar[tuple[Column, ...]] = (Column("Age", ".metadata.creationTimestamp", "date"),)

    spec: PipelineSpec
    status: Status = Status()


class ComponentSpec(Model):
    """The step and its interface. Nothing in it can change."""

    model_config = Model.model_config | {
        "json_schema_extra": rules(
            (
                "self == oldSelf",
                "a Component is immutable: make one of another name, for example with the next version",
            ),
            ("has(self.run) != has(self.train)", "set exactly one of run and train"),
            ("!has(self.outputs) || has(self.run)", "outputs belong to run; train has fixed ones"),
        )
    }

    inputs: Annotated[list[InputPort], Field(max_length=64, json_schema_extra=map_list("name"))] = []
    """What it takes."""
    outputs: Outputs = []
    """What it gives, of run."""
    run: Run | None = None
    """A container."""
    train: Annotated[TrainingJobSpec | None, Field(json_schema_extra=BARE)] = None
    """A TrainingJob."""


class Component(Resource):
    """A step with a typed interface, kept once and used by several Pipelines. Nothing runs for it."""

    plural: ClassVar[str] = "components"
    singular: ClassVar[str] = "component"
    short_names: ClassVar[tuple[str, ...]] = ("ncomp",)
    summary: ClassVar[str] = "Ready"
    has_status: ClassVar[bool] = False
    columns: ClassVar[tuple[Column, ...]] = (
        Column("Inputs", ".spec.inputs[*].name"),
        Column("Outputs", ".spec.outputs[*].name"),
        Column("Age", ".metadata.creationTimestamp", "date"),
    )

    spec: ComponentSpec
    status: Status = Status()
