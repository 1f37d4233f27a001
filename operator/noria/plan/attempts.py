"""What became of a TrainingJob's attempts: their Jobs and pods, judged by cause, and what the agent said of them."""

import math
from collections.abc import Iterator
from datetime import datetime

from noria.api.trainingjob import Attempt, Progress, TrainingJob, TrainingJobStatus
from noria.plan import causes, training
from noria.plan.contract import Answer, Event, Manifest, Observed, Query
from noria.plan.manifests import moment, pinned, rfc3339
from noria.plan.modelversion import Published, read
from noria.plan.pods import by_job

DISRUPTION_BACKOFF_CAP, FAILURE_BACKOFF_CAP = 300, 600
PROGRESS = Query('{__name__=~"noria_training_.+"}', "trainingjob")
RECIPE_INPUT_ERROR = 2
"""Exit code of the recipes for parameters and data that can never work."""


def judged(job: TrainingJob, observed: Observed, stopped: str | None) -> list[Attempt]:
    """All attempts known, oldest first: those recorded as ended stand as they are, the others as their Jobs say."""
    live = {number_of(each): each for each in jobs(observed, "training")}
    recorded = {each.number: each for each in job.status.attempts}
    return [
        recorded[number]
        if number in recorded and recorded[number].end_time
        else _judge(job, observed, number, live.get(number), recorded.get(number), stopped)
        for number in sorted(live.keys() | recorded.keys())
    ]


def _judge(
    job: TrainingJob,
    observed: Observed,
    number: int,
    live: Manifest | None,
    recorded: Attempt | None,
    stopped: str | None,
) -> Attempt:
    """What became of one attempt that is not recorded as ended; `stopped` says why one that still runs is ended now."""
    now = rfc3339(observed.now)
    started = (live and live["metadata"].get("creationTimestamp")) or (recorded and recorded.start_time) or now
    running = Attempt(number=number, start_time=started)
    if live and (end := _completion(job, live, pods_of(job, observed, number))):
        return running.model_copy(update={"cause": "Completed", "counted": False, "exit_code": 0, "end_time": end})
    if stopped or live is None:
        reason, text = (stopped, "it was ended") if stopped else ("JobDeleted", "its Job was deleted")
        return running.model_copy(update={"cause": reason, "message": text, "counted": False, "end_time": now})
    failed = job_condition(live, "FailureTarget") or job_condition(live, "Failed")
    if not failed:
        return running
    pods = pods_of(job, observed, number)
    cause = causes.failure(pods, training.MAIN)
    if cause is None and any(not causes.over(pod) for pod in pods):
        return running  # the Job's news came before its pods'
    if cause is None:
        cause = causes.Failure("PodDeleted", f"its pods are gone ({failed.get('message', '')})", None, False, "")
    if cause.counted and any(not causes.over(pod) for pod in pods):
        return running  # another pod may yet turn out to be on a lost node, and then this one only followed
    update = {"cause": cause.reason, "message": cause.message, "exit_code": cause.exit_code, "counted": cause.counted}
    return running.model_copy(update=update | {"end_time": failed.get("lastTransitionTime") or now})


def _completion(job: TrainingJob, live: Manifest, pods: list[Manifest]) -> str | None:
    """When the attempt completed, if it did. The success of the pod of every node is enough: the Job controller gathers
    such news for a second before the Job is Complete."""
    if complete := job_condition(live, "Complete"):
        return str(live["status"].get("completionTime") or complete["lastTransitionTime"])
    ended = {index_of(pod): pod for pod in pods if pod.get("status", {}).get("phase") == "Succeeded"}
    if live["spec"].get("suspend") or len(ended) < job.spec.nodes:
        return None
    ends = (causes.terminated(pod, training.MAIN) for pod in ended.values())
    return max((str(each["finishedAt"]) for each in ends if each and each.get("finishedAt")), default=None)


def fatal(job: TrainingJob) -> list[int]:
    """Exit codes after which a retry makes no sense."""
    return job.spec.retry.fatal_exit_codes + ([RECIPE_INPUT_ERROR] if job.spec.recipe else [])


def time_left(job: TrainingJob, observed: Observed) -> float | None:
    """Seconds until activeDeadlineSeconds has passed; None without one, or before the first start."""
    if job.spec.active_deadline_seconds is None or job.status.start_time is None:
        return None
    return (moment(job.status.start_time) - observed.now).total_seconds() + job.spec.active_deadline_seconds


def recorded(job: TrainingJob, number: int) -> bool:
    """Whether the status holds that attempt as ended."""
    return any(each.number == number and each.end_time for each in job.status.attempts)


def backoff(job: TrainingJob, attempts: list[Attempt], failures: int) -> float:
    """Seconds to wait after the last attempt: doubling with each failure; a first disruption is retried at once."""
    if attempts[-1].cause in ("Suspended", "JobDeleted"):
        return 0
    if attempts[-1].counted:
        return min(FAILURE_BACKOFF_CAP, job.spec.retry.backoff_seconds * 2.0 ** min(failures - 1, 20))
    row = 0
    for each in reversed(attempts):
        if each.counted or each.cause in ("Suspended", "JobDeleted"):
            break
        row += 1
    return min(DISRUPTION_BACKOFF_CAP, 5 * 2.0 ** min(row - 2, 20)) if row > 1 else 0


