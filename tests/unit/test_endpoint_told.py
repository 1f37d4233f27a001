"""What an Endpoint tells while the cluster lacks something or its gateway or servers do not follow, and which Jobs it keeps for their logs."""

from copy import deepcopy
from typing import Any

import pytest
from variants import Variant

from noria.plan.contract import Manifest
from noria.plan.wheel.traffic import NO_MIRROR


def case(name: str) -> Variant:
    return Variant(f"endpoint/{name}")


def test_what_the_cluster_lacks_is_told_and_what_serves_stays() -> None:
    variant = case("serving")
    before = {(each["kind"], each["metadata"]["name"]) for each in variant.observed["children"]}
    variant.observed["absent"] = ["InferenceService"]
    text = "the cluster does not know InferenceService (serving.kserve.io/v1beta1); install KServe in Standard mode"
    assert variant.told("Ready") == f"False KServeMissing: {text}" and variant.plan().requeue_after == 60
    kept = {(each["kind"], each["metadata"]["name"]) for each in variant.plan().children}
    assert kept == {each for each in before if each[0] in ("InferenceService", "HTTPRoute")}
    variant.observed["absent"] = ["HTTPRoute"]
    text = "the cluster does not know HTTPRoute (gateway.networking.k8s.io/v1); install a Gateway API implementation, or install Noria without gateway.name"
    assert variant.told("Ready") == f"False GatewayAPIMissing: {text}"
    variant.observed["settings"] = {"gateway_name": ""}
    assert variant.told("Ready").startswith("True Serving")


def test_other_conditions_stand_while_something_is_missing() -> None:
    variant = case("serving")
    known = variant.plan().status.manifest()["conditions"]
    variant.status["conditions"] = known
    variant.observed["absent"] = ["InferenceService"]
    told = variant.plan().status.manifest()["conditions"]
    assert [each["type"] for each in told] == ["Ready", *(each["type"] for each in known if each["type"] != "Ready")]
    assert told[1:] == [each for each in known if each["type"] != "Ready"]


def test_how_many_servers_answer_is_told() -> None:
    variant = case("serving")
    variant.spec["predictor"] = {"replicas": 3}
    variant.child("Deployment")["status"] = {"readyReplicas": 2}
    assert variant.plan().status.manifest()["replicas"] == {"ready": 2, "desired": 3}
    del variant.child("Deployment")["status"]
    assert variant.plan().status.manifest()["replicas"] == {"ready": 0, "desired": 3}
    assert variant.without("Deployment").plan().status.manifest()["replicas"] == {"ready": 0, "desired": 3}


def test_without_a_pod_that_is_ready_it_is_not_whatever_kserve_said_last() -> None:
    variant = case("serving")
    assert variant.told("Ready").startswith("True Serving")
    variant.child("Deployment")["status"] = {"replicas": 1}
    assert variant.told("Ready") == "False Restarting: digits-1: it is being started again"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("route-not-accepted-yet-nothing-goes", "False Routing: digits-2 is ready; Gateway noria-gateway/noria has not accepted the route yet"),
        ("canary-holds", "False Canary: digits-2 is at Canary-10"),
        ("mirroring-is-recorded-route-mirrors", "False Routing: digits-2 is ready; Gateway noria-gateway/noria has not accepted the route yet"),
        ("approval-waits", "False ApprovalNeeded: digits-2 waits for approval: kubectl annotate mep digits noria.dev/approve=digits-2 noria.dev/by=<you>"),
        ("training-runs", "False Training: TrainingJob digits-retrain-2 trains a challenger"),
        ("rejected-version-is-not-tried-again", "True VersionServed: the wanted version serves; a newer one did not earn the traffic (status.history)"),
        ("serving", "True VersionServed: the wanted version serves"),
    ],
)  # fmt: skip
def test_what_keeps_the_wanted_version_from_serving_is_told(name: str, told: str) -> None:
    assert case(name).told("UpToDate") == told


def test_a_route_that_the_gateway_refuses_is_told_in_its_words() -> None:
    variant = case("route-not-accepted-yet-nothing-goes")
    refused = {"type": "ResolvedRefs", "status": "False", "observedGeneration": 5}
    variant.child("HTTPRoute")["status"] = {
        "parents": [{"conditions": [refused | {"reason": "BackendNotFound", "message": "no Service"}]}]
    }
    text = "digits-2 is ready; Gateway noria-gateway/noria says"
    assert variant.told("UpToDate") == f"False RouteRejected: {text} BackendNotFound: no Service"
    variant.child("HTTPRoute")["status"]["parents"][0]["conditions"] = [refused]
    assert variant.told("UpToDate") == f"False RouteRejected: {text} ResolvedRefs: "


