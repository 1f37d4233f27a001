"""What each stage of a cycle waits for, and where it goes from there."""

from collections.abc import Iterator

from noria.api.cycle import Cycle
from noria.api.endpoint import Served
from noria.plan import offline
from noria.plan.manifests import moment
from noria.plan.wheel import challengers, gates, scoring, serving, traffic
from noria.plan.wheel.course import closed, enter
from noria.plan.wheel.ending import leaving, over, stop
from noria.plan.wheel.trouble import ready, trouble
from noria.plan.wheel.view import APPROVE, BY, Refusal, Turn, View


def training(view: View, turn: Turn, cycle: Cycle) -> Turn:
    """Until its TrainingJob or PipelineRun has made a version, or none."""
    found = challengers.live(view, cycle)
    if found is None:
        known = challengers.recorded(cycle)
        return stop(view, turn, cycle, "Failed", Refusal("TrainingDeleted", f"{known} was deleted")) if known else turn
    cycle = challengers.seen(cycle, found)
    outcome = challengers.outcome(view, found)
    if outcome is None:
        return turn._replace(cycle=cycle)
    if isinstance(outcome, Refusal):
        return stop(view, turn, cycle, "Failed", outcome)
    if view.version(outcome.version) is None:
        if not challengers.gone(view, outcome):
            return turn._replace(cycle=cycle)  # the record comes a moment after the job's status
        return stop(view, turn, cycle, "Failed", Refusal("VersionDeleted", f"{outcome.version} was deleted"))
    made = cycle.model_copy(update={"challenger": outcome.version})
    return enter(view, turn, made, message=f"made {outcome.version}")


def scored(view: View, turn: Turn, cycle: Cycle) -> Turn:
    """Until the offline gate has said what it found."""
    gate, champion, challenger = view.endpoint.spec.gate, view.served, view.version(cycle.challenger)
    if gate is None:
        return enter(view, turn, cycle, "Skipped", "spec.gate was removed")
    if champion is None or challenger is None:
        why = Refusal("ChampionDeleted", f"ModelVersion {cycle.champion} was deleted, nothing can be compared with it")
        return stop(view, turn, cycle, "Failed", why)
    if reason := scoring.unscorable(champion) or scoring.unscorable(challenger):
        return stop(view, turn, cycle, "Rejected", Refusal("Unscorable", reason))
    wished = scoring.jobs(view.endpoint, gate, champion, challenger, cycle.number, view.observed.settings)
    live = view.child("Job", scoring.job_name(view.endpoint, cycle.number))
    if live and any(scoring.outdated(live, each) for each in wished):
        return turn  # it goes, and is made anew
    said = scoring.answer(view.observed, view.endpoint, cycle.number)
    if said is None:
        return turn
    if isinstance(said, Refusal):
        return stop(view, turn, cycle, "Failed", said)
    verdict = offline.judge(gate, offline.read(said), "spec.gate")
    if verdict.result == "Pass":
        return enter(view, turn, cycle, "Pass", verdict.message, verdict.gates)
    why = Refusal(verdict.reason, verdict.message)
    return stop(view, turn, cycle, "Rejected", why, verdict.gates, verdict.result)


def starting(view: View, turn: Turn, cycle: Cycle) -> Turn:
    """Until KServe calls the challenger ready and no gate would judge its past, or its time is over."""
    name = turn.next.inference_service if turn.next else ""
    if ready(view.observed, name):
        return turn if traffic.clean(view, turn, cycle) else enter(view, turn, cycle)
    if turn.current and _elapsed(view, cycle.stage_time) >= view.endpoint.spec.rollout.deadline_seconds:
        why = trouble(view.observed, name) or Refusal("NotReady", "KServe does not call it ready")
        text = f"not ready within rollout.deadlineSeconds: {why.message}"
        return stop(view, turn, cycle, "Failed", Refusal(why.reason, text))
    return turn


