"""What an Endpoint tells of its signals and probes, when it looks again, and what it asks of Prometheus meanwhile."""

from typing import Any

import pytest
from test_replay import ENDPOINT, told
from variants import Variant

from noria.api import Endpoint
from noria.api.cycle import SignalStatus
from noria.api.monitoring import Signal
from noria.plan.contract import Answer, Look, Manifest, Query, Row
from noria.plan.manifests import moment
from noria.plan.wheel import measures, replay, serving, signals, steady
from noria.plan.wheel.traffic import NO_GATEWAY, NO_MIRROR

NOON = "2026-11-24T12:00:00Z"


def case(name: str) -> Variant:
    return Variant(f"endpoint/{name}")


def probes(variant: Variant) -> Manifest:
    (found,) = variant.plan().status.manifest()["probes"]
    return {key: found.get(key) for key in ("state", "message", "failure", "time", "digest")}


def test_a_probe_that_is_refused_says_so_until_it_runs() -> None:
    variant = case("probe-waits-for-its-claim").without("Pod")
    name = variant.child("Job", "digits-probe-1")["metadata"]["name"]
    for about in ("another", name):
        event = {"kind": "Event", "metadata": {"name": f"e-{about}", "labels": {}}, "involvedObject": {"name": about}}
        variant.observed["children"].append(event | {"message": "exceeded quota: q"})
        waits = probes(variant)["message"]
        assert (waits or "").startswith("waits: QuotaExceeded: exceeded quota: q") == (about == name)


def answered(message: str, case_name: str = "probe-finds-the-same-data") -> Variant:
    variant = case(case_name)
    (status,) = variant.child("Pod")["status"]["containerStatuses"]
    status["state"]["terminated"]["message"] = message
    return variant


def test_what_a_probe_could_not_see_is_told_with_the_time_of_its_end() -> None:
    at = probes(case("probe-finds-the-same-data"))["time"]
    unread = probes(answered("{"))
    assert unread["failure"].startswith("the agent's message cannot be read: Invalid JSON") and unread["time"] == at
    assert unread["state"] is None and unread["message"] is None
    failed = probes(answered('{"error": "NoFile", "message": "it is empty"}'))
    assert (failed["failure"], failed["time"]) == ("NoFile: it is empty", at)


def test_what_went_wrong_before_is_forgotten_when_a_probe_answers() -> None:
    variant = case("probe-finds-the-same-data")
    variant.status["probes"][0] |= {"failure": "NoFile: x", "message": "waits: y"}
    after = probes(variant)
    assert (after["state"], after["failure"], after["message"]) == (None, None, None)


def test_a_probe_that_completed_is_timed_by_the_job() -> None:
    variant = case("probe-finds-the-same-data")
    job = next(each for each in variant.observed["children"] if each["kind"] == "Job")
    job["status"]["completionTime"] = "2026-11-24T11:58:00Z"
    assert probes(variant)["time"] == "2026-11-24T11:58:00Z"
    del job["status"]["completionTime"]
    job["status"]["conditions"][0]["lastTransitionTime"] = "2026-11-24T11:57:00Z"
    assert probes(variant)["time"] == "2026-11-24T11:57:00Z"


def test_a_model_that_grows_stale_is_looked_at_in_time() -> None:
    variant = case("signal-stale-model")
    (signal,) = (each for each in variant.spec["monitoring"]["signals"] if each["type"] == "Staleness")
    signal["threshold"] = 86460
    variant.status["signals"] = []
    assert variant.plan().requeue_after == 61, "it was made a day ago"
    signal["threshold"] = 864000
    assert variant.plan().requeue_after == 86401, "a tenth of the threshold is a movement"


def signal(**fields: Any) -> Signal:
    return Signal.model_validate({"name": "s", "type": "DataDrift", "threshold": 0.2, "windowSeconds": 60} | fields)


def status(**fields: Any) -> SignalStatus:
    return SignalStatus.model_validate(
        {"name": "s", "state": "OK", "threshold": 0.2, "value": 0.1, "since": NOON} | fields
    )


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, "s 0.1 <= 0.2"),
        ({"state": "Pending", "value": 0.3, "feature": "p0"}, "s 0.3 > 0.2 (p0)"),
        ({"state": "Firing", "value": 1000, "threshold": 999}, "s 1,000 > 999"),
        ({"state": "Unknown", "reason": "NoData"}, "s unknown (NoData)"),
        ({"value": 0.9, "threshold": 0.8, "name": "f1"}, "f1 0.9 >= 0.8"),
        ({"value": 0.7, "threshold": 0.8, "name": "f1", "state": "Firing"}, "f1 0.7 < 0.8"),
    ],
)
def test_the_worst_signal_is_one_line(fields: Any, line: str) -> None:
    watched = [signal(), signal(name="f1", type="Performance", metric="f1")]
    endpoint = ENDPOINT.model_copy(
        update={
            "spec": ENDPOINT.spec.model_copy(
                update={"monitoring": ENDPOINT.spec.monitoring.model_copy(update={"signals": watched})}
            )
        }
    )
    assert signals.worst(endpoint, [status(**fields)]) == line