def test_without_a_gateway_a_version_simply_takes_over() -> None:
    variant = case("without-gateway")
    variant.status["cycle"] |= {"stage": "Moving"}
    variant.child("InferenceService", variant.status["next"]["inferenceService"])["status"] = {}
    assert variant.told("UpToDate").endswith(" takes over") and variant.told("UpToDate").startswith("False Moving: ")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, "True DigestMatches: the server loaded sha256:" + "b" * 64),
        (
            {"env": [{"name": "NORIA_MODEL_DIGEST", "value": ""}]},
            "False Unverified: digits-1 states no digest; register it with spec.digest",
        ),
        ({"env": []}, "False Unverified: digits-1 states no digest; register it with spec.digest"),
    ],
)
def test_whether_the_server_checked_what_it_loaded_is_told(change: Any, told: str) -> None:
    variant = case("serving")
    variant.child("InferenceService")["spec"]["predictor"]["model"] |= change
    assert variant.told("Verified") == told
    if change:
        variant.spec["predictor"] = {"runtime": "mine"}
        assert variant.told("Verified") == "False ForeignRuntime: runtime mine is not known to check digests"


def test_a_server_that_refuses_other_files_is_not_verified() -> None:
    variant = case("digest-mismatch-refuses-to-serve")
    variant.status.update(current=variant.status.pop("next") | {"digest": "sha256:" + "b" * 64})
    variant.status.pop("cycle")
    assert variant.told("Verified").startswith("False DigestMismatch: ")


def test_signals_that_say_nothing_are_told_three_at_most() -> None:
    variant = case("signals-are-quiet")
    variant.spec["monitoring"]["signals"] = [
        {"name": name, "type": "Custom", "query": f"max({name})", "fires": "Above", "threshold": 1} for name in "abcd"
    ]
    variant.observed["answers"] = [{"promql": f'max({name}{{namespace="vision"}})', "error": "down"} for name in "abcd"]
    assert variant.told("Monitored") == "False QueryFailed: a: down; b: down; c: down"
    del variant.observed["answers"][0]
    variant.observed["answers"] = []
    assert variant.told("Monitored") == "Unknown Waiting: nothing has been evaluated yet"
    variant.observed["answers"] = [
        {"promql": f'max({name}{{namespace="vision"}})', "rows": [{"value": 0}]} for name in "abcd"
    ]
    assert variant.told("Monitored") == "True SignalsKnown: every signal is evaluated"


def test_a_mirror_that_cannot_be_is_told() -> None:
    variant = case("canary-holds")
    assert variant.told("MirrorAvailable") == "True Declared: the gateway is declared to mirror"
    variant.observed["settings"] = {"gateway_mirrors": False}
    assert variant.told("MirrorAvailable") == f"False NotDeclared: rollout.mirror is passed over: {NO_MIRROR}"


def kept(variant: Variant, kind: str) -> set[str]:
    return {each["metadata"]["name"] for each in variant.plan().children if each["kind"] == kind}


@pytest.mark.parametrize(
    ("type", "status", "stays"),
    [
        ("Succeeded", "True", True),
        ("Succeeded", "False", True),
        ("Succeeded", "Unknown", False),
        ("Ready", "True", False),
    ],
)
def test_trainings_of_the_newest_three_cycles_stay_when_they_have_ended(type: str, status: str, stays: bool) -> None:
    variant = case("scoring-runs")
    variant.status["cycles"] = variant.status["cycle"]["number"] = 7
    job: Manifest = variant.child("TrainingJob")
    others = []
    for number in (4, 5, 6):
        other = deepcopy(job)
        other["metadata"] |= {
            "name": f"old-{number}",
            "labels": job["metadata"]["labels"] | {"noria.dev/cycle": str(number)},
        }
        other["status"]["conditions"][0] |= {"type": type, "status": status}
        others.append(other)
    variant.observed["children"] += others
    assert kept(variant, "TrainingJob") & {"old-4", "old-5", "old-6"} == ({"old-5", "old-6"} if stays else set())
