"""The offline gate: whether a challenger's scores on held-out data are good enough beside the champion's."""

from collections.abc import Iterable
from typing import NamedTuple

from pydantic import Field, FiniteFloat, ValidationError

from noria.api.cycle import GateResult, Result
from noria.api.meta import Model
from noria.api.rollout import Evaluation, MetricGate, Slices

LESS_IS_BETTER = ("log_loss", "mae", "rmse")
Scores = dict[str, FiniteFloat]


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
    test: str = Field("", max_length=71)
    """Digest of the held-out data."""
    scores: dict[str, Scores] = {}
    slices: dict[str, Slice] = {}
    omitted: Omitted = Omitted()
    error: str | None = Field(None, pattern=r"^[A-Z][A-Za-z]{0,63}$")
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


def judge(rule: Evaluation, scored: Scored, path: str, alone: bool = False) -> Verdict:
    """Champion against challenger on the same held-out samples; `path` is the field that holds the rule.

    `alone`: there is no champion. Then what compares the two says nothing, and the rest must hold.
    """
    if scored.error and scored.whose in NOT_ITS_FAULT:
        text = f"nothing can be compared: {scored.error}, {scored.message}"
        return Verdict("Inconclusive", NOT_ITS_FAULT[scored.whose], text, [])
    if scored.error:
        return Verdict("Fail", scored.error, scored.message or scored.error, [])
    if scored.samples < rule.min_samples:
        text = f"{scored.samples} held-out samples, at least {rule.min_samples} are needed ({path}.minSamples)"
        return Verdict("Inconclusive", "TooFewSamples", text, [])
    results = [_metric(each, scored, path, alone) for each in rule.metrics]
    if rule.slices:
        results += [each for metric in rule.metrics for each in _slices(metric, rule.slices, scored, path, alone)]
        results += _unseen(rule.slices, scored, path)
    return verdict(results, ALONE if alone else "the challenger is good enough on held-out data")


NOT_ITS_FAULT = {"champion": "ChampionUnscorable", "data": "DataUnscorable"}
ALONE = "there is no champion to compare with"


def verdict(results: Iterable[GateResult], praise: str) -> Verdict:
    """One Fail fails all, one Inconclusive makes all inconclusive."""
    results = list(results)
    for result, reason in (("Fail", "GateFailed"), ("Inconclusive", "GateInconclusive")):
        found = [each for each in results if each.result == result]
        if found:
            text = "; ".join(f"{each.name}: {each.message}" for each in found[:3])
            return Verdict(found[0].result, reason, text, results)
    return Verdict("Pass", "GatePassed", praise, results)


def _metric(metric: MetricGate, scored: Scored, path: str, alone: bool) -> GateResult:
    champion = scored.scores.get("champion", {}).get(metric.name)
    challenger = scored.scores.get("challenger", {}).get(metric.name)
    if alone and challenger is not None:
        text = f"challenger {challenger:.4g}; {ALONE}"
        return GateResult(name=metric.name, result="Pass", challenger=challenger, message=text)
    if champion is None or challenger is None:
        models, them = ("the model", "it") if alone else ("both models", "them")
        text = f"the scorer could not compute it for {models}; choose a metric that fits {them} in {path}.metrics"
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


def _slices(metric: MetricGate, limits: Slices, scored: Scored, path: str, alone: bool) -> Iterable[GateResult]:
    groups = {name: each for name, each in scored.slices.items() if each.samples >= limits.min_samples}
    name = metric.name
    known = {key: each for key, each in groups.items() if name in each.challenger and (alone or name in each.champion)}
    if limits.max_drop is not None and not alone:
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
        text = f"the scorer could not compute it for {', '.join(lacking[:3])}; choose another metric, or a larger {path}.slices.minSamples"
        yield GateResult(name=f"{name} slices", result="Inconclusive", message=text)
    elif not known:
        text = f"no group of {', '.join(limits.columns)} has {limits.min_samples} samples in the held-out data"
        yield GateResult(name=f"{name} slices", result="Inconclusive", message=text)


def _unseen(limits: Slices, scored: Scored, path: str) -> Iterable[GateResult]:
    """A worse group may hide among those that were left out."""
    if scored.omitted.largest >= limits.min_samples:
        left = f"{scored.omitted.groups} groups were left out, the largest with {scored.omitted.largest} samples"
        text = f"{left}; name fewer columns or metrics, or set a larger {path}.slices.minSamples"
        yield GateResult(name="slices left out", result="Inconclusive", message=text)
