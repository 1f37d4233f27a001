"""The draft of one plan of a PipelineRun: the records of its steps as they were, what is observed of them, and what is made."""

from collections.abc import Iterator, Mapping
from typing import Any

from noria.api.pipelinerun import PipelineRun, StepState, StepStatus
from noria.api.step import Step
from noria.plan.contract import Manifest, Observed, Ref, Selector
from noria.plan.manifests import controller, rfc3339
from noria.plan.oneshot import number_of
from noria.plan.pipelines import outcomes, rerun
from noria.plan.pipelines.frozen import Frozen
from noria.plan.pipelines.inputs import item_name
from noria.plan.pods import by_job
from noria.plan.training import ROLE

ENDED: frozenset[StepState] = frozenset({"Succeeded", "Cached", "Skipped", "Failed"})
GAVE: frozenset[StepState] = frozenset({"Succeeded", "Cached"})


OUTPUTS_LIMIT = 300_000
"""Bytes as JSON that all outputs of a run may have in its status: an object of 1.5 MB cannot be written any more, and holds them
twice if they are the pipeline's too."""


def versions(run: PipelineRun) -> Selector:
    """Where a register step looks for its version, and for the next number."""
    return Selector("ModelVersion", run.metadata.namespace)


class Turn:
    """Records by name, and what is made."""

    def __init__(self, run: PipelineRun, observed: Observed, frozen: Frozen) -> None:
        self.run, self.observed, self.frozen = run, observed, frozen
        self.now = rfc3339(observed.now)
        self.records = {each.name: each for each in run.status.steps}
        missing = (each.name for each in frozen.steps if each.name not in self.records)
        self.records |= {name: StepStatus(name=name) for name in missing}
        self.stopped = run.status.stopped
        self.children: list[Manifest] = []
        self.creates: list[Manifest] = []
        self.deletes: list[Manifest] = []
        self.waits: list[float] = []
        self.live = {each["metadata"]["name"]: each for each in self._made()}
        """The pods and TrainingJobs of steps by name."""
        self.looks = {
            number: each for each in observed.children if each["kind"] == "Job" and (number := number_of(each, "look"))
        }
        self.look = max(run.status.look or 0, *self.looks, 0)
        self.wants_look = False
        self.answers: Any = ...
        """What the newest look says, once somebody asked (cache.answers)."""
        self._given: int | None = None
        self.pretended: list[Any] | None = None
        """While it is only asked what would be taken from earlier runs: that."""
        self._earlier: dict[str, Mapping[str, Manifest]] = {}
        self._kept: Mapping[str, StepStatus] | None = None

    def _made(self) -> Iterator[Manifest]:
        """What the watch has told, and what was read since it has not."""
        asked = (each for need, found in self.observed.related.items() if need[0] == "Pod" for each in found)
        for each in (*asked, *self.observed.children):
            ours = each["kind"] == "TrainingJob" or controller(each).get("uid") == self.run.metadata.uid
            role = (each["metadata"].get("labels") or {}).get(ROLE)
            if each["kind"] in ("Pod", "TrainingJob") and role == "step" and ours:
                yield each

    @property
    def suspended(self) -> bool:
        """Whether steps wait for somebody to let them go on. Those with onExit of a run that was stopped do not."""
        return self.run.spec.suspend and not self.stopped

    def steps(self) -> list[StepStatus]:
        """The records as the status holds them."""
        return [self.records[name] for step in self.frozen.steps for name in self.names(step)]

    def outcome(self) -> str:
        """What came of the steps without onExit."""
        if self.stopped == "Cancelled":
            return "Cancelled"
        failed = self.stopped or any(self.records[each.name].state == "Failed" for each in self.ordinary())
        return "Failed" if failed else "Succeeded"

    def over(self) -> bool:
        """Whether nothing is left to do."""
        return all(self.records[each.name].state in ENDED for each in self.frozen.steps)

    def earlier(self, run: str) -> Mapping[str, Manifest]:
        """Records of an earlier run, by name."""
        if run not in self._earlier:
            live = self.observed.related.get(Ref("PipelineRun", self.run.metadata.namespace, run), ())
            steps = live[0].get("status", {}).get("steps", []) if live else []
            self._earlier[run] = {each["name"]: each for each in steps}
        return self._earlier[run]

    def kept(self) -> Mapping[str, StepStatus]:
        """Of a rerun: the records of the run that it names; none once that is gone, or a run of another pipeline has its name."""
        if self._kept is None:
            live, frozen = self.observed.related.get(rerun.earlier(self.run), ()), self.run.status.frozen
            same = (each["status"] for each in live if each.get("status", {}).get("frozen") == frozen)
            records = (StepStatus.model_validate(one) for each in same for one in each["steps"])
            self._kept = {each.name: each for each in records}
        return self._kept

    def look_job(self) -> Manifest | None:
        """The Job of the newest look."""
        return self.looks.get(self.look)

    def look_pods(self) -> list[Manifest]:
        """Its pods."""
        live = self.look_job()
        return by_job(self.observed.children).get(live["metadata"]["name"], []) if live else []

    def ordinary(self) -> Iterator[Step]:
        """The steps without onExit."""
        return (each for each in self.frozen.steps if not each.on_exit)

    def names(self, step: Step) -> list[str]:
        """Names of a step's records: its own, then those of its items."""
        count = self.records[step.name].count or 0
        return [step.name, *(item_name(step.name, number) for number in range(count))]

    def units(self, step: Step) -> list[tuple[str, int | None]]:
        """What runs of a step: itself, or its items."""
        if step.foreach is None:
            return [(step.name, None)]
        return [(item_name(step.name, number), number) for number in range(self.records[step.name].count or 0)]

    def take(self, name: str, record: StepStatus) -> None:
        """The record of a step, with what it gave if the run's status has room for that."""
        if record.outputs == self.records[name].outputs:
            self.records[name] = record
            return
        if self._given is None:
            self._given = sum(map(_size, self.records.values()))
        grown = self._given + _size(record) - _size(self.records[name])
        if grown > OUTPUTS_LIMIT:
            text = (
                f"with what it gave the outputs of this run would have more than {OUTPUTS_LIMIT} bytes in its status; "
            )
            text += "give folders instead of values, or split the pipeline"
            update = {"state": "Failed", "cause": "OutputsTooLarge", "message": text, "outputs": None}
            self.records[name] = record.model_copy(update=update)
        else:
            self._given, self.records[name] = grown, record

    def set(
        self, name: str, state: StepState, cause: str | None = None, message: str | None = None, **rest: object
    ) -> None:
        """Changes a record."""
        update = {"state": state, "cause": cause, "message": message and outcomes.shortened(message)} | rest
        self.records[name] = self.records[name].model_copy(update=update)


def _size(record: StepStatus) -> int:
    return sum(len(each.model_dump_json(exclude_none=True).encode()) for each in record.outputs or ())
