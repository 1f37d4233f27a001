"""What became of an attempt of a step, by its pod or its TrainingJob, and what it gave."""

from typing import Any

from pydantic import BaseModel, ValidationError

from noria.api.pipelinerun import Output, PipelineRun, StepStatus
from noria.api.ports import VALUE_TYPES
from noria.api.step import Step
from noria.api.trainingjob import TrainingJobStatus
from noria.plan import causes
from noria.plan.conditions import finished
from noria.plan.contract import Manifest
from noria.plan.manifests import moment
from noria.plan.pipelines import containers, evaluating, ports
from noria.plan.scoring import SCORER
from noria.plan.training import AGENT, MAIN

MESSAGE_LIMIT = 512
"""Bytes of a step's message that the status keeps; 500 steps must fit an object of 1 MiB."""
STOPPED = "it was stopped; the next attempt follows when the run goes on"
FAILURE_BACKOFF_CAP, DISRUPTION_BACKOFF_CAP = 600, 300


def shortened(message: str) -> str:
    """The end of a long message: errors end with their cause."""
    told = message.encode()
    return message if len(told) <= MESSAGE_LIMIT else "... " + told[4 - MESSAGE_LIMIT :].decode(errors="ignore")


def of_pod(
    run: PipelineRun, step: Step, item: int | None, record: StepStatus, live: Manifest | None, now: str
) -> StepStatus:
    """The record of an attempt that runs, with what its pod says: as it is, Succeeded, or Waiting for the next attempt.
    None: it is gone, and what it gave with it."""
    if live is None:
        return ended(record, now, "PodDeleted", "its pod is gone", counted=False)
    main, status = SCORER if step.evaluate else MAIN, live.get("status", {})
    if status.get("phase") == "Succeeded":
        over = causes.terminated(live, main) or {}
        return _completed(run, step, item, record, live, over.get("finishedAt") or now)
    left = time_left(step, record, now)
    if status.get("reason") == "DeadlineExceeded" or (left is not None and left <= 0 and not causes.over(live)):
        field = "evaluate.deadlineSeconds" if step.evaluate else "timeoutSeconds"
        text = f"attempt {record.attempt} ran longer than {field} ({_limit(step)})"
        return ended(record, now, "DeadlineExceeded", text, counted=True)
    if cause := causes.failure([live], main):
        return ended(record, cause.at or now, cause.reason, cause.message, cause.counted, cause.exit_code)
    if "deletionTimestamp" in live["metadata"]:
        return ended(record, now, "PodDeleted", f"pod {record.job} was deleted", counted=False)
    return record


def time_left(step: Step, record: StepStatus, now: str) -> float | None:
    """Seconds that an attempt has left, waiting for its node included; None without a limit."""
    seconds = _limit(step)
    return None if seconds is None or record.start_time is None else seconds - _since(record.start_time, now)


def _limit(step: Step) -> int | None:
    return step.evaluate.deadline_seconds if step.evaluate else step.timeout_seconds


def ended(
    record: StepStatus, end: str, cause: str, message: str, counted: bool | None, exit_code: int | None = None
) -> StepStatus:
    """The record of an attempt that did not do it. `counted` None: it is neither a failure nor a disruption."""
    update: dict[str, Any] = {"state": "Waiting", "cause": cause, "message": shortened(message), "end_time": end}
    if counted is not None:
        failures, disruptions = record.failures or 0, record.disruptions or 0
        update |= {"failures": failures + counted or None, "disruptions": None if counted else disruptions + 1}
    return record.model_copy(update=update)


def hopeless(step: Step, record: StepStatus, exit_code: int | None) -> bool:
    """Whether no further attempt follows."""
    limit = step.retry.limit if step.retry else 0
    fatal = step.retry.fatal_exit_codes if step.retry else []
    return (record.failures or 0) > limit or exit_code in fatal


def backoff(step: Step, record: StepStatus) -> float:
    """Seconds between the last attempt and the next: doubling with each failure; a first disruption is retried at once."""
    if record.cause == "Suspended":
        return 0
    if record.disruptions:
        return min(DISRUPTION_BACKOFF_CAP, 5 * 2.0 ** min(record.disruptions - 2, 20)) if record.disruptions > 1 else 0
    seconds = step.retry.backoff_seconds if step.retry else 0
    return min(FAILURE_BACKOFF_CAP, seconds * 2.0 ** min((record.failures or 1) - 1, 20))


def exit_code(live: Manifest | None) -> int | None:
    """Exit code of the user's container."""
    cause = causes.failure([live], MAIN) if live else None
    return cause.exit_code if cause else None


