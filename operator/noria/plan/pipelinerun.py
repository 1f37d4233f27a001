"""PipelineRun: the pipeline is frozen and checked, then its steps follow one another until all have ended. A terminal status is final."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from noria.api.pipeline import Component, Pipeline
from noria.api.pipelinerun import PipelineRun, PipelineRunStatus, StepStatus
from noria.api.step import Step
from noria.api.trainingjob import TrainingJobStatus
from noria.plan import causes
from noria.plan.conditions import condition, find, finished
from noria.plan.contract import Controller, Event, Manifest, Needs, Observed, Plan, Ref, Selector, Settings
from noria.plan.manifests import moment, rfc3339
from noria.plan.pipelines import admission, cache, deploying, evaluating, lint, rerun
from noria.plan.pipelines.advance import advance, enforce
from noria.plan.pipelines.approvals import APPROVAL, done, refused
from noria.plan.pipelines.fellows import SEEN
from noria.plan.pipelines.frozen import Frozen, freeze, pack, unpack
from noria.plan.pipelines.inputs import pipeline_outputs
from noria.plan.pipelines.turn import ENDED, Turn, versions

NAMED = 3
"""How many steps that run, or faults, are named."""


def needs(run: PipelineRun, settings: Settings) -> Needs:
    """Before it begins the pipeline and the components, or the run that it is a rerun of; while it is queued the pipeline
    alone; later the earlier runs that it takes from, the pods that run, the versions, while a step that registers one has not ended,
    the Endpoints whose version an evaluate step takes, and what deploy steps wait for."""
    if finished(run.status):
        return Needs()
    if run.status.frozen is None:
        named = (_pipeline(run),) if run.spec.pipeline or run.status.pipeline else ()
        if admission.was_queued(run.status):
            return Needs(refs=named)
        if run.spec.rerun_of:
            return Needs(refs=(rerun.earlier(run), *named))
        return Needs(refs=named, selectors=(_components(run), *((cache.runs(run),) if named else ())))
    open_ones = {each.name for each in run.status.steps if each.state not in ENDED}
    open_steps = [each for each in unpack(run.status.frozen).steps if each.name in open_ones]
    endpoints = tuple(dict.fromkeys(ref for each in open_steps if (ref := evaluating.endpoint(run, each))))
    numbered = endpoints or any(each.register_ or (each.train and each.train.output.model) for each in open_steps)
    earlier = tuple(cache.source(run, each) for each in run.status.sources)
    asked, beside = deploying.needs(run)
    selectors = [*([versions(run)] if numbered else []), *beside]
    made = _pods(run, open_steps)
    return Needs(
        refs=tuple(dict.fromkeys((*earlier, *endpoints, *asked, *made))), selectors=tuple(dict.fromkeys(selectors))
    )


def _pods(run: PipelineRun, steps: Iterable[Step]) -> Iterator[Ref]:
    """The pods that run by the record: one that the watch does not tell of is read before it is taken as gone."""
    mine = {each.name for each in steps if each.run or each.evaluate}
    for each in run.status.steps:
        if each.state == "Running" and each.job and each.name.partition("[")[0] in mine:
            yield Ref("Pod", run.metadata.namespace, each.job)


def _pipeline(run: PipelineRun) -> Ref:
    return Ref("Pipeline", run.metadata.namespace, run.spec.pipeline or run.status.pipeline or "")


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
        deletes=tuple(turn.deletes),
        events=tuple(events),
        requeue_after=min((each for each in turn.waits if each > 0), default=None),
        clear_annotations=done(run),
    )


def _begin(run: PipelineRun, observed: Observed) -> Plan:
    """The first look: the pipeline is found, checked and frozen; nothing else happens before that is recorded."""
    queued = admission.was_queued(run.status)
    earlier = rerun.taken_up(run, observed) if run.spec.rerun_of and not queued else None
    if isinstance(earlier, str):
        return _unbegun(run, observed, "InvalidRerun", f"spec.rerunOf: {earlier}")
    if earlier and earlier.status.pipeline != run.status.pipeline:  # recorded first: there may be a queue
        of = _of(run, earlier.status.pipeline).status
        return Plan(status=_with(observed, of, None, "Pending", f"it goes on from {earlier.metadata.name}"))
    live = observed.related.get(_pipeline(run), ())
    if run.spec.pipeline and not live:
        if run.spec.cancel:
            return _cancelled(run, observed, f"there was a Pipeline {run.spec.pipeline}")
        text = f"there is no Pipeline {run.spec.pipeline} in this namespace; create it, and the run begins"
        return Plan(status=_with(observed, run.status, None, "PipelineNotFound", text))
    if live and (why := admission.waits(run, live[0])):
        if run.spec.cancel:
            return _cancelled(run, observed, "its turn came")
        return Plan(status=_with(observed, run.status, None, admission.QUEUED, why))
    if queued:
        return Plan(status=_with(observed, run.status, None, "Pending", "its turn has come"))
    if earlier:
        return _begun(run, observed, earlier.status.frozen or "", [earlier.metadata.name])
    spec = run.spec.inline or Pipeline.model_validate(live[0]).spec
    known = (Component.model_validate(each) for each in observed.related.get(_components(run), ()))
    components = {each.metadata.name: each for each in known}
    if missing := sorted({each.component for each in spec.steps if each.component} - components.keys()):
        if run.spec.cancel:
            return _cancelled(run, observed, f"there was a Component {_named(missing)}")
        text = f"there is no Component {_named(missing)} in this namespace; create it, and the run begins"
        return Plan(status=_with(observed, run.status, None, "ComponentNotFound", text))
    faults = [*lint.problems(spec, components), *lint.given(spec, run.spec.parameters)]
    if faults:
        more = f"\n(and {len(faults) - NAMED} more; `noria lint` tells all)" if len(faults) > NAMED else ""
        text = "\n".join(map(str, faults[:NAMED])) + more
        return _unbegun(run, observed, "InvalidPipeline", text)
    frozen = pack(freeze(spec, components, {each.name: each.value for each in run.spec.parameters}))
    sources = cache.sources(run, observed.related.get(cache.runs(run), ()))
    return _begun(_of(run, run.spec.pipeline), observed, frozen, sources)


def _of(run: PipelineRun, pipeline: str | None) -> PipelineRun:
    return run.model_copy(update={"status": run.status.model_copy(update={"pipeline": pipeline})})


def _begun(run: PipelineRun, observed: Observed, frozen: str, sources: list[str]) -> Plan:
    steps = unpack(frozen).steps
    begun = run.status.model_copy(
        update={
            "frozen": frozen,
            "sources": sources,
            "start_time": rfc3339(observed.now),
            "steps": [StepStatus(name=each.name) for each in steps],
            "progress": f"0/{len(steps)}",
        }
    )
    return Plan(status=_with(observed, begun, None, "Pending", f"{len(steps)} steps are to run"))


def _unbegun(run: PipelineRun, observed: Observed, reason: str, text: str) -> Plan:
    """The last word about a run of which nothing has begun."""
    status = run.status.model_copy(update={"completion_time": rfc3339(observed.now)})
    event = Event("Warning", reason, text, "end")
    return Plan(
        status=_with(observed, status, False, reason, text),
        events=(event,),
        requeue_after=run.spec.ttl_seconds_after_finished,
    )


def _cancelled(run: PipelineRun, observed: Observed, what: str) -> Plan:
    """The end of a run that waits for what lets it begin: without it no step can run, onExit or not."""
    return _unbegun(run, observed, "Cancelled", f"spec.cancel was set before {what}")


def _where(turn: Turn, status: PipelineRunStatus) -> tuple[str, str]:
    """In a word, and in words, what the run is doing; a trouble that somebody must act on comes first."""
    if turn.suspended:
        return "Suspended", "spec.suspend is true; set it to false to go on"
    steps = turn.steps()
    running = [each for each in steps if each.state == "Running" and each.count is None]
    for each in running:
        if trouble := _trouble(turn.live.get(each.job or "")):
            return trouble.reason, f"step {each.name}: {trouble.message}"
    if deploys := deploying.asking(steps):
        return deploys[0].cause or "Running", f"step {deploys[0].name}: {deploys[0].message}"
    waiting = [each for each in steps if each.state == "Waiting"]
    if asked := next((each for each in waiting if each.cause == APPROVAL), None):
        return APPROVAL, f"step {asked.name}: {asked.message}"
    if waiting and not running:
        return "Retrying", f"step {waiting[0].name}: {waiting[0].message}\nThe next attempt follows."
    if turn.wants_look and not running:
        return "Verifying", f"{status.progress} steps ended; it is looked whether what earlier runs made is still there"
    return "Running", f"{status.progress} steps ended; {status.running or 'the next'} runs"


CALM = ("Running", "Pending", "Publishing", "Retrying", "Suspended")
"""Reasons of a TrainingJob under way that nobody must act on."""


def _trouble(live: Manifest | None) -> causes.Waiting | None:
    """What holds up a pod or a TrainingJob, if somebody must act on it."""
    if live is None:
        return None
    if live["kind"] == "Pod":
        return causes.waiting([live])
    told = find(TrainingJobStatus.model_validate(live.get("status") or {}).conditions, "Succeeded")
    waits = told and told.status == "Unknown" and told.reason not in CALM
    return causes.Waiting(told.reason, told.message) if told and waits else None


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
    if holds or turn.stopped:  # else the step's own Event has told it
        events = (*events, Event("Normal" if holds else "Warning", reason, message, "end"))
    return Plan(
        status=_with(observed, status, holds, reason, message),
        children=tuple(turn.children),
        deletes=tuple(turn.deletes),
        events=events,
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
        deletes=tuple(turn.deletes),
        events=tuple(refused(run)),
        clear_annotations=done(run),
    )
    if run.spec.ttl_seconds_after_finished is None or run.status.completion_time is None:
        return rest
    ttl = float(run.spec.ttl_seconds_after_finished)
    if any(each.deploy and each.state == "Failed" for each in run.status.steps):
        ttl = max(ttl, SEEN.total_seconds())
    left = (moment(run.status.completion_time) - observed.now).total_seconds() + ttl
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
    # Never pruned: what has ended stays for its logs until the run goes.
    watches=("Job", "TrainingJob", "Pod"),
    needs=needs,
    plan=plan,
)
