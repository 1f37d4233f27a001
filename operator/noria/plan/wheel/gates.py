"""Gates: whether a challenger may go on, by held-out data before it is started and by what it does once it has traffic."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from pydantic import ValidationError

from noria.api.cycle import GateResult, Result
from noria.api.meta import Model
from noria.api.rollout import Gate, MetricGate, OnlineGate, Slices
from noria.plan.contract import Observed
from noria.plan.wheel.measures import Reading, queries, reading, worse_below

LESS_IS_BETTER = ("log_loss", "mae", "rmse")
Scores = dict[str, float]


class Slice(Model):
    """The scores of one group."""

    samples: int = 0
    champion: Scores = {}
    challenger: Scores = {}


class Omitted(Model):
    """Groups that the message had no room for."""

    groups: int = 0
    largest: int = 0
    """Samples of the largest of them."""


class Scored(Model):
    """What the scorer leaves (docs/pod-contract.md)."""

    samples: int = 0
    scores: dict[str, Scores] = {}
    slices: dict[str, Slice] = {}
    omitted: Omitted = Omitted()
    error: str | None = None
    whose: str | None = None
    """Whose fault the error is: challenger, champion or data."""
    message: str | None = None


class Verdict(NamedTuple):
    """What a gate as a whole says."""

    result: Result
    reason: str
    message: str
    gates: list[GateResult]


def read(text: str) -> Scored:
    """The scorer's termination message, of which nothing is trusted."""
    try:
        return Scored.model_validate_json(text)
    except ValidationError as error:
        return Scored(
            error="InvalidMessage", message=f"the scorer's message cannot be read: {error.errors()[0]['msg']}"
        )


def offline(gate: Gate, scored: Scored) -> Verdict:
    """Champion against challenger on the same held-out samples."""
    if scored.error and scored.whose in NOT_ITS_FAULT:
        text = f"nothing can be compared: {scored.error}, {scored.message}"
        return Verdict("Inconclusive", NOT_ITS_FAULT[scored.whose], text, [])
    if scored.error:
        return Verdict("Fail", scored.error, scored.message or scored.error, [])
    if scored.samples < gate.min_samples:
        text = f"{scored.samples} held-out samples, at least {gate.min_samples} are needed (spec.gate.minSamples)"
        return Verdict("Inconclusive", "TooFewSamples", text, [])
    results = [_metric(each, scored) for each in gate.metrics]
    if gate.slices:
        results += [result for each in gate.metrics for result in _slices(each, gate.slices, scored)]
        results += _unseen(gate.slices, scored)
    return verdict(results, "the challenger is good enough on held-out data")


NOT_ITS_FAULT = {"champion": "ChampionUnscorable", "data": "DataUnscorable"}


def verdict(results: Iterable[GateResult], praise: str) -> Verdict:
    """One Fail fails all, one Inconclusive makes all inconclusive."""
    results = list(results)
    for result, reason in (("Fail", "GateFailed"), ("Inconclusive", "GateInconclusive")):
        found = [each for each in results if each.result == result]
        if found:
            text = "; ".join(f"{each.name}: {each.message}" for each in found[:3])
            return Verdict(found[0].result, reason, text, results)
    return Verdict("Pass", "GatePassed", praise, results)


def _metric(metric: MetricGate, scored: Scored) -> GateResult:
    champion = scored.scores.get("champion", {}).get(metric.name)
    challenger = scored.scores.get("challenger", {}).get(metric.name)
    if champion is None or challenger is None:
        text = "the scorer could not compute it for both models; choose a metric that fits them in spec.gate.metrics"
        return GateResult(
            name=metric.name, result="Inconclusive", champion=champion, challenger=challenger, message=text
        )
    gain = _gain(metric.name, champion, challenger)
    passed = gain >= metric.min_effect
    words = f"champion {champion:.4g}, challenger {challenger:.4g}, at least {metric.min_effect:g} better is wanted"
    return GateResult(
        name=metric.name, result="Pass" if passed else "Fail", champion=champion, challenger=challenger, message=words
    )


def _gain(metric: str, champion: float, challenger: float) -> float:
    """How much better the challenger is; differences below a billionth are none."""
    return round(champion - challenger if metric in LESS_IS_BETTER else challenger - champion, 9)


