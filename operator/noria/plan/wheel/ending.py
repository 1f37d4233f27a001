"""How a cycle ends: what becomes of its challenger, and what the history keeps."""

from datetime import timedelta

from noria.api.cycle import Cycle, GateResult, Outcome, Result, StepRecord
from noria.api.endpoint import Served
from noria.plan import causes
from noria.plan.manifests import rfc3339
from noria.plan.wheel.course import WITH_TRAFFIC, closed
from noria.plan.wheel.view import SUPERSEDED, WITHDRAWN, Refusal, Turn, View

HISTORY = 10
GATES_REMEMBERED = 3
"""Cycles whose gate results are kept whole; of older ones only those that did not pass."""
AT_SCORING = (
    "ChampionUnscorable",
    "DataUnscorable",
    "ChampionDeleted",
    "ScoreLost",
    "DeadlineExceeded",
    "PodDeleted",
    "Disrupted",
    *(reason for reason, _ in causes.DISRUPTIONS.values()),
)
FAULTLESS = ("NotReady", "Unschedulable", "QuotaExceeded", "ImagePullFailed", "PodRefused", *AT_SCORING)
"""Reasons that do not speak against a version; it may try again by itself, but not for ever."""
TRIES = 3


def stop(
    view: View,
    turn: Turn,
    cycle: Cycle,
    outcome: Outcome,
    why: Refusal,
    found: list[GateResult] | None = None,
    result: Result = "Fail",
) -> Turn:
    """The cycle fails: at once, or by way of the route if the challenger may have traffic."""
    told = {"outcome": outcome, "reason": why.reason, "message": why.message}
    stopped = cycle.model_copy(update=told | {"steps": closed(view, cycle, result, why.message, found)})
    if turn.current is None or cycle.stage not in WITH_TRAFFIC:
        return over(view, turn, stopped)
    entered = StepRecord(name="RollingBack", start_time=view.now)
    back = {"stage": "RollingBack", "step": None, "stage_time": view.now, "settled_time": None}
    return turn._replace(cycle=stopped.model_copy(update=back | {"steps": [*stopped.steps, entered]}))


def over(view: View, turn: Turn, cycle: Cycle) -> Turn:
    """Into the history; a version that did not earn the traffic is remembered, so that it is not tried again by itself."""
    ended = cycle.model_copy(
        update={"stage": None, "step": None, "stage_time": None, "settled_time": None, "end_time": view.now}
    )
    rejected = turn.rejected
    challenger = view.version(cycle.challenger)
    spared = cycle.outcome == "Promoted" or cycle.reason in (SUPERSEDED, WITHDRAWN) or _may_try_again(turn, cycle)
    if challenger and not spared:
        rejected = (*rejected, turn.next.inference_service if turn.next else view.service_name(challenger))
    earlier = turn.history[: HISTORY - 1]
    whole = GATES_REMEMBERED - 1
    history = (ended, *earlier[:whole], *(_thinned(each) for each in earlier[whole:]))
    return turn._replace(cycle=None, next=None, history=history, rejected=_kept(view, turn, rejected))


def _may_try_again(turn: Turn, cycle: Cycle) -> bool:
    """Whether the cluster failed and not the version, and that not too often."""
    before = [each for each in turn.history if each.challenger == cycle.challenger and each.reason in FAULTLESS]
    # What does not start is a fault of the version until it has started once.
    known = cycle.outcome == "RolledBack" or cycle.reason in AT_SCORING
    return known and cycle.reason in FAULTLESS and len(before) < TRIES - 1


def _thinned(cycle: Cycle) -> Cycle:
    steps = [
        each.model_copy(update={"gates": [gate for gate in each.gates or () if gate.result != "Pass"] or None})
        for each in cycle.steps
    ]
    return cycle.model_copy(update={"steps": steps})


def _kept(view: View, turn: Turn, rejected: tuple[str, ...]) -> tuple[str, ...]:
    """Rejections that still matter: of versions that exist and are not the served one."""
    current = turn.current
    others = [each for each in view.versions if not current or each.metadata.name != current.version]
    alive = {view.service_name(each) for each in view.versions} - {current.inference_service if current else ""}
    alive |= {each.metadata.uid for each in others}
    return tuple(dict.fromkeys(each for each in rejected if each in alive))


def leaving(view: View, served: Served, seconds: int) -> Served:
    """A version that has no traffic any more and stays for so many seconds."""
    until = rfc3339(view.observed.now + timedelta(seconds=seconds))
    return served.model_copy(update={"since": view.now, "until": until})
