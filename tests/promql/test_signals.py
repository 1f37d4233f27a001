"""The signals' queries, held against the textbook by a real Prometheus: PSI, accuracy, F1, quantiles, shares."""

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import kl_div
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error

from noria.api.monitoring import Signal
from noria.plan.wheel import promql
from noria.plan.wheel.measures import questions

if TYPE_CHECKING:
    from conftest import Promtool

HOUR = 3600
ENDPOINT = {"namespace": "vision", "modelendpoint": "digits", "version": "digits-1"}
NEXT = ENDPOINT | {"version": "digits-2"}
OTHER = ENDPOINT | {"namespace": "audio"}
BASELINE = (0.1, 0.2, 0.4, 0.3)
Data = dict[str, str]


def named(metric: str, labels: dict[str, str], **more: str) -> str:
    return metric + "{" + ",".join(f'{name}="{value}"' for name, value in (labels | more).items()) + "}"


def steady(each_minute: float) -> str:
    """A counter that grows evenly for the hour."""
    return f"0+{each_minute}x60"


def feature(
    counts: Sequence[float], labels: dict[str, str], *, baseline: Sequence[float] = BASELINE, pod: str = "p1"
) -> Data:
    data = {
        named("noria_feature_total", labels, feature="f", bin=str(n), pod=pod): steady(c) for n, c in enumerate(counts)
    }
    shares = enumerate(baseline)
    return data | {
        named("noria_feature_baseline", labels, feature="f", bin=str(n), pod=pod): f"{b}x60" for n, b in shares
    }


def psi(counts: Sequence[float], baseline: Sequence[float] = BASELINE) -> float:
    """The symmetric Kullback-Leibler divergence of the two, with shares of at least 1e-4."""
    live = np.clip(np.asarray(counts, float) / np.sum(counts), 1e-4, None)
    known = np.clip(baseline, 1e-4, None)
    return float(np.sum(kl_div(live, known) + kl_div(known, live)))


counts = st.lists(st.integers(0, 1000), min_size=4, max_size=4).filter(any)
shares = st.lists(st.integers(0, 50), min_size=4, max_size=4).filter(any)


@settings(max_examples=30)
@given(counts, shares)
def test_psi_is_the_textbooks(promtool: "Promtool", counts: list[int], shares: list[int]) -> None:
    baseline = [each / sum(shares) for each in shares]
    data = feature(counts, ENDPOINT, baseline=baseline)
    promtool.expect(data, promql.feature_psi(HOUR), [(ENDPOINT | {"feature": "f"}, psi(counts, baseline))])


def test_psi_of_equal_distributions_is_zero(promtool: "Promtool") -> None:
    promtool.expect(feature((1, 2, 4, 3), ENDPOINT), promql.feature_psi(HOUR), [(ENDPOINT | {"feature": "f"}, 0)])


def test_psi_counts_a_bin_that_was_never_hit_even_if_its_series_is_missing(promtool: "Promtool") -> None:
    data = feature((5, 0, 3, 2), ENDPOINT)
    row = [(ENDPOINT | {"feature": "f"}, psi((5, 0, 3, 2)))]
    promtool.expect(data, promql.feature_psi(HOUR), row)
    del data[named("noria_feature_total", ENDPOINT, feature="f", bin="1", pod="p1")]
    promtool.expect(data, promql.feature_psi(HOUR), row)


def test_psi_of_several_replicas_is_of_their_sum(promtool: "Promtool") -> None:
    data = feature((9, 1, 0, 0), ENDPOINT) | feature((0, 1, 5, 30), ENDPOINT, pod="p2")
    promtool.expect(data, promql.feature_psi(HOUR), [(ENDPOINT | {"feature": "f"}, psi((9, 2, 5, 30)))])


def test_a_restarted_replica_counts_on(promtool: "Promtool") -> None:
    data = feature((4, 3, 2, 1), ENDPOINT)
    for name in data:
        if name.startswith("noria_feature_total"):
            data[name] = f"{steady(int(data[name][2]))[:-2]}30 {steady(int(data[name][2]))[:-2]}29"
    promtool.expect(data, promql.feature_psi(HOUR), [(ENDPOINT | {"feature": "f"}, psi((4, 3, 2, 1)))])
    restarted = {named("noria_predictions_total", ENDPOINT, pod="p1"): "0+10x30 0+10x29"}
    # 58 of the window's 59 minutes grew, as the scrape that saw the restart found 0; Prometheus scales 59 to 60.
    promtool.expect(restarted, promql.samples(HOUR), [(ENDPOINT, 580 * 60 / 59)])


