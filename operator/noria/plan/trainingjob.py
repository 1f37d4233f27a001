"""TrainingJob: attempts follow one another by cause until one succeeds, whose folder becomes a ModelVersion.

One attempt is one batch Job that is never changed. Suspending, a failure and a disruption all end the attempt;
going on is the next one, with the same checkpoints. A terminal status is final.
"""

from collections.abc import Iterator
from datetime import datetime

from noria.api.trainingjob import Attempt, Progress, TrainingJob, TrainingJobStatus
from noria.plan import causes, training
from noria.plan.conditions import condition, finished
from noria.plan.contract import Controller, Event, Manifest, Needs, Observed, Plan, Selector, Settings
from noria.plan.manifests import moment, pinned, rfc3339
from noria.plan.modelversion import Published, modelversion, next_number, of_training, read

ATTEMPTS_KEPT = 10
DISRUPTION_BACKOFF_CAP, FAILURE_BACKOFF_CAP = 300, 600


def needs(job: TrainingJob, settings: Settings) -> Needs:
    """The versions of the namespace: one may be this job's already, the others say which number is next."""
    return Needs(selectors=(_versions(job),))


def _versions(job: TrainingJob) -> Selector:
    return Selector("ModelVersion", job.metadata.namespace)


def plan(job: TrainingJob, observed: Observed) -> Plan:
    """What should be for one TrainingJob."""
    if finished(job.status):
        return _rest(job, observed)
    left = _time_left(job, observed)
    stopped = "DeadlineExceeded" if left is not None and left <= 0 else "Suspended" if job.spec.suspend else None
    attempts = _attempts(job, observed, stopped)
    ended = [each for each in attempts if each.end_time and not _recorded(job, each.number)]
    failures = (job.status.failures or 0) + sum(1 for each in ended if each.counted)
    status = job.status.model_copy(
        update={
            "attempts": attempts[-ATTEMPTS_KEPT:],
            "failures": failures or None,
            "gpu_seconds": _gpu_seconds(job, ended),
            "progress": _progress(observed) or job.status.progress,
            "start_time": job.status.start_time
            or next((each.start_time for each in attempts if each.start_time), None),
        }
    )
    events = tuple(_attempt_event(each) for each in ended if each.cause != "Completed")
    last = attempts[-1] if attempts else None
    draft = _Draft(job, observed, status, events, left)

    if last and last.cause == "Completed":
        return _publish(draft, last)
    if stopped == "DeadlineExceeded":
        limit = job.spec.active_deadline_seconds
        return draft.end(
            False, stopped, f"it ran longer than activeDeadlineSeconds ({limit}); raise it, or ask for less"
        )
    if stopped == "Suspended":
        return draft.go_on(stopped, "spec.suspend is true; set it to false to go on from the newest checkpoint")
    if last is None:
        return draft.start(1)
    if last.end_time is None:
        return draft.run(last)
    if last.counted and last.exit_code in _fatal(job):
        return draft.end(
            False,
            last.cause or "Failed",
            f"attempt {last.number}: {last.message}\nA retry cannot mend this exit code.",
        )
    if last.counted and failures > job.spec.retry.limit:
        return draft.end(
            False,
            last.cause or "Failed",
            f"attempt {last.number}: {last.message}\nretry.limit ({job.spec.retry.limit}) is used up.",
        )
    wait = (moment(last.end_time) - observed.now).total_seconds() + _backoff(job, attempts, failures)
    if wait > 0:
        return draft.go_on("Retrying", f"attempt {last.number}: {last.message}\nThe next attempt follows.", wait=wait)
    if any(not causes.over(pod) for pod in _pods(observed, last.number)):
        return draft.go_on("Retrying", f"attempt {last.number} is ending; the next one follows when its pods are gone")
    return draft.start(last.number + 1)


