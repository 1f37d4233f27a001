"""The cache: what a step would make is known by a key, and taken from an earlier run if it is still there as it was.

A look is one Job of the agent that digests all that would be taken, of every step that would hit if those before it do.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pydantic import Field, ValidationError

from noria.api.meta import Model
from noria.api.pipelinerun import CacheStatus, PipelineRun, StepStatus
from noria.api.step import Step
from noria.plan import oneshot
from noria.plan.attempts import job_condition
from noria.plan.contract import Manifest, Ref, Selector, Settings
from noria.plan.manifests import ARTIFACT_CLAIM, canonical, claim_of, digest, moment
from noria.plan.pipelines import evaluating, graph
from noria.plan.pipelines.inputs import Inputs, resolve
from noria.plan.pipelines.turn import GAVE, Turn, versions

KIND = "look"
MARK = f"noria.dev/{KIND}"
PLACE = "/noria/artifacts"
LOST_SECONDS = 60
"""A look that completed so long ago and whose pod is not known has lost its message."""
SOURCES = 10
"""Earlier runs that are looked in."""
ORDER_LIMIT = 200 << 10
"""Bytes; all annotations of an object together may hold 256 KiB."""


class Check(Model):
    """A folder that must have the digest that it had."""

    path: str
    digest: str
    called: str = ""
    """Of an input from outside: its name, which the digest of a single file holds. Empty: what a step gave."""


class Entry(Model):
    """A step that would take what an earlier run made, if these are as they were."""

    name: str
    run: str
    checks: list[Check]


class Order(Model):
    """What the agent is told."""

    steps: list[Entry]


class Answer(Model):
    """The agent's message: places in the list of all checks that are not as they were."""

    wrong: list[int] = Field(max_length=2000)


class Candidate(NamedTuple):
    """What an earlier run made."""

    run: str
    record: StepStatus


def runs(run: PipelineRun) -> Selector:
    """Where a run that begins finds the earlier ones."""
    return Selector("PipelineRun", run.metadata.namespace)


def sources(run: PipelineRun, others: Sequence[Manifest]) -> list[str]:
    """The newest ten runs of the same Pipeline, reruns among them, that have ended; of an inline pipeline there are none."""
    told = [
        each for each in others if run.spec.pipeline and each.get("status", {}).get("pipeline") == run.spec.pipeline
    ]
    ended = [each for each in told if each["status"].get("completionTime")]
    newest = sorted(ended, key=lambda each: (each["status"]["completionTime"], each["metadata"]["name"]), reverse=True)
    return [each["metadata"]["name"] for each in newest[:SOURCES]]


def source(run: PipelineRun, name: str) -> Ref:
    """One of them."""
    return Ref("PipelineRun", run.metadata.namespace, name)


def outside(step: Step) -> dict[str, str]:
    """Uris that are read from outside of the pipeline, by name."""
    inner = {each.name: each.uri for each in step.train.inputs} if step.train else {}
    inner |= {"test": step.evaluate.test} if step.evaluate and step.evaluate.test else {}
    return inner | {each.name: each.uri for each in step.inputs if each.uri}


def key(step: Step, inputs: Inputs, read: dict[str, str] | None, settings: Settings) -> str | None:
    """What a step makes is known by: what runs, its values, and the digests of its folders; None if one is not known."""
    body = step.run or step.train or step.evaluate
    read, names = read or {}, outside(step)
    if body is None or not names.keys() <= read.keys() or any(each.digest is None for each in inputs.folders.values()):
        return None
    where = {"resources", "placement", "image_pull_secrets", "deadline_seconds"}
    return digest(
        {
            "runs": body.model_dump(mode="json", exclude=where),
            "image": _own_image(step, settings),
            "outputs": [each.manifest() for each in step.outputs],
            "values": {name: value for name, (_, value) in inputs.values.items()},
            "folders": {name: each.digest for name, each in inputs.folders.items()},
            "outside": {name: read[name] for name in names},
        }
    )


def _own_image(step: Step, settings: Settings) -> str | None:
    """The image of Noria's own that does it, where the step names none."""
    if step.evaluate:
        return settings.server_image
    return settings.trainer_image if step.train and step.train.recipe else None