def recorded(given: Signal, **fields: Any) -> steady.Recorded:
    return steady.Recorded(given, status(**fields), measures.questions(given, "n"), "m-1")


NUMBERS = [
    (signal(), {}, 0.1, Look.NONE),
    (signal(), {}, 0.11, Look.NONE),
    (signal(), {}, 0.13, Look.NEWS),
    (signal(), {}, 0.2, Look.NEWS),
    (signal(), {}, 0.3, Look.NOW),
    (signal(), {"state": "Firing", "value": 0.3}, 0.31, Look.NONE),
    (signal(), {"state": "Firing", "value": 0.3}, 0.2, Look.NEWS),
    (signal(), {"state": "Unknown", "value": None, "reason": "NoData"}, 0.1, Look.NEWS),
    (signal(type="Performance", metric="f1"), {"value": 0.3}, 0.29, Look.NONE),
    (signal(type="Performance", metric="f1"), {"value": 0.3}, 0.1, Look.NOW),
    (signal(type="Performance", metric="f1"), {"state": "Firing", "value": 0.19}, 0.2, Look.NEWS),
]


@pytest.mark.parametrize(("given", "fields", "value", "look"), NUMBERS)
def test_an_answer_is_looked_at_if_it_changes_what_is_recorded(
    given: Signal, fields: Any, value: float, look: Look
) -> None:
    judge = recorded(given, **fields)
    labels = {"version": "m-1", "feature": ""}
    answers = {judge.asked.values: Answer((Row(labels, value),)), judge.asked.samples: Answer((Row(labels, 500),))}
    assert judge.look(answers.get) == look
    assert judge.asked.values
    low, high = judge.span(judge.asked.values)
    assert look == Look.NONE or not low <= value <= high, "what is in the span is not looked at"
    assert judge.look(lambda _: None) == Look.NEWS, "nothing was answered yet"


def test_what_lies_in_the_span_is_not_looked_at() -> None:
    calm = recorded(signal())
    assert calm.asked.values and calm.asked.samples
    low, high = calm.span(calm.asked.values)
    assert low == pytest.approx(0.082) and high == pytest.approx(0.118)
    assert calm.span(calm.asked.samples) == (100, steady.MOST)
    near = recorded(signal(), value=0.199)
    assert near.span(near.asked.values)[1] == 0.2, "the threshold itself does not fire"
    fires = recorded(signal(), state="Firing", value=0.201)
    assert 0.2 < fires.span(fires.asked.values)[0] < 0.2000001
    below = recorded(signal(type="Performance", metric="f1"), value=0.201)
    assert below.span(below.asked.values)[0] == 0.2
    low = recorded(signal(type="Performance", metric="f1"), state="Firing", value=0.199)
    assert 0.1999999 < low.span(low.asked.values)[1] < 0.2
    few = recorded(signal(), state="Unknown", reason="TooFewSamples")
    assert few.span(few.asked.values) == pytest.approx((0.082, 0.118)) and 99 < few.span(few.asked.samples)[1] < 100
    for never in (
        recorded(signal(), state="Unknown"),
        recorded(signal(), value=None),
        recorded(signal(features=["a"])),
    ):
        assert never.span(never.asked.values) == steady.NEVER
    assert few.span(few.asked.samples)[0] == float("-inf")


def asked(variant: Variant) -> set[Query]:
    return set(variant.needs().fresh)


@pytest.mark.parametrize("stage", ["Mirroring", "Canary", "Approval", "Starting", "Moving", "RollingBack"])
def test_gates_ask_while_they_judge(stage: str) -> None:
    variant = case("canary-holds")
    variant.status["cycle"]["stage"] = stage
    assert bool(asked(variant)) == (stage in ("Mirroring", "Canary", "Approval"))
    assert asked(variant) <= set(variant.needs().queries)
    variant.observed["settings"] = {"prometheus_url": ""}
    assert variant.needs().queries == () == variant.needs().fresh


def test_what_may_set_off_a_training_is_looked_at_until_it_has() -> None:
    variant = case("signal-small-movement-is-not-written")
    assert variant.needs().steady
    variant.status["signals"][0]["state"] = "Firing"
    assert not variant.needs().steady, "it is armed, and the answers to all signals are awaited"
    variant.status["retrain"]["state"] = "CoolingDown"
    assert variant.needs().steady
    variant.status["retrain"]["state"] = "Armed"
    variant.spec["retrain"]["signals"] = ["quality"]
    assert variant.needs().steady


