"""What became of an attempt of a step, by its Job and pod, or by its TrainingJob, and what it gave."""

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from noria.api.pipelinerun import Output, PipelineRun, StepStatus
from noria.api.ports import VALUE_TYPES
from noria.api.step import Step
from noria.api.trainingjob import TrainingJobStatus
from noria.plan import causes
from noria.plan.attempts import job_condition
from noria.plan.conditions import finished
from noria.plan.contract import Manifest
from noria.plan.manifests import moment
from noria.plan.pipelines import evaluating, jobs, ports
from noria.plan.scoring import SCORER
from noria.plan.training import AGENT, MAIN

MESSAGE_LIMIT = 512
"""Characters of a step's message that the status keeps; 500 steps must fit an object of 1 MiB."""
LOST_SECONDS = 60
"""A Job that completed so long ago and whose pod is not known has lost its message."""
STOPPED = "it was stopped; the next attempt follows when the run goes on"
FAILURE_BACKOFF_CAP, DISRUPTION_BACKOFF_CAP = 600, 300


def shortened(message: str) -> str:
    """The end of a long message: errors end with their cause."""
    return message if len(message) <= MESSAGE_LIMIT else "... " + message[4 - MESSAGE_LIMIT :]


def of_job(
    run: PipelineRun,
    step: Step,
    item: int | None,
    record: StepStatus,
    live: Manifest,
    pods: Sequence[Manifest],
    now: str,
) -> StepStatus:
    """The record of an attempt that runs, with what its Job says: as it is, Succeeded, or Waiting for the next attempt.
    The success of its one pod is enough: the Job controller gathers such news for a second before the Job is Complete."""
    if complete := job_condition(live, "Complete"):
        end = live.get("status", {}).get("completionTime") or complete["lastTransitionTime"]
        return _completed(run, step, item, record, live, pods, end, now)
    if live["spec"].get("suspend"):
        return ended(record, now, "Suspended", STOPPED, counted=None)
    failed = job_condition(live, "FailureTarget") or job_condition(live, "Failed")
    if not failed:
        done = succeeded(pods)
        return _completed(run, step, item, record, live, pods, _finished(done) or now, now) if done else record
    end = failed.get("lastTransitionTime") or now
    if failed.get("reason") == "DeadlineExceeded":
        field, seconds = "timeoutSeconds", step.timeout_seconds
        if step.evaluate:
            field, seconds = "evaluate.deadlineSeconds", step.evaluate.deadline_seconds
        text = f"attempt {record.attempt} ran longer than {field} ({seconds})"
        return ended(record, end, "DeadlineExceeded", text, counted=True)
    cause = causes.failure(pods, SCORER if step.evaluate else MAIN)
    if cause is None and pods:
        return record  # the Job's news came before its pods'
    if cause is None:
        return ended(record, end, "PodDeleted", f"its pod is gone ({failed.get('message', '')})", counted=False)
    return ended(record, end, cause.reason, cause.message, cause.counted, cause.exit_code)


def succeeded(pods: Sequence[Manifest]) -> Manifest | None:
    """The pod that did it, if one did."""
    return next((each for each in pods if each.get("status", {}).get("phase") == "Succeeded"), None)


def _finished(pod: Manifest) -> str | None:
    main = causes.terminated(pod, MAIN)
    return main.get("finishedAt") if main else None


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


def exit_code(pods: Sequence[Manifest]) -> int | None:
    """Exit code of the user's container."""
    cause = causes.failure(pods, MAIN)
    return cause.exit_code if cause else None


def _completed(
    run: PipelineRun,
    step: Step,
    item: int | None,
    record: StepStatus,
    live: Manifest,
    pods: Sequence[Manifest],
    end: str,
    now: str,
) -> StepStatus:
    done = {"state": "Succeeded", "cause": None, "message": None, "end_time": end, "disruptions": None}
    if step.run and not jobs.told(step):
        return record.model_copy(update=done | {"image": _image(pods)})
    message = causes.said(pods, SCORER if step.evaluate else AGENT)
    if message is None and (
        any(not causes.over(pod) for pod in pods) or (not pods and _since(end, now) < LOST_SECONDS)
    ):
        return record  # the Job's news came before its pod's
    if message is None:
        return ended(record, end, "OutputsLost", "it completed, but its pod went with what it gave", counted=False)
    if step.evaluate:
        told = evaluating.outcome(step, live, message)
        return record.model_copy(update=done | told | {"message": shortened(told["message"])})
    given = _read(run, step, item, record.attempt or 1, message)
    if isinstance(given, str):
        return ended(record, end, "InvalidOutputs", f"it completed, but {given}", counted=True)
    outputs, read = given
    return record.model_copy(update=done | {"outputs": outputs or None, "read": read or None, "image": _image(pods)})


def _read(
    run: PipelineRun, step: Step, item: int | None, attempt: int, message: str
) -> tuple[list[Output], dict[str, str]] | str:
    """What the agent told of each port, or why it cannot be taken. The step could have written to it: nothing is trusted."""
    try:
        told = json.loads(message)
        if "error" in told:
            return str(told.get("message") or told["error"])
        outputs = [
            _output(run, step, item, attempt, port.name, port.type, told["outputs"][port.name]) for port in step.outputs
        ]
        read = {
            each.name: str(told["inputs"][each.name])
            for each in step.inputs
            if (told.get("inputs") or {}).get(each.name)
        }
    except KeyError as error:
        return f"it gave no {error.args[0]}"
    except (ValueError, TypeError, AttributeError, ValidationError) as error:
        return f"what the agent told cannot be read: {error}"
    faults = [
        (each.name, ports.fault(each.value, port.type))
        for each, port in zip(outputs, step.outputs, strict=True)
        if port.type in VALUE_TYPES
    ]
    wrong = next((f"output {name}: {text}" for name, text in faults if text), None)
    return wrong or (outputs, read)


def _output(run: PipelineRun, step: Step, item: int | None, attempt: int, port: str, type: str, told: Any) -> Output:
    if type in VALUE_TYPES:
        return Output(name=port, value=told["value"])
    uri = jobs.artifact_uri(run, step, item, attempt, port)
    return Output(name=port, uri=uri, digest=str(told["digest"]), format=told.get("format"))


def _since(end: str, now: str) -> float:
    return (moment(now) - moment(end)).total_seconds()


def _image(pods: Sequence[Manifest]) -> str | None:
    found = (each.get("imageID") for pod in pods for each in causes.statuses(pod) if each["name"] == MAIN)
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
    outputs = [Output(name="metrics", value=status.metrics or {})]
    if status.output:
        written = status.output
        outputs.append(Output(name="model", uri=written.uri, digest=written.digest, format=written.format))
    if status.model_version:
        outputs.append(Output(name="version", value=status.model_version))
    done = {"state": "Succeeded", "cause": None, "message": None, "end_time": end, "outputs": outputs}
    seen = {"read": status.output.inputs, "image": status.output.image} if status.output else {"read": None}
    return record.model_copy(update=done | seen)
