"""Whose turn it is under maxConcurrentRuns: the Pipeline records whom it admits, and a run begins only if it is recorded.

One record decides, so two runs can never begin for one place, whatever each of them sees of the other.
"""

from collections.abc import Sequence
from typing import NamedTuple

from noria.api.pipeline import RunReference
from noria.api.pipelinerun import PipelineRun, PipelineRunStatus
from noria.plan.conditions import find
from noria.plan.contract import Manifest
from noria.plan.pipelines.fellows import Fellow

QUEUED = "Queued"
NAMED = 10
"""How many runs are named in a list; those behind them do not learn their place, or each end would be a write for all."""


class Turns(NamedTuple):
    """Runs that have not ended, the oldest first."""

    active: list[Fellow]
    """Begun, or admitted."""
    admitted: list[RunReference]
    """Those of them that have not begun."""
    queued: list[Fellow]
    """The others."""


def turns(limit: int | None, fellows: Sequence[Fellow], before: Sequence[RunReference]) -> Turns:
    """Who is admitted from now on; `before` were, and stay so. Without a limit whoever comes begins by itself."""
    known = {each.uid for each in before} if limit else set[str]()
    open_ones = [each for each in fellows if not each.ended]
    active = [each for each in open_ones if each.begun or each.uid in known]
    queued = [each for each in open_ones if not each.begun and each.uid not in known and not each.stops]
    if limit is None:
        return Turns(active, [], [])
    free = max(0, limit - len(active))
    active += queued[:free]
    admitted = [RunReference(name=each.name, uid=each.uid) for each in active if not each.begun]
    return Turns(active, admitted, queued[free:])


def waits(run: PipelineRun, pipeline: Manifest) -> str | None:
    """Why a run does not begin yet; None: it may."""
    limit, status = pipeline["spec"].get("maxConcurrentRuns"), pipeline.get("status") or {}
    if limit is None or run.metadata.uid in {each["uid"] for each in status.get("admitted", [])}:
        return None
    first: list[str] = status.get("queuedRuns", [])
    place = f"place {first.index(run.metadata.name) + 1}" if run.metadata.name in first else "it waits"
    name = pipeline["metadata"]["name"]
    return f"{place} in the queue: maxConcurrentRuns of Pipeline {name} is {limit}; raise it, or cancel a run that runs"


def was_queued(status: PipelineRunStatus) -> bool:
    """Whether the run is known to wait for its turn."""
    told = find(status.conditions, "Succeeded")
    return told is not None and told.reason == QUEUED