def test_a_replica_that_joins_counts_from_its_start(promtool: "Promtool") -> None:
    data = {
        named("noria_predictions_total", ENDPOINT, pod="p1"): steady(10),
        named("noria_predictions_total", ENDPOINT, pod="p2"): "_x30 0+10x30",
    }
    promtool.expect(data, promql.samples(HOUR), [(ENDPOINT, 600 + 300)])


def test_each_version_and_each_namespace_has_its_own_row(promtool: "Promtool") -> None:
    data = feature((1, 2, 4, 3), ENDPOINT) | feature((7, 1, 1, 1), NEXT, baseline=(0.7, 0.1, 0.1, 0.1))
    data |= feature((0, 0, 0, 5), OTHER)
    rows = [
        (ENDPOINT | {"feature": "f"}, 0.0),
        (NEXT | {"feature": "f"}, 0.0),
        (OTHER | {"feature": "f"}, psi((0, 0, 0, 5))),
    ]
    promtool.expect(data, promql.feature_psi(HOUR), rows)
    promtool.expect(data, promql.feature_psi(HOUR, selector=OTHER), rows[2:])


def test_psi_of_predictions(promtool: "Promtool") -> None:
    data = {named("noria_prediction_total", ENDPOINT, category=each): steady(n) for each, n in (("cat", 9), ("dog", 1))}
    data |= {named("noria_prediction_baseline", ENDPOINT, category=each): "0.5x60" for each in ("cat", "dog")}
    promtool.expect(data, promql.prediction_psi(HOUR), [(ENDPOINT, psi((9, 1), (0.5, 0.5)))])


def test_bad_values_and_refused_requests_are_shares(promtool: "Promtool") -> None:
    data = {
        named("noria_predictions_total", ENDPOINT, pod="p1"): steady(30),
        named("noria_predictions_total", ENDPOINT, pod="p2"): steady(10),
        named("noria_quality_total", ENDPOINT, pod="p1", feature="f", problem="Null"): steady(2),
        named("noria_quality_total", ENDPOINT, pod="p2", feature="f", problem="Null"): steady(2),
        named("noria_quality_total", ENDPOINT, pod="p1", feature="g", problem="OutOfRange"): steady(0),
        named("noria_requests_total", ENDPOINT, code="2xx"): steady(15),
        named("noria_requests_total", ENDPOINT, code="4xx"): steady(4),
        named("noria_requests_total", ENDPOINT, code="5xx"): steady(1),
        named("noria_prediction_errors_total", ENDPOINT, cause="InvalidRequest"): steady(4),
        named("noria_prediction_errors_total", ENDPOINT, cause="ModelError"): steady(1),
    }
    rows = [
        (ENDPOINT | {"feature": "f", "problem": "Null"}, 0.1),
        (ENDPOINT | {"feature": "g", "problem": "OutOfRange"}, 0),
    ]
    promtool.expect(data, promql.quality(HOUR), rows)
    promtool.expect(data, promql.schema_errors(HOUR), [(ENDPOINT, 0.2)])
    signal = Signal.model_validate({"name": "quality", "type": "DataQuality", "threshold": 0.05, "windowSeconds": HOUR})
    asked = questions(signal, ENDPOINT["namespace"]).values
    assert asked is not None
    promtool.expect(data, asked.promql, [(ENDPOINT, 0.2)])
    promtool.expect(data, promql.error_rate(HOUR), [(ENDPOINT, 0.05)])
    promtool.expect(data, promql.requests(HOUR), [(ENDPOINT, 1200)])


def test_no_error_so_far_is_a_share_of_zero(promtool: "Promtool") -> None:
    data = {named("noria_requests_total", ENDPOINT, code="2xx"): steady(3)}
    promtool.expect(data, promql.error_rate(HOUR), [(ENDPOINT, 0)])
    promtool.expect(data, promql.schema_errors(HOUR), [(ENDPOINT, 0)])


classes = st.sampled_from(["cat", "dog", "eel", "fox"])