class _Draft:
    """The common parts of all answers, so that each case above says only what is its own."""

    def __init__(
        self,
        job: TrainingJob,
        observed: Observed,
        status: TrainingJobStatus,
        events: tuple[Event, ...],
        time_left: float | None,
    ) -> None:
        self.job, self.observed, self.status, self.events, self.time_left = job, observed, status, events, time_left

    def go_on(
        self,
        reason: str,
        message: str,
        *,
        wait: float | None = None,
        running: int | None = None,
        made: tuple[Manifest | None, ...] = (),
        creates: tuple[Manifest, ...] = (),
    ) -> Plan:
        """Not ended yet: which attempt may go on, what is made anew, and when to look again."""
        times = [each for each in (wait, self.time_left) if each is not None and each > 0]
        return Plan(
            status=self._with(None, reason, message),
            children=(*_kept(self.job, self.observed, running), *(each for each in made if each)),
            creates=creates,
            events=self.events,
            requeue_after=min(times, default=None),
        )

    def start(self, number: int) -> Plan:
        """A new attempt: its Job, and the Service by which its pods meet."""
        job, settings = self.job, self.observed.settings
        made = (training.rendezvous(job, number), training.training(job, number, settings))
        return self.go_on("Pending", f"attempt {number} is being started", made=made)

    def run(self, attempt: Attempt) -> Plan:
        """The attempt in progress: left as it is, with what its pods say."""
        pods, number = _pods(self.observed, attempt.number), attempt.number
        running = sum(1 for pod in pods if pod.get("status", {}).get("phase") in ("Running", "Succeeded"))
        if running == self.job.spec.nodes:
            return self.go_on("Running", f"attempt {number} runs on {_nodes(self.job)}", running=number)
        cause = causes.waiting(
            pods, _refusals(self.job, self.observed, number) if len(pods) < self.job.spec.nodes else ()
        )
        if cause:
            return self.go_on(cause.reason, cause.message, running=number)
        return self.go_on("Pending", f"attempt {number}: {running} of {_nodes(self.job)} started", running=number)

    def end(self, succeeded: bool, reason: str, message: str, **fields: object) -> Plan:
        """The last word. Jobs that have ended stay for their logs; one that still runs is ended."""
        self.status = self.status.model_copy(update={"completion_time": rfc3339(self.observed.now)} | fields)
        event = Event("Normal" if succeeded else "Warning", reason, message, "end")
        return Plan(
            status=self._with(succeeded, reason, message),
            children=tuple(_kept(self.job, self.observed)),
            events=(*self.events, event),
            requeue_after=self.job.spec.ttl_seconds_after_finished,
        )

    def _with(self, holds: bool | None, reason: str, message: str) -> TrainingJobStatus:
        return self.status.model_copy(
            update={"conditions": [condition(self.observed, "Succeeded", holds, reason, message)]}
        )


def _publish(draft: _Draft, attempt: Attempt) -> Plan:
    """A completed attempt: from the agent's message to the ModelVersion and the end."""
    job, observed = draft.job, draft.observed
    published = _message(observed, attempt.number)
    if published is None:
        publisher = next((each for each in _jobs(observed, "publish") if _number(each) == attempt.number), None)
        if publisher and (_job_condition(publisher, "Failed") or _job_condition(publisher, "FailureTarget")):
            cause = causes.failure(_pods(observed, attempt.number, "publish"), training.AGENT)
            return draft.end(
                False,
                "PublishFailed",
                f"attempt {attempt.number} completed, but its folder could not be read: {cause.message if cause else 'its pod is gone'}",
            )
        made = None if publisher else training.publishing(job, attempt.number, observed.settings)
        text = f"attempt {attempt.number} completed; its folder is being hashed"
        trouble = causes.waiting(_pods(observed, attempt.number, "publish"))
        reason, text = (trouble.reason, f"{text}: {trouble.message}") if trouble else ("Publishing", text)
        return draft.go_on(reason, text, running=attempt.number, made=(made,))
    if job.spec.output.model is None:
        return draft.end(
            True, "Completed", f"attempt {attempt.number} completed", metrics=published.message.get("metrics") or None
        )
    if published.error:
        text = f"attempt {attempt.number} completed, but {published.text or published.error}"
        return draft.end(False, published.error, f"{text} (NORIA_OUTPUT_DIR is {job.spec.output.path})")
    version = of_training(observed.related.get(_versions(job), ()), job)
    if version is None:
        number = next_number(observed.related.get(_versions(job), ()), job.spec.output.model)
        ran = _pods(observed, attempt.number)
        record = modelversion(job, attempt.number, published, number, _image_digest(ran), observed.settings)
        return draft.go_on(
            "Publishing", f"attempt {attempt.number} completed; its version is being recorded", creates=(record,)
        )
    name = version["metadata"]["name"]
    steps = published.message.get("steps")
    progress = Progress(step=steps, total=steps, percent="100%") if steps else draft.status.progress
    return draft.end(
        True,
        "Completed",
        f"attempt {attempt.number} completed and made {name}",
        model_version=name,
        metrics=version["spec"].get("metrics") or None,
        progress=progress,
    )


