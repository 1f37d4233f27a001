"""The wheel: how a new version takes over, stage by stage, or does not.

Training -> Scoring -> Starting -> Mirroring -> Canary (step by step) -> Approval -> Moving -> Promoted
A stage that the spec does not ask for is passed over. Whatever goes wrong before the challenger has traffic ends the cycle;
afterwards it goes through RollingBack, which waits until the gateway sends everything to the champion again.
"""

from collections.abc import Callable, Mapping

from noria.api.cycle import Cycle, Stage
from noria.api.modelversion import ModelVersion
from noria.plan.manifests import moment
from noria.plan.wheel import stages
from noria.plan.wheel.beginning import begin, refused_rollback
from noria.plan.wheel.course import WITH_TRAFFIC
from noria.plan.wheel.ending import SUPERSEDED, stop
from noria.plan.wheel.view import BY, RETRY, ROLLBACK_TO, Refusal, Turn, View


def advance(view: View) -> Turn:
    """One step on from what is recorded."""
    turn = _without_past(view, Turn.recorded(view.endpoint))
    cycle = turn.cycle
    if cycle is None or cycle.stage is None:
        return begin(view, turn)
    if cycle.stage == "RollingBack":
        return stages.rolling_back(view, turn, cycle)
    if why := _obsolete(view, turn, cycle):
        had_traffic = turn.current is not None and cycle.stage in WITH_TRAFFIC
        return stop(view, turn, cycle, "RolledBack" if had_traffic else "Failed", why)
    return STAGES[cycle.stage](view, turn, cycle)


def _without_past(view: View, turn: Turn) -> Turn:
    """Without versions whose time is over, and with a rejected one that may try again."""
    now, retry = view.observed.now, view.action(RETRY)
    again = view.version(retry)
    name = view.service_name(again) if again else None
    return turn._replace(
        retiring=tuple(each for each in turn.retiring if each.until is None or moment(each.until) > now),
        rejected=tuple(each for each in turn.rejected if each != name),
    )


def _obsolete(view: View, turn: Turn, cycle: Cycle) -> Refusal | None:
    """Why the cycle is not worth going on with. The first version that has the route takes over before another one may."""
    if turn.current is None and cycle.stage == "Moving" and view.service(turn.next):
        return None
    back, wanted = view.action(ROLLBACK_TO), view.wanted
    going_there = cycle.trigger.reason == "Rollback" and back == cycle.challenger
    if back and turn.current and not going_there and (back == turn.current.version or not refused_rollback(view, turn)):
        return Refusal("ByHand", f"{view.action(BY) or 'somebody'} asked for {back}")
    if cycle.challenger and view.version(cycle.challenger) is None:
        return Refusal("VersionDeleted", f"{cycle.challenger} was deleted")
    pinned = view.endpoint.spec.model.version is not None
    if cycle.trigger.reason == "Rollback" and not pinned:
        return None
    if cycle.trigger.reason in ("Signal", "Manual"):
        if view.endpoint.spec.retrain is None and cycle.stage == "Training":
            return Refusal(SUPERSEDED, "spec.retrain was removed")
        return Refusal(SUPERSEDED, "spec.model.version asks for one version") if pinned else None
    if not isinstance(wanted, ModelVersion):
        return Refusal(SUPERSEDED, wanted.message)
    early = cycle.stage not in WITH_TRAFFIC
    if wanted.metadata.name != cycle.challenger and (pinned or early):
        return Refusal(SUPERSEDED, f"{wanted.metadata.name} is wanted instead")
    if early and turn.next and turn.next.inference_service != view.service_name(wanted):
        return Refusal(SUPERSEDED, f"{wanted.metadata.name} is to be served otherwise")
    return None


STAGES: Mapping[Stage, Callable[[View, Turn, Cycle], Turn]] = {
    "Training": stages.training,
    "Scoring": stages.scored,
    "Starting": stages.starting,
    "Mirroring": stages.watched,
    "Canary": stages.watched,
    "Approval": stages.watched,
    "Moving": stages.moving,
}
