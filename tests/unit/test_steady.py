"""What an answer leaves as it is recorded is told without a plan: whenever that says so, judging anew records the same."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from noria.api import Endpoint, ModelVersion
from noria.plan.contract import Answer, Look, Observed, Query, Ref, Row, Settings
from noria.plan.endpoint import needs
from noria.plan.wheel import signals
from noria.runtime.answers import Answers, Reply
from noria.runtime.interest import Interests

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
SETTINGS = Settings(
    agent_image="a", trainer_image="t", serving_runtime="s", server_image="v", prometheus_url="http://p"
)
VERSION = ModelVersion.model_validate(
    {
        "metadata": {"name": "m-1", "namespace": "n", "uid": "v"},
        "spec": {"model": "m", "version": 1, "uri": "pvc://c/x", "format": "onnx"},
    }
)
SIGNALS: list[dict[str, Any]] = [
    {"name": "drift", "type": "DataDrift", "threshold": 0.2},
    {"name": "some", "type": "DataDrift", "threshold": 0.2, "features": ["age"]},
    {"name": "quality", "type": "DataQuality", "threshold": 0.05},
    {"name": "accuracy", "type": "Performance", "metric": "accuracy", "threshold": 0.8},
    {"name": "errors", "type": "ErrorRate", "threshold": 0.01, "forSeconds": 30},
    {"name": "latency", "type": "Latency", "quantile": 0.99, "threshold": 0.5},
    {"name": "own", "type": "Custom", "query": "max(up)", "fires": "Below", "threshold": 0.5},
]
KEY = Ref("Endpoint", "n", "e")
numbers = st.sampled_from(
    (0.0, 0.0099, 0.01, 0.0101, 0.0456, 0.05, 0.054, 0.18, 0.2, 0.2004, 0.22, 0.5, 0.76, 0.8, 0.84, 1.0, -0.5)
) | st.floats(allow_nan=True, allow_infinity=True)
counts = st.sampled_from((0.0, 99.0, 99.6, 100.0, 500.0, float("nan"), float("inf"))) | st.floats(0, 1000)
values = st.builds(
    lambda value, version, feature: Row({"version": version, "feature": feature}, value),
    numbers,
    st.sampled_from(("m-1", "m-1", "m-1", "m-2")),
    st.sampled_from(("age", "size")),
)


def answers(number: st.SearchStrategy[Row]) -> st.SearchStrategy[Answer]:
    rows = st.lists(number, min_size=1, max_size=1) | st.lists(number, max_size=3)
    said = st.builds(lambda each: Answer(tuple(each)), rows)
    return st.integers(0, 9).flatmap(lambda n: said if n else st.just(Answer(error="down")))


def endpoint(recorded: list[Any], watched: list[dict[str, Any]] = SIGNALS, **retrain: Any) -> Endpoint:
    current = {"version": "m-1", "inferenceService": "e-1-x", "since": "2026-11-24T11:00:00Z"}
    return Endpoint.model_validate(
        {
            "metadata": {"name": "e", "namespace": "n", "uid": "u"},
            "spec": {"model": {"name": "m", "track": "Latest"}, "monitoring": {"signals": watched}, **retrain},
            "status": {"current": current, "signals": recorded, "retrain": {"state": "Armed"}},
        }
    )


QUERIES = needs(endpoint([]), SETTINGS).queries


def judged(before: Endpoint, said: dict[Query, Answer], now: datetime) -> list[Any]:
    observed = Observed(settings=SETTINGS, now=now, answers=said)
    return [each.manifest() for each in signals.judge(before, VERSION, observed).signals]


def reply(answer: Answer) -> Reply:
    """What says this of the object, of which alone it is."""
    return Reply({None: answer.rows}, answer.error)


def drawn(data: st.DataObject, query: Query) -> Answer:
    counted = query.promql.startswith("sum by") and "/" not in query.promql
    kind = st.builds(lambda count: Row({"version": "m-1"}, count), counts) if counted else values
    return data.draw(answers(kind))


@given(st.data())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_what_needs_no_look_would_be_recorded_as_it_is(data: st.DataObject) -> None:
    """From whatever is recorded, answer by answer as they come in."""
    said = {query: drawn(data, query) for query in QUERIES}
    one = endpoint(judged(endpoint([]), said, NOON))
    one = endpoint(judged(one, said, NOON + timedelta(seconds=60)))  # what was pending fires
    interests, held = Interests(), Answers()
    interests.remember(KEY, needs(one, SETTINGS))
    for query, answer in said.items():
        held.take(query, reply(answer))
    later = NOON + timedelta(seconds=120)
    for query in data.draw(st.permutations(QUERIES)):
        moved = held.take(query, reply(drawn(data, query)))
        look = dict(interests.looks(query, held)).get(KEY, Look.NONE)
        anew = judged(one, held.of(KEY, QUERIES), later)
        recorded = [each.manifest() for each in one.status.signals]
        event(look.name)
        if look is Look.NONE or (look is Look.NEWS and not moved(KEY)):
            assert anew == recorded
        else:
            firing = {each["name"] for each in anew if each["state"] in ("Firing", "Pending")}
            begun = firing - {each["name"] for each in recorded if each["state"] in ("Firing", "Pending")}
            assert look is Look.NOW or not begun or query not in interests_of(one), f"{begun} may begin something"
            one = endpoint(anew)
            interests.remember(KEY, needs(one, SETTINGS))


def interests_of(one: Endpoint) -> set[Query]:
    """Queries of signals that are held to what is recorded."""
    return set(needs(one, SETTINGS).steady)


@pytest.mark.parametrize(
    ("drift", "count", "look"),
    [
        (0.101, 480.0, Look.NONE),
        (0.15, 480.0, Look.NEWS),
        (0.201, 480.0, Look.NOW),
        (0.9, 480.0, Look.NOW),
        (0.1, 99.0, Look.NEWS),
        (0.9, 99.0, Look.NEWS),
        (float("nan"), 480.0, Look.NEWS),
    ],
)
def test_a_value_past_its_threshold_is_looked_at_at_once(drift: float, count: float, look: Look) -> None:
    since = "2026-11-24T11:00:00Z"
    recorded = {"name": "drift", "state": "OK", "value": 0.1, "threshold": 0.2, "samples": 500, "since": since}
    interests, held = Interests(), Answers()
    asked = needs(endpoint([recorded], SIGNALS[:1]), SETTINGS)
    interests.remember(KEY, asked)
    for query, value in zip(asked.queries, (drift, count), strict=True):
        held.take(query, reply(Answer((Row({"version": "m-1", "feature": "p0"}, value),))))
    looks = [dict(interests.looks(query, held)).get(KEY, Look.NONE) for query in asked.queries]
    assert max(looks) is look


def test_a_recorded_signal_that_fires_holds_nothing_back_until_its_training_began() -> None:
    since = "2026-11-24T11:00:00Z"
    recorded = {"name": "drift", "state": "Firing", "value": 0.3, "threshold": 0.2, "since": since}
    assert needs(endpoint([recorded]), SETTINGS).steady
    retrain = {"signals": ["drift"], "template": {"recipe": {"name": "classifier"}}}
    assert not needs(endpoint([recorded], retrain=retrain), SETTINGS).steady
