"""When an Endpoint has a challenger made."""

from datetime import timedelta

from noria.api.cycle import RetrainStatus, SignalStatus, SignalValue, Trigger
from noria.api.endpoint import Endpoint
from noria.plan.manifests import moment
from noria.plan.wheel import challengers
from noria.plan.wheel.challengers import RECORD_SECONDS, Made
from noria.plan.wheel.view import BY, RETRAIN, SUPERSEDED, WITHDRAWN, Turn, View

TRAINED = ("Signal", "Manual")


def status(view: View, before: Turn, after: Turn) -> RetrainStatus | None:
    """What is remembered of trainings, and whether a signal may set off another one."""
    retrain = view.endpoint.spec.retrain
    if retrain is None:
        return None
    old = view.endpoint.status.retrain or RetrainStatus(state="Armed")
    since = view.observed.now - timedelta(seconds=retrain.budget.window_seconds)
    starts = [each for each in old.starts if moment(each) > since]
    failures, last = old.failures, old.last_end_time
    begun, ended = after.cycle, before.cycle if after.cycle is None else None
    if begun and before.cycle is None and begun.trigger.reason in TRAINED:
        starts = [*starts, view.now][-20:]
        failures = 0 if begun.trigger.reason == "Manual" else failures
    newest = after.history[0] if ended and after.history else None
    if ended and newest and ended.trigger.reason in TRAINED:
        last = view.now
        failures += newest.outcome != "Promoted" and newest.reason not in (SUPERSEDED, WITHDRAWN)
    if ended and newest and newest.outcome == "Promoted" and ended.trigger.reason != "Rollback":
        failures = 0  # whoever made it: what had failed is mended
    kept = RetrainStatus(state="Armed", failures=failures, starts=starts, last_end_time=last)
    return kept.model_copy(update={"state": _state(view, after, kept)})


def _state(view: View, turn: Turn, kept: RetrainStatus) -> str:
    retrain = view.endpoint.spec.retrain
    assert retrain is not None
    types = {each.name: each.type for each in view.endpoint.spec.monitoring.signals}
    states = (
        ("InCycle", turn.cycle is not None),
        ("Frozen", retrain.frozen),
        ("Broken", kept.failures >= retrain.max_failures),
        (
            "DataQualityFails",
            any(each.state == "Firing" and types[each.name] == "DataQuality" for each in view.signals),
        ),
        ("CoolingDown", _cooling(view, kept) > 0),
        ("BudgetSpent", len(kept.starts) >= retrain.budget.count),
    )
    return next((state for state, holds in states if holds), "Armed")


def _cooling(view: View, kept: RetrainStatus) -> float:
    """Seconds that the cooldown still lasts."""
    retrain = view.endpoint.spec.retrain
    if retrain is None or kept.last_end_time is None:
        return 0.0
    return (moment(kept.last_end_time) - view.observed.now).total_seconds() + retrain.cooldown_seconds


def requeue(view: View, turn: Turn, kept: RetrainStatus | None) -> list[float]:
    """Seconds until time alone arms it again, or a version counts as gone."""
    retrain, cycle = view.endpoint.spec.retrain, turn.cycle
    if kept is None or retrain is None:
        return []
    found = challengers.live(view, cycle) if cycle and cycle.stage == "Training" else None
    if found and isinstance(made := challengers.outcome(view, found), Made) and not challengers.gone(view, made):
        return [RECORD_SECONDS - (view.observed.now - made.at).total_seconds()]
    if kept.state == "CoolingDown":
        return [_cooling(view, kept)]
    if kept.state == "BudgetSpent":
        return [(moment(kept.starts[0]) - view.observed.now).total_seconds() + retrain.budget.window_seconds]
    return []


def trigger(view: View, turn: Turn) -> Trigger | None:
    """What sets off a training now: a request by hand in any case, a firing signal if it may."""
    retrain = view.endpoint.spec.retrain
    if retrain is None or turn.current is None:
        return None
    if reason := view.action(RETRAIN):
        return Trigger(reason="Manual", by=view.action(BY), message=reason)
    firing = firing_now(view)
    kept = status(view, turn, turn)
    if not firing or kept is None or kept.state != "Armed" or not _quality_measured(view):
        return None
    return Trigger(reason="Signal", signals=[_value(each) for each in firing])


def due(endpoint: Endpoint) -> bool:
    """Whether a signal is recorded as firing that may set off a training and has not."""
    retrain, kept = endpoint.spec.retrain, endpoint.status.retrain
    if retrain is None or kept is None or kept.state != "Armed":
        return False
    return any(each.state == "Firing" and each.name in retrain.signals for each in endpoint.status.signals)


def firing_now(view: View) -> list[SignalStatus]:
    """Signals that set off a training: what is only recorded from before a restart does not count."""
    names = view.endpoint.spec.retrain.signals if view.endpoint.spec.retrain else []
    return [
        each for each in view.signals if each.state == "Firing" and each.name in names and each.name in view.measured
    ]


def _quality_measured(view: View) -> bool:
    signals = view.endpoint.spec.monitoring.signals
    return all(each.name in view.measured for each in signals if each.type == "DataQuality")


def _value(signal: SignalStatus) -> SignalValue:
    return SignalValue(name=signal.name, value=signal.value, threshold=signal.threshold, feature=signal.feature)
