"""TrainingJob: attempts follow one another by cause until one succeeds, whose folder becomes a ModelVersion.

One attempt is one batch Job that is never changed. Suspending, a failure and a disruption all end the attempt;
going on is the next one, with the same checkpoints. A terminal status is final.
"""

from dataclasses import replace
from typing import Any

from noria.api.modelversion import ModelVersion
from noria.api.trainingjob import Attempt, Progress, TrainingJob, TrainingJobStatus, Written
from noria.plan import attempts, causes, training
from noria.plan.conditions import condition, finished
from noria.plan.contract import Controller, Event, Manifest, Needs, Observed, Plan, Selector, Settings
from noria.plan.manifests import moment, rfc3339
from noria.plan.modelversion import Published, fault, modelversion, next_number, of_training

ATTEMPTS_KEPT = 10


def needs(job: TrainingJob, settings: Settings) -> Needs:
    """The versions of the namespace: one may be this job's already, the others say which number is next. Progress while it runs."""
    asked = (attempts.PROGRESS,) if settings.prometheus_url and not finished(job.status) else ()
    return Needs(selectors=(_versions(job),), queries=asked)


def _versions(job: TrainingJob) -> Selector:
    return Selector("ModelVersion", job.metadata.namespace)


def plan(job: TrainingJob, observed: Observed) -> Plan:
    """What should be for one TrainingJob."""
    observed = replace(observed, children=tuple(filter(attempts.known, observed.children)))
    if finished(job.status):
        return _rest(job, observed)
    left = attempts.time_left(job, observed)
    stopped = "DeadlineExceeded" if left is not None and left <= 0 else "Suspended" if job.spec.suspend else None
    known = attempts.judged(job, observed, stopped)
    ended = [each for each in known if each.end_time and not attempts.recorded(job, each.number)]
    failures = (job.status.failures or 0) + sum(1 for each in ended if each.counted)
    status = job.status.model_copy(
        update={
            "attempts": known[-ATTEMPTS_KEPT:],
            "failures": failures or None,
            "gpu_seconds": attempts.gpu_seconds(job, ended),
            "progress": attempts.progress(observed) or job.status.progress,
            "start_time": job.status.start_time or next((each.start_time for each in known if each.start_time), None),
        }
    )
    events = tuple(attempts.event(each) for each in ended if each.cause != "Completed")
    last = known[-1] if known else None
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
    if last.counted and last.exit_code in attempts.fatal(job):
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
    wait = (moment(last.end_time) - observed.now).total_seconds() + attempts.backoff(job, known, failures)
    if wait > 0:
        return draft.go_on("Retrying", f"attempt {last.number}: {last.message}\nThe next attempt follows.", wait=wait)
    if any(not causes.over(pod) for pod in attempts.pods_of(job, observed, last.number)):
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
            children=(*attempts.kept(self.job, self.status, self.observed, running), *(each for each in made if each)),
            creates=creates,
            events=self.events,
            requeue_after=min(times, default=None),
        )

    def start(self, number: int) -> Plan:
        """A new attempt: its Job, and the Service by which its pods meet."""
        job, settings = self.job, self.observed.settings
        made = (training.rendezvous(job, number), training.training(job, number, settings))
        return self._starting(number, 0, made=made)

    def run(self, attempt: Attempt) -> Plan:
        """The attempt in progress: left as it is, with what its pods say."""
        pods, number = attempts.pods_of(self.job, self.observed, attempt.number), attempt.number
        running = sum(1 for pod in pods if pod.get("status", {}).get("phase") in ("Running", "Succeeded"))
        if running == self.job.spec.nodes:
            return self.go_on("Running", f"attempt {number} runs on {_nodes(self.job)}", running=number)
        cause = causes.waiting(
            pods,
            attempts.refusals(self.observed, training.job_name(self.job, number))
            if len(pods) < self.job.spec.nodes
            else (),
        )
        if cause:
            return self.go_on(cause.reason, cause.message, running=number)
        return self._starting(number, running, running=number)

    def _starting(self, number: int, pods: int, **rest: Any) -> Plan:
        plan = self.go_on("Pending", f"attempt {number}: {pods} of {_nodes(self.job)} started", **rest)
        return replace(plan, passing=not self.events)

    def end(self, succeeded: bool, reason: str, message: str, **fields: object) -> Plan:
        """The last word. Jobs that have ended stay for their logs; one that still runs is ended."""
        self.status = self.status.model_copy(update={"completion_time": rfc3339(self.observed.now)} | fields)
        event = Event("Normal" if succeeded else "Warning", reason, message, "end")
        return Plan(
            status=self._with(succeeded, reason, message),
            children=tuple(attempts.kept(self.job, self.status, self.observed)),
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
    published = attempts.message(job, observed, attempt.number)
    if published is None:
        publisher = next(
            (each for each in attempts.jobs(observed, "publish") if attempts.number_of(each) == attempt.number), None
        )
        if publisher and (
            attempts.job_condition(publisher, "Failed") or attempts.job_condition(publisher, "FailureTarget")
        ):
            cause = causes.failure(attempts.pods_of(job, observed, attempt.number, "publish"), training.AGENT)
            return draft.end(
                False,
                "PublishFailed",
                f"attempt {attempt.number} completed, but its folder could not be read: {cause.message if cause else 'its pod is gone'}",
            )
        if publisher and attempts.job_condition(publisher, "Complete"):
            return _publish_again(draft, attempt, publisher)
        made = None if publisher else training.publishing(job, attempt.number, observed.settings)
        text = f"attempt {attempt.number} completed; its folder is being hashed"
        pods = attempts.pods_of(job, observed, attempt.number, "publish")
        refused = attempts.refusals(observed, publisher["metadata"]["name"]) if publisher and not pods else ()
        trouble = causes.waiting(pods, refused)
        reason, text = (trouble.reason, f"{text}: {trouble.message}") if trouble else ("Publishing", text)
        return draft.go_on(reason, text, running=attempt.number, made=(made,))
    if job.spec.output.model is None:
        why = f"; its folder was not published: {published.text or published.error}" if published.error else ""
        return draft.end(
            True,
            "Completed",
            f"attempt {attempt.number} completed{why}",
            metrics=published.message.get("metrics") or None,
            output=_written(draft, attempt, published),
        )
    if published.error:
        text = f"attempt {attempt.number} completed, but {published.text or published.error}"
        return draft.end(False, published.error, f"{text} (NORIA_OUTPUT_DIR is {job.spec.output.path})")
    version = of_training(observed.related.get(_versions(job), ()), job)
    if version is None:
        number = next_number(observed.related.get(_versions(job), ()), job.spec.output.model)
        ran = attempts.pods_of(job, observed, attempt.number)
        record = modelversion(job, attempt.number, published, number, attempts.image_digest(ran), observed.settings)
        if wrong := fault(ModelVersion, record):
            text = f"attempt {attempt.number} completed, but its ModelVersion would be refused: {wrong}"
            remedy = (
                f"correct noria.json or metrics.json in NORIA_OUTPUT_DIR ({job.spec.output.path}), then train again"
            )
            return draft.end(False, "InvalidOutput", f"{text}; {remedy}")
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
        output=_written(draft, attempt, published),
    )