@pytest.mark.parametrize(("state", "seconds"), [("CoolingDown", 540), ("BudgetSpent", 82800), ("Broken", None)])
def test_a_training_that_may_not_begin_is_looked_at_when_it_may(state: str, seconds: float | None) -> None:
    variant = case("signals-are-quiet")
    variant.spec["retrain"] |= {"budget": {"count": 1, "windowSeconds": 86400}, "maxFailures": 3}
    kept = {"CoolingDown": {"lastEndTime": "2026-11-24T11:59:00Z"}, "BudgetSpent": {"starts": ["2026-11-24T11:00:00Z"]}}
    variant.status["retrain"] = {"state": "Armed", "failures": 3 if state == "Broken" else 0, **kept.get(state, {})}
    planned = variant.plan()
    assert planned.status.manifest()["retrain"]["state"] == state and planned.requeue_after == seconds


def test_a_budget_counts_starts_within_its_window() -> None:
    variant = case("signals-are-quiet")
    variant.spec["retrain"] |= {"budget": {"count": 1, "windowSeconds": 3600}}
    for start, state in (("2026-11-24T11:00:00Z", "Armed"), ("2026-11-24T11:00:01Z", "BudgetSpent")):
        variant.status["retrain"]["starts"] = [start]
        assert variant.plan().status.manifest()["retrain"]["state"] == state


def test_what_the_cluster_cannot_do_is_told_in_the_record() -> None:
    variant = case("mirror-not-declared-is-passed-over")
    skipped = {
        each["name"]: each["message"]
        for each in variant.plan().status.manifest()["cycle"]["steps"]
        if each.get("result") == "Skipped"
    }
    assert skipped == {"Mirroring": NO_MIRROR}
    variant.observed["settings"]["gateway_name"] = ""
    skipped = {
        each["name"]: each["message"]
        for each in variant.plan().status.manifest()["cycle"]["steps"]
        if each.get("result") == "Skipped"
    }
    assert skipped == {"Mirroring": NO_MIRROR, "Canary": NO_GATEWAY}
    variant.status["cycle"]["trigger"] = {"reason": "Rollback"}
    told = variant.plan().status.manifest()["cycle"]["steps"]
    assert all(each.get("result") != "Skipped" for each in told)


def routed(**rule: Any) -> Manifest:
    accepted = [{"type": each, "status": "True", "observedGeneration": 2} for each in ("Accepted", "ResolvedRefs")]
    live = {"metadata": {"generation": 2}, "spec": {"rules": [rule]}}
    return live | {"status": {"parents": [{"conditions": accepted}]}}


def test_a_route_is_settled_when_it_sends_requests_where_it_should() -> None:
    def backends(*weights: int, percent: int = 0) -> Any:
        mirror = {"requestMirror": {"backendRef": {"name": "c"}, "percent": percent}}
        filters = {"filters": [{"type": "RequestMirror"} | mirror]} if percent else {}
        return {"backendRefs": [{"name": "ab"[n], "weight": each} for n, each in enumerate(weights)]} | filters

    for rule in (backends(1), backends(90, 10), backends(1, percent=50), backends(1, percent=100)):
        assert serving.settled(routed(**rule), {"spec": {"rules": [rule]}})
    for live, wished in (
        (backends(90, 10), backends(80, 20)),
        (backends(1), backends(1, percent=50)),
        (backends(1, percent=50), backends(1, percent=60)),
    ):
        assert not serving.settled(routed(**live), {"spec": {"rules": [wished]}})
    assert serving.settled(routed(backendRefs=[{"name": "a"}]), {"spec": {"rules": [backends(1)]}}), (
        "a weight is 1 if none is told"
    )
    late = routed(**backends(1))
    late["metadata"]["generation"] = 3
    assert not serving.settled(late, {"spec": {"rules": [backends(1)]}}) and not serving.settled(None, late)


def test_replay_knows_which_version_served_when_and_says_why_a_signal_is_unknown() -> None:
    past = [
        {
            "number": 3,
            "outcome": "Promoted",
            "champion": "digits-0",
            "challenger": "digits-1",
            "endTime": "2026-11-24T10:00:00Z",
        },
        {
            "number": 2,
            "outcome": "RolledBack",
            "champion": "digits-9",
            "challenger": "digits-8",
            "endTime": "2026-11-24T11:00:00Z",
        },
        {"number": 1, "outcome": "Promoted", "champion": "digits-7"},
    ]
    for each in past:
        each |= {"trigger": {"reason": "NewVersion"}, "startTime": "2026-11-24T09:00:00Z"}
    written = ENDPOINT.manifest()
    endpoint = Endpoint.model_validate(written | {"status": written["status"] | {"history": past}})
    assert replay.served_at(endpoint, moment("2026-11-24T10:00:00Z")) == "digits-1"
    assert replay.served_at(endpoint, moment("2026-11-24T09:59:59Z")) == "digits-0"
    assert told(ENDPOINT, float("nan")) == ["12:00 signal drift: Unknown: Prometheus answers with no number"]
