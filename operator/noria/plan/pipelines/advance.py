"""One step on of a PipelineRun: ended attempts are taken in, what became ready is started, what should not run is stopped.

A step that is ready is made at once, under a name that run, step, item and attempt determine, and recorded as Running; what
the record says runs and is not there is made (again) under the same name. So a process that dies in between does nothing twice.
"""

from collections.abc import Iterator

from noria.api.step import Step
from noria.api.trainingjob import TrainingJobStatus
from noria.plan import causes
from noria.plan.conditions import finished
from noria.plan.manifests import moment, pinned
from noria.plan.pipelines import cache, evaluating, outcomes
from noria.plan.pipelines.inputs import resolve
from noria.plan.pipelines.starting import start
from noria.plan.pipelines.turn import ENDED, Turn


def advance(turn: Turn) -> None:
    """Everything, in order."""
    for step in turn.frozen.steps:
        for name, item in turn.units(step):
            _take_in(turn, step, name, item)
    _stop(turn)
    for step in turn.frozen.steps:
        start(turn, step)
    if turn.wants_look:
        cache.look(turn, _would_take(turn))
    enforce(turn)


def _would_take(turn: Turn) -> Iterator[cache.Entry]:
    """What would be taken from earlier runs if all of it is as it was."""
    other = cache.pretended(turn)
    for step in other.frozen.steps:
        start(other, step)
        yield from other.pretended or ()
        other.pretended = []


def _take_in(turn: Turn, step: Step, name: str, item: int | None) -> None:
    record = turn.records[name]
    live = turn.live.get(record.job or "")
    if record.state != "Running" or record.job is None:
        return
    if step.train:
        if live:
            turn.take(name, outcomes.of_training(step, record, live, turn.now))
    else:
        after = outcomes.of_pod(turn.run, step, item, record, live, turn.now)
        # A disruption ends a container with any code.
        code = outcomes.exit_code(live) if after.failures != record.failures else None
        if after.state == "Waiting" and outcomes.hopeless(step, after, code):
            after = after.model_copy(update={"state": "Failed"})
        turn.take(name, after)
        if after.state == "Running" and (left := outcomes.time_left(step, after, turn.now)) is not None:
            turn.waits.append(left)
    taken = turn.records[name]
    given = {each.name for each in taken.outputs or ()}
    if taken.state == "Succeeded" and not step.on_exit and not (step.train and "model" not in given):
        inputs = resolve(turn.frozen, step, turn.records, item)
        if step.evaluate and live:
            inputs = evaluating.as_scored(inputs, live)
        known = cache.key(step, inputs, taken.read, turn.observed.settings)
        turn.records[name] = taken.model_copy(update={"key": known})
    if turn.records[name].state == "Running" and turn.suspended:
        turn.records[name] = outcomes.ended(record, turn.now, "Suspended", outcomes.STOPPED, counted=None)


def _stop(turn: Turn) -> None:
    """Ends the steps without onExit when the run is cancelled or its time is over."""
    open_ones = [each for each in turn.ordinary() if turn.records[each.name].state not in ENDED]
    if not turn.stopped and open_ones:
        left = _time_left(turn)
        turn.stopped = (
            "Cancelled" if turn.run.spec.cancel else "DeadlineExceeded" if left is not None and left <= 0 else None
        )
        turn.waits += [left] if left is not None else []
    if not turn.stopped:
        return
    for each in open_ones:
        for name in turn.names(each):
            if turn.records[name].state not in ENDED:
                begun = turn.records[name].state != "Pending"
                turn.set(name, "Failed" if begun else "Skipped", turn.stopped, end_time=turn.now if begun else None)


def _time_left(turn: Turn) -> float | None:
    seconds, began = turn.run.spec.active_deadline_seconds, turn.run.status.start_time
    return None if seconds is None or began is None else (moment(began) - turn.observed.now).total_seconds() + seconds


def enforce(turn: Turn) -> None:
    """Ends pods and stops TrainingJobs that no record says run, and lets TrainingJobs go on that one says do. A pod goes
    once that is written: one that is gone while its record says that it runs would be taken as lost."""
    running = {each.job for each in turn.records.values() if each.state == "Running"}
    written = {each.job for each in turn.run.status.steps if each.state == "Running"}
    for name, live in turn.live.items():
        wanted = name in running
        if live["kind"] == "Pod":
            if name not in running | written and not causes.over(live) and "deletionTimestamp" not in live["metadata"]:
                turn.deletes.append(live)
        elif not finished(TrainingJobStatus.model_validate(live.get("status") or {})):
            desired = pinned(live)
            if wanted == bool(desired["spec"].get("suspend")):
                turn.children.append(desired | {"spec": desired["spec"] | {"suspend": not wanted}})