def _rest(job: TrainingJob, observed: Observed) -> Plan:
    """After the end nothing changes any more; in time the object deletes itself."""
    children = tuple(_kept(job, observed))
    if job.spec.ttl_seconds_after_finished is None or job.status.completion_time is None:
        return Plan(status=job.status, children=children)
    left = (moment(job.status.completion_time) - observed.now).total_seconds() + job.spec.ttl_seconds_after_finished
    return Plan(status=job.status, children=children, requeue_after=left if left > 0 else None, delete_self=left <= 0)


def _time_left(job: TrainingJob, observed: Observed) -> float | None:
    """Seconds until activeDeadlineSeconds has passed; None without one, or before the first start."""
    if job.spec.active_deadline_seconds is None or job.status.start_time is None:
        return None
    return (moment(job.status.start_time) - observed.now).total_seconds() + job.spec.active_deadline_seconds


def _attempts(job: TrainingJob, observed: Observed, stopped: str | None) -> list[Attempt]:
    """All attempts known, oldest first: those recorded as ended stand as they are, the others as their Jobs say."""
    live = {_number(each): each for each in _jobs(observed, "training")}
    recorded = {each.number: each for each in job.status.attempts}
    return [
        recorded[number]
        if number in recorded and recorded[number].end_time
        else _judge(observed, number, live.get(number), recorded.get(number), stopped)
        for number in sorted(live.keys() | recorded.keys())
    ]


def _judge(
    observed: Observed, number: int, live: Manifest | None, recorded: Attempt | None, stopped: str | None
) -> Attempt:
    """What became of one attempt that is not recorded as ended; `stopped` says why one that still runs is ended now."""
    now = rfc3339(observed.now)
    started = (live and live["metadata"].get("creationTimestamp")) or (recorded and recorded.start_time) or now
    running = Attempt(number=number, start_time=started)
    if live and _job_condition(live, "Complete"):
        return _completed(running, live)
    if stopped or live is None:
        reason, text = (stopped, "it was ended") if stopped else ("JobDeleted", "its Job was deleted")
        return running.model_copy(update={"cause": reason, "message": text, "counted": False, "end_time": now})
    failed = _job_condition(live, "FailureTarget") or _job_condition(live, "Failed")
    if not failed:
        return running
    pods = _pods(observed, number)
    cause = causes.failure(pods, training.MAIN)
    if cause is None and pods:
        return running  # the Job's news came before its pods'
    if cause is None:
        cause = causes.Failure("PodDeleted", f"its pods are gone ({failed.get('message', '')})", None, False, "")
    if cause.counted and any(not causes.over(pod) for pod in pods):
        return running  # another pod may yet turn out to be on a lost node, and then this one only followed
    update = {"cause": cause.reason, "message": cause.message, "exit_code": cause.exit_code, "counted": cause.counted}
    return running.model_copy(update=update | {"end_time": failed.get("lastTransitionTime") or now})


def _completed(attempt: Attempt, live: Manifest) -> Attempt:
    end = live.get("status", {}).get("completionTime") or (_job_condition(live, "Complete") or {}).get(
        "lastTransitionTime"
    )
    return attempt.model_copy(update={"cause": "Completed", "counted": False, "exit_code": 0, "end_time": end})


RECIPE_INPUT_ERROR = 2
"""Exit code of the recipes for parameters and data that can never work."""


def _fatal(job: TrainingJob) -> list[int]:
    """Exit codes after which a retry makes no sense."""
    return job.spec.retry.fatal_exit_codes + ([RECIPE_INPUT_ERROR] if job.spec.recipe else [])


