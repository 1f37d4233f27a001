"""PipelineRun: one execution of a pipeline, with all of its state."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from noria.api.meta import Column, Model, Resource, Status, map_list, rules
from noria.api.pipeline import PipelineSpec
from noria.api.ports import Given, ObjectName, Value

StepState = Literal["Pending", "Running", "Waiting", "Succeeded", "Cached", "Skipped", "Failed"]


class PipelineRunSpec(Model):
    """What runs."""

    model_config = Model.model_config | {
        "json_schema_extra": rules(
            (
                "[has(self.pipeline), has(self.inline), has(self.rerunOf)].filter(each, each).size() == 1",
                "set exactly one of pipeline, inline and rerunOf",
            ),
            (
                "!has(self.rerunOf) || !has(self.parameters) || self.parameters.size() == 0",
                "a rerun has the parameters of the run that it names; leave parameters out",
            ),
            (
                "!has(oldSelf.cancel) || !oldSelf.cancel || has(self.cancel) && self.cancel",
                "a run that was cancelled does not come back; start a new one",
            ),
        )
    }

    pipeline: ObjectName | None = None
    """A Pipeline of the namespace, as it is when the run begins."""
    inline: Annotated[PipelineSpec | None, Field(json_schema_extra={"x-kubernetes-map-type": "atomic"})] = None
    """A pipeline of this run alone. It cannot change: the chart's admission policy sees to it, and a run that has begun
    follows the copy in its status."""
    rerun_of: ObjectName | None = None
    """A run of the namespace that has ended without success: its pipeline as it was, with its parameters. What succeeded is
    kept, approvals among it, if its folders are as they were; the rest runs, and so do steps with onExit."""
    parameters: Annotated[list[Given], Field(max_length=128, json_schema_extra=map_list("name"))] = []
    """Values of the pipeline's parameters."""
    suspend: bool = False
    """True stops what runs and starts nothing; false goes on. Default false."""
    cancel: bool = False
    """True ends the run; steps with onExit still run. Default false."""
    active_deadline_seconds: Annotated[int, Field(ge=1)] | None = None
    """Seconds after which the run is ended as by cancel, suspended time included."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0)] | None = None
    """Seconds after its end when the run deletes itself, with its pods; absent: never."""


class Output(Model):
    """What a step gave: a value, or a folder."""

    name: str
    """The port."""
    value: Value | None = None
    """The value."""
    uri: str | None = None
    """Where the folder lies."""
    digest: str | None = None
    """Digest over its files."""
    format: str | None = None
    """Of a model: how to load it."""


class CacheStatus(Model):
    """What the cache said."""

    result: Literal["Hit", "Miss"]
    """Hit: what an earlier run made was taken."""
    reason: str | None = None
    """Why not: NoEarlierRun; StepChanged: what runs or what it takes; Expired: older than maxAgeSeconds; ArtifactChanged:
    what it gave, or read from a uri, is gone or has another digest; NotVerified: nobody could look; OtherClaim;
    NotSucceeded: of a rerun, it had not succeeded."""
    run: str | None = None
    """The run that it was, or would have been, taken from."""


class Asked(Model):
    """What a deploy step asks for, for as long as it is Running. Endpoints with model.track: Deployed read it."""

    endpoint: str
    """Name of the Endpoint."""
    version: str
    """Name of the ModelVersion."""


class StepStatus(Model):
    """One step, or with [number] one item of a foreach."""

    name: str
    """The step's name."""
    state: StepState = "Pending"
    """Succeeded, Cached: it gave its outputs. Skipped: it does not run in this run. Waiting: for `cause`."""
    cause: str | None = None
    """Why, one word."""
    message: str | None = None
    """The same for people."""
    attempt: int | None = None
    """Number of the newest attempt."""
    failures: int | None = None
    """Attempts that failed and counted."""
    disruptions: int | None = None
    """Attempts in a row that the cluster ended."""
    job: str | None = None
    """Name of the newest attempt's pod, or of the TrainingJob."""
    start_time: str | None = None
    """When the newest attempt began; of a cached step the one that made what was taken."""
    end_time: str | None = None
    """When it ended."""
    read: dict[str, str] | None = None
    """Digests of the inputs that were given by uri."""
    image: str | None = None
    """The image as the kubelet ran it."""
    key: str | None = None
    """What the cache knows it by; absent if a digest is missing."""
    outputs: list[Output] | None = None
    """What it gave."""
    cache: CacheStatus | None = None
    """What the cache said."""
    count: int | None = None
    """Of a foreach: how many items."""
    deploy: Asked | None = None
    """Of a deploy step: what it asks for, or asked for."""


class PipelineRunStatus(Status):
    """How it goes."""

    pipeline: str | None = None
    """The Pipeline that it is a run of; of a rerun that of the run it names; absent if that was inline."""
    frozen: str | None = None
    """The pipeline, its components and parameters as they were when the run began: JSON, deflated, base64."""
    sources: list[str] = []
    """Earlier runs whose results may be taken, fixed when the run began; of a rerun the one that it names."""
    look: int | None = None
    """Number of the newest look at what they made."""
    steps: Annotated[list[StepStatus], Field(json_schema_extra={"x-kubernetes-list-type": "atomic"})] = []
    """Every step in the order of the pipeline, items after their step."""
    progress: str | None = None
    """Steps ended of all steps."""
    running: str | None = None
    """Steps that run."""
    outputs: Annotated[list[Output], Field(json_schema_extra={"x-kubernetes-list-type": "atomic"})] = []
    """What the pipeline gave as a whole."""
    stopped: Literal["Cancelled", "DeadlineExceeded"] | None = None
    """Why the steps were ended before their time."""
    start_time: str | None = None
    """When it began."""
    completion_time: str | None = None
    """When it ended."""

    def manifest(self) -> dict[str, Any]:
        """Without empty lists."""
        return {key: value for key, value in super().manifest().items() if value != []}


class PipelineRun(Resource):
    """One execution of a pipeline: Jobs, TrainingJobs and ModelVersions by what its steps say."""

    plural: ClassVar[str] = "pipelineruns"
    singular: ClassVar[str] = "pipelinerun"
    short_names: ClassVar[tuple[str, ...]] = ("nrun",)
    summary: ClassVar[str] = "Succeeded"
    # That `inline` stays as it is is left to the policy: of 500 steps the comparison, which a rule here would make at each
    # write of the status, takes the API server as long as all else.
    mutable: ClassVar[tuple[str, ...] | None] = ("suspend", "cancel", "ttlSecondsAfterFinished", "inline")
    columns: ClassVar[tuple[Column, ...]] = (
        Column("Status", ".status.conditions[?(@.type=='Succeeded')].reason"),
        Column("Steps", ".status.progress"),
        Column("Running", ".status.running"),
        Column("Pipeline", ".status.pipeline"),
        Column("Rerun of", ".spec.rerunOf", priority=1),
        Column("Age", ".metadata.creationTimestamp", "date"),
        Column("Message", ".status.conditions[?(@.type=='Succeeded')].message"),
    )
    root_rules: ClassVar[tuple[tuple[str, str], ...]] = (
        (
            "!has(self.spec.rerunOf) || self.spec.rerunOf != self.metadata.name",
            "a run is no rerun of itself; name one that has ended without success",
        ),
        ("self.metadata.name.size() <= 30", "the name must leave room for its Jobs' names: at most 30 characters"),
        (
            "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            "the name becomes a label: it starts with a letter and has no dots",
        ),
    )

    spec: PipelineRunSpec
    status: PipelineRunStatus = PipelineRunStatus()
