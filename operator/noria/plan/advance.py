"""One step on of a PipelineRun: ended attempts are taken in, what became ready is started, what should not run is stopped.

A step that is ready is made at once, under a name that run, step, item and attempt determine, and recorded as Running; what
the record says runs and is not there is made (again) under the same name. So a process that dies in between does nothing twice.
"""

from collections.abc import Iterator

from noria.api.pipelinerun import Output, PipelineRun, StepState, StepStatus
from noria.api.step import Step
from noria.api.trainingjob import TrainingJobStatus
from noria.plan import approvals, causes, graph, stepchildren, stepjob, stepoutcome, when
from noria.plan.approvals import APPROVAL, APPROVE, REJECT
from noria.plan.attempts import job_condition
from noria.plan.conditions import finished
from noria.plan.contract import Manifest, Observed, Selector
from noria.plan.frozen import Frozen
from noria.plan.manifests import moment, pinned, rfc3339
from noria.plan.modelversion import fault, next_number
from noria.plan.stepinputs import Inputs, Unfit, item_name, items, resolve

ENDED: frozenset[StepState] = frozenset({"Succeeded", "Cached", "Reused", "Skipped", "Failed"})
GAVE: frozenset[StepState] = frozenset({"Succeeded", "Cached", "Reused"})
UPSTREAM_FAILED = "UpstreamFailed"


def versions(run: PipelineRun) -> Selector:
    """Where a register step looks for its version, and for the next number."""
    return Selector("ModelVersion", run.metadata.namespace)


