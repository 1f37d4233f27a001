"""What one model answers on the held-out set: loaded and asked with the server's own code."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from cores import cores

from server.baseline import Outcome, outcome_of, read_baseline
from server.formats import Runtime, UnsafeModel, UnsupportedModel, detect, load
from server.score.held_out import HeldOut
from server.score.request import Candidate, ScoreError
from server.signature import Array, InvalidSignature, read_card, read_signature
from server.verify import DigestMismatch, verify

BATCH = 1024
"""Samples that a model is asked at once, unless it takes so many and no other number."""


@dataclass(frozen=True)
class Answers:
    """Predictions with the truth beside them, sample by sample."""

    truth: Array
    """(samples,): texts for classes, float64 for numbers."""
    predicted: Array
    """(samples,), of the same kind."""
    probabilities: Array | None
    """(samples, classes), rows of sum 1; None for numbers, and where the model gives none."""
    classes: tuple[str, ...]
    """What the columns of `probabilities` stand for."""

    @property
    def is_number(self) -> bool:
        """Whether numbers are predicted, not classes."""
        return bool(self.truth.dtype.kind == "f")

    def at(self, chosen: Array) -> "Answers":
        """Some of the samples, by mask or by index."""
        probabilities = None if self.probabilities is None else self.probabilities[chosen]
        return Answers(self.truth[chosen], self.predicted[chosen], probabilities, self.classes)


def ask(role: str, candidate: Candidate, held_out: HeldOut) -> Answers:
    """Verifies and loads a model and predicts every sample. Raises ScoreError, whose text begins with the model's role."""
    try:
        return _ask(candidate, held_out)
    except (DigestMismatch, UnsafeModel, UnsupportedModel, InvalidSignature) as error:
        raise ScoreError(type(error).__name__, f"{role}: {error}") from error
    except ScoreError as error:
        raise ScoreError(error.code, f"{role}: {error}") from error
    except Exception as error:
        text = f"{role}: cannot be loaded: {type(error).__name__}: {str(error)[:300]}"
        raise ScoreError("UnsupportedModel", text) from error


def _ask(candidate: Candidate, held_out: HeldOut) -> Answers:
    if candidate.digest:
        verify(candidate.folder, candidate.digest)
    baseline = read_baseline(candidate.folder)
    signature = read_signature(read_card(candidate.folder))
    runtime = load(candidate.format or detect(candidate.folder), candidate.folder, signature, cores())
    outcome = outcome_of(runtime.signature, baseline)
    if outcome is None:
        raise ScoreError("UnsupportedModel", "has no output with one value a sample: name it in baseline.json")
    predicted, probabilities = _predicted(runtime, outcome, *held_out.input(runtime.signature))
    predicted = predicted[: len(held_out.y)]
    probabilities = None if probabilities is None else probabilities[: len(held_out.y)]
    for values in (predicted, probabilities):
        if values is not None and values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ScoreError("UnsupportedModel", "predicts what is no finite number")
    if outcome.is_number:
        return Answers(_truth(held_out), predicted.astype(np.float64), None, ())
    return Answers(held_out.y.astype(np.str_), predicted.astype(np.str_), probabilities, outcome.categories)


def _predicted(runtime: Runtime, outcome: Outcome, name: str, values: Array) -> tuple[Array, Array | None]:
    predicted, probabilities = [], []
    fixed = runtime.signature.inputs[0].shape[0]
    batch = BATCH if fixed == -1 else fixed
    if fixed != -1:  # the last sample fills the last batch
        values = np.concatenate([values, np.repeat(values[-1:], -len(values) % fixed, axis=0)])
    for start in range(0, len(values), batch):
        try:
            outputs = runtime.predict({name: values[start : start + batch]})
        except Exception as error:
            raise ScoreError(
                "UnsupportedModel", f"fails on the held-out samples: {type(error).__name__}: {str(error)[:300]}"
            ) from error
        found = outcome.of(outputs)
        if found is None:
            raise ScoreError("InvalidSignature", f"gives no output {outcome.name!r} with one value a sample")
        predicted.append(found)
        probabilities.append(outputs.get("probabilities"))
    given = [one for one in probabilities if one is not None and one.shape[1:] == (len(outcome.categories),)]
    return np.concatenate(predicted), np.concatenate(given) if len(given) == len(probabilities) else None


def in_their_words(answers: Mapping[str, Answers], held_out: HeldOut) -> dict[str, Answers]:
    """The truth as the models' classes are written: 1.0, 1 and true are told in several ways. Raises ScoreError where no label is
    a class of any model: all would be wrong about all, and none worse than another."""
    named = [one for one in answers.values() if not one.is_number]
    if not named:
        return dict(answers)
    known = sorted({name for one in named for name in (one.classes or np.unique(one.predicted).tolist())})
    fitting = {int(np.isin(texts, known).sum()): texts for texts in reversed(list(held_out.texts()))}
    if not (best := max(fitting)):
        told = ", ".join(sorted(set(held_out.y.astype(np.str_).tolist()))[:5])
        raise ScoreError(
            "InvalidData", f"{held_out.file}: no label ({told}) is a class of a model ({', '.join(known[:5])})"
        )
    return {role: one if one.is_number else replace(one, truth=fitting[best]) for role, one in answers.items()}


def _truth(held_out: HeldOut) -> Array:
    try:
        truth = held_out.y.astype(np.float64)
    except ValueError as error:
        raise ScoreError(
            "InvalidData", f"{held_out.file}: labels must be numbers, as the model's are: {error}"
        ) from error
    if not (finite := np.isfinite(truth)).all():
        raise ScoreError(
            "InvalidData", f"{held_out.file}: label of row {int(np.argmin(finite)) + 1} is no finite number"
        )
    return truth
