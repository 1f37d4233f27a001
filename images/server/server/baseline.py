"""baseline.json: the distributions of the training, which what is served is counted against, and what a prediction is."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeGuard

from server.signature import Array, InvalidSignature, Signature

FILE = "baseline.json"


@dataclass(frozen=True)
class Binned:
    """A number's distribution over K + 1 bins: (-inf, e1], (e1, e2], ..., (eK, inf)."""

    name: str
    edges: tuple[float, ...]
    proportions: tuple[float, ...]


@dataclass(frozen=True)
class Categorised:
    """A class's distribution."""

    name: str
    categories: tuple[str, ...]
    proportions: tuple[float, ...]


@dataclass(frozen=True)
class Baseline:
    """What the training saw and then predicted; empty for a model without baseline.json."""

    features: tuple[Binned, ...] = ()
    predictions: Binned | Categorised | None = None


@dataclass(frozen=True)
class Outcome:
    """The output that is the prediction, one class or one number a sample; labels of feedback are of its kind."""

    name: str
    is_number: bool
    categories: tuple[str, ...] = ()
    """The classes as text; empty for numbers, and where nothing tells them."""

    def of(self, outputs: Mapping[str, Array]) -> Array | None:
        """The predictions (samples,) among a model's outputs; None if there is not one value a sample."""
        values = outputs.get(self.name)
        return values.ravel() if values is not None and values.size == len(values) else None


def read_baseline(folder: Path) -> Baseline:
    """baseline.json of the artifact; empty if it has none. Raises InvalidSignature with the field that is wrong."""
    path = folder / FILE
    if not path.is_file():
        return Baseline()
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidSignature(f"{FILE}: is no JSON ({error})") from error
    listed = told.get("features") or [] if isinstance(told, dict) else None
    if not isinstance(listed, list):
        raise InvalidSignature(f"{FILE}: must be an object with a list 'features' and an object 'predictions'")
    features = tuple(_binned(entry, f"features[{number}]") for number, entry in enumerate(listed))
    if len({feature.name for feature in features}) < len(features):
        raise InvalidSignature(f"{FILE}: a feature is named twice")
    return Baseline(features, _predictions(told["predictions"]) if told.get("predictions") else None)


def outcome_of(signature: Signature, baseline: Baseline) -> Outcome | None:
    """The output that baseline.json names, else the first with one value a sample; None if there is none.

    Raises InvalidSignature if the baseline is one of numbers and the output holds none.
    """
    if isinstance(baseline.predictions, Categorised):
        return Outcome(baseline.predictions.name, False, baseline.predictions.categories)
    if baseline.predictions:
        name = baseline.predictions.name
        if any(tensor.name == name and tensor.datatype in ("BYTES", "BOOL") for tensor in signature.outputs):
            raise InvalidSignature(f"{FILE}: predictions {name!r}: has edges, but the output holds no numbers")
        return Outcome(name, True)
    for tensor in sorted(signature.outputs, key=lambda one: len(one.shape)):
        if all(size == 1 for size in tensor.shape[1:]):
            categories = tuple(map(str, signature.categories.get(tensor.name, ())))
            return Outcome(tensor.name, tensor.datatype.startswith("FP"), categories)
    return None


def _predictions(told: Any) -> Binned | Categorised:
    if not isinstance(told, dict) or "edges" in told:
        return _binned(told, "predictions")
    name, categories = told.get("name"), told.get("categories")
    if (
        not isinstance(name, str)
        or not isinstance(categories, list)
        or len(set(map(str, categories))) != len(categories)
    ):
        raise InvalidSignature(f"{FILE}: predictions: expected a name, and different categories or edges")
    proportions = _proportions(told, len(categories), f"predictions {name!r}")
    return Categorised(name, tuple(map(str, categories)), proportions)


def _binned(told: Any, where: str) -> Binned:
    if not isinstance(told, dict) or not isinstance(told.get("name"), str):
        raise InvalidSignature(f"{FILE}: {where}: expected an object with a name, edges and proportions")
    where = f"{where} {told['name']!r}"
    edges = told.get("edges")
    if not _numbers(edges) or any(low >= high for low, high in pairwise(edges)):
        raise InvalidSignature(f"{FILE}: {where}: expected edges that are finite numbers and increase")
    return Binned(told["name"], tuple(edges), _proportions(told, len(edges) + 1, where))


def _proportions(told: dict[str, Any], number: int, where: str) -> tuple[float, ...]:
    proportions = told.get("proportions")
    if not _numbers(proportions) or len(proportions) != number or min(proportions) < 0:
        raise InvalidSignature(f"{FILE}: {where}: expected {number} proportions, one a bin or category, of 0 or more")
    return tuple(proportions)


def _numbers(values: Any) -> TypeGuard[list[float]]:
    return (
        isinstance(values, list)
        and bool(values)
        and all(isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one) for one in values)
    )