class Advance:
    """The draft of one plan: records by name, and what is made."""

    def __init__(self, run: PipelineRun, observed: Observed, frozen: Frozen) -> None:
        self.run, self.observed, self.frozen = run, observed, frozen
        self.now = rfc3339(observed.now)
        self.records = {each.name: StepStatus(name=each.name) for each in frozen.steps}
        self.records |= {each.name: each for each in run.status.steps}
        self.stopped = run.status.stopped
        self.children: list[Manifest] = []
        self.creates: list[Manifest] = []
        self.waits: list[float] = []
        self.live = {
            each["metadata"]["name"]: each for each in observed.children if each["kind"] in ("Job", "TrainingJob")
        }
        self.pods: dict[str, list[Manifest]] = {}
        for each in observed.children:
            if each["kind"] == "Pod":
                labels = each["metadata"]["labels"]
                self.pods.setdefault(labels.get("batch.kubernetes.io/job-name") or _job_of(each), []).append(each)

    def made(self) -> "Advance":
        """Everything, in order."""
        for step in self.frozen.steps:
            for name, item in self._units(step):
                self._take_in(step, name, item)
        self._stop()
        for step in self.frozen.steps:
            self._start(step)
        self.enforce()
        return self

    def steps(self) -> list[StepStatus]:
        """The records as the status holds them."""
        return [self.records[name] for step in self.frozen.steps for name in self._names(step)]

    def outcome(self) -> str:
        """What came of the steps without onExit."""
        if self.stopped == "Cancelled":
            return "Cancelled"
        failed = self.stopped or any(self.records[each.name].state == "Failed" for each in self._ordinary())
        return "Failed" if failed else "Succeeded"

    def over(self) -> bool:
        """Whether nothing is left to do."""
        return all(self.records[each.name].state in ENDED for each in self.frozen.steps)

    def refusals(self, live: Manifest) -> list[Manifest]:
        """Events that tell why the API server refused pods of a Job."""
        name = live["metadata"]["name"]
        return [
            each
            for each in self.observed.children
            if each["kind"] == "Event" and each["involvedObject"]["name"] == name
        ]

    def _ordinary(self) -> Iterator[Step]:
        return (each for each in self.frozen.steps if not each.on_exit)

    def _names(self, step: Step) -> list[str]:
        count = self.records[step.name].count or 0
        return [step.name, *(item_name(step.name, number) for number in range(count))]

    def _units(self, step: Step) -> list[tuple[str, int | None]]:
        """What runs of a step: itself, or its items."""
        if step.foreach is None:
            return [(step.name, None)]
        return [(item_name(step.name, number), number) for number in range(self.records[step.name].count or 0)]

    def _set(
        self, name: str, state: StepState, cause: str | None = None, message: str | None = None, **rest: object
    ) -> None:
        update = {"state": state, "cause": cause, "message": message and stepoutcome.shortened(message)} | rest
        self.records[name] = self.records[name].model_copy(update=update)

    def _take_in(self, step: Step, name: str, item: int | None) -> None:
        record = self.records[name]
        live = self.live.get(record.job or "")
        if record.state != "Running" or live is None:
            return
        if step.train:
            self.records[name] = stepoutcome.of_training(step, record, live, self.now)
        else:
            pods = self.pods.get(record.job or "", [])
            after = stepoutcome.of_job(self.run, step, item, record, live, pods, self.now)
            if after.state == "Waiting" and stepoutcome.hopeless(step, after, stepoutcome.exit_code(pods)):
                after = after.model_copy(update={"state": "Failed"})
            self.records[name] = after
        if self.records[name].state == "Running" and self.run.spec.suspend:
            self.records[name] = stepoutcome.ended(record, self.now, "Suspended", "spec.suspend is true", counted=None)

    def _stop(self) -> None:
        """Ends the steps without onExit when the run is cancelled or its time is over."""
        open_ones = [each for each in self._ordinary() if self.records[each.name].state not in ENDED]
        if not self.stopped and open_ones:
            left = self._time_left()
            self.stopped = (
                "Cancelled" if self.run.spec.cancel else "DeadlineExceeded" if left is not None and left <= 0 else None
            )
            self.waits += [left] if left is not None else []
        if not self.stopped:
            return
        for each in open_ones:
            for name in self._names(each):
                if self.records[name].state not in ENDED:
                    begun = self.records[name].state != "Pending"
                    self._set(
                        name, "Failed" if begun else "Skipped", self.stopped, end_time=self.now if begun else None
                    )

    def _time_left(self) -> float | None:
        seconds, began = self.run.spec.active_deadline_seconds, self.run.status.start_time
        return (
            None if seconds is None or began is None else (moment(began) - self.observed.now).total_seconds() + seconds
        )

    def _start(self, step: Step) -> None:
        record = self.records[step.name]
        if record.state == "Pending" and not self._due(step):
            return
        if self.records[step.name].state in ENDED or (self.run.spec.suspend and not step.approve):
            return
        if record.state == "Pending" and not self._wanted(step):
            return
        if step.foreach:
            self._fan_out(step)
        else:
            self._unit(step, step.name, None)

    def _due(self, step: Step) -> bool:
        """Whether all that it waits for has ended; it is skipped if it did not give what is needed."""
        data = graph.feeds(step)
        needed = {name: self.records[name] for name in data | set(step.after)}
        others = [self.records[each.name] for each in self._ordinary()] if step.on_exit else []
        if any(each.state not in ENDED for each in [*needed.values(), *others]):
            return False
        regardless = {each.name for each in self._ordinary()} if step.on_exit else set()
        for name, each in sorted(needed.items()):
            failed = each.state == "Failed" or (each.state == "Skipped" and each.cause == UPSTREAM_FAILED)
            if (name in data and each.state not in GAVE) or (failed and name not in regardless):
                cause = UPSTREAM_FAILED if failed else "UpstreamSkipped"
                self._set(
                    step.name, "Skipped", cause, f"{name} {'failed' if each.state == 'Failed' else 'was skipped'}"
                )
                return False
        return True

    def _wanted(self, step: Step) -> bool:
        """Whether its condition holds."""
        if step.when is None:
            return True
        try:
            seen = step.model_copy(update={"inputs": [each for each in step.inputs if not each.item]})
            found = resolve(self.frozen, seen, self.records).values
        except Unfit as unfit:
            self._set(step.name, "Failed", "InvalidInput", str(unfit))
            return False
        holds = when.holds(step.when, found, self.outcome() if step.on_exit else None)
        if holds is not True:
            state: StepState = "Failed" if isinstance(holds, str) else "Skipped"
            self._set(
                step.name,
                state,
                "InvalidCondition" if isinstance(holds, str) else "WhenFalse",
                f"{step.when}: {holds}" if isinstance(holds, str) else step.when,
            )
        return holds is True

    def _fan_out(self, step: Step) -> None:
        assert step.foreach is not None
        if self.records[step.name].state == "Pending":
            try:
                count = len(items(self.frozen, step, self.records))
            except Unfit as unfit:
                return self._set(step.name, "Failed", "InvalidInput", str(unfit))
            self._set(step.name, "Running", count=count, start_time=self.now)
            for name, _ in self._units(step):
                self.records.setdefault(name, StepStatus(name=name))
        units = self._units(step)
        room = step.foreach.parallelism - sum(self.records[name].state in ("Running", "Waiting") for name, _ in units)
        for name, number in units:
            if self.records[name].state == "Pending":
                if room <= 0:
                    continue
                room -= 1
            self._unit(step, name, number)
        if all(self.records[name].state in ENDED for name, _ in units):
            failed = [self.records[name] for name, _ in units if self.records[name].state == "Failed"]
            text = (
                f"{len(failed)} of {len(units)} items failed; {failed[0].name}: {failed[0].message}" if failed else None
            )
            self._set(
                step.name,
                "Failed" if failed else "Succeeded",
                "ItemsFailed" if failed else None,
                text,
                end_time=self.now,
            )

    def _unit(self, step: Step, name: str, item: int | None) -> None:
        """Starts, goes on with, or waits for one step or item whose turn it is."""
        record = self.records[name]
        if record.state in ENDED or (record.state == "Running" and record.job in self.live):
            return
        if step.approve:
            return self._approval(step, record)
        attempt = record.attempt or 1
        if record.state == "Waiting":
            if not self._again(step, record):
                return
            attempt += 0 if step.train else 1
        try:
            inputs = resolve(self.frozen, step, self.records, item)
        except Unfit as unfit:
            return self._set(name, "Failed", "InvalidInput", str(unfit))
        if step.register_:
            return self._register(step, inputs)
        state = self.outcome() if step.on_exit else None
        settings = self.observed.settings
        child = (
            stepchildren.trainingjob(self.run, step, item, inputs)
            if step.train
            else stepjob.job(self.run, step, item, attempt, inputs, state, settings)
        )
        job = child["metadata"]["name"]
        if job not in self.live:
            self.children.append(child)
        began = record.start_time if record.state == "Running" else self.now
        self._set(name, "Running", attempt=attempt, job=job, start_time=began, end_time=None)

    def _again(self, step: Step, record: StepStatus) -> bool:
        """Whether the next attempt may begin: its time has come, and the pods of the one before are gone."""
        wait = (moment(record.end_time or self.now) - self.observed.now).total_seconds() + stepoutcome.backoff(
            step, record
        )
        if wait > 0:
            self.waits.append(wait)
            return False
        return all(causes.over(pod) for pod in self.pods.get(record.job or "", []))

    def _approval(self, step: Step, record: StepStatus) -> None:
        by = approvals.by(self.run)
        if record.state == "Pending":
            try:
                values = resolve(self.frozen, step, self.records).values
            except Unfit as unfit:
                return self._set(step.name, "Failed", "InvalidInput", str(unfit))
            assert step.approve is not None
            text = step.approve.message or "waits for an approval"
            for name, (_, value) in values.items():
                text = text.replace(f"{{{name}}}", str(value))
            how = f"kubectl annotate nrun {self.run.metadata.name} noria.dev/by=$USER noria.dev/approve={step.name} (or noria.dev/reject)"
            return self._set(step.name, "Waiting", APPROVAL, f"{text}: {how}", start_time=self.now)
        if approvals.wish(self.run, APPROVE) == step.name:
            return self._set(step.name, "Succeeded", outputs=[Output(name="by", value=by)], end_time=self.now)
        if approvals.wish(self.run, REJECT) == step.name:
            return self._set(step.name, "Failed", "Rejected", f"{by} rejected it", end_time=self.now)
        if step.timeout_seconds and record.start_time:
            left = (moment(record.start_time) - self.observed.now).total_seconds() + step.timeout_seconds
            if left <= 0:
                text = f"nobody approved within timeoutSeconds ({step.timeout_seconds})"
                return self._set(step.name, "Failed", "DeadlineExceeded", text, end_time=self.now)
            self.waits.append(left)

    def _register(self, step: Step, inputs: Inputs) -> None:
        known = self.observed.related.get(versions(self.run), ())
        if version := stepchildren.registered(known, self.run, step):
            output = Output(name="version", value=version["metadata"]["name"])
            return self._set(step.name, "Succeeded", outputs=[output], start_time=self.now, end_time=self.now)
        assert step.register_ is not None
        maker = self.frozen.step(graph.source(step.inputs[0].from_ or "")[0])
        record = stepchildren.modelversion(
            self.run, step, inputs.folders["model"], maker, self.records[maker.name],
            next_number(known, step.register_.model), self.observed.settings,
        )  # fmt: skip
        if wrong := fault(record):
            return self._set(
                step.name, "Failed", "InvalidModel", f"its ModelVersion would be refused: {wrong}", end_time=self.now
            )
        self.creates.append(record)

    def enforce(self) -> None:
        """Stops Jobs and TrainingJobs that no record says run, and lets TrainingJobs go on that one says do."""
        running = {each.job for each in self.records.values() if each.state == "Running"}
        for name, live in self.live.items():
            wanted, suspended = name in running, bool(live["spec"].get("suspend"))
            if live["kind"] == "TrainingJob":
                if finished(TrainingJobStatus.model_validate(live.get("status") or {})) or wanted != suspended:
                    continue
            elif wanted or suspended or _is_over(live):
                continue
            desired = pinned(live)
            self.children.append(desired | {"spec": desired["spec"] | {"suspend": not wanted}})


def _job_of(pod: Manifest) -> str:
    return next((each["name"] for each in pod["metadata"].get("ownerReferences") or () if each["kind"] == "Job"), "")


def _is_over(job: Manifest) -> bool:
    return any(job_condition(job, each) for each in ("Complete", "Failed", "FailureTarget"))
