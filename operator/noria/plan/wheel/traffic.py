"""Where requests go in each stage: the route that is wished, whether the gateway has taken it, and for how long it is held."""

from datetime import datetime, timedelta

from noria.api.cycle import Cycle, Stage
from noria.api.endpoint import Endpoint
from noria.plan.contract import Manifest
from noria.plan.manifests import moment
from noria.plan.wheel import serving
from noria.plan.wheel.serving import Share
from noria.plan.wheel.view import Turn, View

HAD_TRAFFIC = ("RolledBack", "Promoted")
"""Outcomes of cycles whose challenger had some."""
NO_MIRROR = "the administrator has not declared that the gateway mirrors (chart value gateway.mirrors)"
NO_GATEWAY = "no gateway is named (chart value gateway.name), so traffic cannot be split"


def stage_name(endpoint: Endpoint, stage: Stage, step: int | None) -> str:
    """The stage; of a canary step with its weight. The spec may have fewer steps than when the stage began."""
    steps = endpoint.spec.rollout.steps
    return stage if step is None or not steps else f"{stage}-{steps[min(step, len(steps) - 1)].weight}"


def route(view: View, turn: Turn) -> Manifest | None:
    """The HTTPRoute of the stage; None before anything serves, or without a gateway."""
    current, following, cycle = turn.current, turn.next, turn.cycle
    stage = cycle.stage if cycle else None
    if stage == "Moving" and following:
        return _route(view, [Share(following.inference_service, 1)])
    if current is None:
        return None
    alone = [Share(current.inference_service, 1)]
    if following is None or cycle is None:
        return _route(view, alone)
    if stage == "Mirroring" and view.endpoint.spec.rollout.mirror:
        percent = view.endpoint.spec.rollout.mirror.percent
        return _route(view, alone, Share(following.inference_service, percent))
    weight = _weight(view.endpoint, cycle)
    if weight:
        return _route(
            view, [Share(current.inference_service, 100 - weight), Share(following.inference_service, weight)]
        )
    return _route(view, alone)


def _route(view: View, shares: list[Share], mirror: Share | None = None) -> Manifest | None:
    return serving.route(view.endpoint, shares, mirror, view.observed.settings)


def _weight(endpoint: Endpoint, cycle: Cycle) -> int:
    """Percent of the requests that the challenger answers."""
    steps = endpoint.spec.rollout.steps
    if cycle.stage == "Canary" and cycle.step is not None and steps:
        return steps[min(cycle.step, len(steps) - 1)].weight
    if cycle.stage == "Approval" and steps:
        return steps[-1].weight
    return 0


def settled(view: View, turn: Turn) -> bool:
    """Whether the gateway has accepted exactly the route of the stage; without a gateway nothing stands in between."""
    wished = route(view, turn)
    return wished is None or serving.settled(view.route, wished)


def hold(endpoint: Endpoint, cycle: Cycle) -> float:
    """Seconds for which the stage is watched: no shorter than any gate looks back, or it would judge the stage before."""
    rollout, own = endpoint.spec.rollout, 0
    if cycle.stage == "Mirroring" and rollout.mirror:
        own = rollout.mirror.hold_seconds
    if cycle.stage == "Canary" and cycle.step is not None and cycle.step < len(rollout.steps):
        own = rollout.steps[cycle.step].hold_seconds
    return float(max([own, *(each.window_seconds for each in rollout.gates)]))


def clean(view: View, turn: Turn, cycle: Cycle) -> datetime | None:
    """When no gate looks back any more at what the challenger did in an earlier try, or while it served; None if none does."""
    rollout, name = view.endpoint.spec.rollout, cycle.challenger
    if cycle.trigger.reason == "Rollback" or turn.current is None or not rollout.gates:
        return None
    before = (
        moment(each.end_time)
        for each in turn.history
        if each.end_time and (each.champion == name or (each.challenger == name and each.outcome in HAD_TRAFFIC))
    )
    window = timedelta(seconds=max(each.window_seconds for each in rollout.gates))
    at = max(before, default=None)
    return at + window if at and at + window > view.observed.now else None


def requeue(view: View, turn: Turn) -> list[float]:
    """Seconds until time alone may change the stage, or ends the stay of a version."""
    now, cycle, waits = view.observed.now, turn.cycle, []
    waits += [(moment(each.until) - now).total_seconds() for each in turn.retiring if each.until]
    rollout = view.endpoint.spec.rollout
    if cycle and cycle.stage_time and cycle.stage == "Starting" and turn.current:
        waits.append((moment(cycle.stage_time) - now).total_seconds() + rollout.deadline_seconds)
    if cycle and cycle.stage == "Starting" and (at := clean(view, turn, cycle)):
        waits.append((at - now).total_seconds())
    if cycle and cycle.settled_time and cycle.stage in ("Mirroring", "Canary"):
        left = (moment(cycle.settled_time) - now).total_seconds() + hold(view.endpoint, cycle)
        waits.append(left if left > 0 else left + rollout.patience_seconds)
    return [each for each in waits if each > 0]  # what is over was judged by this look