def watched(view: View, turn: Turn, cycle: Cycle) -> Turn:
    """Mirroring and canary: the route first, then the hold, and gates all the time."""
    assert turn.next is not None
    if not ready(view.observed, turn.next.inference_service):
        return _not_ready(view, turn, cycle, turn.next)
    if cycle.settled_time is None and traffic.settled(view, turn):
        return turn._replace(cycle=cycle.model_copy(update={"settled_time": view.now}))
    if cycle.settled_time is None and not serving.reaches(view.route, turn.next.inference_service):
        return turn
    rollout, mirrored = view.endpoint.spec.rollout, cycle.stage == "Mirroring"
    namespace = view.endpoint.metadata.namespace or ""
    found = gates.online(rollout.gates, namespace, cycle.champion or "", turn.next.version, view.observed, mirrored)
    verdict = offline.verdict(found, "the challenger does as well")
    if verdict.result == "Fail":
        return stop(view, turn, cycle, "RolledBack", Refusal(verdict.reason, verdict.message), found)
    if cycle.settled_time is None:  # it has the traffic of before until the gateway takes what is wished
        return turn
    if cycle.stage == "Approval":
        if view.action(APPROVE) == cycle.challenger:
            approved = cycle.model_copy(update={"approved_by": view.action(BY) or "unknown"})
            return enter(view, turn, approved, "Pass", f"approved by {approved.approved_by}", found)
        return turn
    # Time passes as far as Prometheus has told: an answer from before the end of the hold is about the stage before.
    told = gates.asked(rollout.gates, namespace, view.observed)
    if told is None:
        return turn
    elapsed, hold = (told - moment(cycle.settled_time)).total_seconds(), traffic.hold(view.endpoint, cycle)
    if not traffic.settled(view, turn):  # another weight: its hold begins when the gateway has taken it
        return turn._replace(cycle=cycle.model_copy(update={"settled_time": None}))
    if elapsed < hold:
        return turn
    if verdict.result == "Pass":
        return enter(view, turn, cycle, "Pass", verdict.message, found)
    if elapsed < hold + rollout.patience_seconds:
        return turn
    return stop(view, turn, cycle, "RolledBack", Refusal(verdict.reason, verdict.message), found, "Inconclusive")


def _not_ready(view: View, turn: Turn, cycle: Cycle, challenger: Served) -> Turn:
    """A challenger that has traffic and does not answer loses it at once."""
    why = trouble(view.observed, challenger.inference_service) or Refusal("NotReady", "it is not ready any more")
    return stop(view, turn, cycle, "RolledBack", Refusal(why.reason, f"{challenger.version}: {why.message}"))


def moving(view: View, turn: Turn, cycle: Cycle) -> Turn:
    """Until the gateway sends everything to the challenger, which then is the champion."""
    following = turn.next
    assert following is not None
    if not ready(view.observed, following.inference_service):
        return _not_ready(view, turn, cycle, following) if turn.current else turn
    if not traffic.settled(view, turn):
        return turn
    old, rollout = turn.current, view.endpoint.spec.rollout
    rejected = turn.rejected
    if old:
        stays = max(rollout.drain_seconds, rollout.warm_seconds)
        turn = turn._replace(retiring=(*turn.retiring, leaving(view, old, stays)))
        if cycle.trigger.reason == "Rollback" and (track := view.endpoint.spec.model.track):
            newer = _newer(view, following, cycle) if track == "Latest" else ()
            left = view.version(old.version)
            rejected = (*rejected, old.inference_service, *([left.metadata.uid] if left else []), *newer)
    current = following.model_copy(update={"since": view.now})
    told = {
        "outcome": "Promoted",
        "reason": "RolledBackByHand" if cycle.trigger.reason == "Rollback" else "Promoted",
        "message": f"{following.version} serves" + (f" in place of {old.version}" if old else ""),
        "steps": closed(view, cycle, "Pass", None, None),
    }
    turn = turn._replace(current=current, rejected=rejected)
    return over(view, turn, cycle.model_copy(update=told))


def _newer(view: View, target: Served, cycle: Cycle) -> Iterator[str]:
    """Versions that somebody went back behind: above the target, and known when they asked for it."""
    back, began = view.version(target.version), moment(cycle.start_time)
    for each in view.versions:
        created = each.metadata.creation_timestamp
        if back and each.spec.version > back.spec.version and (created is None or created <= began):
            yield each.metadata.uid


def rolling_back(view: View, turn: Turn, cycle: Cycle) -> Turn:
    """Until the gateway sends everything to the champion again; one that is gone is not waited for."""
    # Another record of that name cannot bring it back.
    known = {view.service_name(each) for each in view.versions}
    there = view.service(turn.current) or (turn.current and turn.current.inference_service in known)
    if there and not traffic.settled(view, turn):
        return turn
    retiring = turn.retiring
    if turn.next:
        retiring = (*retiring, leaving(view, turn.next, view.endpoint.spec.rollout.drain_seconds))
    ended = cycle.model_copy(update={"steps": closed(view, cycle, "Pass", None, None)})
    return over(view, turn._replace(retiring=retiring), ended)


def _elapsed(view: View, since: str | None) -> float:
    return (view.observed.now - moment(since)).total_seconds() if since else 0.0