def settled(turn: Turn, step: Step, name: str, item: int | None, inputs: Inputs, begun: bool) -> bool:
    """Whether the step or item does not run, for now or at all: it is taken from an earlier run, or has no room, or a look is awaited."""
    record = turn.records[name]
    cached = step.cache.enabled and bool(step.run or step.train or step.evaluate)
    if record.state != "Pending" or record.cache or step.on_exit or not (cached or turn.run.spec.rerun_of):
        return False
    return not _decided(turn, step, name, item, inputs, begun) or turn.records[name].state != "Pending"


def _decided(turn: Turn, step: Step, name: str, item: int | None, inputs: Inputs, begun: bool) -> bool:
    """Whether it is known if the step or item is taken from an earlier run; then its record says so. One whose pod was
    made before that could be recorded has `begun`: it was a miss, and is again."""
    rerun = turn.run.spec.rerun_of
    found = _kept(turn, step, name, item, inputs) if rerun else _candidate(turn, step, name, inputs)
    if isinstance(found, str):
        return _miss(turn, name, found, rerun)
    entry = _entry({} if rerun else outside(step), name, found)
    if entry is None:
        return _miss(turn, name, "OtherClaim", found.run)
    if turn.pretended is not None and not begun:
        turn.pretended.append(entry)
        return _hit(turn, name, found)
    verdict = _verdict(turn, entry) if entry.checks else ""
    if begun:
        return _miss(turn, name, verdict or "NotVerified", found.run)
    if verdict is None:
        turn.wants_look = True
        return False
    return _hit(turn, name, found) if verdict == "" else _miss(turn, name, verdict, found.run)


def _candidate(turn: Turn, step: Step, name: str, inputs: Inputs) -> Candidate | str:
    """The newest record of the same key; or why there is none."""
    reason = "NoEarlierRun"
    for run in turn.run.status.sources:
        raw = turn.earlier(run).get(name)
        if raw is None or raw.get("state") not in GAVE or "key" not in raw:
            continue
        record = StepStatus.model_validate(raw)
        if key(step, inputs, record.read, turn.observed.settings) != record.key:
            reason = "StepChanged" if reason == "NoEarlierRun" else reason
            continue
        if not _registered(turn, step, record, inputs):
            reason = "ArtifactChanged"
            continue
        age = (turn.observed.now - moment(record.end_time or turn.now)).total_seconds()
        if step.cache.max_age_seconds is not None and age > step.cache.max_age_seconds:
            reason = "Expired"
            continue
        return Candidate(run, record)
    return reason


def _kept(turn: Turn, step: Step, name: str, item: int | None, inputs: Inputs) -> Candidate | str:
    """Of a rerun: what the step gave, if it takes what it took then; or why it runs. A version names the folder of its
    model, so a register step takes the very folder; an approval holds while nothing that it waited for was done anew."""
    (run,) = turn.run.status.sources
    record = turn.kept().get(name)
    if record is None or record.state not in GAVE:
        return "NotSucceeded" if record else "NoEarlierRun"
    if step.train and all(each.name != "model" for each in record.outputs or ()):
        return "NotSucceeded"  # its folder was not published
    needed = (turn.frozen.step(each) for each in graph.awaited(turn.frozen.steps, step)) if step.approve else ()
    anew = any(turn.records[unit].state == "Succeeded" for each in needed for unit, _ in turn.units(each))
    if step.evaluate:  # beside the same champion, or one that the run itself has made
        known = key(step, inputs, record.read, turn.observed.settings)
        same = evaluating.itself(inputs) or (known is not None and known == record.key)
        return Candidate(run, record) if same else "StepChanged"
    if not _registered(turn, step, record, inputs):
        return "ArtifactChanged"
    then = resolve(turn.frozen, step, turn.kept(), item)
    return "StepChanged" if anew or _taken(step, inputs) != _taken(step, then) else Candidate(run, record)


def _registered(turn: Turn, step: Step, record: StepStatus, inputs: Inputs) -> bool:
    """Whether the version that a step named, if any, is the record of the very folder: its number may have been used again."""
    given = {each.name: each for each in record.outputs or ()}
    if not (step.register_ or step.train) or "version" not in given:
        return True
    folder, name = inputs.folders["model"] if step.register_ else given["model"], given["version"].value
    live = (each for each in turn.observed.related.get(versions(turn.run), ()) if each["metadata"]["name"] == name)
    return any((each["spec"]["uri"], each["spec"].get("digest")) == (folder.uri, folder.digest) for each in live)


