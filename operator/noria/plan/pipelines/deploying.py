"""The deploy step: it asks an Endpoint for a version by the run's own record, and tells what came of it there."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from noria.api.cycle import Cycle
from noria.api.endpoint import Endpoint
from noria.api.modelversion import ModelVersion
from noria.api.pipelinerun import Asked, Output, PipelineRun, StepState, StepStatus
from noria.api.step import Step
from noria.plan.conditions import find
from noria.plan.contract import Ref, Selector
from noria.plan.manifests import moment
from noria.plan.pipelines.inputs import Unfit, resolve
from noria.plan.pipelines.turn import Turn, versions
from noria.plan.wheel import wanted, wishes
from noria.plan.wheel.challengers import RECORD_SECONDS
from noria.plan.wheel.view import served_record
from noria.plan.wheel.wishes import Wish


class Told(NamedTuple):
    """What the Endpoint's status says of the version that is asked for."""

    state: StepState
    cause: str | None
    message: str | None
    outcome: str | None = None
    """Of a step that succeeded: Promoted, or AlreadyServed."""


def asking(steps: Iterable[StepStatus]) -> list[StepStatus]:
    """The deploy steps that wait for an Endpoint."""
    return [each for each in steps if each.deploy and each.state == "Running"]


def needs(run: PipelineRun) -> tuple[list[Ref], list[Selector]]:
    """What they look at: the Endpoint, the versions, and the other runs, which may ask for something newer."""
    refs = [_endpoint(run, each.deploy) for each in asking(run.status.steps) if each.deploy]
    return refs, [versions(run), _runs(run)] if refs else []


def _endpoint(run: PipelineRun, asked: Asked) -> Ref:
    return Ref("Endpoint", run.metadata.namespace, asked.endpoint)


def _runs(run: PipelineRun) -> Selector:
    return Selector("PipelineRun", run.metadata.namespace)


def deploy(turn: Turn, step: Step) -> None:
    """Asks; and once that is recorded, waits for the outcome."""
    record = turn.records[step.name]
    if record.deploy is None:
        return _ask(turn, step)
    told = _outcome(turn, record, record.deploy)
    if told.state == "Running" and step.timeout_seconds:
        left = _left(turn, record, step.timeout_seconds)
        if left <= 0:
            text = (
                f"{record.deploy.version} was not served within timeoutSeconds ({step.timeout_seconds}): {told.message}"
            )
            told = Told("Failed", "DeadlineExceeded", text)
        turn.waits.append(left)
    values = {"version": record.deploy.version, "outcome": told.outcome}
    outputs = [Output(name=name, value=value) for name, value in values.items()] if told.outcome else None
    end = None if told.state == "Running" else turn.now
    turn.set(step.name, told.state, told.cause, told.message, end_time=end, outputs=outputs)


def _ask(turn: Turn, step: Step) -> None:
    assert step.deploy is not None
    try:
        version = resolve(turn.frozen, step, turn.records).values["version"][1]
    except Unfit as unfit:
        return turn.set(step.name, "Failed", "InvalidInput", str(unfit))
    asked = Asked(endpoint=step.deploy.endpoint, version=version)
    turn.set(
        step.name,
        "Running",
        "Asked",
        f"Endpoint {asked.endpoint} is asked for {version}",
        start_time=turn.now,
        deploy=asked,
    )


def _outcome(turn: Turn, record: StepStatus, asked: Asked) -> Told:
    name, version, related = asked.endpoint, asked.version, turn.observed.related
    live = related.get(_endpoint(turn.run, asked), ())
    if not live:
        text = f"there is no Endpoint {name} in this namespace; create it, and the step goes on"
        return Told("Running", "EndpointNotFound", text)
    endpoint = Endpoint.model_validate(live[0])
    model, current, flight = endpoint.spec.model, endpoint.status.current, endpoint.status.cycle
    if wishes.model_of(version) != model.name:
        return Told("Failed", "OtherModel", f"Endpoint {name} serves model {model.name}; {version} is no version of it")
    if model.version is not None and version != f"{model.name}-{model.version}":
        text = f"Endpoint {name} is pinned to {model.name}-{model.version} by model.version; set model.track: Deployed instead"
        return Told("Failed", "Pinned", text)
    last = _last(endpoint, record, version)
    if last and last.outcome == "Promoted":
        return Told("Succeeded", None, None, "Promoted")
    # While another cycle is in flight that the wish is to end, the version does not serve for good.
    left_alone = flight is None or (model.track != "Deployed" and flight.challenger != version)
    known = [
        ModelVersion.model_validate(each)
        for each in related.get(versions(turn.run), ())
        if each["spec"]["model"] == model.name
    ]
    mine = Wish(record.start_time or "", turn.run.metadata.name, record.name, version)
    itself = all(each is served_record(current, known) for each in known if each.metadata.name == version)
    if current and current.version == version and itself and left_alone:
        if older := _older(turn, endpoint, known, mine):
            return Told("Running", "Asked", f"Endpoint {name} serves it; {older}, and ends when it sees this wish")
        return Told("Succeeded", None, None, "AlreadyServed")
    if newer := _newer(turn, endpoint, known, mine):
        return Told("Failed", "Superseded", f"Endpoint {name}: {newer}")
    if flight and flight.challenger == version:
        return _behind(endpoint, flight)
    return _expected(turn, record, endpoint, known, last) or _behind(endpoint, last)


