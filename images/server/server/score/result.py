"""The message that the scorer leaves: scores, differences and slices, in at most 4,096 bytes."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from server.score.answers import Answers
from server.score.measures import interval, score
from server.score.request import CHALLENGER, CHAMPION
from server.signature import Array

LIMIT = 4096
"""Bytes that Kubernetes keeps of a termination message."""
MAX_SLICES = 20
OTHER = "other"
DIGITS = (6, 3)
MAX_NAME = 60
Json = dict[str, Any]


def result(answers: Mapping[str, Answers], metrics: tuple[str, ...], slices: Mapping[str, Array], test: str) -> Json:
    """Everything: samples, the test set's digest, scores, differences with intervals, slices, and what is missing."""
    made = {"samples": len(answers[CHALLENGER].truth), "test": test, **_scored(answers, metrics, curves=True)}
    groups = {name: chosen for slice, values in slices.items() for name, chosen in _groups(slice, values)}
    if groups:
        made["slices"] = {
            name: {"samples": int(chosen.sum())}
            | _slice({role: one.at(chosen) for role, one in answers.items()}, metrics)
            for name, chosen in groups.items()
        }
    made["missing"] = [name for name in metrics if any(name not in scores for scores in made["scores"].values())]
    return made


def _scored(answers: Mapping[str, Answers], metrics: tuple[str, ...], curves: bool) -> Json:
    scores: dict[str, dict[str, float]] = {
        role: {name: value for name in metrics if (value := score(name, one)) is not None}
        for role, one in answers.items()
    }
    made: Json = {"scores": scores}
    if CHAMPION in answers:
        made["difference"] = {}
        for name in metrics:
            if all(name in one for one in scores.values()) and (curves or name != "roc_auc"):
                low, high = interval(name, answers[CHAMPION], answers[CHALLENGER])
                value = scores[CHALLENGER][name] - scores[CHAMPION][name]
                made["difference"][name] = {"value": value, "low": low, "high": high}
    return made


def _slice(answers: Mapping[str, Answers], metrics: tuple[str, ...]) -> Json:
    made = _scored(answers, metrics, curves=False)
    scores: Json = made.pop("scores")
    return scores | made


def _groups(slice: str, values: Array) -> Iterator[tuple[str, Array]]:
    names, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    kept = names[order] if len(names) <= MAX_SLICES else names[order][: MAX_SLICES - 1]
    for name in kept:
        yield f"{slice}={name}"[:MAX_NAME], values == name
    if len(kept) < len(names):
        yield f"{slice}={OTHER}", ~np.isin(values, kept)


def message(made: Json) -> str:
    """Compact JSON that fits: without the slices' differences, then without the smallest slices beyond 20, then with fewer
    digits, at last without more of the smallest slices, if it is too long."""
    for digits, differences, limit in (
        (DIGITS[0], True, None),
        (DIGITS[0], False, None),
        (DIGITS[0], False, MAX_SLICES),
    ):
        if fits := _fitting(made, digits, differences, limit):
            return fits
    for kept in range(min(MAX_SLICES, len(made.get("slices", ()))), -1, -1):
        if fits := _fitting(made, DIGITS[1], False, kept):
            return fits
    raise ValueError(f"{len(made['scores'][CHALLENGER])} metrics do not fit into a message: ask for fewer")


def _fitting(made: Json, digits: int, differences: bool, limit: int | None) -> str | None:
    slices = made.get("slices", {})
    largest = sorted(slices, key=lambda name: -slices[name]["samples"])[:limit]
    shown = {
        name: {key: value for key, value in one.items() if differences or key != "difference"}
        for name, one in slices.items()
        if name in largest
    }
    kept = {key: value for key, value in made.items() if key != "slices"} | ({"slices": shown} if shown else {})
    text = json.dumps(_rounded(kept, digits), separators=(",", ":"))
    return text if len(text) <= LIMIT else None


def _rounded(value: Any, digits: int) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one, digits) for key, one in value.items()}
    return round(value, digits) if isinstance(value, float) else value