def gpu_seconds(job: TrainingJob, ended: list[Attempt]) -> int | None:
    """GPUs times seconds of all ended attempts, those just `ended` included; None where no GPU is asked for."""
    gpus = job.spec.nodes * job.spec.gpus_per_node
    seconds = sum(
        (_time(each.end_time) - _time(each.start_time)).total_seconds()
        for each in ended
        if each.start_time and each.end_time
    )
    return (job.status.gpu_seconds or 0) + int(gpus * max(0, seconds)) if gpus else None


def _time(text: str | None) -> datetime:
    return moment(text or "1970-01-01T00:00:00Z")


def known(live: Manifest) -> bool:
    """Whether a Job or Service says which attempt's it is: anyone may write labels, and what says nothing is left out."""
    number = live["metadata"].get("labels", {}).get(training.ATTEMPT, "")
    return live["kind"] not in ("Job", "Service") or number.isdecimal()


def number_of(live: Manifest) -> int:
    """The attempt that a Job or Service belongs to."""
    return int(live["metadata"]["labels"][training.ATTEMPT])


def jobs(observed: Observed, role: str) -> list[Manifest]:
    """The live Jobs that train, or that publish."""
    return [
        each
        for each in observed.children
        if each["kind"] == "Job" and each["metadata"]["labels"].get(training.ROLE) == role
    ]


def pods_of(job: TrainingJob, observed: Observed, attempt: int, role: str = "training") -> list[Manifest]:
    """The live pods of an attempt."""
    return by_job(observed.children).get(training.job_name(job, attempt, role), [])


def index_of(pod: Manifest) -> str:
    """Which of the attempt's nodes the pod is."""
    return str(pod["metadata"].get("annotations", {}).get(training.INDEX_ANNOTATION, "0"))


def job_condition(live: Manifest, type: str) -> Manifest | None:
    """The Job's condition of that type, if it holds."""
    return next(
        (
            each
            for each in live.get("status", {}).get("conditions", [])
            if each["type"] == type and each["status"] == "True"
        ),
        None,
    )


def message(job: TrainingJob, observed: Observed, attempt: int) -> Published | None:
    """What the agent of rank 0 said, in the training's own pod or in the publisher's."""
    for role in ("training", "publish"):
        for pod in pods_of(job, observed, attempt, role):
            ended = causes.terminated(pod, training.AGENT)
            if (
                index_of(pod) == "0"
                and pod.get("status", {}).get("phase") == "Succeeded"
                and ended
                and ended.get("message")
            ):
                return read(ended["message"])
    return None


def image_digest(pods: list[Manifest]) -> str | None:
    """The training image as the kubelet ran it."""
    return next(
        (
            each["imageID"]
            for pod in pods
            for each in causes.statuses(pod)
            if each["name"] == training.MAIN and each.get("imageID")
        ),
        None,
    )


def refusals(observed: Observed, name: str) -> list[Manifest]:
    """Events that tell why the API server refused pods of a Job."""
    return [
        each for each in observed.children if each["kind"] == "Event" and each["involvedObject"].get("name") == name
    ]


def progress(observed: Observed) -> Progress | None:
    """How far the training is, as its numbers in Prometheus tell; None without them."""
    rows = observed.answers.get(PROGRESS, Answer()).rows
    newest = max((int(row.labels.get("attempt", 0)) for row in rows), default=0)
    values = {
        row.labels["__name__"]: row.value
        for row in rows
        if int(row.labels.get("attempt", 0)) == newest and math.isfinite(row.value)
    }
    if "noria_training_step" not in values:
        return None
    step, total = int(values["noria_training_step"]), int(values.get("noria_training_steps", 0)) or None
    whole = {
        key: int(values[name])
        for key, name in (("epoch", "noria_training_epoch"), ("eta_seconds", "noria_training_eta_seconds"))
        if name in values
    }
    return Progress(
        step=step,
        total=total,
        loss=values.get("noria_training_loss"),
        samples_per_second=values.get("noria_training_samples_per_second"),
        percent=f"{100 * step // total}%" if total else None,
        **whole,
    )


def event(attempt: Attempt) -> Event:
    """The Event of an attempt that did not complete."""
    warning = attempt.cause not in ("Suspended", "JobDeleted")
    return Event(
        "Warning" if warning else "Normal",
        attempt.cause or "Failed",
        f"attempt {attempt.number}: {attempt.message}",
        f"attempt-{attempt.number}",
    )


def kept(
    job: TrainingJob, status: TrainingJobStatus, observed: Observed, running: int | None = None
) -> Iterator[Manifest]:
    """Children that stay as they are: Jobs that have ended (the newest two, for their logs) and all of the running attempt."""
    code = training.code(job)
    if code:
        yield code
    newest = max((number_of(each) for each in jobs(observed, "training")), default=0)
    completed = {each.number for each in status.attempts if each.cause == "Completed"}
    for each in observed.children:
        if each["kind"] not in ("Job", "Service"):
            continue
        number = number_of(each)
        over = any(job_condition(each, type) for type in ("Complete", "Failed", "FailureTarget")) or (
            number in completed and each["kind"] == "Job"
        )  # its pods were faster to say so
        if number == running or (over and number >= newest - 1):
            yield pinned(each)