def _last(endpoint: Endpoint, record: StepStatus, version: str) -> Cycle | None:
    """The newest cycle with the version that was over after the step began."""
    began = moment(record.start_time or "")
    over = (each for each in endpoint.status.history if each.end_time and moment(each.end_time) >= began)
    return next((each for each in over if each.challenger == version), None)


def _newer(turn: Turn, endpoint: Endpoint, known: Sequence[ModelVersion], mine: Wish) -> Wish | None:
    """A newer wish for another version, as the Endpoint sees it."""
    others = (each for each in _others(turn, endpoint, mine) if each > mine)
    return next((each for each in others if wanted.may_follow(endpoint, known, each.version)), None)


def _older(turn: Turn, endpoint: Endpoint, known: Sequence[ModelVersion], mine: Wish) -> Wish | None:
    """An older wish for another version, which this one ends: were this one done before, the Endpoint would follow that."""
    others = (each for each in _others(turn, endpoint, mine) if each < mine)
    return next(others, None) if wanted.may_follow(endpoint, known, mine.version) else None


def _others(turn: Turn, endpoint: Endpoint, mine: Wish) -> Iterable[Wish]:
    if endpoint.spec.model.track != "Deployed":
        return ()
    standing = wishes.of(endpoint, turn.observed.related.get(_runs(turn.run), ()))
    return (each for each in standing if each.version != mine.version)


def _expected(
    turn: Turn, record: StepStatus, endpoint: Endpoint, known: Sequence[ModelVersion], last: Cycle | None
) -> Told | None:
    """Why no cycle with the version will begin; None if one will."""
    assert record.deploy is not None
    name, version = endpoint.metadata.name, record.deploy.version
    found = next((each for each in known if each.metadata.name == version), None)
    if found is None:
        left = _left(turn, record, RECORD_SECONDS)  # its record may come a moment after its name
        turn.waits.append(left)
        text = f"ModelVersion {version} does not exist; versions: {wanted.numbers(known)}"
        return Told("Running" if left > 0 else "Failed", "ModelVersionNotFound", text)
    if why := wanted.unfit(endpoint, known, found):
        if why.reason != "Rejected":
            return Told("Failed", why.reason, f"Endpoint {name}: {why.message}")
        cause = (
            last.outcome if last and last.outcome in ("RolledBack", "Rejected") else last.reason if last else "Rejected"
        )
        words = last.message if last else f"{version} did not earn the traffic before (status.history says why)"
        how = f"kubectl annotate mep {name} noria.dev/retry={version} noria.dev/by=<you>, and start the run again, to let it try once more"
        return Told("Failed", cause, f"Endpoint {name}: {words}; {how}")
    if endpoint.spec.model.track == "Latest":
        newest, _ = wanted.wanted(endpoint, known, ())
        if not isinstance(newest, ModelVersion):
            return Told("Failed", newest.reason, f"Endpoint {name}: {newest.message}")
        if newest.metadata.name != version:
            text = f"Endpoint {name} wants {newest.metadata.name} (model.track: Latest); set model.track: Deployed to choose"
            return Told("Failed", "Superseded", text)
    return None


def _behind(endpoint: Endpoint, cycle: Cycle | None) -> Told:
    """What is waited for, in the Endpoint's own words."""
    name = endpoint.metadata.name
    if cycle and cycle.end_time:
        return Told("Running", cycle.reason, f"Endpoint {name}: {cycle.message}; it is tried again")
    both = (find(endpoint.status.conditions, each) for each in ("UpToDate", "Ready"))
    said = next((each for each in both if each and each.status == "False"), None)
    if said and said.reason != wanted.NOTHING_DEPLOYED:  # which it said before it was asked
        return Told("Running", said.reason, f"Endpoint {name}: {said.message}")
    return Told("Running", "Asked", f"Endpoint {name} is about to begin")


def _left(turn: Turn, record: StepStatus, seconds: int) -> float:
    """Of so many seconds since the step began."""
    return (moment(record.start_time or "") - turn.observed.now).total_seconds() + seconds
