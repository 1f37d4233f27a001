"""How a step of a run starts, goes on, or is passed over once those before it have ended."""

import re

from noria.api.modelversion import ModelVersion
from noria.api.pipelinerun import Output, StepState, StepStatus
from noria.api.step import Step
from noria.api.trainingjob import TrainingJob
from noria.plan import causes
from noria.plan.manifests import moment
from noria.plan.modelversion import fault, next_number
from noria.plan.pipelines import approvals, cache, children, containers, deploying, evaluating, graph, outcomes, when
from noria.plan.pipelines.approvals import APPROVAL, APPROVE, REJECT
from noria.plan.pipelines.inputs import Inputs, Unfit, items, resolve
from noria.plan.pipelines.turn import ENDED, Turn, versions

UPSTREAM_FAILED = "UpstreamFailed"
MAX_RECORDS = 1000
"""Steps and items of a run together."""


def start(turn: Turn, step: Step) -> None:
    """One step whose turn may have come."""
    record = turn.records[step.name]
    if record.state == "Pending" and not _due(turn, step):
        return
    # What waits for others goes on waiting: an approval for a person, a version that is asked for already for its Endpoint.
    waits = step.approve or turn.records[step.name].deploy
    if turn.records[step.name].state in ENDED or (turn.suspended and not waits):
        return
    if record.state == "Pending" and not _wanted(turn, step):
        return
    if step.foreach:
        _fan_out(turn, step)
    else:
        _unit(turn, step, step.name, None)


def _due(turn: Turn, step: Step) -> bool:
    """Whether all that it waits for has ended; it is skipped if it did not give what is needed."""
    data = graph.feeds(step)
    needed = {name: turn.records[name] for name in data | set(step.after)}
    others = [turn.records[each.name] for each in turn.ordinary()] if step.on_exit else []
    if any(each.state not in ENDED for each in [*needed.values(), *others]):
        return False
    regardless = {each.name for each in turn.ordinary()} if step.on_exit else set()
    failed = [name for name, each in needed.items() if _failed(each) and (name in data or name not in regardless)]
    skipped = [name for name in data if needed[name].state == "Skipped"]
    for cause, names, text in (
        (UPSTREAM_FAILED, failed, "did not succeed"),
        ("UpstreamSkipped", skipped, "was skipped"),
    ):
        if names:
            turn.set(step.name, "Skipped", cause, f"{min(names)} {text}")
            return False
    return True


def _wanted(turn: Turn, step: Step) -> bool:
    """Whether its condition holds."""
    if step.when is None:
        return True
    try:
        seen = step.model_copy(update={"inputs": [each for each in step.inputs if not each.item]})
        found = resolve(turn.frozen, seen, turn.records).values
    except Unfit as unfit:
        turn.set(step.name, "Failed", "InvalidInput", str(unfit))
        return False
    holds = when.holds(step.when, found, turn.outcome() if step.on_exit else None)
    if holds is not True:
        state: StepState = "Failed" if isinstance(holds, str) else "Skipped"
        turn.set(
            step.name,
            state,
            "InvalidCondition" if isinstance(holds, str) else "WhenFalse",
            f"{step.when}: {holds}" if isinstance(holds, str) else step.when,
        )
    return holds is True


def _fan_out(turn: Turn, step: Step) -> None:
    assert step.foreach is not None
    if turn.records[step.name].state == "Pending":
        try:
            count = len(items(turn.frozen, step, turn.records))
        except Unfit as unfit:
            return turn.set(step.name, "Failed", "InvalidInput", str(unfit))
        if (total := len(turn.records) + count) > MAX_RECORDS:
            many = f"foreach: with its {count} items the run would have {total} steps and items; at most {MAX_RECORDS} fit an object"
            return turn.set(step.name, "Failed", "InvalidInput", many)
        turn.set(step.name, "Running", count=count, start_time=turn.now)
        for name, _ in turn.units(step):
            turn.records.setdefault(name, StepStatus(name=name))
    units = turn.units(step)
    room = step.foreach.parallelism - sum(turn.records[name].state in ("Running", "Waiting") for name, _ in units)
    for name, number in units:
        if turn.records[name].state == "Pending":
            asked = len(turn.creates)
            _unit(turn, step, name, number, room > 0)
            room -= turn.records[name].state in ("Running", "Waiting") or len(turn.creates) > asked
        else:
            _unit(turn, step, name, number)
    if all(turn.records[name].state in ENDED for name, _ in units):
        failed = [turn.records[name] for name, _ in units if turn.records[name].state == "Failed"]
        text = f"{len(failed)} of {len(units)} items failed; {failed[0].name}: {failed[0].message}" if failed else None
        turn.set(
            step.name,
            "Failed" if failed else "Succeeded",
            "ItemsFailed" if failed else None,
            text,
            end_time=turn.now,
        )