def _slices(metric: MetricGate, limits: Slices, scored: Scored) -> Iterable[GateResult]:
    groups = {name: each for name, each in scored.slices.items() if each.samples >= limits.min_samples}
    name = metric.name
    known = {key: each for key, each in groups.items() if name in each.champion and name in each.challenger}
    if limits.max_drop is not None:
        for key, each in known.items():
            champion, challenger = each.champion[name], each.challenger[name]
            fine = -_gain(name, champion, challenger) <= limits.max_drop
            text = f"champion {champion:.4g}, challenger {challenger:.4g}, at most {limits.max_drop:g} worse is allowed"
            yield GateResult(
                name=f"{name} {key}",
                result="Pass" if fine else "Fail",
                champion=champion,
                challenger=challenger,
                message=text,
            )
    if limits.max_gap is not None and known:
        values = {key: each.challenger[name] for key, each in known.items()}
        low, high = min(values, key=lambda key: values[key]), max(values, key=lambda key: values[key])
        gap = round(values[high] - values[low], 9)
        text = f"{low} {values[low]:.4g}, {high} {values[high]:.4g}, at most {limits.max_gap:g} apart is allowed"
        yield GateResult(
            name=f"{name} gap", result="Pass" if gap <= limits.max_gap else "Fail", challenger=gap, message=text
        )
    if lacking := sorted(set(groups) - set(known)):
        text = f"the scorer could not compute it for {', '.join(lacking[:3])}; choose another metric, or a larger spec.gate.slices.minSamples"
        yield GateResult(name=f"{name} slices", result="Inconclusive", message=text)
    elif not known:
        text = f"no group of {', '.join(limits.columns)} has {limits.min_samples} samples in the held-out data"
        yield GateResult(name=f"{name} slices", result="Inconclusive", message=text)


def _unseen(limits: Slices, scored: Scored) -> Iterable[GateResult]:
    """A worse group may hide among those that were left out."""
    if scored.omitted.largest >= limits.min_samples:
        left = f"{scored.omitted.groups} groups were left out, the largest with {scored.omitted.largest} samples"
        text = f"{left}; name fewer columns or metrics, or set a larger spec.gate.slices.minSamples"
        yield GateResult(name="slices left out", result="Inconclusive", message=text)


def online(
    gates: Iterable[OnlineGate], namespace: str, champion: str, challenger: str, observed: Observed, mirrored: bool
) -> list[GateResult]:
    """Champion against challenger on what they answered in the same window."""
    results = []
    for gate in gates:
        if champion == challenger:
            results.append(GateResult(name=gate.name, result="Inconclusive", message=ONE_VERSION.format(champion)))
            continue
        if mirrored and gate.type == "Performance":
            text = "mirrored requests get no labels"
            results.append(GateResult(name=gate.name, result="Skipped", message=text))
            continue
        results.append(
            _online(
                gate,
                reading(gate, namespace, champion, observed) or NOT_ASKED,
                reading(gate, namespace, challenger, observed) or NOT_ASKED,
            )
        )
    return results


def asked(gates: Iterable[OnlineGate], namespace: str, observed: Observed) -> datetime:
    """The moment up to which Prometheus has told about all of them: of the oldest answer; now, where nothing is asked."""
    answers = (observed.answers.get(query) for gate in gates for query in queries(gate, namespace))
    return min((each.at for each in answers if each and each.at), default=observed.now)


NOT_ASKED = Reading(reason="NotAsked", message="Prometheus has not been asked yet")
ONE_VERSION = "{} is served under another runtime, and metrics by version cannot tell the two apart; take rollout.gates away for this change"


def _online(gate: OnlineGate, champion: Reading, challenger: Reading) -> GateResult:
    values = {"champion": _short(champion.value), "challenger": _short(challenger.value)}
    relative = gate.tolerance is not None
    unknown = challenger if challenger.reason else champion if relative and champion.reason else None
    if unknown or challenger.value is None:
        whose = "challenger" if unknown is challenger else "champion"
        text = f"{whose}: {unknown.message if unknown else 'no value'}"
        return GateResult(name=gate.name, result="Inconclusive", message=text, **values)
    below = worse_below(gate)
    bounds = [] if gate.limit is None else [gate.limit]
    if gate.tolerance is not None and champion.value is not None:
        worse = gate.tolerance * abs(champion.value)
        bounds.append(champion.value - worse if below else champion.value + worse)
    bound = max(bounds) if below else min(bounds)
    fine = challenger.value >= bound if below else challenger.value <= bound
    text = f"{challenger.value:.4g}, {'at least' if below else 'at most'} {bound:.4g} is allowed"
    return GateResult(name=gate.name, result="Pass" if fine else "Fail", message=text, **values)


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