def _written(draft: _Draft, attempt: Attempt, published: Published) -> Written | None:
    """What the agent told of the folder; None if it told that something is wrong with it."""
    if published.error:
        return None
    message = published.message
    digests = {str(name): str(each) for name, each in (message.get("inputs") or {}).items() if each}
    return Written(
        uri=training.artifact_uri(draft.job, attempt.number),
        digest=message["digest"],
        format=message["format"],
        image=attempts.image_digest(attempts.pods_of(draft.job, draft.observed, attempt.number)),
        inputs=digests or None,
    )


def _publish_again(draft: _Draft, attempt: Attempt, publisher: Manifest) -> Plan:
    """A publisher that completed without a message: if its pod is gone, so is the message, and another one tells it again."""
    pods = attempts.pods_of(draft.job, draft.observed, attempt.number, "publish")
    text = f"attempt {attempt.number} completed"
    if any(not causes.over(pod) for pod in pods):
        return draft.go_on("Publishing", f"{text}; its folder is being hashed", running=attempt.number)
    if pods:
        uri = training.artifact_uri(draft.job, attempt.number)
        remedy = f"see its log; the files are at {uri}, and a ModelVersion may be written for them by hand"
        return draft.end(
            False, "PublishFailed", f"{text}, but pod {pods[0]['metadata']['name']} told nothing: {remedy}"
        )
    again = draft.go_on("Publishing", f"{text}; its folder is hashed again: the message went with its pod")
    name = publisher["metadata"]["name"]
    return replace(again, children=tuple(each for each in again.children if each["metadata"]["name"] != name))


def _rest(job: TrainingJob, observed: Observed) -> Plan:
    """After the end nothing changes any more; in time the object deletes itself."""
    children = tuple(attempts.kept(job, job.status, observed))
    if job.spec.ttl_seconds_after_finished is None or job.status.completion_time is None:
        return Plan(status=job.status, children=children)
    left = (moment(job.status.completion_time) - observed.now).total_seconds() + job.spec.ttl_seconds_after_finished
    return Plan(status=job.status, children=children, requeue_after=left if left > 0 else None, delete_self=left <= 0)


def _nodes(job: TrainingJob) -> str:
    return "1 node" if job.spec.nodes == 1 else f"{job.spec.nodes} nodes"


CONTROLLER = Controller(
    resource=TrainingJob,
    owns=("Job", "Service"),
    watches=("ConfigMap", "Pod", "Event"),
    needs=needs,
    plan=plan,
)
