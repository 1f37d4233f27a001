"""What the schedule of a Pipeline does now: starts a run, waits for another to end, or finds that a time was missed.

Times up to a base are over: the newest that was started or missed, or when the schedule was first seen. Of those after it only
the newest is ever started, and a run's name tells its time, so that none is started twice.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from noria.api.pipeline import Pipeline, PipelineStatus
from noria.api.schedule import Schedule
from noria.plan.conditions import find
from noria.plan.contract import Event, Manifest
from noria.plan.manifests import child, moment, pinned, rfc3339
from noria.plan.pipelines import calendar
from noria.plan.pipelines.fellows import SCHEDULED, STAMP, Fellow

REPLACED_BY = "noria.dev/replaced-by"
"""Annotation of a run that is cancelled for the next one: that one's name. It tells too that the next was decided in time."""
TOLERATED = timedelta(minutes=5)
"""How far the clock may go back without a word; nothing starts meanwhile."""
NAMED = 3


@dataclass
class Draft:
    """What is to be done, and told."""

    status: PipelineStatus
    reason: str = "Scheduled"
    message: str = ""
    holds: bool = True
    """Whether the Pipeline is ready."""
    creates: list[Manifest] = field(default_factory=list)
    children: list[Manifest] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    waits: list[datetime] = field(default_factory=list)
    """When time alone may change it."""


def run_name(pipeline: Pipeline, at: datetime) -> str:
    """Name of the run for a time: at most 30 characters, another for each time and each Pipeline."""
    minute, uid = int(at.timestamp()) // 60, pipeline.metadata.uid
    stem = re.sub(r"^[^a-z]+|[^a-z0-9-]", "", pipeline.metadata.name)[:14].strip("-") or "p"
    return f"{stem}-{minute}-{hashlib.sha256(f'{uid}/{minute}'.encode()).hexdigest()[:6]}"


def draft(pipeline: Pipeline, schedule: Schedule, fellows: Sequence[Fellow], now: datetime) -> Draft:
    """The schedule has no fault."""
    status = _seen(pipeline, schedule, now)
    made = frozenset(each.at for each in fellows if each.at and each.at <= now)
    plan = Draft(status, message=f"{schedule.cron} ({schedule.time_zone})")
    base = _base(status)
    if (last := max(made, default=base)) > base:
        _started(plan, pipeline, schedule, base, last, made)
        base = last
    coming = None if schedule.suspend else calendar.following(schedule, max(base, now))
    plan.status = plan.status.model_copy(update={"next_schedule_time": coming and rfc3339(coming)})
    plan.waits += [coming] if coming else []
    if schedule.suspend:
        plan.reason = "Suspended"
        plan.message = "spec.schedule.suspend is true: nothing starts by itself; set it to false to go on"
    elif base - now > TOLERATED:
        plan.holds, plan.reason = False, "ClockWentBack"
        plan.message = f"nothing starts before {rfc3339(base)}, which is over and yet lies ahead of the clock; "
        plan.message += "correct the clock, or edit the schedule, and it counts from now on"
    else:
        _due(plan, pipeline, schedule, base, fellows, now)
    return plan


def forgotten(status: PipelineStatus) -> PipelineStatus:
    """The status of a Pipeline without a schedule."""
    gone = ("schedule", "since", "last_schedule_time", "next_schedule_time", "last_missed_time", "missed")
    return status.model_copy(update=dict.fromkeys(gone))


def _seen(pipeline: Pipeline, schedule: Schedule, now: datetime) -> PipelineStatus:
    """The status with the schedule as it is now: one that was edited or added counts from when it is seen."""
    status, text = pipeline.status, f"{schedule.cron} {schedule.time_zone}"
    if status.schedule == text:
        return status
    fresh = status.schedule is None and pipeline.metadata.generation <= 1
    since = rfc3339((pipeline.metadata.creation_timestamp if fresh else None) or now)
    last = status.last_schedule_time if (status.last_schedule_time or "") <= since else None
    update = {"schedule": text, "since": since, "last_schedule_time": last, "last_missed_time": None, "missed": None}
    return status.model_copy(update=update)