@settings(max_examples=20)
@given(st.lists(st.tuples(classes, classes, st.sampled_from(["", "site-b"])), min_size=1, max_size=30))
def test_accuracy_and_f1_are_scikit_learns(promtool: "Promtool", feedback: list[tuple[str, str, str]]) -> None:
    data: dict[str, int] = {}
    for name, result in itertools.product(("cat", "dog", "eel", "fox"), ("tp", "fp", "fn")):
        data[named("noria_feedback_class_total", ENDPOINT | {"class": name}, result=result)] = 0
    for true, predicted, slice in feedback:
        counted = [named("noria_feedback_total", ENDPOINT, slice=slice, correct=str(true == predicted).lower())]
        for name, result in ((true, "tp"),) if true == predicted else ((predicted, "fp"), (true, "fn")):
            counted.append(named("noria_feedback_class_total", ENDPOINT | {"class": name}, result=result))
        for each in counted:
            data[each] = data.get(each, 0) + 1
    growing = {name: steady(count) for name, count in data.items()}
    true, predicted, slices = (np.array(each) for each in zip(*feedback, strict=True))
    promtool.expect(growing, promql.labels(HOUR), [(ENDPOINT, 60 * len(feedback))])
    promtool.expect(growing, promql.accuracy(HOUR), [(ENDPOINT, accuracy_score(true, predicted))])
    promtool.expect(growing, promql.f1(HOUR), [(ENDPOINT, f1_score(true, predicted, average="macro", zero_division=0))])
    by_slice = [
        (
            ENDPOINT | ({"slice": str(each)} if each else {}),
            accuracy_score(true[slices == each], predicted[slices == each]),
        )
        for each in sorted(set(slices))
    ]
    promtool.expect(growing, promql.accuracy_by_slice(HOUR), by_slice)


def test_mae_is_scikit_learns(promtool: "Promtool") -> None:
    true, predicted = np.array([1.0, 2.5, 4.0, 0.0]), np.array([1.5, 2.0, 1.0, 0.0])
    data = {
        named("noria_feedback_error_total", ENDPOINT, slice=""): steady(float(np.abs(true - predicted).sum())),
        named("noria_feedback_total", ENDPOINT, slice="", correct=""): steady(len(true)),
    }
    promtool.expect(data, promql.mae(HOUR), [(ENDPOINT, mean_absolute_error(true, predicted))])
    promtool.expect(data, promql.labels(HOUR), [(ENDPOINT, 240)])
    promtool.expect(data, promql.accuracy(HOUR), [])


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
def test_a_quantile_lies_within_its_bucket(promtool: "Promtool", quantile: float) -> None:
    seconds = np.random.default_rng(7).lognormal(-3, 1, 500)
    edges = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 10.0)
    below = {str(edge): int((seconds <= edge).sum()) for edge in edges} | {"+Inf": 500}
    data = {named("noria_request_seconds_bucket", ENDPOINT, le=le): steady(count) for le, count in below.items()}
    bucket = int(np.searchsorted(edges, np.quantile(seconds, quantile, method="inverted_cdf")))
    query = promql.latency(HOUR, quantile)
    promtool.expect(data, f"({query} > bool {edges[bucket - 1]}) * ({query} <= bool {edges[bucket]})", [(ENDPOINT, 1)])


@pytest.mark.parametrize(
    "build",
    [
        *(promql.feature_psi, promql.prediction_psi, promql.quality, promql.schema_errors, promql.error_rate),
        *(promql.accuracy, promql.accuracy_by_slice, promql.f1, promql.mae),
    ],
)
def test_nothing_counted_gives_no_value(promtool: "Promtool", build: Callable[[int], str]) -> None:
    zero = steady(0)
    data = feature((0, 0, 0, 0), ENDPOINT) | {
        named("noria_prediction_total", ENDPOINT, category="cat"): zero,
        named("noria_prediction_baseline", ENDPOINT, category="cat"): "1x60",
        named("noria_predictions_total", ENDPOINT): zero,
        named("noria_quality_total", ENDPOINT, feature="f", problem="Null"): zero,
        named("noria_requests_total", ENDPOINT, code="5xx"): zero,
        named("noria_prediction_errors_total", ENDPOINT, cause="InvalidRequest"): zero,
        named("noria_feedback_total", ENDPOINT, slice="", correct="true"): zero,
        named("noria_feedback_total", ENDPOINT, slice="", correct=""): zero,
        named("noria_feedback_class_total", ENDPOINT | {"class": "cat"}, result="tp"): zero,
        named("noria_feedback_error_total", ENDPOINT, slice=""): zero,
    }
    promtool.expect(data, build(HOUR), [])


def test_the_latency_of_no_requests_is_not_a_number(promtool: "Promtool") -> None:
    data = {named("noria_request_seconds_bucket", ENDPOINT, le=le): steady(0) for le in ("0.1", "+Inf")}
    query = promql.latency(HOUR, 0.99)
    promtool.expect(data, f"{query} != bool {query}", [(ENDPOINT, 1)])
