"""The signals as PromQL: each function gives one expression over the server's metrics, explained in docs/signals.md.

Without a selector an expression is about every namespace, Endpoint and version at once, and its rows carry the labels
namespace, modelendpoint and version; with one it is about what the selector names. `window` is in seconds; below four
scrape intervals increases are guesses, and the caller sees to it. Increases are taken by pod and then summed, so any
number of replicas counts, and one that restarts counts on. Where nothing was counted there is no row, or NaN.
"""

import re
from collections.abc import Mapping, Sequence

KEY = "namespace, modelendpoint, version"
LEAST_SHARE = "1e-4"
"""Shares below it count as it, so that an empty bin does not make the PSI infinite; evidently's value for empty bins."""

Selector = Mapping[str, str]
"""Values of the labels namespace, modelendpoint and version."""
EVERYTHING: Selector = {}


class InvalidQuery(ValueError):
    """A query that is not asked; the text says why, where in the query, and what to do."""


def quoted(text: str) -> str:
    """A PromQL string of plain ASCII, which every lexer reads alike."""
    return '"' + "".join(map(_character, text)) + '"'


def _character(one: str) -> str:
    if one in '"\\':
        return "\\" + one
    return one if " " <= one <= "~" else f"\\U{ord(one):08x}"


def feature_psi(window: int, *, selector: Selector = EVERYTHING, features: Sequence[str] = ()) -> str:
    """Population stability index of each feature (label `feature`), or of `features`, against the baseline of the training.

    Sum over the bins of (p - b) * ln(p / b): p the share of the window's values, b the baseline's.
    """
    return _psi("noria_feature", f"{KEY}, feature", "bin", window, selector, *_one_of("feature", features))


def worst(expression: str) -> str:
    """Of the rows of one version the one with the highest value, with its own labels: Prometheus need not send the others."""
    return f"topk by ({KEY}) (1, {expression})"


def prediction_psi(window: int, *, selector: Selector = EVERYTHING) -> str:
    """Population stability index of the predictions against those of the training."""
    return _psi("noria_prediction", KEY, "category", window, selector)


def samples(window: int, *, selector: Selector = EVERYTHING) -> str:
    """Samples that were predicted."""
    return _count("noria_predictions_total", KEY, window, selector)


def quality(window: int, *, selector: Selector = EVERYTHING, features: Sequence[str] = ()) -> str:
    """Bad values, of `features` or all, by `feature` and `problem` (Null, OutOfRange, UnknownCategory), as a share of the predicted samples.

    Values of refused requests count as bad but not as predicted, so it can pass 1.
    """
    by = f"{KEY}, feature, problem"
    bad = _count("noria_quality_total", by, window, selector, *_one_of("feature", features))
    return f"{bad} / on ({KEY}) group_left () ({samples(window, selector=selector)} > 0)"


def schema_errors(window: int, *, selector: Selector = EVERYTHING) -> str:
    """Share of the requests, 0 to 1, that were refused because they do not fit the signature."""
    refused = _count("noria_prediction_errors_total", KEY, window, selector, 'cause="InvalidRequest"')
    return _share(refused, requests(window, selector=selector))


def requests(window: int, *, selector: Selector = EVERYTHING) -> str:
    """Requests for predictions, whatever the answer."""
    return _count("noria_requests_total", KEY, window, selector)


def error_rate(window: int, *, selector: Selector = EVERYTHING) -> str:
    """Share of the requests, 0 to 1, that were answered 5xx."""
    failed = _count("noria_requests_total", KEY, window, selector, 'code="5xx"')
    return _share(failed, requests(window, selector=selector))


def latency(window: int, quantile: float, *, selector: Selector = EVERYTHING) -> str:
    """Seconds within which the share `quantile` (0 to 1) of the requests is answered, interpolated within its bucket."""
    buckets = _count("noria_request_seconds_bucket", f"{KEY}, le", window, selector)
    return f"histogram_quantile({quantile!r}, {buckets})"


def accuracy(window: int, *, selector: Selector = EVERYTHING) -> str:
    """Share of the labels, 0 to 1, that equal the prediction."""
    return _accuracy(KEY, window, selector)


def accuracy_by_slice(window: int, *, selector: Selector = EVERYTHING) -> str:
    """The accuracy of each `slice`."""
    return _accuracy(f"{KEY}, slice", window, selector)


def f1(window: int, *, selector: Selector = EVERYTHING) -> str:
    """F1, 2 tp / (2 tp + fp + fn), averaged over the classes that were predicted or are true (macro)."""
    by_class = f"{KEY}, class"
    every = _count("noria_feedback_class_total", by_class, window, selector)
    hits = _or_zero(_count("noria_feedback_class_total", by_class, window, selector, 'result="tp"'), every)
    return f"avg by ({KEY}) (2 * {hits} / (({hits} + {every}) > 0))"


def mae(window: int, *, selector: Selector = EVERYTHING) -> str:
    """Mean absolute error by the labels, in the unit of the prediction."""
    error = _count("noria_feedback_error_total", KEY, window, selector)
    count = _count("noria_feedback_total", KEY, window, selector, 'correct=""')
    return f"{error} / ({count} > 0)"


def labels(window: int, *, selector: Selector = EVERYTHING) -> str:
    """Labels that clients posted."""
    return _count("noria_feedback_total", KEY, window, selector)


def _psi(metric: str, by: str, bin: str, window: int, selector: Selector, *more: str) -> str:
    baseline = f"max by ({by}, {bin}) ({metric}_baseline{_matchers(selector, *more)})"
    counts = _count(f"{metric}_total", f"{by}, {bin}", window, selector, *more)
    total = _count(f"{metric}_total", by, window, selector, *more)
    known = f"clamp_min({baseline}, {LEAST_SHARE})"
    share = f"clamp_min({_or_zero(counts, baseline)} / on ({by}) group_left () ({total} > 0), {LEAST_SHARE})"
    return f"sum by ({by}) (({share} - {known}) * ln({share} / {known}))"


def _accuracy(by: str, window: int, selector: Selector) -> str:
    right = _count("noria_feedback_total", by, window, selector, 'correct="true"')
    return _share(right, _count("noria_feedback_total", by, window, selector, 'correct!=""'))


def _share(part: str, whole: str) -> str:
    return f"{_or_zero(part, whole)} / ({whole} > 0)"


def _or_zero(part: str, whole: str) -> str:
    """`part`, and 0 for what only `whole` has: a series that was never counted up may be missing."""
    return f"({part} or 0 * {whole})"


def _count(metric: str, by: str, window: int, selector: Selector, *more: str) -> str:
    return f"sum by ({by}) (increase({metric}{_matchers(selector, *more)}[{window}s]))"


def _one_of(label: str, values: Sequence[str]) -> list[str]:
    return [f"{label}=~{quoted('|'.join(map(re.escape, values)))}"] if values else []


def _matchers(selector: Selector, *more: str) -> str:
    matchers = [*(f"{label}={quoted(value)}" for label, value in selector.items()), *more]
    return f"{{{','.join(matchers)}}}" if matchers else ""