def _taken(step: Step, inputs: Inputs) -> str:
    folders = {
        name: [each.digest or each.uri, each.uri if step.register_ else None] for name, each in inputs.folders.items()
    }
    return canonical([inputs.values, folders])


def _entry(uris: dict[str, str], name: str, found: Candidate) -> Entry | None:
    """What must be as it was, `uris` from outside among it; None where it lies on a claim that is not looked at."""
    places = [(each.uri, each.digest or "", "") for each in found.record.outputs or () if each.uri]
    places += [(uris[each], (found.record.read or {})[each], each) for each in sorted(uris)]
    if any(claim_of(uri)[0] != ARTIFACT_CLAIM for uri, _, _ in places):
        return None
    checks = [Check(path=claim_of(uri)[1], digest=value, called=called) for uri, value, called in places]
    return Entry(name=name, run=found.run, checks=checks)


def _hit(turn: Turn, name: str, found: Candidate) -> bool:
    """The record of an earlier run's attempt, its times among it."""
    kept = found.record.model_dump(include={"start_time", "end_time", "key", "read", "image", "outputs", "attempt"})
    told = CacheStatus(result="Hit", run=found.run)
    turn.take(name, StepStatus.model_validate({"name": name, "state": "Cached", "cache": told} | kept))
    return True


def _miss(turn: Turn, name: str, reason: str, run: str | None = None) -> bool:
    told = CacheStatus(result="Miss", reason=reason, run=run)
    turn.records[name] = turn.records[name].model_copy(update={"cache": told})
    return True


def _verdict(turn: Turn, entry: Entry) -> str | None:
    """What the newest look says of an entry: empty if all is as it was, else the reason; None if it says nothing of it."""
    told, verdict = (answers(turn) or {}).get(entry.name, (None, ""))
    return verdict if told == entry else None


def answers(turn: Turn) -> dict[str, tuple[Entry, str]] | None:
    """What the newest look says, by step or item; None while it has not answered."""
    if turn.answers is ...:
        turn.answers = _answers(turn)
    found: dict[str, tuple[Entry, str]] | None = turn.answers
    return found


def _answers(turn: Turn) -> dict[str, tuple[Entry, str]] | None:
    live = turn.look_job()
    if live is None:
        return {}
    complete, said = job_condition(live, "Complete"), oneshot.said(turn.look_pods())
    if not (said or complete or job_condition(live, "Failed")):
        return None
    if complete and said is None:
        left = (moment(complete["lastTransitionTime"]) - turn.observed.now).total_seconds() + LOST_SECONDS
        if left > 0:  # the Job's news came before its pod's
            turn.waits.append(left)
            return None
    try:
        wrong = set(Answer.model_validate_json(said).wrong) if said else None
    except ValidationError:
        wrong = None
    found, place = dict[str, tuple[Entry, str]](), 0
    for each in Order.model_validate_json(live["spec"]["template"]["metadata"]["annotations"][MARK]).steps:
        changed = wrong is not None and any(place <= number < place + len(each.checks) for number in wrong)
        found[each.name] = (each, "NotVerified" if wrong is None else "ArtifactChanged" if changed else "")
        place += len(each.checks)
    return found


def look(turn: Turn, would_take: Iterator[Entry]) -> None:
    """Begins a look at all that would be taken, unless one is under way."""
    if answers(turn) is None:
        return
    entries, size = list[Entry](), 0
    for each in would_take:
        size += len(each.model_dump_json())
        if size > ORDER_LIMIT:
            break
        entries.append(each)
    number = turn.look + 1  # recorded once its Job is there: one that is refused is tried under the same number
    mount = {"name": "artifacts", "mountPath": PLACE, "readOnly": True}
    claim = {"claimName": ARTIFACT_CLAIM, "readOnly": True}
    order = canonical(Order(steps=entries).model_dump(mode="json"))
    errand = oneshot.Errand(KIND, "verify", number, order, claim, mount, 3)
    name = f"{turn.run.metadata.name}-{KIND}-{number}-{turn.run.metadata.uid[:8]}"
    turn.children.append(oneshot.job(turn.run, name, errand, turn.observed.settings))


def pretended(turn: Turn) -> Turn:
    """A copy in which every candidate is a hit, and nothing that is made matters."""
    other = copy.copy(turn)
    other.records, other.children, other.creates, other.deletes, other.waits = dict(turn.records), [], [], [], []
    other.pretended = list[Any]()
    return other
