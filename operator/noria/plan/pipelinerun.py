"""PipelineRun: the pipeline is frozen and checked, then its steps follow one another until all have ended. A terminal status is final."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from noria.api.pipeline import Component, Pipeline, PipelineSpec
from noria.api.pipelinerun import PipelineRun, PipelineRunStatus, StepStatus
from noria.plan import causes
from noria.plan.conditions import condition, finished
from noria.plan.contract import Controller, Event, Needs, Observed, Plan, Ref, Selector, Settings
from noria.plan.manifests import moment, rfc3339
from noria.plan.pipelines import cache, deploying, lint
from noria.plan.pipelines.advance import advance, enforce
from noria.plan.pipelines.approvals import APPROVAL, done, refused
from noria.plan.pipelines.frozen import Frozen, freeze, pack, unpack
from noria.plan.pipelines.inputs import pipeline_outputs
from noria.plan.pipelines.turn import ENDED, Turn, versions

NAMED = 3
"""How many steps that run, or faults, are named."""


def needs(run: PipelineRun, settings: Settings) -> Needs:
    """Before it begins the pipeline and the components; later the versions, while a register step has not ended, and
    what deploy steps wait for."""
    if finished(run.status):
        return Needs()
    if run.status.frozen is None:
        named = (_pipeline(run),) if run.spec.pipeline else ()
        return Needs(refs=named, selectors=(_components(run), *((cache.runs(run),) if named else ())))
    open_ones = {each.name for each in run.status.steps if each.state not in ENDED}
    registers = any(each.register_ and each.name in open_ones for each in unpack(run.status.frozen).steps)
    earlier = tuple(cache.source(run, each) for each in run.status.sources)
    endpoints, beside = deploying.needs(run)
    selectors = [*([versions(run)] if registers else []), *beside]
    return Needs(refs=(*earlier, *endpoints), selectors=tuple(dict.fromkeys(selectors)))


def _pipeline(run: PipelineRun) -> Ref:
    return Ref("Pipeline", run.metadata.namespace, run.spec.pipeline or "")


def _components(run: PipelineRun) -> Selector:
    return Selector("Component", run.metadata.namespace)


def plan(run: PipelineRun, observed: Observed) -> Plan:
    """What should be for one PipelineRun."""
    if finished(run.status):
        return _rest(run, observed)
    if run.status.frozen is None:
        return _begin(run, observed)
    frozen = unpack(run.status.frozen)
    turn = Turn(run, observed, frozen)
    advance(turn)
    steps = turn.steps()
    tops = [turn.records[each.name] for each in frozen.steps]
    status = run.status.model_copy(
        update={
            "steps": steps,
            "stopped": turn.stopped,
            "look": turn.look or None,
            "progress": f"{sum(each.state in ENDED for each in tops)}/{len(tops)}",
            "running": _named(each.name for each in tops if each.state not in (*ENDED, "Pending")),
            "outputs": pipeline_outputs(frozen, turn.records),
        }
    )
    before = {each.name: each.state for each in run.status.steps}
    events = [_failed(each) for each in steps if _news(each, before, turn)]
    events += refused(run)
    if turn.over():
        return _end(run, observed, turn, status, tuple(events))
    reason, message = _where(turn, status)
    return Plan(
        status=_with(observed, status, None, reason, message),
        children=tuple(turn.children),
        creates=tuple(turn.creates),
        events=tuple(events),
        requeue_after=min((each for each in turn.waits if each > 0), default=None),
        clear_annotations=done(run),
    )


def _begin(run: PipelineRun, observed: Observed) -> Plan:
    """The first look: the pipeline is found, checked and frozen; nothing else happens before that is recorded."""
    spec = run.spec.inline or _found(run, observed)
    if spec is None:
        text = f"there is no Pipeline {run.spec.pipeline} in this namespace; create it, and the run begins"
        return Plan(status=_with(observed, run.status, None, "PipelineNotFound", text))
    known = (Component.model_validate(each) for each in observed.related.get(_components(run), ()))
    components = {each.metadata.name: each for each in known}
    if missing := sorted({each.component for each in spec.steps if each.component} - components.keys()):
        text = f"there is no Component {_named(missing)} in this namespace; create it, and the run begins"
        return Plan(status=_with(observed, run.status, None, "ComponentNotFound", text))
    faults = [*lint.problems(spec, components), *lint.given(spec, run.spec.parameters)]
    if faults:
        more = f"\n(and {len(faults) - NAMED} more; `noria lint` tells all)" if len(faults) > NAMED else ""
        text = "\n".join(map(str, faults[:NAMED])) + more
        status = run.status.model_copy(update={"completion_time": rfc3339(observed.now)})
        event = Event("Warning", "InvalidPipeline", text, "end")
        return Plan(status=_with(observed, status, False, "InvalidPipeline", text), events=(event,))
    frozen = freeze(spec, components, {each.name: each.value for each in run.spec.parameters})
    begun = run.status.model_copy(
        update={
            "frozen": pack(frozen),
            "sources": cache.sources(run, observed.related.get(cache.runs(run), ())),
            "start_time": rfc3339(observed.now),
            "steps": [StepStatus(name=each.name) for each in frozen.steps],
            "progress": f"0/{len(frozen.steps)}",
        }
    )
    return Plan(status=_with(observed, begun, None, "Pending", f"{len(frozen.steps)} steps are to run"))


def _found(run: PipelineRun, observed: Observed) -> PipelineSpec | None:
    live = observed.related.get(_pipeline(run), ())
    return Pipeline.model_validate(live[0]).spec if live else None


def _where(turn: Turn, status: PipelineRunStatus) -> tuple[str, str]:
    """In a word, and in words, what the run is doing; a trouble that somebody must act on comes first."""
    if turn.run.spec.suspend:
        return "Suspended", "spec.suspend is true; set it to false to go on"
    steps = turn.steps()
    running = [each for each in steps if each.state == "Running"]
    for each in running:
        live, pods = turn.live.get(each.job or ""), turn.pods.get(each.job or "", [])
        if trouble := causes.waiting(pods, turn.refusals(live) if live and not pods else ()):
            return trouble.reason, f"step {each.name}: {trouble.message}"
    if deploys := deploying.asking(steps):
        return deploys[0].cause or "Running", f"step {deploys[0].name}: {deploys[0].message}"
    waiting = [each for each in steps if each.state == "Waiting"]
    if waiting and not running:
        first = min(waiting, key=lambda each: each.cause != APPROVAL)
        asked = first.cause == APPROVAL
        follows = "" if asked else "\nThe next attempt follows."
        return APPROVAL if asked else "Retrying", f"step {first.name}: {first.message}{follows}"
    if turn.wants_look and not running:
        return "Verifying", f"{status.progress} steps ended; it is looked whether what earlier runs made is still there"
    return "Running", f"{status.progress} steps ended; {status.running or 'the next'} runs"


def _end(
    run: PipelineRun, observed: Observed, turn: Turn, status: PipelineRunStatus, events: tuple[Event, ...]
) -> Plan:
    """The last word."""
    failed = [each for each in turn.steps() if each.state == "Failed" and each.cause != turn.stopped]
    if turn.stopped == "Cancelled":
        reason, message = "Cancelled", "spec.cancel was set"
    elif turn.stopped:
        limit = run.spec.active_deadline_seconds
        reason, message = turn.stopped, f"it ran longer than activeDeadlineSeconds ({limit}); raise it, or ask for less"
    elif failed:
        reason, message = failed[0].cause or "Failed", f"step {failed[0].name}: {failed[0].message}"
    else:
        skipped = sum(each.state == "Skipped" for each in turn.steps())
        reason, message = "Completed", f"{len(turn.frozen.steps)} steps" + (f", {skipped} skipped" if skipped else "")
    status = status.model_copy(update={"completion_time": rfc3339(observed.now), "running": None})
    holds = reason == "Completed"
    event = Event("Normal" if holds else "Warning", reason, message, "end")
    return Plan(
        status=_with(observed, status, holds, reason, message),
        children=tuple(turn.children),
        events=(*events, event),
        requeue_after=run.spec.ttl_seconds_after_finished,
        clear_annotations=done(run),
    )


def _rest(run: PipelineRun, observed: Observed) -> Plan:
    """After the end nothing changes any more; in time the object deletes itself. What still ran when it was stopped is stopped."""
    turn = Turn(run, observed, Frozen(steps=[]))
    enforce(turn)
    rest = Plan(
        status=run.status,
        children=tuple(turn.children),
        events=tuple(refused(run)),
        clear_annotations=done(run),
    )
    if run.spec.ttl_seconds_after_finished is None or run.status.completion_time is None:
        return rest
    left = (moment(run.status.completion_time) - observed.now).total_seconds() + run.spec.ttl_seconds_after_finished
    return replace(rest, requeue_after=left if left > 0 else None, delete_self=left <= 0)


def _with(
    observed: Observed, status: PipelineRunStatus, holds: bool | None, reason: str, message: str
) -> PipelineRunStatus:
    return status.model_copy(update={"conditions": [condition(observed, "Succeeded", holds, reason, message)]})


def _news(record: StepStatus, before: Mapping[str, str], turn: Turn) -> bool:
    """Whether a step has failed by itself since the record was written."""
    return record.state == "Failed" and before.get(record.name) != "Failed" and record.cause != turn.stopped


def _failed(record: StepStatus) -> Event:
    text = f"step {record.name}: {record.message or record.cause}"
    return Event("Warning", record.cause or "Failed", text, f"step-{record.name}")


def _named(names: Iterable[str]) -> str | None:
    listed = list(names)
    more = f" and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
    return ", ".join(listed[:NAMED]) + more if listed else None


CONTROLLER = Controller(
    resource=PipelineRun,
    owns=(),
    # Never pruned: what has ended stays for its logs until the run goes; what should not run is suspended.
    watches=("Job", "TrainingJob", "Pod", "Event"),
    needs=needs,
    plan=plan,
)
