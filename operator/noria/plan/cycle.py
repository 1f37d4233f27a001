"""The wheel: how a new version takes over, stage by stage, or does not.

Training -> Scoring -> Starting -> Mirroring -> Canary (step by step) -> Approval -> Moving -> Promoted
A stage that the spec does not ask for is passed over. Whatever goes wrong before the challenger has traffic ends the cycle;
afterwards it goes through RollingBack, which waits until the gateway sends everything to the champion again.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta

from noria.api.cycle import Cycle, GateResult, Outcome, Result, Stage, StepRecord, Trigger
from noria.api.endpoint import Served
from noria.api.modelversion import ModelVersion
from noria.plan import gates, retraining, scoring, serving, traffic
from noria.plan.manifests import moment, rfc3339
from noria.plan.trouble import trouble
from noria.plan.view import APPROVE, BY, RETRY, ROLLBACK_TO, Refusal, Turn, View

HISTORY = 10
GATES_KEPT = 32
"""Gate results that a stage's record holds, those that did not pass first; many slices could make a status too large."""
GATES_REMEMBERED = 3
"""Cycles whose gate results are kept whole; of older ones only those that did not pass."""
SUPERSEDED = "Superseded"
FAULTLESS = (
    "NotReady",
    "Unschedulable",
    "QuotaExceeded",
    "ImagePullFailed",
    "PodRefused",
    "ChampionUnscorable",
    "DataUnscorable",
)
"""Reasons that do not speak against a version; it may try again by itself, but not for ever."""
TRIES = 3
ORDER: tuple[Stage, ...] = ("Training", "Scoring", "Starting", "Mirroring", "Canary", "Approval", "Moving")
WITH_TRAFFIC: tuple[Stage, ...] = ("Mirroring", "Canary", "Approval", "Moving")


def advance(view: View) -> Turn:
    """One step on from what is recorded."""
    turn = _without_past(view, Turn.recorded(view.endpoint))
    cycle = turn.cycle
    if cycle is None or cycle.stage is None:
        return _begin(view, turn)
    if cycle.stage == "RollingBack":
        return _rolling_back(view, turn, cycle)
    if why := _obsolete(view, turn, cycle):
        had_traffic = turn.current is not None and cycle.stage in WITH_TRAFFIC
        return _stop(view, turn, cycle, "RolledBack" if had_traffic else "Failed", why)
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


def _begin(view: View, turn: Turn) -> Turn:
    """No cycle is in flight: whether one begins, and why."""
    back = view.action(ROLLBACK_TO)
    if back:  # nothing else begins before the wish is taken away, or it would end what just began
        trigger = Trigger(reason="Rollback", by=view.action(BY))
        return turn if refused_rollback(view, turn) else _open(view, turn, trigger, view.version(back))
    wanted = view.wanted
    if isinstance(wanted, ModelVersion) and _is_news(view, turn, wanted):
        # A version that has earned the traffic before and is asked for by its number is gone back to without more ado.
        back_by_spec = view.endpoint.spec.model.version is not None and wanted.metadata.name in have_served(turn)
        return _open(view, turn, Trigger(reason="Rollback" if back_by_spec else "NewVersion"), wanted)
    if set_off := retraining.trigger(view, turn):
        return _open(view, turn, set_off, None)
    return turn


def refused_rollback(view: View, turn: Turn) -> Refusal | None:
    """Why the rollback that is asked for by hand cannot be."""
    name = view.action(ROLLBACK_TO)
    if turn.current and turn.current.version == name:
        return Refusal("AlreadyServed", f"{name} serves already")
    if view.version(name) is None:
        return Refusal("ModelVersionNotFound", f"ModelVersion {name} does not exist")
    if name not in have_served(turn):
        return Refusal("NeverServed", f"{name} has not served here; versions in status.history have")
    return None


def have_served(turn: Turn) -> set[str]:
    """Names of versions that had all the traffic, as far as is remembered."""
    promoted = {each.challenger for each in turn.history if each.outcome == "Promoted"}
    champions = {each.champion for each in turn.history}
    return {each for each in promoted | champions if each}


def _is_news(view: View, turn: Turn, wanted: ModelVersion) -> bool:
    """Whether the wanted version is another than the served one and has not been rejected."""
    name = view.service_name(wanted)
    return name not in turn.rejected and not (turn.current and turn.current.inference_service == name)


def _open(view: View, turn: Turn, trigger: Trigger, challenger: ModelVersion | None) -> Turn:
    cycle = Cycle(
        number=turn.cycles + 1,
        trigger=trigger,
        champion=turn.current.version if turn.current else None,
        challenger=challenger.metadata.name if challenger else None,
        start_time=view.now,
    )
    return _enter(view, turn._replace(cycle=cycle, cycles=cycle.number), cycle)