def _unit(turn: Turn, step: Step, name: str, item: int | None, room: bool = True) -> None:
    """Starts, goes on with, or waits for one step or item whose turn it is; without `room` it may only be taken from the cache."""
    record = turn.records[name]
    if record.state in ENDED or (record.state == "Running" and record.job in turn.live):
        return
    if step.approve and record.state == "Waiting":
        return _approval(turn, step, record)
    if step.deploy and record.deploy:
        return deploying.deploy(turn, step)
    attempt = record.attempt or 1
    if record.state == "Waiting":
        if not _again(turn, step, record):
            return
        attempt += 0 if step.train else 1
    try:
        inputs = resolve(turn.frozen, step, turn.records, item)
        if step.evaluate:
            inputs = evaluating.compared(turn.run, step, inputs, turn.observed.related)
    except Unfit as unfit:
        return turn.set(name, "Failed", unfit.cause, str(unfit))
    made = step.register_ and children.registered(turn.observed.related.get(versions(turn.run), ()), turn.run, step)
    begun = bool(made) or containers.child_name(turn.run, step, item) in turn.live
    if cache.settled(turn, step, name, item, inputs, begun):
        return
    if step.approve:
        return _ask(turn, step, inputs)
    if step.register_:
        return _register(turn, step, inputs)
    if step.deploy:
        return deploying.deploy(turn, step)
    if step.evaluate and (known := evaluating.itself(inputs)):
        return turn.set(name, "Succeeded", **known, start_time=turn.now, end_time=turn.now)
    if not room:
        return
    settings, state = turn.observed.settings, turn.outcome() if step.on_exit else None
    if step.train:
        child = children.trainingjob(turn.run, step, item, inputs)
        if wrong := fault(TrainingJob, child):
            return turn.set(name, "Failed", "InvalidInput", f"its TrainingJob would be refused: {wrong}")
    elif step.evaluate:
        child = evaluating.pod(turn.run, step, attempt, inputs, settings)
    else:
        child = containers.pod(turn.run, step, item, attempt, inputs, state, settings)
    job = child["metadata"]["name"]
    if job not in turn.live:
        if not step.train:  # recorded once it is there: what a record says runs and is not there is gone
            return turn.creates.append(child)
        turn.children.append(child)
    began = record.start_time if record.state == "Running" else turn.now
    turn.set(name, "Running", attempt=attempt, job=job, start_time=began, end_time=None)


def _again(turn: Turn, step: Step, record: StepStatus) -> bool:
    """Whether the next attempt may begin: its time has come, and the pod of the one before has ended."""
    wait = (moment(record.end_time or turn.now) - turn.observed.now).total_seconds() + outcomes.backoff(step, record)
    if wait > 0:
        turn.waits.append(wait)
        return False
    live = turn.live.get(record.job or "")
    return live is None or live["kind"] != "Pod" or causes.over(live)


def _ask(turn: Turn, step: Step, inputs: Inputs) -> None:
    assert step.approve is not None
    text = step.approve.message or "waits for an approval"
    if inputs.values:  # in one pass: a value that names another input is a value
        told = {name: str(value)[: outcomes.MESSAGE_LIMIT] for name, (_, value) in inputs.values.items()}
        text = re.sub(rf"\{{({'|'.join(map(re.escape, told))})\}}", lambda found: told[found[1]], text)
    how = f"kubectl annotate nrun {turn.run.metadata.name} noria.dev/by=<you> noria.dev/approve={step.name} (or noria.dev/reject)"
    turn.set(step.name, "Waiting", APPROVAL, f"{text}: {how}", start_time=turn.now)


def _approval(turn: Turn, step: Step, record: StepStatus) -> None:
    by = approvals.by(turn.run)
    if approvals.wish(turn.run, APPROVE) == step.name:
        return turn.set(step.name, "Succeeded", outputs=[Output(name="by", value=by)], end_time=turn.now)
    if approvals.wish(turn.run, REJECT) == step.name:
        return turn.set(step.name, "Failed", "Rejected", f"{by} rejected it", end_time=turn.now)
    if step.timeout_seconds and record.start_time:
        left = (moment(record.start_time) - turn.observed.now).total_seconds() + step.timeout_seconds
        if left <= 0:
            text = f"nobody approved within timeoutSeconds ({step.timeout_seconds})"
            return turn.set(step.name, "Failed", "DeadlineExceeded", text, end_time=turn.now)
        turn.waits.append(left)


def _register(turn: Turn, step: Step, inputs: Inputs) -> None:
    known = turn.observed.related.get(versions(turn.run), ())
    if version := children.registered(known, turn.run, step):
        output = Output(name="version", value=version["metadata"]["name"])
        return turn.set(step.name, "Succeeded", outputs=[output], start_time=turn.now, end_time=turn.now)
    assert step.register_ is not None
    source = next(each.from_ for each in step.inputs if each.name == "model")
    maker = turn.frozen.step(graph.source(source or "")[0])
    record = children.modelversion(
        turn.run, step, inputs.folders["model"], maker,
        resolve(turn.frozen, maker, turn.records), turn.records[maker.name],
        next_number(known, step.register_.model), turn.observed.settings,
    )  # fmt: skip
    if wrong := fault(ModelVersion, record):
        return turn.set(
            step.name, "Failed", "InvalidModel", f"its ModelVersion would be refused: {wrong}", end_time=turn.now
        )
    turn.creates.append(record)


def _failed(record: StepStatus) -> bool:
    """Whether a step failed, or was skipped since one before it did."""
    return record.state == "Failed" or (record.state == "Skipped" and record.cause == UPSTREAM_FAILED)