def _completed(
    run: PipelineRun,
    step: Step,
    item: int | None,
    record: StepStatus,
    live: Manifest,
    end: str,
) -> StepStatus:
    done = {"state": "Succeeded", "cause": None, "message": None, "end_time": end, "disruptions": None}
    if step.run and not containers.told(step):
        return record.model_copy(update=done | {"image": _image(live)})
    message = causes.said([live], SCORER if step.evaluate else AGENT)
    if message is None:
        code = None if step.evaluate else (causes.terminated(live, AGENT) or {}).get("exitCode")
        taken = causes.disrupted(live) or "deletionTimestamp" in live["metadata"]
        return ended(record, end, "OutputsLost", _untold(None if taken else code), counted=bool(code and not taken))
    if step.evaluate:
        told = evaluating.outcome(step, live, message)
        return record.model_copy(update=done | told | {"message": shortened(told["message"])})
    given = _read(run, step, item, record.attempt or 1, message)
    if isinstance(given, str):
        return ended(record, end, "InvalidOutputs", f"it completed, but {given}", counted=True)
    outputs, read = given
    return record.model_copy(update=done | {"outputs": outputs or None, "read": read or None, "image": _image(live)})


class Told(BaseModel):
    """The agent's message about a step: an error, or what it gave and the digests of what it read."""

    error: str | None = None
    message: str = ""
    outputs: dict[str, dict[str, Any]] = {}
    inputs: dict[str, str] = {}


def _untold(code: int | None) -> str:
    """Why nothing is known of what a step gave; an agent that was ended would be again."""
    if not code:
        return "it completed, but nothing told what it gave"
    text = f"it completed, but the agent ended with exit code {code} before it told what the step gave; for digests of what "
    text += f"was written, and read from outside, it has {containers.GRACE_SECONDS} s: give or read less, or use faster storage"
    return text


def _read(
    run: PipelineRun, step: Step, item: int | None, attempt: int, message: str
) -> tuple[list[Output], dict[str, str]] | str:
    """What the agent told of each port, or why it cannot be taken. The step could have written to it: nothing is trusted."""
    try:
        told = Told.model_validate_json(message)
        if told.error is not None:
            return told.message or told.error
        outputs = [
            _output(run, step, item, attempt, port.name, port.type, told.outputs[port.name]) for port in step.outputs
        ]
    except KeyError as error:
        return f"it gave no {error.args[0]}"
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, wrong["loc"]))
        return f"what the agent told cannot be read: {where}{': ' if where else ''}{wrong['msg']}"
    read = {each.name: told.inputs[each.name] for each in step.inputs if told.inputs.get(each.name)}
    faults = [
        (each.name, ports.fault(each.value, port.type))
        for each, port in zip(outputs, step.outputs, strict=True)
        if port.type in VALUE_TYPES
    ]
    return next((f"output {name}: {text}" for name, text in faults if text), (outputs, read))


def _output(
    run: PipelineRun, step: Step, item: int | None, attempt: int, port: str, type: str, told: dict[str, Any]
) -> Output:
    if type in VALUE_TYPES:
        return Output(name=port, value=ports.stored(told["value"]))
    uri = containers.artifact_uri(run, step, item, attempt, port)
    return Output(name=port, uri=uri, digest=str(told["digest"]), format=told.get("format"))


def _since(end: str, now: str) -> float:
    return (moment(now) - moment(end)).total_seconds()


def _image(live: Manifest) -> str | None:
    found = (each.get("imageID") for each in causes.statuses(live) if each["name"] == MAIN)
    return next((each for each in found if each), None)


def of_training(step: Step, record: StepStatus, live: Manifest, now: str) -> StepStatus:
    """The record of a train step with what its TrainingJob says."""
    status = TrainingJobStatus.model_validate(live.get("status") or {})
    succeeded = finished(status)
    if succeeded is None:
        return record
    end = status.completion_time or now
    if succeeded.status == "False":
        text = shortened(f"TrainingJob {record.job}: {succeeded.message}")
        return record.model_copy(
            update={"state": "Failed", "cause": succeeded.reason, "message": text, "end_time": end}
        )
    outputs = [Output(name="metrics", value=ports.stored(status.metrics or {}))]
    if status.output:
        written = status.output
        outputs.append(Output(name="model", uri=written.uri, digest=written.digest, format=written.format))
    if status.model_version:
        outputs.append(Output(name="version", value=status.model_version))
    lost = None if status.output else shortened(f"TrainingJob {record.job}: {succeeded.message}")
    done: dict[str, Any] = {"state": "Succeeded", "cause": None, "message": lost, "end_time": end, "outputs": outputs}
    done |= {"attempt": status.attempts[-1].number} if status.attempts else {}
    seen = {"read": status.output.inputs, "image": status.output.image} if status.output else {"read": None}
    return record.model_copy(update=done | seen)
