"""The metrics, scikit-learn's, and how sure a difference between two models is: a paired bootstrap."""

from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_array
from sklearn import metrics as sk

from server.score.answers import Answers
from server.signature import Array

RESAMPLES, BLOCK = 1000, 50
LEVEL = (2.5, 97.5)
"""Percentiles of a 95 % interval."""
SEED = 0
CURVE_SAMPLES = 2000
"""At most so many samples are resampled for roc_auc, which is slow."""

BY_CLASS = ("accuracy", "f1", "precision", "recall")
BY_PROBABILITY = ("log_loss", "roc_auc")
BY_NUMBER = ("mae", "rmse")


def score(metric: str, answers: Answers) -> float | None:
    """One number; None if it cannot be computed: the metric is unknown, or of the other kind, or needs probabilities.

    f1, precision and recall are means over the classes that are true or predicted; roc_auc is one class against the rest.
    """
    if metric in BY_NUMBER and answers.is_number:
        compute = sk.mean_absolute_error if metric == "mae" else sk.root_mean_squared_error
        return float(compute(answers.truth, answers.predicted))
    if metric in BY_CLASS and not answers.is_number:
        if metric == "accuracy":
            return float(sk.accuracy_score(answers.truth, answers.predicted))
        compute = {"f1": sk.f1_score, "precision": sk.precision_score, "recall": sk.recall_score}[metric]
        return float(compute(answers.truth, answers.predicted, average="macro", zero_division=0))
    if metric in BY_PROBABILITY and answers.probabilities is not None:
        return _of_probabilities(metric, answers, answers.probabilities)
    return None


def _of_probabilities(metric: str, answers: Answers, probabilities: Array) -> float | None:
    order = np.argsort(answers.classes)
    classes, probabilities = np.array(answers.classes)[order], probabilities[:, order].astype(np.float64)
    if len(classes) < 2 or not np.isin(answers.truth, classes).all():
        return None
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    if metric == "log_loss":
        return float(sk.log_loss(answers.truth, probabilities, labels=classes))
    if len(np.unique(answers.truth)) < len(classes):
        return None
    scores = probabilities[:, 1] if len(classes) == 2 else probabilities
    return float(sk.roc_auc_score(answers.truth, scores, multi_class="ovr", labels=classes))


def interval(metric: str, champion: Answers, challenger: Answers) -> tuple[float, float]:
    """The 95 % interval of challenger minus champion: percentiles over 1,000 resamples of the same samples for both.

    For a metric that `score` can compute for both. roc_auc is resampled on at most 2,000 samples, and its interval made
    narrower by the root of the samples' ratio (the m out of n bootstrap: Bickel, Goetze, van Zwet 1997).
    """
    generator = np.random.default_rng(SEED)
    if metric in BY_CLASS:
        differences = _by_class(metric, champion, challenger, generator)
    elif metric == "roc_auc":
        return _of_curves(champion, challenger, generator)
    else:
        combine = np.sqrt if metric == "rmse" else np.asarray
        differences = _of_means(_losses(metric, champion), _losses(metric, challenger), combine, generator)
    low, high = np.percentile(differences, LEVEL)
    return float(low), float(high)


def _by_class(metric: str, champion: Answers, challenger: Answers, generator: np.random.Generator) -> Array:
    """Resampling samples is drawing how often each kind of sample (truth, one answer, other answer) occurs."""
    told = np.stack([champion.truth, champion.predicted, challenger.predicted])
    classes, codes = np.unique(told, return_inverse=True)
    kinds, counts = np.unique(codes.reshape(told.shape), axis=1, return_counts=True)
    true, first, second = (_members(kind, len(classes)) for kind in kinds)
    differences = []
    for _ in range(RESAMPLES // BLOCK):  # what many kinds of many classes take all at once would be gigabytes
        drawn = generator.multinomial(counts.sum(), counts / counts.sum(), size=BLOCK).astype(np.float64)
        one, other = (
            by_class(metric, drawn @ true.multiply(named).tocsr(), drawn @ named, drawn @ true)
            for named in (first, second)
        )
        differences.append(other - one)
    return np.concatenate(differences)


def _members(classes: Array, number: int) -> csr_array:
    """(kinds, classes): 1 where the kind is of the class."""
    rows = np.arange(len(classes))
    return csr_array((np.ones(len(classes)), (rows, classes)), shape=(len(classes), number))


def by_class(metric: str, hits: Array, named: Array, true: Array) -> Array:
    """A metric from counts (..., classes): rightly predicted, predicted, true. 0 divided by 0 is 0, as with scikit-learn."""
    if metric == "accuracy":
        return np.asarray(hits.sum(axis=-1) / true.sum(axis=-1))
    parts, wholes = {"f1": (2 * hits, named + true), "precision": (hits, named), "recall": (hits, true)}[metric]
    shares = np.divide(parts, wholes, out=np.zeros(parts.shape), where=wholes > 0)
    return np.asarray(shares.sum(axis=-1) / np.count_nonzero(named + true, axis=-1))


def _losses(metric: str, answers: Answers) -> Array:
    if metric == "log_loss" and answers.probabilities is not None:
        probabilities = answers.probabilities.astype(np.float64)
        order = np.argsort(answers.classes)
        column = order[np.searchsorted(np.array(answers.classes)[order], answers.truth)]
        share = probabilities[np.arange(len(column)), column] / probabilities.sum(axis=1)
        return np.asarray(-np.log(np.clip(share, np.finfo(np.float64).eps, 1 - np.finfo(np.float64).eps)))
    errors = np.abs(answers.predicted - answers.truth)
    return np.asarray(errors**2 if metric == "rmse" else errors)


def _of_means(one: Array, other: Array, combine: Callable[[Array], Array], generator: np.random.Generator) -> Array:
    means = np.empty((RESAMPLES, 2))
    for number in range(RESAMPLES):
        drawn = generator.integers(0, len(one), len(one))
        means[number] = one[drawn].mean(), other[drawn].mean()
    made = combine(means)
    return np.asarray(made[:, 1] - made[:, 0])


def _of_curves(champion: Answers, challenger: Answers, generator: np.random.Generator) -> tuple[float, float]:
    total = len(champion.truth)
    chosen = generator.permutation(total)[:CURVE_SAMPLES]
    one, other = champion.at(chosen), challenger.at(chosen)

    def difference(first: Answers, second: Answers) -> float:
        made = [score("roc_auc", first), score("roc_auc", second)]
        return float("nan") if None in made else made[1] - made[0]  # type: ignore[operator]

    size = len(chosen)
    draws = [generator.integers(0, size, size) for _ in range(RESAMPLES)]
    spread = np.array([difference(one.at(drawn), other.at(drawn)) for drawn in draws]) - difference(one, other)
    low, high = np.nanpercentile(spread, LEVEL) * np.sqrt(size / total) + difference(champion, challenger)
    return float(low), float(high)
