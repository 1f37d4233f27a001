"""Probes: what lies at a uri that a Staleness signal watches, as a Job of the agent sees it, beside what the served version was trained on."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Annotated, NamedTuple

from pydantic import Field, ValidationError

from noria.api.cycle import ProbeStatus
from noria.api.endpoint import Endpoint
from noria.api.meta import Model
from noria.api.modelversion import Digest, InputDigest, ModelVersion
from noria.plan import causes, oneshot
from noria.plan.attempts import job_condition
from noria.plan.contract import Manifest, Observed
from noria.plan.manifests import canonical, claim_of, moment, pinned
from noria.plan.pods import by_job, mounted
from noria.plan.wheel.measures import Reading
from noria.plan.wheel.scoring import LOST_SECONDS

KIND = "probe"
RETRIES = 3


class Answer(Model):
    """The agent's termination message."""

    digest: Digest | None = None
    error: Annotated[str, Field(max_length=64)] = "NoDigest"
    message: str = ""


class Step(NamedTuple):
    """What probes add to the plan of an Endpoint."""

    records: list[ProbeStatus]
    wait: float | None = None
    """Seconds until time alone changes something."""


def reading(endpoint: Endpoint, uri: str, version: ModelVersion, now: datetime) -> Reading:
    """For how long the data at `uri` have differed from what the version was trained on (s), as recorded."""
    known = trained_on(version, uri)
    if missing := _incomparable(version, uri, known):
        return Reading(reason="NoDigest", message=missing)
    record = _record(endpoint, uri)
    if record and record.failure:
        return Reading(reason="ProbeFailed", message=f"{uri} could not be looked at: {record.failure}")
    waits = f"; {record.message}" if record and record.message else ""
    if record and known and _older(record, version, known):
        return Reading(
            reason="NotProbed", message=f"{uri} is being looked at since {version.metadata.name} was made{waits}"
        )
    if record is None or known is None or record.digest is None or record.input != known.name:
        return Reading(reason="NotProbed", message=f"{uri} is being looked at for the first time{waits}")
    changed = _changed(record, known)
    return Reading(max(0.0, (now - moment(changed)).total_seconds()) if changed else 0.0)


def trained_on(version: ModelVersion, uri: str) -> InputDigest | None:
    """The version's input that lay at the uri; one with a digest before one without."""
    inputs = version.spec.lineage.inputs if version.spec.lineage else []
    found = [each for each in inputs if claim_of(each.uri) == claim_of(uri)]
    return min(found, key=lambda each: each.digest is None, default=None)


def _incomparable(version: ModelVersion, uri: str, known: InputDigest | None) -> str | None:
    """Why there is nothing to compare the data with."""
    name = version.metadata.name
    if known is None:
        lineage = version.spec.lineage.inputs if version.spec.lineage else []
        named = ", ".join(each.uri for each in lineage) or "no input"
        return f"{name} was not trained on {uri} (its lineage names {named}); correct uri, or train a version on it"
    if known.digest is None:
        return (
            f"the training of {name} made no digest of {uri}: above 50 GB, links inside, or not readable; "
            "name a smaller input of plain files, or leave uri out to watch the age"
        )
    return None


def step(endpoint: Endpoint, version: ModelVersion | None, observed: Observed) -> Step:
    """The records after this look: answers are taken in and what is due is recorded, from which its Job follows.

    Nothing is looked at before something is served that it can be compared with.
    """
    jobs = _jobs(observed)
    numbers = [*jobs, *(each.number for each in endpoint.status.probes)]
    number, records, waits = max(numbers, default=0), [], list[float]()
    for uri, seconds in _watched(endpoint).items():
        record = _record(endpoint, uri)
        if record and record.state == "Running":
            record = _taken_in(record, jobs.get(record.number), observed)
        known = trained_on(version, uri) if version else None
        if version and known and known.digest:
            if record is None or record.input != known.name:
                number += 1
                record = ProbeStatus(uri=uri, input=known.name, number=number, state="Running")
            elif record.state is None and (_older(record, version, known) or _due_in(record, seconds, observed) <= 0):
                number += 1
                record = record.model_copy(update={"number": number, "state": "Running"})
            changed = None if _older(record, version, known) else _changed(record, known)
            compared = {"trained_digest": known.digest, "changed_time": changed}
            record = record.model_copy(update=compared)
            waits += _waits(endpoint, record, jobs.get(record.number), observed)
        records += [record] if record else []
    return Step(records, min(waits, default=None))


def jobs(endpoint: Endpoint, observed: Observed) -> Iterator[Manifest]:
    """The Job of each record; one that has ended stays, for its log, until the next number takes its place."""
    live = _jobs(observed)
    for record in endpoint.status.probes:
        if record.number in live:
            yield pinned(live[record.number])
        elif record.state == "Running":
            yield _job(endpoint, record, observed)
    if _watched(endpoint):
        # Of a uri that is watched no more: its number is taken until a higher one is recorded.
        highest = max((each.number for each in endpoint.status.probes), default=0)
        yield from (pinned(each) for number, each in live.items() if number > highest)


