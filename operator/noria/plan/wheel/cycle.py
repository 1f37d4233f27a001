"""The wheel: how a new version takes over, stage by stage, or does not.

Training -> Scoring -> Starting -> Mirroring -> Canary (step by step) -> Approval -> Moving -> Promoted
A stage that the spec does not ask for is passed over. Whatever goes wrong before the challenger has traffic ends the cycle;
afterwards it goes through RollingBack, which waits until the gateway sends everything to the champion again.
"""

from collections.abc import Callable, Mapping

from noria.api.cycle import Cycle, Stage
from noria.api.modelversion import ModelVersion
from noria.plan.manifests import moment
from noria.plan.wheel import challengers, stages, wishes
from noria.plan.wheel.beginning import begin, is_news, refused_rollback
from noria.plan.wheel.course import WITH_TRAFFIC
from noria.plan.wheel.ending import stop
from noria.plan.wheel.trouble import ready
from noria.plan.wheel.view import BY, RETRY, ROLLBACK_TO, SUPERSEDED, WITHDRAWN, Refusal, Turn, View


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
    marks = {view.service_name(again), again.metadata.uid} if again else set()
    return turn._replace(
        retiring=tuple(each for each in turn.retiring if each.until is None or moment(each.until) > now),
        rejected=tuple(each for each in turn.rejected if each not in marks),
    )


def _obsolete(view: View, turn: Turn, cycle: Cycle) -> Refusal | None:
    """Why the cycle is not worth going on with. The first version that has the route and is ready takes over before another
    one may."""
    first = turn.next if turn.current is None and cycle.stage == "Moving" else None
    if first and view.service(first) and ready(view.observed, first.inference_service):
        return None
    back, wanted = view.action(ROLLBACK_TO), view.wanted
    going_there = cycle.trigger.reason == "Rollback" and back == cycle.challenger
    if back and turn.current and not going_there and (back == turn.current.version or not refused_rollback(view, turn)):
        return Refusal("ByHand", f"{view.action(BY) or 'somebody'} asked for {back}")
    challenger = view.version(cycle.challenger)
    if cycle.challenger and challenger is None:
        return Refusal("VersionDeleted", f"{cycle.challenger} was deleted")
    pinned, deployed = view.endpoint.spec.model.version is not None, view.endpoint.spec.model.track == "Deployed"
    if cycle.trigger.reason == "Rollback" and not pinned:
        return None
    if deployed and (why := _overruled(view, cycle)):
        return why
    if cycle.trigger.reason in ("Signal", "Manual"):
        if view.endpoint.spec.retrain is None and cycle.stage == "Training":
            return Refusal(SUPERSEDED, "spec.retrain was removed")
        if pinned:
            return Refusal(SUPERSEDED, "spec.model.version asks for one version")
        return _overtaken(view, turn, cycle)
    if not isinstance(wanted, ModelVersion):
        return Refusal(SUPERSEDED, wanted.message)
    early = cycle.stage not in WITH_TRAFFIC or turn.current is None
    if wanted.metadata.name != cycle.challenger and (pinned or deployed or early):
        return Refusal(SUPERSEDED, f"{wanted.metadata.name} is wanted instead")
    if challenger and turn.next and turn.next.inference_service != view.service_name(challenger):
        return Refusal(SUPERSEDED, f"{cycle.challenger} is to be served otherwise")
    return None


def _overtaken(view: View, turn: Turn, cycle: Cycle) -> Refusal | None:
    """A version that is news does not wait for a run that waits for its turn: the run that it comes from may hold the turn
    until the version serves."""
    run = challengers.queued(view, cycle) if cycle.stage == "Training" else None
    if run is None or not isinstance(view.wanted, ModelVersion) or not is_news(view, turn, view.wanted):
        return None
    return Refusal(SUPERSEDED, f"{view.wanted.metadata.name} is there, while PipelineRun {run} waits for its turn")


def _overruled(view: View, cycle: Cycle) -> Refusal | None:
    """What a deploy step asks for comes first, whatever began the cycle; and what nobody asks for any more is taken back."""
    wish = view.wish
    if wish is None:
        gone = wishes.withdrawn(view.endpoint, cycle, view.runs)
        text = f"the deploy step of PipelineRun {cycle.trigger.run or cycle.pipeline_run} ended before {cycle.challenger} served"
        return Refusal(WITHDRAWN, text) if gone else None
    handing_over = cycle.challenger is None and wish.run == challengers.run_name(view.endpoint, cycle.number)
    return Refusal(SUPERSEDED, str(wish)) if wish.version != cycle.challenger and not handing_over else None


STAGES: Mapping[Stage, Callable[[View, Turn, Cycle], Turn]] = {
    "Training": stages.training,
    "Scoring": stages.scored,
    "Starting": stages.starting,
    "Mirroring": stages.watched,
    "Canary": stages.watched,
    "Approval": stages.watched,
    "Moving": stages.moving,
}