def _base(status: PipelineStatus) -> datetime:
    over = (status.since, status.last_schedule_time, status.last_missed_time)
    return max(moment(each) for each in over if each)


def _started(
    plan: Draft, pipeline: Pipeline, schedule: Schedule, base: datetime, last: datetime, made: frozenset[datetime]
) -> None:
    """Takes the newest run that was made into the record, and the times before that were passed over."""
    over = calendar.count(schedule, base, last - timedelta(seconds=1), made)
    update = {"last_schedule_time": rfc3339(last), "missed": (plan.status.missed or 0) + over or None}
    plan.status = plan.status.model_copy(update=update)
    text = f"{run_name(pipeline, last)} for {rfc3339(last)}"
    text += f"; {over} times before it were missed" if over else ""
    plan.events.append(Event("Normal", "Started", text, rfc3339(last)))


def _due(
    plan: Draft,
    pipeline: Pipeline,
    schedule: Schedule,
    base: datetime,
    fellows: Sequence[Fellow],
    now: datetime,
) -> None:
    """What becomes of the newest time since `base`."""
    if (at := calendar.newest(schedule, base, now)) is None:
        _tell_missed(plan)
        return
    name, seconds = run_name(pipeline, at), schedule.starting_deadline_seconds
    promised = any((each.live["metadata"].get("annotations") or {}).get(REPLACED_BY) == name for each in fellows)
    deadline = at + timedelta(seconds=seconds) if seconds and not promised else None
    if name in {each.name for each in fellows}:
        _missed(plan, schedule, base, at, f"{name} is the name of a run that it did not start")
        return
    if deadline and deadline < now:
        text = f"nothing could start within startingDeadlineSeconds ({seconds}); raise it, or see what held it up"
        _missed(plan, schedule, base, at, text)
        return
    others = [each for each in fellows if each.ours and not each.ended]
    names = ", ".join(each.name for each in others[:NAMED])
    if others and schedule.concurrency_policy == "Forbid":
        plan.reason, plan.message = "Waiting", f"the start for {rfc3339(at)} waits for the end of {names} (Forbid)"
        plan.waits += [deadline] if deadline else []
    elif others and schedule.concurrency_policy == "Replace":
        plan.reason, plan.message = "Replacing", f"{names} is cancelled, then {name} starts (Replace)"
        plan.children = [_cancelled(each, name) for each in others if not each.goes]
    else:
        plan.creates.append(_run(pipeline, schedule, name, at))
        return
    before = find(pipeline.status.conditions, "Ready")
    if before is None or before.message != plan.message:
        plan.events.append(Event("Normal", plan.reason, plan.message, rfc3339(at)))


def _missed(plan: Draft, schedule: Schedule, base: datetime, at: datetime, why: str) -> None:
    """The newest time and those before it are over."""
    total = (plan.status.missed or 0) + calendar.count(schedule, base, at)
    plan.status = plan.status.model_copy(update={"last_missed_time": rfc3339(at), "missed": total})
    plan.events.append(Event("Warning", "MissedStart", f"no run was started for {rfc3339(at)}: {why}", rfc3339(at)))
    _tell_missed(plan)


def _tell_missed(plan: Draft) -> None:
    """Until the next start it stands in the condition that one was missed."""
    missed, last = plan.status.last_missed_time, plan.status.last_schedule_time
    if missed and missed > (last or ""):
        plan.reason = "MissedStart"
        plan.message = f"no run was started for {missed} (missed so far: {plan.status.missed}); the Events tell why"


def _cancelled(other: Fellow, name: str) -> Manifest:
    desired = pinned(other.live)
    annotations = desired["metadata"].get("annotations", {}) | {REPLACED_BY: name}
    metadata = desired["metadata"] | {"annotations": annotations}
    return desired | {"metadata": metadata, "spec": desired["spec"] | {"cancel": True}}


def _run(pipeline: Pipeline, schedule: Schedule, name: str, at: datetime) -> Manifest:
    given = [each.manifest() for each in schedule.parameters]
    spec = {"pipeline": pipeline.metadata.name} | ({"parameters": given} if given else {})
    return child(pipeline, "PipelineRun", name, {"spec": spec}, labels={SCHEDULED: at.strftime(STAMP)})
