"""What the queries of signals and of users promise without a Prometheus; tests/promql asks a real one."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import promql_parser
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from queries import ACCEPTED, REFUSED, expressions, texts

from noria.plan.wheel import promql
from noria.plan.wheel.confinement import confined
from noria.plan.wheel.promql import InvalidQuery

BUILDERS = [
    promql.feature_psi,
    promql.prediction_psi,
    promql.samples,
    promql.quality,
    promql.schema_errors,
    promql.requests,
    promql.error_rate,
    promql.accuracy,
    promql.accuracy_by_slice,
    promql.f1,
    promql.mae,
    promql.labels,
]


def selectors(query: str) -> list[promql_parser.VectorSelector]:
    found = []

    def see(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)

    promql_parser.walk(promql_parser.parse(query), pre_visit=see)
    return found


def matchers(selector: promql_parser.VectorSelector) -> list[tuple[str, str, str]]:
    return sorted((each.name, str(each.op), each.value) for each in selector.matchers.matchers)


def assert_confined(query: str) -> None:
    before, after = selectors(query), selectors(confined(query, "a"))
    own = ("namespace", str(promql_parser.MatchOp.Equal), "a")
    assert [each.name for each in after] == [each.name for each in before]
    for old, new in zip(before, after, strict=True):
        assert matchers(new) == sorted([*(each for each in matchers(old) if each != own), own])
        assert not new.matchers.or_matchers


@pytest.mark.parametrize("query", ACCEPTED)
def test_every_selector_is_confined_and_otherwise_as_written(query: str) -> None:
    assert_confined(query)
    assert confined(confined(query, "a"), "a") == confined(query, "a")


@given(expressions)
def test_every_selector_of_any_expression_is_confined(query: str) -> None:
    assert_confined(query)


@pytest.mark.parametrize(("query", "told"), REFUSED.items(), ids=lambda text: text[:40])
def test_a_refusal_says_why_and_what_to_do(query: str, told: str) -> None:
    with pytest.raises(InvalidQuery, match=told):
        confined(query, "a")


@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from([*"{}()[]\"'`#\\=~!@,:-+\n ", "or", "a", "5m", "1e300"])).map("".join)
)
def test_any_text_is_confined_or_refused(query: str) -> None:
    try:
        confined(query, "a")
    except InvalidQuery:
        return
    assert_confined(query)


OPENINGS = (
    "(",
    "[",
    "{",
    "-",
    "+",
    "- ",
    "abs(",
    "clamp_min(",
    "sum by (x) (",
    "max_over_time(",
    "2^",
    "a{x='",
    'a{x="',
    "`",
)
CLOSINGS = (")", "]", "}", "", ",1)", "[5m:])", "'}", '"}', "`")


@given(
    st.lists(st.tuples(st.sampled_from(OPENINGS), st.sampled_from(CLOSINGS)), min_size=1, max_size=4),
    st.integers(min_value=1, max_value=2000),
)
@example([("abs(", ")")], 198)
@example([("max_over_time(", "[5m:])")], 198)
@example([("-(", ")")], 100)
@settings(deadline=timedelta(seconds=1))
def test_any_nesting_is_confined_or_refused_at_once(pairs: list[tuple[str, str]], times: int) -> None:
    opening, closing = "".join(each for each, _ in pairs), "".join(each for _, each in reversed(pairs))
    times = min(times, 4095 // len(opening + closing))
    with suppress(InvalidQuery):
        confined(opening * times + "a" + closing * times, "a")


def test_brackets_in_strings_and_comments_nest_nothing() -> None:
    assert confined('a{x=~"(a|(b))", y="' + "[" * 60 + '\\"' + "(" * 60 + '"} # ' + "(" * 60, "a")


def test_a_refusal_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A query that took long to refuse is not parsed at every look."""
    parsed: list[str] = []

    def fail(query: str) -> None:
        parsed.append(query)
        raise ValueError("not today")

    monkeypatch.setattr(promql_parser, "parse", fail)
    for _ in range(2):
        with pytest.raises(InvalidQuery, match="not today"):
            confined("asked_once", "a")
    assert parsed == ["asked_once"]


@given(texts)
def test_a_label_value_stays_one_string(value: str) -> None:
    [selector] = selectors(promql.samples(60, selector={"modelendpoint": value}))
    assert matchers(selector) == [("modelendpoint", str(promql_parser.MatchOp.Equal), value)]


@pytest.mark.parametrize("build", BUILDERS)
def test_a_selector_reaches_every_metric_of_a_signal(build: Callable[..., str]) -> None:
    only = {"namespace": "vision", "modelendpoint": "digits", "version": "digits-2"}
    everywhere, here = build(3600), build(3600, selector=only)
    assert all(set(only) <= {each.name for each in selector.matchers.matchers} for selector in selectors(here))
    assert [each.name for each in selectors(everywhere)] == [each.name for each in selectors(here)]
    assert len(selectors(confined(here, "vision"))) == len(selectors(here)), "a user may ask it too"


def test_latency_names_its_quantile() -> None:
    assert promql.latency(300, 0.99).startswith("histogram_quantile(0.99, ")