def _recorded(job: TrainingJob, number: int) -> bool:
    return any(each.number == number and each.end_time for each in job.status.attempts)


def _backoff(job: TrainingJob, attempts: list[Attempt], failures: int) -> float:
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


def _gpu_seconds(job: TrainingJob, ended: list[Attempt]) -> int | None:
    gpus = job.spec.nodes * job.spec.gpus_per_node
    seconds = sum(
        (_time(each.end_time) - _time(each.start_time)).total_seconds()
        for each in ended
        if each.start_time and each.end_time
    )
    return (job.status.gpu_seconds or 0) + int(gpus * max(0, seconds)) if gpus else None


def _time(text: str | None) -> datetime:
    return moment(text or "1970-01-01T00:00:00Z")


def _progress(observed: Observed) -> Progress | None:
    values = observed.metrics
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


def _attempt_event(attempt: Attempt) -> Event:
    warning = attempt.cause not in ("Suspended", "JobDeleted")
    return Event(
        "Warning" if warning else "Normal",
        attempt.cause or "Failed",
        f"attempt {attempt.number}: {attempt.message}",
        f"attempt-{attempt.number}",
    )


def _nodes(job: TrainingJob) -> str:
    return "1 node" if job.spec.nodes == 1 else f"{job.spec.nodes} nodes"


def _number(live: Manifest) -> int:
    return int(live["metadata"]["labels"][training.ATTEMPT])


def _jobs(observed: Observed, role: str) -> list[Manifest]:
    return [
        each
        for each in observed.children
        if each["kind"] == "Job" and each["metadata"]["labels"].get(training.ROLE) == role
    ]


def _pods(observed: Observed, attempt: int, role: str = "training") -> list[Manifest]:
    wanted = {training.ATTEMPT: str(attempt), training.ROLE: role}.items()
    return [
        each for each in observed.children if each["kind"] == "Pod" and wanted <= each["metadata"]["labels"].items()
    ]


def _job_condition(live: Manifest, type: str) -> Manifest | None:
    return next(
        (
            each
            for each in live.get("status", {}).get("conditions", [])
            if each["type"] == type and each["status"] == "True"
        ),
        None,
    )


def _message(observed: Observed, attempt: int) -> Published | None:
    """What the agent of rank 0 said, in the training's own pod or in the publisher's."""
    for role in ("training", "publish"):
        for pod in _pods(observed, attempt, role):
            index = pod["metadata"].get("annotations", {}).get(training.INDEX_ANNOTATION, "0")
            ended = causes.terminated(pod, training.AGENT)
            if index == "0" and pod.get("status", {}).get("phase") == "Succeeded" and ended and ended.get("message"):
                return read(ended["message"])
    return None


def _image_digest(pods: list[Manifest]) -> str | None:
    return next(
        (
            each["imageID"]
            for pod in pods
            for each in causes.statuses(pod)
            if each["name"] == training.MAIN and each.get("imageID")
        ),
        None,
    )


def _refusals(job: TrainingJob, observed: Observed, attempt: int) -> list[Manifest]:
    """Events that tell why the API server refused pods of the attempt."""
    name = training.job_name(job, attempt)
    return [each for each in observed.children if each["kind"] == "Event" and each["involvedObject"]["name"] == name]


def _kept(job: TrainingJob, observed: Observed, running: int | None = None) -> Iterator[Manifest]:
    """Children that stay as they are: Jobs that have ended (the newest two, for their logs) and all of the running attempt."""
    code = training.code(job)
    if code:
        yield code
    newest = max((_number(each) for each in _jobs(observed, "training")), default=0)
    for each in observed.children:
        if each["kind"] not in ("Job", "Service"):
            continue
        number = _number(each)
        over = any(_job_condition(each, type) for type in ("Complete", "Failed", "FailureTarget"))
        if number == running or (over and number >= newest - 1):
            yield pinned(each)


CONTROLLER = Controller(
    resource=TrainingJob,
    owns=("Job", "Service", "ConfigMap"),
    watches=("Pod", "Event"),
    needs=needs,
    plan=plan,
)
