"""What Prometheus says, whatever it is, becomes answers about objects."""

import json
from collections.abc import Collection
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from noria.plan.contract import Answer, Query, Ref, Row
from noria.runtime.answers import Answers, Reply, read, same, split
from noria.runtime.prometheus import Poller

SHARED, OWN = Query("shared", "modelendpoint"), Query("own")
A = Ref("Endpoint", "vision", "a")
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def row(name: str, value: float) -> tuple[dict[str, str], float]:
    return {"namespace": "vision", "modelendpoint": name, "version": "m-1"}, value


async def settled(keys: Collection[Ref]) -> None: ...


def said(query: Query, body: bytes) -> Reply:
    """What a Prometheus that sent this has said."""
    poller = Poller("http://prometheus", dict, Answers(), lambda query: (), lambda key: None, settled, 3600)
    return poller._read(query, body, NOON)


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(("metric", "value")), inner),
)
series = st.fixed_dictionaries({"metric": anything, "value": st.tuples(anything, anything) | anything})
data = st.fixed_dictionaries(
    {"resultType": st.sampled_from(("vector", "scalar", "matrix", "string")) | anything},
    optional={"result": st.lists(series) | anything},
)
documents = st.fixed_dictionaries(
    {"status": st.sampled_from(("success", "error")) | anything}, optional={"data": data | anything, "error": anything}
)


@given(
    st.sampled_from((SHARED, OWN)),
    (documents | anything).map(lambda each: json.dumps(each).encode()) | st.binary(),
)
@example(SHARED, b"[]")
@example(SHARED, b"[" * 100_000)
@example(SHARED, b'{"status": "success", "data": {"resultType": "vector", "result": [7]}}')
@example(OWN, b'{"status": "success", "data": {"resultType": "vector", "result": [{"metric": [], "value": {}}]}}')
@example(SHARED, '{"status": "é"}'.encode("latin-1"))
def test_whatever_prometheus_says_is_an_answer(query: Query, body: bytes) -> None:
    assert said(query, body).about(A).at


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"<html>", "Prometheus at http://prometheus does not answer"),
        (b"[1]", "Prometheus at http://prometheus does not answer"),
        (b'{"status": "error"}', "Prometheus refuses the query: it does not say why"),
        (
            b'{"status": "success", "data": {"resultType": "matrix", "result": []}}',
            "Prometheus answers with what is no instant vector; write an expression that gives numbers",
        ),
    ],
)
def test_what_is_no_vector_is_told(body: bytes, told: str) -> None:
    assert said(OWN, body).about(A) == Answer(error=told)


def test_what_has_not_been_asked_is_absent_and_what_nobody_asks_is_forgotten() -> None:
    answers = Answers()
    assert answers.of(A, [SHARED]) == {}
    answers.take(SHARED, Reply())
    assert answers.of(A, [SHARED]) == {SHARED: Answer()}
    answers.forget([OWN])
    assert answers.of(A, [SHARED]) == {}


def test_rows_go_to_the_object_that_their_labels_name() -> None:
    rows = (
        Row({"namespace": "vision", "modelendpoint": "a"}, 1.0),
        Row({"namespace": "other", "modelendpoint": "a"}, 2.0),
    )
    said = split(SHARED, rows, NOON)
    assert [said.about(each) for each in (A, A._replace(namespace="other"), A._replace(name="b"))] == [
        Answer(rows[:1]),
        Answer(rows[1:]),
        Answer(),
    ]
    assert split(OWN, rows, NOON).about(A) == Answer(rows[::-1])


def test_whoever_has_no_rows_knows_when_it_was_asked_too() -> None:
    answers = Answers()
    answers.take(SHARED, split(SHARED, (), NOON))
    assert answers.of(A, [SHARED])[SHARED].at == NOON


def test_the_order_of_rows_says_nothing() -> None:
    rows = [Row(row("a", 1)[0] | {"feature": each}, 1.0) for each in "xyz"]
    for query in (SHARED, OWN):
        assert split(query, rows, NOON) == split(query, rows[::-1], NOON)


def test_a_scalar_is_one_row_without_labels() -> None:
    assert read({"resultType": "scalar", "result": [0, "4"]}) == (Row({}, 4.0),)


@given(st.floats(), st.floats())
def test_answers_are_the_same_if_they_say_the_same(one: float, other: float) -> None:
    before, after = (Answer((Row({}, each),), at=NOON) for each in (one, other))
    assert same(before, after) is (repr(one + 0.0) == repr(other + 0.0) or one == other)
    assert same(before, Answer(before.rows))
    assert not same(before, Answer()) and not same(Answer(), before) and not same(Answer(), Answer(error="down"))
