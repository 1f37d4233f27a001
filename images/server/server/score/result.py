"""The message that the scorer leaves: scores, differences and slices, in at most 4,096 bytes."""

import hashlib
import json
import math
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
OTHER = ": all others"
DIGITS = (6, 3)
MAX_NAME = 60
Json = dict[str, Any]


def result(answers: Mapping[str, Answers], metrics: tuple[str, ...], slices: Mapping[str, Array], test: str) -> Json:
    """Everything: samples, the test set's digest, scores, differences with intervals, slices."""
    made = {"samples": len(answers[CHALLENGER].truth), "test": test, **_scored(answers, metrics, curves=True)}
    groups = {name: chosen for slice, values in slices.items() for name, chosen in _groups(slice, values)}
    if unseen := [count for values in slices.values() for count in _beyond(values)]:
        made["omitted"] = {"groups": len(unseen), "largest": max(unseen)}
    if groups:
        made["slices"] = {
            name: {"samples": int(chosen.sum())}
            | _slice({role: one.at(chosen) for role, one in answers.items()}, metrics)
            for name, chosen in groups.items()
        }
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
                # No numbers where too few of a class were drawn.
                between = {"low": low, "high": high} if math.isfinite(low + high) else {}
                made["difference"][name] = {"value": value} | between
    return made


def _slice(answers: Mapping[str, Answers], metrics: tuple[str, ...]) -> Json:
    made = _scored(answers, metrics, curves=False)
    scores: Json = made.pop("scores")
    return scores | made


def _groups(slice: str, values: Array) -> Iterator[tuple[str, Array]]:
    """The largest groups, and what is left as one."""
    kept, _ = _kept(values)
    for name in kept:
        yield _name(slice, str(name)), values == name
    if not (others := ~np.isin(values, kept)).any():
        return
    yield f"{slice}{OTHER}", others


def _beyond(values: Array) -> list[int]:
    """Samples of the groups that are only part of what is left."""
    return _kept(values)[1]


def _kept(values: Array) -> tuple[Array, list[int]]:
    names, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    kept = len(names) if len(names) <= MAX_SLICES else MAX_SLICES - 1
    return names[order][:kept], counts[order][kept:].tolist()


def _name(slice: str, value: str) -> str:
    """The group's name; one that is cut, or could be read in two ways, ends with a hash, so that no two are the same."""
    name = f"{slice}={value}"
    could_be_anothers = "=" in slice or name.endswith(OTHER) or name[-9:-8] == "~"
    if len(name) <= MAX_NAME and not could_be_anothers:
        return name
    mark = hashlib.sha256(json.dumps([slice, value]).encode()).hexdigest()[:8]
    return f"{name[: MAX_NAME - 9]}~{mark}"


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
    if dropped := [one["samples"] for name, one in slices.items() if name not in largest and not name.endswith(OTHER)]:
        before = made.get("omitted", {"groups": 0, "largest": 0})
        kept["omitted"] = {"groups": before["groups"] + len(dropped), "largest": max(before["largest"], *dropped)}
    text = json.dumps(_rounded(kept, digits), separators=(",", ":"))
    return text if len(text) <= LIMIT else None


def _rounded(value: Any, digits: int) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one, digits) for key, one in value.items()}
    return round(value, digits) if isinstance(value, float) else value