def _job(endpoint: Endpoint, record: ProbeStatus, observed: Observed) -> Manifest:
    claim, _ = claim_of(record.uri)
    # The digest of a single file holds the name under which the training saw it.
    path = f"/noria/input/{record.input}"
    mount = mounted(record.uri, path, "input")
    source = {"claimName": claim, "readOnly": True}
    errand = oneshot.Errand(KIND, "digest", record.number, canonical({"path": path}), source, mount, RETRIES)
    return oneshot.job(endpoint, f"{endpoint.metadata.name}-probe-{record.number}", errand, observed.settings)


def _jobs(observed: Observed) -> dict[int, Manifest]:
    """Live Jobs of probes by their numbers."""
    found = {oneshot.number_of(each, KIND): each for each in observed.children if each["kind"] == "Job"}
    return {number: each for number, each in found.items() if number}


def _watched(endpoint: Endpoint) -> dict[str, int]:
    """Seconds between two looks, by uri; of several signals the one that looks most often decides."""
    seconds: dict[str, int] = {}
    for each in endpoint.spec.monitoring.signals:
        if each.uri:
            seconds[each.uri] = min(each.window_seconds, seconds.get(each.uri, each.window_seconds))
    return seconds


def _record(endpoint: Endpoint, uri: str) -> ProbeStatus | None:
    return next((each for each in endpoint.status.probes if each.uri == uri), None)


def _older(record: ProbeStatus, version: ModelVersion, known: InputDigest) -> bool:
    """Whether the data were looked at before the version was made and were not what it learned: which of them are newer
    only another look tells."""
    made, at = version.metadata.creation_timestamp, record.time
    return record.digest not in (None, known.digest) and made is not None and at is not None and moment(at) < made


def _changed(record: ProbeStatus, known: InputDigest) -> str | None:
    """Since when the data differ from what a version was trained on."""
    if record.digest is None or record.digest == known.digest:
        return None
    same = record.trained_digest == known.digest and record.changed_time
    return record.changed_time if same else record.digest_time


def _taken_in(record: ProbeStatus, live: Manifest | None, observed: Observed) -> ProbeStatus:
    """The record with what the probe says by now; unchanged while its Job is still to be made."""
    if live is None:
        return record
    pods = by_job(observed.children).get(live["metadata"]["name"], [])
    if complete := job_condition(live, "Complete"):
        at, said = _completed(live, complete), oneshot.said(pods)
        if said is not None:
            return _answered(record, at, said)
        if _since(at, observed) < LOST_SECONDS:
            return record  # the Job's news came before its pod's
        return _failed(record, at, "its pod and its message are gone")
    refusals = [each for each in observed.children if each["kind"] == "Event" and _about(each, live)]
    trouble = causes.waiting(pods, () if pods else refusals)
    # At the deadline the pods go before the Job says so.
    waits = f"waits: {trouble.reason}: {trouble.message}" if trouble else None if pods else record.message
    if failed := job_condition(live, "Failed"):
        return _failed(record, failed["lastTransitionTime"], oneshot.why_failed(failed, pods, waits))
    return record.model_copy(update={"message": waits})


def _about(event: Manifest, job: Manifest) -> bool:
    return bool(event["involvedObject"].get("name") == job["metadata"]["name"])


def _completed(live: Manifest, complete: Manifest) -> str:
    return str(live["status"].get("completionTime") or complete["lastTransitionTime"])


def _answered(record: ProbeStatus, at: str, said: str) -> ProbeStatus:
    try:
        answer = Answer.model_validate_json(said)
    except ValidationError as error:
        return _failed(record, at, f"the agent's message cannot be read: {error.errors()[0]['msg']}")
    if answer.digest is None:
        return _failed(record, at, f"{answer.error}: {answer.message}")
    first = record.digest_time if answer.digest == record.digest else at
    seen = {"digest": answer.digest, "digest_time": first, "time": at}
    return record.model_copy(update=seen | {"state": None, "message": None, "failure": None})


def _failed(record: ProbeStatus, at: str, why: str) -> ProbeStatus:
    return record.model_copy(update={"state": None, "message": None, "failure": why, "time": at})


def _since(at: str, observed: Observed) -> float:
    return (observed.now - moment(at)).total_seconds()


def _due_in(record: ProbeStatus, seconds: int, observed: Observed) -> float:
    """Seconds until the next look; the first is due at once."""
    return (moment(record.time) + timedelta(seconds=seconds) - observed.now).total_seconds() if record.time else 0.0


def _waits(endpoint: Endpoint, record: ProbeStatus, live: Manifest | None, observed: Observed) -> Iterator[float]:
    """Seconds until the next look, until a message counts as lost, and until a signal passes its threshold."""
    complete = live and job_condition(live, "Complete")
    if record.state is None:
        yield max(0.0, _due_in(record, _watched(endpoint)[record.uri], observed))
    elif live and complete:
        yield max(0.0, LOST_SECONDS - _since(_completed(live, complete), observed))
    for each in endpoint.spec.monitoring.signals:
        if each.uri == record.uri and record.changed_time:
            left = each.threshold - _since(record.changed_time, observed)
            if left >= 0:
                yield left + 1
