"""What signals and gates measure: the questions to Prometheus, and how their answers are read for one version."""

import math
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import NamedTuple

from noria.api.cycle import SignalStatus
from noria.api.monitoring import Signal
from noria.api.rollout import OnlineGate
from noria.plan.contract import Answer, Observed, Query, Row
from noria.plan.wheel import promql

Measured = Signal | OnlineGate
LABEL = "modelendpoint"
LOWER_IS_WORSE = ("accuracy", "f1")


class Reading(NamedTuple):
    """A value, or why there is none."""

    value: float | None = None
    samples: float | None = None
    feature: str | None = None
    reason: str | None = None
    """Why nothing can be concluded, one word; a value may be there all the same."""
    message: str | None = None


class Questions(NamedTuple):
    """What one signal or gate asks: for values, of which the worst counts, and for the samples that they rest on."""

    values: Query | None
    samples: Query | None

    def all(self) -> tuple[Query, ...]:
        """Values and samples together."""
        return tuple(each for each in (self.values, self.samples) if each)


def reworded(before: SignalStatus, reason: str | None, message: str | None) -> bool:
    """Whether a query of one's own is at fault in another way than before; what others say holds numbers that come and go."""
    return reason == "InvalidQuery" and message != before.message


def worse_below(measured: Measured) -> bool:
    """Whether small values are the bad ones."""
    return measured.metric in LOWER_IS_WORSE or (isinstance(measured, Signal) and measured.fires == "Below")


def questions(measured: Measured, namespace: str, only: Mapping[str, str] | None = None) -> Questions:
    """What is asked; nothing for Staleness. Of all Endpoints at once, or with the labels in `only`.

    Raises promql.InvalidQuery for a query of one's own that cannot be asked.
    """
    what = (measured.type, measured.window_seconds, measured.metric, measured.quantile, measured.query)
    features = tuple(measured.features) if isinstance(measured, Signal) else ()
    return _questions(*what, namespace if measured.query else "", features, tuple((only or {}).items()))


@lru_cache(maxsize=65536)
def _questions(
    type: str,
    window: int,
    metric: str | None,
    quantile: float | None,
    query: str | None,
    namespace: str,
    features: tuple[str, ...],
    only: tuple[tuple[str, str], ...],
) -> Questions:
    """Written once for all Endpoints that ask the same: the texts are long."""
    if type == "Custom":
        # Its parser takes 1.5 MiB, and only such signals need it.
        from noria.plan.wheel.confinement import confined, is_scalar

        text = confined(query or "", namespace)
        return Questions(Query(f"vector({text})" if is_scalar(query or "", namespace) else text), None)
    if type == "Staleness":
        return Questions(None, None)
    values, samples = _asked(type, metric, quantile)
    label, selector = "" if only else LABEL, dict(only)
    if only and features:  # asked for all Endpoints at once the rows are chosen from the answer instead
        values = tuple(partial(each, features=features) if each in BY_FEATURE else each for each in values)
    text = " or ".join(each(window, selector=selector) for each in values)
    if any(each in BY_FEATURE for each in values) and not features:
        text = promql.worst(text)
    return Questions(Query(text, label), Query(samples(window, selector=selector), label))


Builder = Callable[..., str]


def _asked(type: str, metric: str | None, quantile: float | None) -> tuple[tuple[Builder, ...], Builder]:
    """What asks for values, and what for samples."""
    if type == "Latency":
        return (partial(promql.latency, quantile=quantile or 0.99),), promql.requests
    if type == "Performance":
        return (PERFORMANCE[metric or "accuracy"],), promql.labels
    return ASKED[type]


ASKED: Mapping[str, tuple[tuple[Builder, ...], Builder]] = {
    "DataDrift": ((promql.feature_psi,), promql.samples),
    "PredictionDrift": ((promql.prediction_psi,), promql.samples),
    "DataQuality": ((promql.quality, promql.schema_errors), promql.requests),
    "ErrorRate": ((promql.error_rate,), promql.requests),
}
BY_FEATURE = (promql.feature_psi, promql.quality)
"""Of these only the worst feature counts, unless the signal names some."""
PERFORMANCE: Mapping[str, Builder] = {"accuracy": promql.accuracy, "f1": promql.f1, "mae": promql.mae}


def queries(measured: Measured, namespace: str) -> tuple[Query, ...]:
    """All that is asked, for Needs; what cannot be asked is left out here and told by `reading`."""
    try:
        return questions(measured, namespace).all()
    except promql.InvalidQuery:
        return ()


def reading(measured: Measured, namespace: str, version: str, observed: Observed) -> Reading | None:
    """What is known of `version`; None before the first answer."""
    try:
        asked = questions(measured, namespace)
    except promql.InvalidQuery as error:
        return Reading(reason="InvalidQuery", message=str(error))
    if not observed.settings.prometheus_url:
        return Reading(reason="PrometheusMissing", message="the administrator has named no Prometheus (prometheus.url)")
    return told(measured, asked, version, observed.answers.get)


def told(
    measured: Measured, asked: Questions, version: str, answer: Callable[[Query], Answer | None]
) -> Reading | None:
    """What the answers to what it asked say of `version`; None before the first answer to each."""
    known = []
    for query in asked.all():
        if (found := answer(query)) is None:
            return None
        known.append(found)
    if failed := next((each.error for each in known if each.error), None):
        return Reading(reason="QueryFailed", message=failed)
    return _read(measured, version, known[0].rows, known[1] if asked.samples else None)


def _read(measured: Measured, version: str, values: tuple[Row, ...], samples: Answer | None) -> Reading:
    custom = measured.type == "Custom"
    rows = list(values)
    if custom and isinstance(measured, Signal) and len(rows) > 1:
        text = f"the query gives {len(rows)} values; aggregate them, for example with max()"
        return Reading(reason="NotScalar", message=text)
    if not (custom and isinstance(measured, Signal)):
        rows = [row for row in rows if row.labels.get("version") == version]
    wanted = measured.features if isinstance(measured, Signal) else []
    if wanted:
        rows = [row for row in rows if row.labels.get("feature", "") in ("", *wanted)]
    counted = [row.value for row in samples.rows if row.labels.get("version") == version] if samples else []
    if samples and not counted:
        return Reading(reason="NoData", message="Prometheus has no values of this version; its server is not scraped")
    count = sum(counted) if samples else None
    if count is not None and not math.isfinite(count):
        return Reading(reason="NotANumber", message="Prometheus counts samples with what is no number")
    finite = [row for row in rows if math.isfinite(row.value)]
    worst = _worst(finite, measured) if finite else None
    value, feature = (worst.value, worst.labels.get("feature")) if worst else (None, None)
    if count is not None and not count >= measured.min_samples:
        text = f"{count:.0f} of at least {measured.min_samples} samples within {measured.window_seconds} s"
        return Reading(value, count, feature, "TooFewSamples", text)
    if not rows:
        return Reading(
            samples=count, reason="NoData", message=NOTHING.get(measured.type, "Prometheus has no values of it")
        )
    if worst is None:
        return Reading(samples=count, reason="NotANumber", message="Prometheus answers with no number")
    return Reading(value, count, feature)


NOTHING = dict.fromkeys(
    ("DataDrift", "PredictionDrift"), "the version has no baseline.json to compare with, or its server does not count"
)
"""Why there may be samples and no values."""


def _worst(rows: list[Row], measured: Measured) -> Row:
    choose = min if worse_below(measured) else max
    return choose(rows, key=lambda row: row.value)
