"""What an Endpoint tells: its conditions, the Events of what just happened, and which requests by hand are done with."""

from collections.abc import Iterator

from noria.api.cycle import Cycle
from noria.api.endpoint import Served
from noria.api.meta import Condition
from noria.plan.conditions import condition
from noria.plan.contract import Event
from noria.plan.manifests import rfc3339
from noria.plan.wheel import challengers, serving, traffic
from noria.plan.wheel.beginning import refused_rollback
from noria.plan.wheel.scoring import waits
from noria.plan.wheel.trouble import ready, trouble
from noria.plan.wheel.view import APPROVE, BY, RETRAIN, RETRY, ROLLBACK_TO, Refusal, Turn, View, turned_down


def conditions(view: View, turn: Turn) -> list[Condition]:
    """Ready, UpToDate, Verified, whether everything that is watched is known, and whether a mirror that is asked for can be."""
    return [*_served(view, turn), *_monitored(view), *_mirror(view)]


def _served(view: View, turn: Turn) -> Iterator[Condition]:
    observed, current = view.observed, turn.current
    behind = _behind(view, turn)
    if current and ready(observed, current.inference_service):
        yield condition(observed, "Ready", True, "Serving", f"{current.version} serves")
    elif current:
        why = trouble(observed, current.inference_service) or _absent(view, current)
        yield condition(observed, "Ready", False, why.reason, f"{current.version}: {why.message}")
    elif behind:  # as always while nothing serves
        yield condition(observed, "Ready", False, behind.reason, behind.message)
    if behind:
        yield condition(observed, "UpToDate", False, behind.reason, behind.message)
    else:
        newer = "; a newer one did not earn the traffic (status.history)" if turn.rejected else ""
        yield condition(observed, "UpToDate", True, "VersionServed", f"the wanted version serves{newer}")
    if current:
        yield _verified(view, current.version, current.inference_service)


def _absent(view: View, current: Served) -> Refusal:
    known = {view.service_name(each) for each in view.versions}
    if view.service(current) or current.inference_service in known:
        return Refusal("Restarting", "it is being started again")
    return Refusal("VersionDeleted", "its ModelVersion and its InferenceService were deleted; name another version")


def _behind(view: View, turn: Turn) -> Refusal | None:
    """What keeps the wanted version, or the one in flight, from serving."""
    cycle = turn.cycle
    if cycle is None or cycle.stage is None:
        if isinstance(view.wanted, Refusal):
            return view.wanted
        return None if turn.current else Refusal("Starting", "nothing is served yet")
    name, following = cycle.challenger or "a new version", turn.next
    if cycle.stage == "RollingBack":
        said = serving.rejection(view.route)
        late = f"; Gateway {_gateway(view)} {said}" if said else ""
        return Refusal("RollingBack", f"all traffic goes back to {cycle.champion}: {cycle.message}{late}")
    if cycle.stage == "Training":
        return Refusal("Training", challengers.words(view, cycle))
    if cycle.stage == "Scoring":
        return Refusal(
            "Scoring", f"{name} is scored beside {cycle.champion}{waits(view.observed, view.endpoint, cycle.number)}"
        )
    if following and (why := trouble(view.observed, following.inference_service)):
        return Refusal(why.reason, f"{name}: {why.message}")
    if cycle.stage == "Starting":
        at = (
            traffic.clean(view, turn, cycle)
            if following and ready(view.observed, following.inference_service)
            else None
        )
        until = f"{name} is ready; until {rfc3339(at)} its gates would judge what it did before" if at else None
        return Refusal("Starting", until or f"{name} is being started")
    if cycle.stage == "Approval":
        text = (
            f"{name} waits for approval: kubectl annotate mep {view.endpoint.metadata.name} {APPROVE}={name} {BY}=<you>"
        )
        return Refusal("ApprovalNeeded", text)
    if cycle.stage in ("Mirroring", "Canary") and cycle.settled_time:
        return Refusal(cycle.stage, f"{name} is at {traffic.stage_name(view.endpoint, cycle.stage, cycle.step)}")
    if not view.observed.settings.gateway_name:
        return Refusal("Moving", f"{name} takes over")
    if following and not ready(view.observed, following.inference_service):
        return Refusal("NotReady", f"{name} is not ready any more")
    said = serving.rejection(view.route)
    reason, words = ("RouteRejected", said) if said else ("Routing", "has not accepted the route yet")
    return Refusal(reason, f"{name} is ready; Gateway {_gateway(view)} {words}")


