"""What the loop would have done: the same decisions over recorded answers of Prometheus, one evaluation after the other.

A training that would have begun is taken to be over after `cycle_seconds` and to have promoted nothing, since nobody can
know: what is replayed afterwards is still what was recorded.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from noria.api.cycle import RetrainStatus, SignalStatus
from noria.api.endpoint import Endpoint, EndpointStatus, Served
from noria.api.modelversion import ModelVersion
from noria.plan.contract import Answer, Observed, Query, Settings
from noria.plan.manifests import moment, rfc3339
from noria.plan.wheel import retraining, signals
from noria.plan.wheel.view import Refusal, Turn, View

Recorded = Mapping[Query, Mapping[datetime, Answer]]
"""Answers by query and moment of evaluation."""


class Happening(NamedTuple):
    """Something that would have happened."""

    at: datetime
    what: str


def with_thresholds(endpoint: Endpoint, thresholds: Mapping[str, float]) -> Endpoint:
    """The Endpoint with other thresholds, by signal name. Raises KeyError for a signal that it has not."""
    known = {each.name for each in endpoint.spec.monitoring.signals}
    if strange := sorted(set(thresholds) - known):
        raise KeyError(f"spec.monitoring.signals has no {', '.join(strange)}; it has {', '.join(sorted(known))}")
    changed = [
        each.model_copy(update={"threshold": thresholds.get(each.name, each.threshold)})
        for each in endpoint.spec.monitoring.signals
    ]
    monitoring = endpoint.spec.monitoring.model_copy(update={"signals": changed})
    return endpoint.model_copy(update={"spec": endpoint.spec.model_copy(update={"monitoring": monitoring})})


def replay(
    endpoint: Endpoint,
    versions: tuple[ModelVersion, ...],
    settings: Settings,
    recorded: Recorded,
    times: Iterable[datetime],
    cycle_seconds: int,
) -> Iterator[Happening]:
    """All that would have happened at `times`, oldest first."""
    judged: list[SignalStatus] = []
    retrain = RetrainStatus(state="Armed")
    over: datetime | None = None
    for now in times:
        if over is not None and now >= over:
            ended = {"last_end_time": rfc3339(now), "failures": retrain.failures + 1}
            retrain, over = retrain.model_copy(update=ended), None
        served = served_at(endpoint, now)
        version = next((each for each in versions if served and each.metadata.name == served), None)
        answers = {query: at[now] for query, at in recorded.items() if now in at}
        observed = Observed(settings=settings, now=now, answers=answers)
        remembered = EndpointStatus(signals=judged, retrain=retrain)
        now_endpoint = endpoint.model_copy(update={"status": remembered})
        newly, measured = signals.judge(now_endpoint, version, observed)
        yield from _changes(judged, newly, now)
        judged = newly
        if over is not None or served is None:
            continue
        view = View(now_endpoint, observed, versions, Refusal("Replayed", ""), judged, measured)
        turn = Turn(Served(version=served, inference_service="", since=rfc3339(now)), None, (), None, 0, (), ())
        told = retraining.status(view, turn, turn)
        if told and told.state != retrain.state:
            yield Happening(now, f"trainings: {told.state}")
            retrain = told
        if set_off := retraining.trigger(view, turn):
            fired = ", ".join(f"{each.name} {each.value:g}" for each in set_off.signals or [] if each.value is not None)
            yield Happening(now, f"a training would have begun: {fired}")
            retrain = retrain.model_copy(update={"starts": [*retrain.starts, rfc3339(now)][-20:]})
            over = now + timedelta(seconds=cycle_seconds)


def served_at(endpoint: Endpoint, at: datetime) -> str | None:
    """The version that served at that time, as far as the history reaches."""
    name = endpoint.status.current.version if endpoint.status.current else None
    for each in endpoint.status.history:
        if each.outcome == "Promoted" and each.end_time and moment(each.end_time) > at:
            name = each.champion
    return name


def _changes(before: list[SignalStatus], after: list[SignalStatus], now: datetime) -> Iterator[Happening]:
    states = {each.name: each.state for each in before}
    for each in after:
        if states.get(each.name) != each.state:
            value = "" if each.value is None else f" {each.value:g} (threshold {each.threshold:g})"
            where = f" at {each.feature}" if each.feature and each.state == "Firing" else ""
            why = f": {each.message}" if each.state == "Unknown" else ""
            yield Happening(now, f"signal {each.name}: {each.state}{value}{where}{why}")
