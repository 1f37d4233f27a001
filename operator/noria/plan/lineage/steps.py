"""Follows steps of PipelineRuns to the steps that made what they took, and what was cached to the run that made it."""

import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from noria.api.pipelinerun import PipelineRun, StepStatus
from noria.api.ports import Binding
from noria.api.step import Step
from noria.plan.lineage.telling import GONE, UNDIGESTED, Telling, body
from noria.plan.lineage.tree import Node
from noria.plan.pipelines import graph
from noria.plan.pipelines.frozen import Frozen, unpack
from noria.plan.pipelines.inputs import Inputs, Unfit, item_name, resolve
from noria.plan.pipelines.turn import GAVE

Data = Callable[[str, str, str | None], Node]
"""Tells of data from outside, by name, uri and digest."""


class Run(NamedTuple):
    """A run that has begun."""

    name: str
    uid: str
    frozen: Frozen
    steps: dict[str, Step]
    records: dict[str, StepStatus]

    def units(self, name: str) -> list[str]:
        """The records of a step: its own, or those of its items."""
        record, step = self.records.get(name), self.steps.get(name)
        if step and step.foreach:
            return [item_name(name, number) for number in range((record and record.count) or 0)]
        return [name]

    def find(self, unit: str) -> tuple[Step, StepStatus, int | None] | None:
        """Step, record and item of a record's name."""
        name, _, item = unit.removesuffix("]").partition("[")
        step, record = self.steps.get(name), self.records.get(unit)
        return (step, record, int(item) if item.isdigit() else None) if step and record else None


def unit(step: str, item: str | None) -> str:
    """Name of a step's record, or of its item's."""
    return item_name(step, int(item)) if item else step


class Steps:
    """Steps of runs, by the runs' own records."""

    def __init__(self, telling: Telling, data: Data) -> None:
        self._telling, self._data = telling, data
        self._runs: dict[tuple[str, str], Run | None] = {}

    def run(self, name: str) -> Node:
        """All steps of a run in their order, so that each stands below those that it took from."""
        live = self._telling.read("PipelineRun", name)
        if live is None:
            return Node(kind="PipelineRun", name=name, note=GONE)
        run = PipelineRun.model_validate(live)
        facts = {"pipeline": run.spec.pipeline} if run.spec.pipeline else {}
        node = Node(kind="PipelineRun", name=name, facts=facts)
        begun = self._begun(name)
        if begun is None:
            why = "it has not begun" if run.status.frozen is None else "its status.frozen cannot be read"
            return node.model_copy(update={"note": why})
        return self._telling.tell(node, begun.uid, self._all(begun))

    def _all(self, run: Run) -> Iterator[Node]:
        if run.frozen.parameters:
            yield Node(role="parameters", facts=run.frozen.parameters)
        for each in run.frozen.steps:
            for name in run.units(each.name):
                if told := self._unit(run, name, None):
                    yield told

    def step(self, run: str, name: str, role: str, uid: str = "") -> Node | None:
        """A step, or an item as `step[number]`, of the run whose uid begins so; None if there is no such record."""
        begun = self._begun(run, uid)
        return self._unit(begun, name, role) if begun else None

    def _begun(self, name: str, uid: str = "") -> Run | None:
        if (name, uid) not in self._runs:
            self._runs[name, uid] = self._read(name, uid)
        return self._runs[name, uid]

    def _read(self, name: str, uid: str) -> Run | None:
        live = self._telling.read("PipelineRun", name, uid)
        if live is None or (status := PipelineRun.model_validate(live).status).frozen is None:
            return None
        try:
            frozen = unpack(status.frozen)
        except (ValueError, zlib.error):  # no copy that Noria wrote: as good as gone
            return None
        steps = {each.name: each for each in frozen.steps}
        return Run(name, live["metadata"]["uid"], frozen, steps, {each.name: each for each in status.steps})

    def _unit(self, run: Run, name: str, role: str | None) -> Node | None:
        found = run.find(name)
        if found is None:
            return None
        step, record, item = found
        made = record.attempt if step.run or step.train else None
        told = {"state": record.state, "cause": record.cause, "attempt": made, "ended": record.end_time}
        told |= {"trainingJob": record.job} if step.train else {}
        facts = {key: value for key, value in told.items() if value is not None}
        node = Node(role=role, kind="Step", name=f"{run.name}/{name}", facts=facts)
        return self._telling.tell(node, f"{run.uid} {name}", self._of_unit(run, step, record, item))

    def _of_unit(self, run: Run, step: Step, record: StepStatus, item: int | None) -> Iterator[Node]:
        if record.cache and record.cache.result == "Hit" and record.cache.run:
            if earlier := self._cached(record, record.cache.run):
                yield earlier
                return
            yield Node(role="taken from", kind="PipelineRun", name=record.cache.run, note=GONE)
        if ran := step.run or step.train:
            yield from body(ran, record.image)
        read = record.read or {}
        for each in step.train.inputs if step.train else ():
            yield self._data(each.name, each.uri, read.get(each.name))
        for one in step.inputs:
            yield from self._bound(run, step, one, item, read)
        if step.foreach and step.foreach.from_:
            yield from self._makers(run, step.foreach.from_, "item of")

    def _cached(self, record: StepStatus, name: str) -> Node | None:
        """The same step of the earlier run, if that still has it under the same key."""
        earlier = self._begun(name)
        other = earlier.records.get(record.name) if earlier else None
        if earlier is None or other is None or other.state not in GAVE or other.key != record.key:
            return None
        return self._unit(earlier, record.name, "taken from")

    def _bound(self, run: Run, step: Step, binding: Binding, item: int | None, read: dict[str, str]) -> Iterator[Node]:
        """One input: data from outside, each folder with the step that made it, or a value."""
        try:
            taken = resolve(run.frozen, step.model_copy(update={"inputs": [binding]}), run.records, item)
        except (Unfit, LookupError, StopIteration):
            taken = Inputs()  # not given yet, or not as it was: told without a value
        for name, uri in taken.data.items():
            yield self._data(name, uri, read.get(name))
        makers = self._makers(run, binding.from_, "made by") if binding.from_ else iter(())
        for (name, folder), maker in zip(taken.folders.items(), makers, strict=False):
            note = None if folder.digest else UNDIGESTED
            yield Node(role="input", name=name, uri=folder.uri, digest=folder.digest, note=note, origins=[maker])
        if not taken.data and not taken.folders:
            given = taken.values.get(binding.name)
            facts: dict[str, Any] = {"value": given[1]} if given else {}
            facts |= {"parameter": binding.parameter} if binding.parameter else {}
            yield Node(role="input", name=binding.name, facts=facts, origins=list(makers))

    def _makers(self, run: Run, reference: str, role: str) -> Iterator[Node]:
        for name in run.units(graph.source(reference)[0]):
            if told := self._unit(run, name, role):
                yield told