def _stages(view: View, turn: Turn, cycle: Cycle) -> list[tuple[Stage, int | None]]:
    """The stages of this cycle, in order."""
    rollout, gateway = view.endpoint.spec.rollout, bool(view.observed.settings.gateway_name)
    judged = cycle.trigger.reason != "Rollback" and turn.current is not None
    stages: list[tuple[Stage, int | None]] = []
    if cycle.trigger.reason in ("Signal", "Manual"):
        stages.append(("Training", None))
    if judged and view.endpoint.spec.gate and cycle.champion != cycle.challenger:
        stages.append(("Scoring", None))
    stages.append(("Starting", None))
    if judged and gateway:
        if rollout.mirror and view.observed.settings.gateway_mirrors:
            stages.append(("Mirroring", None))
        stages += [("Canary", number) for number in range(len(rollout.steps))]
    if judged and rollout.approval == "Manual":
        stages.append(("Approval", None))
    return [*stages, ("Moving", None)]


def _rank(stage: Stage, step: int | None) -> tuple[int, int]:
    return ORDER.index(stage), step or 0


def _enter(
    view: View,
    turn: Turn,
    cycle: Cycle,
    result: Result = "Pass",
    message: str | None = None,
    found: list[GateResult] | None = None,
) -> Turn:
    """Into the next stage, with what came of the one before; the spec may have changed since."""
    rank = _rank(cycle.stage, cycle.step) if cycle.stage else (-1, 0)
    stage, step = next(each for each in _stages(view, turn, cycle) if _rank(*each) > rank)
    steps = _closed(view, cycle, result, message, found)
    if cycle.stage == "Starting":
        steps += _passed_over(view, turn, cycle)
    entered = StepRecord(name=traffic.stage_name(view.endpoint, stage, step), start_time=view.now)
    update = {"stage": stage, "step": step, "stage_time": view.now, "settled_time": None, "steps": [*steps, entered]}
    turn = turn._replace(cycle=cycle.model_copy(update=update))
    return _with_next(view, turn, cycle) if stage == "Starting" else turn


def _with_next(view: View, turn: Turn, cycle: Cycle) -> Turn:
    """The challenger takes its place; one that is still warm comes back as it is."""
    challenger = view.version(cycle.challenger)
    assert challenger is not None  # _obsolete has looked
    name = view.service_name(challenger)
    served = Served(version=challenger.metadata.name, inference_service=name, since=view.now)
    return turn._replace(next=served, retiring=tuple(each for each in turn.retiring if each.inference_service != name))


def _passed_over(view: View, turn: Turn, cycle: Cycle) -> list[StepRecord]:
    """What the spec asks for and this cluster cannot do, told in the record."""
    rollout, settings = view.endpoint.spec.rollout, view.observed.settings
    if cycle.trigger.reason == "Rollback" or turn.current is None:
        return []
    asked: list[tuple[str, str]] = []
    if rollout.mirror and not settings.gateway_mirrors:
        asked.append(("Mirroring", traffic.NO_MIRROR))
    if rollout.steps and not settings.gateway_name:
        asked.append(("Canary", traffic.NO_GATEWAY))
    return [
        StepRecord(name=name, start_time=view.now, end_time=view.now, result="Skipped", message=why)
        for name, why in asked
    ]


def _closed(
    view: View, cycle: Cycle, result: Result, message: str | None, found: list[GateResult] | None
) -> list[StepRecord]:
    kept = sorted(found or [], key=lambda each: each.result in ("Pass", "Skipped"))[:GATES_KEPT]
    told = {"end_time": view.now, "result": result, "message": message, "gates": kept or None}
    return [*cycle.steps[:-1], *(each.model_copy(update=told) for each in cycle.steps[-1:])]


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


