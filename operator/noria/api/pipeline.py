"""Pipeline and Component: a graph of typed steps, and a step with a typed interface that several graphs use."""

from typing import Annotated, Any, ClassVar

from pydantic import Field

from noria.api.meta import Column, Model, Resource, Status, map_list, rules
from noria.api.ports import InputPort, Outputs, Parameters, PortName, Reference
from noria.api.schedule import HistoryLimits, Schedule
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


class KeptPipelineSpec(PipelineSpec):
    """The graph of a Pipeline, and what is said of all its runs."""

    schedule: Schedule | None = None
    """Runs that start by themselves; absent: none."""
    max_concurrent_runs: Annotated[int, Field(ge=1, le=100)] | None = None
    """How many runs may be under way at a time, whoever started them; the others are queued, the oldest first. Absent: any number."""
    history_limits: HistoryLimits = HistoryLimits()
    """Which runs that have ended are kept. Default: all."""


class RunReference(Model):
    """A run, and not another of its name."""

    name: str
    """Name."""
    uid: str
    """metadata.uid."""


class PipelineStatus(Status):
    """Its schedule and its runs."""

    checked: str | None = None
    """Hash over the generation and the components that were found without fault; they are not checked again."""
    schedule: str | None = None
    """The expression and time zone that the times here belong to."""
    since: str | None = None
    """When they were first seen: no start is due for an earlier time."""
    last_schedule_time: str | None = None
    """The newest time for which a run was started."""
    next_schedule_time: str | None = None
    """The next time for which a run is to be started."""
    last_missed_time: str | None = None
    """The newest time for which none was started, and none will be."""
    missed: int | None = None
    """How many times were missed; at most 100 are counted in one go."""
    active: int | None = None
    """How many runs are under way. Runs are counted if the Pipeline has a schedule, maxConcurrentRuns or historyLimits."""
    active_runs: list[str] = []
    """Names of the first ten of them."""
    queued: int | None = None
    """How many runs wait for their turn."""
    queued_runs: list[str] = []
    """Names of the first ten of them, in their order."""
    admitted: Annotated[list[RunReference], Field(json_schema_extra={"x-kubernetes-list-type": "atomic"})] = []
    """Runs whose turn it is and that have not begun."""

    def manifest(self) -> dict[str, Any]:
        """Without empty lists."""
        return {key: value for key, value in super().manifest().items() if value != []}


class Pipeline(Resource):
    """A graph of typed steps. A PipelineRun executes it; a run that has begun is not changed by an edit."""

    plural: ClassVar[str] = "pipelines"
    singular: ClassVar[str] = "pipeline"
    short_names: ClassVar[tuple[str, ...]] = ("npl",)
    summary: ClassVar[str] = "Ready"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("Status", ".status.conditions[?(@.type=='Ready')].reason"),
        Column("Schedule", ".spec.schedule.cron"),
        Column("Last", ".status.lastScheduleTime", "date"),
        Column("Next", ".status.nextScheduleTime"),
        Column("Active", ".status.active", "integer"),
        Column("Queued", ".status.queued", "integer", 1),
        Column("Age", ".metadata.creationTimestamp", "date"),
        Column("Message", ".status.conditions[?(@.type=='Ready')].message"),
    )

    root_rules: ClassVar[tuple[tuple[str, str], ...]] = (
        (
            "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= 63",
            "runs name it, and it becomes a label: at most 63 small letters, digits and '-'",
        ),
    )

    spec: KeptPipelineSpec
    status: PipelineStatus = PipelineStatus()


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

    root_rules: ClassVar[tuple[tuple[str, str], ...]] = (
        (
            "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= 63",
            "steps name it: at most 63 small letters, digits and '-'",
        ),
    )

    spec: ComponentSpec
    status: Status = Status()