def _gateway(view: View) -> str:
    return f"{view.observed.settings.gateway_namespace}/{view.observed.settings.gateway_name}"


def _verified(view: View, version: str, service: str) -> Condition:
    """Whether the server checked the files against the version's digest before it loaded them."""
    live = view.child("InferenceService", service) or {}
    model = live.get("spec", {}).get("predictor", {}).get("model", {})
    told = {each["name"]: each.get("value") for each in model.get("env", [])}
    if (why := trouble(view.observed, service)) and why.reason == "DigestMismatch":
        return condition(view.observed, "Verified", False, why.reason, why.message)
    if told.get("NORIA_MODEL_DIGEST"):
        return condition(
            view.observed, "Verified", True, "DigestMatches", f"the server loaded {told['NORIA_MODEL_DIGEST']}"
        )
    if runtime := view.endpoint.spec.predictor.runtime:
        text = f"runtime {runtime} is not known to check digests"
        return condition(view.observed, "Verified", False, "ForeignRuntime", text)
    text = f"{version} states no digest; register it with spec.digest"
    return condition(view.observed, "Verified", False, "Unverified", text)


def _monitored(view: View) -> list[Condition]:
    """Whether every signal says something; one that is only short of samples does."""
    if not view.endpoint.spec.monitoring.signals:
        return []
    unknown = [each for each in view.signals if each.state == "Unknown" and each.reason != "TooFewSamples"]
    if unknown:
        text = "; ".join(f"{each.name}: {each.message}" for each in unknown[:3])
        return [condition(view.observed, "Monitored", False, unknown[0].reason or "Unknown", text)]
    if len(view.signals) < len(view.endpoint.spec.monitoring.signals):
        return [condition(view.observed, "Monitored", None, "Waiting", "nothing has been evaluated yet")]
    return [condition(view.observed, "Monitored", True, "SignalsKnown", "every signal is evaluated")]


def _mirror(view: View) -> Iterator[Condition]:
    if view.endpoint.spec.rollout.mirror is None:
        return
    if view.observed.settings.gateway_mirrors:
        yield condition(view.observed, "MirrorAvailable", True, "Declared", "the gateway is declared to mirror")
    else:
        text = f"rollout.mirror is passed over: {traffic.NO_MIRROR}"
        yield condition(view.observed, "MirrorAvailable", False, "NotDeclared", text)


STAGE_REASONS = {
    "Training": "RetrainStarted",
    "Scoring": "ScoringStarted",
    "Starting": "RolloutStarted",
    "Mirroring": "MirrorStarted",
    "Canary": "CanaryStep",
    "Approval": "ApprovalNeeded",
    "Moving": "TrafficMoves",
    "RollingBack": "RollbackStarted",
}


def events(view: View, before: Turn, after: Turn) -> tuple[Event, ...]:
    """What changed against the record, and what could not be done. Told again after a crash, the cycles are the same."""
    told = list(_refusals(view, before))
    ended = after.history[0] if after.history[:1] != before.history[:1] and after.history else None
    if ended:
        good = ended.outcome == "Promoted"
        text = ended.message or ended.outcome or ""
        told.append(Event("Normal" if good else "Warning", ended.outcome or "Failed", text, f"cycle-{ended.number}"))
    was, cycle = before.cycle, after.cycle
    if (
        cycle
        and cycle.stage
        and (was is None or (was.number, was.stage, was.step) != (cycle.number, cycle.stage, cycle.step))
    ):
        where = f"cycle-{cycle.number}-{cycle.stage}-{cycle.step or 0}"
        bad = cycle.stage == "RollingBack"
        told.append(Event("Warning" if bad else "Normal", STAGE_REASONS[cycle.stage], _words(view, cycle), where))
    return tuple(told)


