"""What an Endpoint remembers of a change of version, from what set it off to what came of it."""

from typing import Annotated, Literal

from pydantic import Field

from noria.api.meta import Model, map_list

Stage = Literal["Training", "Scoring", "Starting", "Mirroring", "Canary", "Approval", "Moving", "RollingBack"]
Outcome = Literal["Promoted", "RolledBack", "Rejected", "Failed"]
Result = Literal["Pass", "Fail", "Inconclusive", "Skipped"]
SignalState = Literal["OK", "Pending", "Firing", "Unknown"]


class SignalStatus(Model):
    """What a signal says now."""

    name: str
    """The signal's name."""
    state: SignalState
    """OK; Pending: past the threshold, not yet for long enough; Firing; Unknown: nothing can be concluded."""
    value: float | None = None
    """Newest value, to three digits; small movements are not written."""
    threshold: float
    """Where it fires."""
    samples: int | None = None
    """Samples in the window, to two digits."""
    feature: str | None = None
    """The feature that is worst."""
    since: str
    """When it came into this state."""
    reason: str | None = None
    """Why it is Unknown, one word."""
    message: str | None = None
    """The same for people, with the remedy."""
    crossings: list[str] | None = None
    """When it last crossed the threshold; more than three within its window are flapping."""


class ProbeStatus(Model):
    """What is known of the data at a uri that a Staleness signal watches."""

    uri: str
    """Where they lie."""
    input: str
    """Name of the served version's input there, under which they are digested."""
    number: int
    """Number of the newest probe: Job <endpoint>-probe-<number>."""
    state: Literal["Running"] | None = None
    """Running: it has not answered yet."""
    message: str | None = None
    """What it waits for."""
    failure: str | None = None
    """Why the last one that ended gave no digest."""
    time: str | None = None
    """When the last one ended."""
    digest: str | None = None
    """Newest digest of the data."""
    digest_time: str | None = None
    """When that digest was first seen."""
    trained_digest: str | None = None
    """Digest of what the served version was trained on."""
    changed_time: str | None = None
    """When the data were first seen to differ from that; absent while they are the same."""


class SignalValue(Model):
    """A signal as it was when it set off a training."""

    name: str
    """The signal's name."""
    value: float | None = None
    """Its value."""
    threshold: float
    """Its threshold."""
    feature: str | None = None
    """The feature that was worst."""


class Trigger(Model):
    """What began the cycle."""

    reason: Literal["Signal", "Manual", "NewVersion", "Pipeline", "Rollback"]
    """Signal: retrain.signals; Manual: annotation noria.dev/retrain; NewVersion: a version that the spec asks for;
    Pipeline: a deploy step; Rollback: annotation noria.dev/rollback-to."""
    signals: list[SignalValue] | None = None
    """The signals that fired."""
    by: str | None = None
    """Who asked for it by hand, as the API server knows them where the chart's policy is in force."""
    message: str | None = None
    """What they gave as the reason."""
    run: str | None = None
    """Of Pipeline: the PipelineRun that asked."""
    step: str | None = None
    """Of Pipeline: its deploy step."""


class GateResult(Model):
    """What one gate found."""

    name: str
    """The gate's name, or metric; with the group where it is about one."""
    result: Result
    """Pass, Fail, Inconclusive or Skipped."""
    champion: float | None = None
    """The champion's value."""
    challenger: float | None = None
    """The challenger's value."""
    message: str | None = None
    """Why."""


class StepRecord(Model):
    """One stage that the cycle went through."""

    name: str
    """The stage; of a canary step with its weight, as Canary-10."""
    start_time: str
    """When it began."""
    end_time: str | None = None
    """When it ended."""
    result: Result | None = None
    """How it ended."""
    message: str | None = None
    """Why."""
    gates: Annotated[list[GateResult], Field(json_schema_extra=map_list("name"))] | None = None
    """What its gates found."""


class Cycle(Model):
    """One change of version."""

    number: int
    """Counts from 1."""
    trigger: Trigger
    """What began it."""
    champion: str | None = None
    """The version that served when it began."""
    challenger: str | None = None
    """The version that is to take over."""
    training_job: str | None = None
    """The training that makes it, of retrain.template."""
    pipeline_run: str | None = None
    """The run that makes it, of retrain.pipeline."""
    stage: Stage | None = None
    """Where it is; absent when it is over."""
    step: int | None = None
    """Number of the canary step, from 0."""
    stage_time: str | None = None
    """When the stage began."""
    settled_time: str | None = None
    """When the gateway had taken the stage's route; holds count from here."""
    approved_by: str | None = None
    """Who approved."""
    outcome: Outcome | None = None
    """Promoted; RolledBack: it had traffic, or a mirror, and lost it; Rejected: at the offline gate; Failed: it never came so far."""
    reason: str | None = None
    """One word."""
    message: str | None = None
    """The same for people."""
    steps: Annotated[list[StepRecord], Field(max_length=40)] = []
    """The stages so far."""
    start_time: str
    """When it began."""
    end_time: str | None = None
    """When it was over."""


class RetrainStatus(Model):
    """Whether a signal may set off a training now."""

    state: Literal["Armed", "InCycle", "CoolingDown", "BudgetSpent", "Frozen", "Broken", "DataQualityFails"]
    """Armed, or why not."""
    failures: int = 0
    """Cycles in a row without a promotion."""
    starts: list[str] = []
    """When the trainings within the budget's window began."""
    last_end_time: str | None = None
    """When the last cycle that trained was over."""