def _stop(
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
    stopped = cycle.model_copy(update=told | {"steps": _closed(view, cycle, result, why.message, found)})
    if turn.current is None or cycle.stage not in WITH_TRAFFIC:
        return _over(view, turn, stopped)
    entered = StepRecord(name="RollingBack", start_time=view.now)
    back = {"stage": "RollingBack", "step": None, "stage_time": view.now, "settled_time": None}
    return turn._replace(cycle=stopped.model_copy(update=back | {"steps": [*stopped.steps, entered]}))


def _over(view: View, turn: Turn, cycle: Cycle) -> Turn:
    """Into the history; a version that did not earn the traffic is remembered, so that it is not tried again by itself."""
    ended = cycle.model_copy(
        update={"stage": None, "step": None, "stage_time": None, "settled_time": None, "end_time": view.now}
    )
    rejected = turn.rejected
    challenger = view.version(cycle.challenger)
    if challenger and cycle.outcome != "Promoted" and cycle.reason != SUPERSEDED and not _may_try_again(turn, cycle):
        rejected = (*rejected, turn.next.inference_service if turn.next else view.service_name(challenger))
    earlier = turn.history[: HISTORY - 1]
    whole = GATES_REMEMBERED - 1
    history = (ended, *earlier[:whole], *(_thinned(each) for each in earlier[whole:]))
    return turn._replace(cycle=None, next=None, history=history, rejected=_kept(view, turn, rejected))


def _may_try_again(turn: Turn, cycle: Cycle) -> bool:
    """Whether the cluster failed and not the version, and that not too often."""
    before = [each for each in turn.history if each.challenger == cycle.challenger and each.reason in FAULTLESS]
    with_traffic = cycle.outcome == "RolledBack" or cycle.reason in ("ChampionUnscorable", "DataUnscorable")
    return with_traffic and cycle.reason in FAULTLESS and len(before) < TRIES - 1


def _thinned(cycle: Cycle) -> Cycle:
    steps = [
        each.model_copy(update={"gates": [gate for gate in each.gates or () if gate.result != "Pass"] or None})
        for each in cycle.steps
    ]
    return cycle.model_copy(update={"steps": steps})


def _kept(view: View, turn: Turn, rejected: tuple[str, ...]) -> tuple[str, ...]:
    """Rejections that still matter: of versions that exist and are not the served one."""
    alive = {view.service_name(each) for each in view.versions} - {
        turn.current.inference_service if turn.current else ""
    }
    return tuple(dict.fromkeys(each for each in rejected if each in alive))


def _training(view: View, turn: Turn, cycle: Cycle) -> Turn:
    job = retraining.live_job(view, cycle)
    if job is None:
        if cycle.training_job is None:
            return turn
        why = Refusal("TrainingDeleted", f"TrainingJob {cycle.training_job} was deleted")
        return _stop(view, turn, cycle, "Failed", why)
    cycle = cycle.model_copy(update={"training_job": job["metadata"]["name"]})
    outcome = retraining.outcome(job)
    if outcome is None:
        return turn._replace(cycle=cycle)
    if isinstance(outcome, Refusal):
        return _stop(view, turn, cycle, "Failed", outcome)
    if view.version(outcome.version) is None:
        if not retraining.gone(view, outcome):
            return turn._replace(cycle=cycle)  # the record comes a moment after the job's status
        return _stop(view, turn, cycle, "Failed", Refusal("VersionDeleted", f"{outcome.version} was deleted"))
    made = cycle.model_copy(update={"challenger": outcome.version})
    return _enter(view, turn, made, message=f"made {outcome.version}")


def _scoring(view: View, turn: Turn, cycle: Cycle) -> Turn:
    gate, champion, challenger = view.endpoint.spec.gate, view.version(cycle.champion), view.version(cycle.challenger)
    if gate is None:
        return _enter(view, turn, cycle, "Skipped", "spec.gate was removed")
    if champion is None or challenger is None:
        why = Refusal("ChampionDeleted", f"ModelVersion {cycle.champion} was deleted, nothing can be compared with it")
        return _stop(view, turn, cycle, "Failed", why)
    if reason := scoring.unscorable(champion) or scoring.unscorable(challenger):
        return _stop(view, turn, cycle, "Rejected", Refusal("Unscorable", reason))
    said = scoring.answer(view.observed, view.endpoint, cycle.number)
    if said is None:
        return turn
    if isinstance(said, Refusal):
        return _stop(view, turn, cycle, "Failed", said)
    verdict = gates.offline(gate, gates.read(said))
    if verdict.result == "Pass":
        return _enter(view, turn, cycle, "Pass", verdict.message, verdict.gates)
    why = Refusal(verdict.reason, verdict.message)
    return _stop(view, turn, cycle, "Rejected", why, verdict.gates, verdict.result)


def _starting(view: View, turn: Turn, cycle: Cycle) -> Turn:
    if serving.ready(view.service(turn.next)):
        return _enter(view, turn, cycle)
    if turn.current and _elapsed(view, cycle.stage_time) >= view.endpoint.spec.rollout.deadline_seconds:
        name = turn.next.inference_service if turn.next else ""
        why = trouble(view.observed, name) or Refusal("NotReady", "KServe does not call it ready")
        text = f"not ready within rollout.deadlineSeconds: {why.message}"
        return _stop(view, turn, cycle, "Failed", Refusal(why.reason, text))
    return turn


def _watched(view: View, turn: Turn, cycle: Cycle) -> Turn:
    """Mirroring and canary: the route first, then the hold, and gates all the time."""
    assert turn.next is not None
    if not serving.ready(view.service(turn.next)):
        return _not_ready(view, turn, cycle, turn.next)
    if cycle.settled_time is None:
        settled = traffic.settled(view, turn)
        return turn._replace(cycle=cycle.model_copy(update={"settled_time": view.now})) if settled else turn
    rollout, mirrored = view.endpoint.spec.rollout, cycle.stage == "Mirroring"
    namespace = view.endpoint.metadata.namespace or ""
    found = gates.online(rollout.gates, namespace, cycle.champion or "", turn.next.version, view.observed, mirrored)
    verdict = gates.verdict(found, "the challenger does as well")
    if verdict.result == "Fail":
        return _stop(view, turn, cycle, "RolledBack", Refusal(verdict.reason, verdict.message), found)
    if cycle.stage == "Approval":
        if view.action(APPROVE) == cycle.challenger:
            approved = cycle.model_copy(update={"approved_by": view.action(BY) or "unknown"})
            return _enter(view, turn, approved, "Pass", f"approved by {approved.approved_by}", found)
        return turn
    # Time passes as far as Prometheus has told: an answer from before the end of the hold is about the stage before.
    told = gates.asked(rollout.gates, namespace, view.observed)
    elapsed, hold = (told - moment(cycle.settled_time)).total_seconds(), traffic.hold(view.endpoint, cycle)
    if elapsed < hold:
        return turn
    if verdict.result == "Pass":
        return _enter(view, turn, cycle, "Pass", verdict.message, found)
    if elapsed < hold + rollout.patience_seconds:
        return turn
    return _stop(view, turn, cycle, "RolledBack", Refusal(verdict.reason, verdict.message), found, "Inconclusive")


def _not_ready(view: View, turn: Turn, cycle: Cycle, challenger: Served) -> Turn:
    """A challenger that has traffic and does not answer loses it at once."""
    why = trouble(view.observed, challenger.inference_service) or Refusal("NotReady", "it is not ready any more")
    return _stop(view, turn, cycle, "RolledBack", Refusal(why.reason, f"{challenger.version}: {why.message}"))


def _moving(view: View, turn: Turn, cycle: Cycle) -> Turn:
    following = turn.next
    assert following is not None
    if not serving.ready(view.service(following)):
        return _not_ready(view, turn, cycle, following) if turn.current else turn
    if not traffic.settled(view, turn):
        return turn
    old, rollout = turn.current, view.endpoint.spec.rollout
    rejected = turn.rejected
    if old:
        stays = max(rollout.drain_seconds, rollout.warm_seconds)
        turn = turn._replace(retiring=(*turn.retiring, _leaving(view, old, stays)))
        if cycle.trigger.reason == "Rollback" and view.endpoint.spec.model.track:
            rejected = (*rejected, old.inference_service, *_newer(view, following, cycle))
    current = following.model_copy(update={"since": view.now})
    told = {
        "outcome": "Promoted",
        "reason": "RolledBackByHand" if cycle.trigger.reason == "Rollback" else "Promoted",
        "message": f"{following.version} serves" + (f" in place of {old.version}" if old else ""),
        "steps": _closed(view, cycle, "Pass", None, None),
    }
    turn = turn._replace(current=current, rejected=rejected)
    return _over(view, turn, cycle.model_copy(update=told))


def _newer(view: View, target: Served, cycle: Cycle) -> Iterator[str]:
    """Versions that somebody went back behind: above the target, and known when they asked for it."""
    back, began = view.version(target.version), moment(cycle.start_time)
    for each in view.versions:
        created = each.metadata.creation_timestamp
        if back and each.spec.version > back.spec.version and (created is None or created <= began):
            yield view.service_name(each)


def _rolling_back(view: View, turn: Turn, cycle: Cycle) -> Turn:
    champion = view.service(turn.current) or view.version(cycle.champion)
    if champion and not traffic.settled(view, turn):
        return turn
    retiring = turn.retiring
    if turn.next:
        retiring = (*retiring, _leaving(view, turn.next, view.endpoint.spec.rollout.drain_seconds))
    ended = cycle.model_copy(update={"steps": _closed(view, cycle, "Pass", None, None)})
    return _over(view, turn._replace(retiring=retiring), ended)


def _leaving(view: View, served: Served, seconds: int) -> Served:
    until = rfc3339(view.observed.now + timedelta(seconds=seconds))
    return served.model_copy(update={"since": view.now, "until": until})


def _elapsed(view: View, since: str | None) -> float:
    return (view.observed.now - moment(since)).total_seconds() if since else 0.0


STAGES: Mapping[Stage, Callable[[View, Turn, Cycle], Turn]] = {
    "Training": _training,
    "Scoring": _scoring,
    "Starting": _starting,
    "Mirroring": _watched,
    "Canary": _watched,
    "Approval": _watched,
    "Moving": _moving,
}
