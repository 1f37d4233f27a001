"""Follows records to what they came from: Endpoint, ModelVersion, TrainingJob; `steps` follows those of runs.

A trace is made from the objects known so far and names those that it still needs; whoever reads them traces again, until
nothing is needed. What is gone is told as gone, and the tree goes on from what the record above it holds.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from noria.api import Endpoint, ModelVersion, PipelineRun, TrainingJob
from noria.api.cycle import Cycle
from noria.api.endpoint import EndpointStatus
from noria.api.modelversion import InputDigest, Lineage, ModelVersionSpec
from noria.plan.contract import Manifest, Ref
from noria.plan.lineage import steps
from noria.plan.lineage.telling import GONE, UNDIGESTED, Telling, body, work
from noria.plan.lineage.tree import Node
from noria.plan.manifests import ARTIFACT_CLAIM, OWNER_KIND, OWNER_NAME, OWNER_UID
from noria.plan.pipelines.containers import ITEM, RUNS, STEP
from noria.plan.training import JOBS

ROOTS = (Endpoint, ModelVersion, TrainingJob, PipelineRun)
"""Kinds whose lineage can be told."""
WRITTEN = re.compile(
    rf"pvc://{ARTIFACT_CLAIM}/(?:{JOBS}/(?P<job>[^/]+)|{RUNS}/(?P<run>[^/]+))-(?P<uid>[0-9a-f]{{8}})/(?P<step>[^./]+)(?:\.(?P<item>\d+))?"
)
"""Where a training, or a step of a run, writes."""


def trace(root: Ref, known: Mapping[Ref, Manifest | None]) -> tuple[Node, frozenset[Ref]]:
    """The tree as far as it is known, None standing for what is gone; and what must be read to go on."""
    telling = Telling(root.namespace, known)
    told = Trace(telling)
    tellers = {
        "Endpoint": told.endpoint,
        "ModelVersion": told.version,
        "TrainingJob": told.training,
        "PipelineRun": told.steps.run,
    }
    return tellers[root.kind](root.name), frozenset(telling.missing)


class Trace:
    """One pass over the objects known."""

    def __init__(self, telling: Telling) -> None:
        self._telling = telling
        self.steps = steps.Steps(telling, self.data)

    def endpoint(self, name: str) -> Node:
        """What an Endpoint serves, starts and retires, and the change of version that is in flight."""
        live = self._telling.read("Endpoint", name)
        node = Node(kind="Endpoint", name=name, note=None if live else GONE)
        return self._telling.tell(node, name, self._versions(Endpoint.model_validate(live).status)) if live else node

    def _versions(self, status: EndpointStatus) -> Iterator[Node]:
        flight = status.cycle
        brought = {each.challenger: each for each in reversed(status.history) if each.outcome == "Promoted"}
        served = [("serves", status.current), ("starts", status.next), *(("retires", each) for each in status.retiring)]
        for role, each in served:
            if each:
                cycle = flight if role == "starts" else brought.get(each.version)
                yield self.version(each.version, role, cycle, {"since": each.since})
        if flight and flight.challenger is None:
            yield _cycle("has begun", flight)
        elif flight and not (status.next and status.next.version == flight.challenger):
            yield self.version(flight.challenger or "", "judges", flight)

    def version(
        self, name: str, role: str | None = None, cycle: Cycle | None = None, facts: Mapping[str, Any] = {}
    ) -> Node:
        """A ModelVersion, and the change of version that brought it."""
        live = self._telling.read("ModelVersion", name)
        node = Node(role=role, kind="ModelVersion", name=name, facts=dict(facts), note=None if live else GONE)
        spec = ModelVersion.model_validate(live).spec if live else None
        if spec:
            node = node.model_copy(update={"facts": node.facts | {"format": spec.format} | spec.metrics})
        labels = (live or {}).get("metadata", {}).get("labels") or {}
        return self._telling.tell(node, name, self._of_version(spec, labels.get(STEP), cycle))

    def _of_version(self, spec: ModelVersionSpec | None, step: str | None, cycle: Cycle | None) -> Iterator[Node]:
        if cycle:
            yield _cycle("promoted by" if cycle.outcome else "brought by", cycle)
        if spec is None:
            if cycle and cycle.training_job:
                yield self.training(cycle.training_job, "made by")
            return
        yield Node(role="files", uri=spec.uri, digest=spec.digest, note=None if spec.digest else UNDIGESTED)
        lineage = spec.lineage
        if lineage is None:
            yield Node(role="made by", note="nothing is recorded; a user registered it")
        elif lineage.pipeline_run:
            yield self._of_run(lineage, spec, step)
        else:
            yield self.training(lineage.training_job or "", "made by", lineage.uid, spec)

    def _of_run(self, lineage: Lineage, spec: ModelVersionSpec, step: str | None) -> Node:
        """The step that registered the version, or the one that made its files, or what the version's own record says."""
        run = lineage.pipeline_run or ""
        for role, name in (("registered by", step), ("made by", lineage.step)):
            if name and (told := self.steps.step(run, name, role, lineage.uid)):
                return told
        facts = {"step": lineage.step, "attempt": lineage.attempt}
        node = Node(role="made by", kind="PipelineRun", name=run, facts=facts, note=GONE)
        return self._telling.tell(node, f"{spec.model}-{spec.version}", self._recorded(lineage, spec))

    def training(self, name: str, role: str | None = None, uid: str = "", made: ModelVersionSpec | None = None) -> Node:
        """A TrainingJob; if it is gone, what the version that it made holds of it."""
        live = self._telling.read("TrainingJob", name, uid)
        lineage = made.lineage if made else None
        facts: dict[str, Any] = {"attempt": lineage.attempt} if lineage else {}
        node = Node(role=role, kind="TrainingJob", name=name, facts=facts, note=None if live else GONE)
        return self._telling.tell(
            node, live["metadata"]["uid"] if live else f"{name} {uid}", self._of_training(live, lineage, made)
        )

    def _of_training(
        self, live: Manifest | None, lineage: Lineage | None, made: ModelVersionSpec | None
    ) -> Iterator[Node]:
        labels = (live or {}).get("metadata", {}).get("labels") or {}
        if labels.get(OWNER_KIND) == "PipelineRun" and STEP in labels:
            step = steps.unit(labels[STEP], labels.get(ITEM))
            if told := self.steps.step(labels[OWNER_NAME], step, "for", labels[OWNER_UID]):
                yield told
                return
        elif OWNER_KIND in labels:
            yield Node(role="for", kind=labels[OWNER_KIND], name=labels[OWNER_NAME])
        if lineage and made:
            yield from self._recorded(lineage, made)
        elif live:
            yield from self._of_spec(TrainingJob.model_validate(live))

    def _recorded(self, lineage: Lineage, made: ModelVersionSpec) -> Iterator[Node]:
        """By the record of the version that was made."""
        yield from work(lineage.image, lineage.image_digest, lineage.code_digest, made.parameters)
        if lineage.base_model:
            yield Node(role="base model", name=lineage.base_model)
        if lineage.seed is not None:
            yield Node(role="seed", name=str(lineage.seed))
        yield from self._inputs(lineage.inputs)

    def _of_spec(self, job: TrainingJob) -> Iterator[Node]:
        """By the record of a TrainingJob that has made no version."""
        written = job.status.output
        ran, digests = (written.image, written.inputs or {}) if written else (None, {})
        if written:
            yield Node(role="files", uri=written.uri, digest=written.digest)
        yield from body(job.spec, ran)
        taken = (InputDigest(name=each.name, uri=each.uri, digest=digests.get(each.name)) for each in job.spec.inputs)
        yield from self._inputs(taken)

    def _inputs(self, inputs: Iterable[InputDigest]) -> Iterator[Node]:
        return (self.data(each.name, each.uri, each.digest) for each in inputs)

    def data(self, name: str, uri: str, digest: str | None) -> Node:
        """Data that were read at a uri; where a training or a step of a run writes, with what that came from."""
        node = Node(role="input", name=name, uri=uri, digest=digest, note=None if digest else UNDIGESTED)
        writer = WRITTEN.match(uri)
        if writer is None:
            return node
        if writer["job"]:
            maker = self.training(writer["job"], "made by", writer["uid"])
        else:
            step = steps.unit(writer["step"], writer["item"])
            gone = Node(role="made by", kind="PipelineRun", name=writer["run"], facts={"step": step}, note=GONE)
            maker = self.steps.step(writer["run"], step, "made by", writer["uid"]) or gone
        return node.model_copy(update={"origins": [maker]})


def _cycle(role: str, cycle: Cycle) -> Node:
    """What set a change of version off, and who let it pass."""
    told = {
        "trigger": cycle.trigger.reason,
        "by": cycle.trigger.by,
        "message": cycle.trigger.message,
        "champion": cycle.champion,
        "stage": cycle.stage,
        "approvedBy": cycle.approved_by,
        "ended": cycle.end_time,
    }
    signals = [
        Node(role="signal", name=each.name, facts=each.model_dump(exclude={"name"}, exclude_none=True))
        for each in cycle.trigger.signals or ()
    ]
    facts = {key: value for key, value in told.items() if value is not None}
    return Node(role=role, kind="Cycle", name=str(cycle.number), facts=facts, origins=signals)