def _words(view: View, cycle: Cycle) -> str:
    """The stage in one sentence, with what began the cycle if it has just begun."""
    assert cycle.stage is not None
    if cycle.stage == "RollingBack":
        return f"all traffic goes back to {cycle.champion}: {cycle.message}"
    if cycle.stage == "Training":
        fired = ", ".join(
            f"{each.name} is {each.value:g}, threshold {each.threshold:g}"
            for each in cycle.trigger.signals or []
            if each.value is not None
        )
        return fired or f"{cycle.trigger.by or 'somebody'} asked for it: {cycle.trigger.message}"
    name = traffic.stage_name(view.endpoint, cycle.stage, cycle.step)
    sentences = {
        "Scoring": f"{cycle.challenger} is scored beside {cycle.champion}",
        "Starting": f"{cycle.challenger} is being started",
        "Mirroring": f"requests are mirrored to {cycle.challenger}",
        "Canary": f"{cycle.challenger} at {name}",
        "Approval": f"{cycle.challenger} waits for approval",
        "Moving": f"all traffic moves to {cycle.challenger}",
    }
    return sentences[cycle.stage]


def _refusals(view: View, recorded: Turn) -> Iterator[Event]:
    """What was asked for by hand and cannot be done."""
    back = view.action(ROLLBACK_TO)
    why = refused_rollback(view, recorded) if back and recorded.cycle is None else None
    if why and why.reason != "AlreadyServed":
        yield Event("Warning", why.reason, f"{ROLLBACK_TO}: {why.message}", f"{back}-{recorded.cycles}")
    if view.action(RETRAIN) and view.endpoint.spec.retrain is None:
        text = f"{RETRAIN}: spec.retrain is not set, so there is nothing to train"
        yield Event("Warning", "NothingToTrain", text, f"retrain-{recorded.cycles}")
    elif view.action(RETRAIN) and recorded.cycle and recorded.cycle.trigger.reason != "Manual":
        text = f"{RETRAIN}: cycle {recorded.cycle.number} is in flight; ask again when it is over"
        yield Event("Warning", "CycleInFlight", text, f"retrain-{recorded.cycles}")


def done(view: View, recorded: Turn) -> tuple[str, ...]:
    """Annotations whose wish the record holds, or which cannot be granted; only then they go."""
    cycle, current, annotations = recorded.cycle, recorded.current, view.endpoint.metadata.annotations
    over = []
    back = view.action(ROLLBACK_TO)
    under_way = cycle is not None and cycle.trigger.reason == "Rollback" and cycle.challenger == back
    if back and (under_way or (cycle is None and refused_rollback(view, recorded))):
        over.append(ROLLBACK_TO)
    if view.action(RETRAIN) and (cycle is not None or view.endpoint.spec.retrain is None):
        over.append(RETRAIN)
    if view.action(APPROVE) and not _may_be_approved(cycle, view.action(APPROVE)):
        over.append(APPROVE)
    again = view.version(view.action(RETRY))
    if view.action(RETRY) and (again is None or not turned_down(recorded.rejected, view.service_name(again), again)):
        over.append(RETRY)
    asked = {each for each in (ROLLBACK_TO, RETRAIN, APPROVE, RETRY) if view.action(each)}
    over += [each for each in (ROLLBACK_TO, RETRAIN, APPROVE, RETRY, BY) if annotations.get(each) == ""]
    if view.action(BY) and current is not None and asked <= set(over):
        over.append(BY)
    return tuple(over)


def _may_be_approved(cycle: Cycle | None, name: str | None) -> bool:
    """Whether the approval is still to be used: it may be given before its time."""
    return cycle is not None and cycle.challenger in (None, name) and cycle.stage not in ("Moving", "RollingBack")
