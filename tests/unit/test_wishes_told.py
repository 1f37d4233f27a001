"""What an Endpoint says to those who ask something of it by hand or by its spec, and which annotations it takes away when."""

from typing import Any

import pytest
from variants import Variant

from noria.api import Endpoint, ModelVersion
from noria.plan.contract import Manifest
from noria.plan.wheel import serving, wanted, wishes
from noria.plan.wheel.view import Refusal

EARLIER, NOON = "2026-11-24T11:00:00Z", "2026-11-24T12:00:00Z"


def case(name: str, **annotations: str) -> Variant:
    return Variant(f"endpoint/{name}").asks(**annotations)


def cleared(variant: Variant) -> set[str]:
    return {each.removeprefix("noria.dev/") for each in variant.plan().clear_annotations}


UNKNOWN = "Warning ModelVersionNotFound: noria.dev/rollback-to: ModelVersion digits-9 does not exist"
NOTHING = "Warning NothingToTrain: noria.dev/retrain: spec.retrain is not set, so there is nothing to train"


@pytest.mark.parametrize(
    ("name", "asked", "gone", "event"),
    [
        ("serving", {"rollback_to": "digits-1"}, {"rollback-to"}, None),
        ("serving", {"rollback_to": "digits-9", "by": "ada"}, {"rollback-to", "by"}, UNKNOWN),
        ("scoring-runs", {"rollback_to": "digits-9"}, set(), None),
        ("serving", {"retrain": "please", "by": "ada"}, {"retrain", "by"}, NOTHING),
        ("scoring-runs", {"retrain": "please"}, {"retrain"}, "Warning CycleInFlight: noria.dev/retrain: cycle 2 is in flight; ask again when it is over"),
        ("serving", {"approve": "digits-1"}, {"approve"}, None),
        ("scoring-runs", {"approve": "digits-2", "by": "ada"}, set(), None),
        ("scoring-runs", {"approve": "digits-3", "by": "ada"}, {"approve", "by"}, None),
        ("serving", {"retry": "digits-9", "by": "ada"}, {"retry", "by"}, None),
        ("serving", {"retry": "digits-1"}, {"retry"}, None),
        ("serving", {"by": "ada"}, {"by"}, None),
        ("serving", {"approve": "", "by": ""}, {"approve", "by"}, None),
    ],
)  # fmt: skip
def test_what_cannot_be_granted_is_told_and_taken_away(
    name: str, asked: Any, gone: set[str], event: str | None
) -> None:
    variant = case(name, **asked)
    assert cleared(variant) == gone
    assert variant.events() == ([event] if event else []), variant.events()


def test_a_version_that_may_try_again_is_not_rejected_any_more() -> None:
    variant = case("rejected-version-may-try-again")
    assert "noria.dev/retry" in variant.resource["metadata"]["annotations"] and cleared(variant) == set()
    variant.status["rejected"] = []
    assert "retry" in cleared(variant)
    assert variant.plan().status.cycle is None, "the wish goes first: it would be taken in again when that try is over"
    del variant.resource["metadata"]["annotations"]
    assert variant.plan().status.cycle is not None


def test_what_was_gone_back_behind_is_not_wanted_again_by_another_runtime() -> None:
    """Its InferenceService has another name then, and it took all traffic."""
    variant = case("rollback-by-hand-done-version-is-not-wanted-again")
    variant.resource["status"] = variant.plan().status.manifest()
    del variant.resource["metadata"]["annotations"]
    assert (variant.status["current"]["version"], variant.status["rejected"]) == (
        "digits-1",
        ["digits-2-95882", "mv-digits-2"],
    )
    variant.spec["predictor"] = {"runtime": "mine"}
    cycle = variant.plan().status.cycle
    assert cycle is not None and cycle.challenger == "digits-1"
    assert "mv-digits-2" not in variant.asks(retry="digits-2").plan().status.rejected


def version(number: int, **more: Any) -> Manifest:
    spec = {"model": "m", "version": number, "uri": "pvc://c/x", "format": "onnx"} | more.pop("spec", {})
    return {"metadata": {"name": f"m-{number}", "namespace": "n", "uid": f"m{number}", **more}, "spec": spec}


def refused(*versions: Manifest, status: Any = None, runs: Any = (), spec: Any = None, **model: Any) -> str:
    """The name of the version that is wanted, or why there is none."""
    written = {
        "metadata": {"name": "e", "namespace": "n"},
        "spec": {"model": {"name": "m"} | model, **(spec or {})},
        "status": status or {},
    }
    found, _ = wanted.wanted(
        Endpoint.model_validate(written), [ModelVersion.model_validate(each) for each in versions], runs
    )
    return f"{found.reason}: {found.message}" if isinstance(found, Refusal) else found.metadata.name


def serves(number: int) -> Manifest:
    return {"current": {"version": f"m-{number}", "inferenceService": "s", "since": EARLIER}}


def service(number: int) -> str:
    plain = Endpoint.model_validate(
        {"metadata": {"name": "e", "namespace": "n"}, "spec": {"model": {"name": "m", "track": "Latest"}}}
    )
    return serving.service_name(plain, ModelVersion.model_validate(version(number)))


GONE = {"deletionTimestamp": NOON}
GATE = {"gate": {"test": "pvc://c/x", "metrics": [{"name": "accuracy"}]}}


def test_the_newest_version_is_wanted_if_it_may_be() -> None:
    assert refused(version(9), version(10), version(2), track="Latest") == "m-10"
    assert refused(version(1), version(2, **GONE), track="Latest") == "m-1", "what is being deleted is none"
    assert (
        refused(track="Latest")
        == "ModelNotFound: there is no version of model m in this namespace yet; a TrainingJob with output.model m makes one"
    )
    gone = "OnlyOlderVersions: m-3 was deleted and only older versions are left: 1, 2; name one in model.version to go back to it"
    assert refused(version(2), version(1), status=serves(3), track="Latest") == gone
    rejected = {"rejected": [service(2)]}
    assert refused(version(1), version(2), status=serves(1) | rejected, track="Latest") == "m-1"
    how = "kubectl annotate mep e noria.dev/retry=m-2 noria.dev/by=<you>, to let it try again"
    told = f"Rejected: m-2 did not earn the traffic (status.history says why); {how}"
    assert refused(version(2), status=rejected, track="Latest") == told


def test_the_version_that_is_named_is_wanted_if_it_is_there() -> None:
    assert refused(version(1), version(2), version=1) == "m-1"
    assert (
        refused(version(2), version(1), version=3)
        == "ModelVersionNotFound: ModelVersion m-3 does not exist; versions: 1, 2"
    )
    assert refused(version=3) == "ModelVersionNotFound: ModelVersion m-3 does not exist; versions: none"
    custom = version(1, spec={"format": "custom"})
    cannot = (
        "FormatUnknown: m-1 has format custom, which Noria's server cannot load; name a runtime in predictor.runtime"
    )
    assert (
        refused(custom, version=1) == cannot
        and refused(custom, version=1, spec={"predictor": {"runtime": "r"}}) == "m-1"
    )


def test_a_gate_needs_the_champions_record() -> None:
    lost = (
        "ChampionDeleted: the ModelVersion of what serves, m-1, was deleted, so m-2 cannot be compared with it; "
        "register it again as it was (status.current tells uri and digest), or take spec.gate away"
    )
    assert refused(version(2), status=serves(1), spec=GATE, track="Latest") == lost
    assert refused(version(1), version(2), status=serves(1), spec=GATE, track="Latest") == "m-2"
    assert refused(version(2), status=serves(1), track="Latest") == "m-2"
    past = {
        "number": 1,
        "trigger": {"reason": "NewVersion"},
        "challenger": "m-2",
        "outcome": "Promoted",
        "startTime": EARLIER,
        "endTime": EARLIER,
    }
    assert refused(version(2), status=serves(1) | {"history": [past]}, spec=GATE, version=2) == "m-2", (
        "it has served before"
    )
    assert refused(version(2), status=serves(1), spec=GATE, version=2) == lost
    again = version(2, creationTimestamp=NOON)
    assert refused(again, status=serves(1) | {"history": [past]}, spec=GATE, version=2) == lost, "it is another"


@pytest.mark.parametrize(
    ("made", "same"),
    [
        ({}, True),
        ({"uri": "pvc://c/y"}, False),
        ({"digest": "sha256:" + "b" * 64}, False),
        ({"digest": None}, False),
    ],
)
def test_a_number_that_was_used_again_is_not_what_serves(made: Manifest, same: bool) -> None:
    """Its gate would score the newcomer beside itself."""
    digest = "sha256:" + "a" * 64
    known = version(1, uid="another", spec={"digest": digest} | made)
    status = serves(1)
    status["current"] |= {"uri": "pvc://c/x", "digest": digest}
    told = refused(known, version(2), status=status, spec=GATE, track="Latest")
    assert (told == "m-2") is same and ("ChampionDeleted" in told) is not same
    assert refused(known, version(2), status=status, track="Latest") == "m-2", "without a gate nothing is compared"


def test_a_version_that_was_registered_again_has_not_served() -> None:
    variant = case("rollback-by-hand-to-the-warm-version")
    assert variant.plan().status.manifest()["cycle"]["trigger"]["reason"] == "Rollback"
    for each in variant.related("ModelVersion"):
        each["metadata"]["creationTimestamp"] = NOON
    assert "cycle" not in variant.plan().status.manifest()
    text = (
        "noria.dev/rollback-to: digits-1 has not served here since it was registered; versions in status.history have"
    )
    assert f"Warning NeverServed: {text}" in variant.events()


def run(name: str, *steps: Manifest, **status: Any) -> Manifest:
    return {"metadata": {"name": name}, "status": {"steps": list(steps), **status}}


def asks(version: str, began: str = NOON, state: str = "Running", endpoint: str = "e") -> Manifest:
    return {"name": "d", "state": state, "startTime": began, "deploy": {"endpoint": endpoint, "version": version}}


def test_what_a_deploy_step_asks_for_is_wanted() -> None:
    both = version(1), version(2)
    text = "model.track is Deployed, and no deploy step has asked for a version yet; start a PipelineRun with a step deploy: {endpoint: e}"
    assert refused(*both, track="Deployed") == f"NothingDeployed: {text}"
    assert refused(*both, status=serves(1), track="Deployed") == "m-1"
    assert (
        refused(*both, status=serves(3), track="Deployed")
        == "ModelVersionNotFound: ModelVersion m-3 was deleted; deploy another version"
    )
    newer = run("a", asks("m-1", EARLIER)), run("b", {"name": "x", "state": "Running"}, asks("m-2"))
    assert refused(*both, runs=newer, track="Deployed") == "m-2"
    assert refused(*both, runs=(*newer, run("c", asks("m-9", NOON))), track="Deployed") == "m-2", (
        "what is not there supersedes nothing"
    )


def test_wishes_are_those_of_steps_that_run_the_newest_first() -> None:
    endpoint = Endpoint.model_validate(
        {"metadata": {"name": "e", "namespace": "n"}, "spec": {"model": {"name": "a-b", "track": "Deployed"}}}
    )
    deleted = run("f", asks("a-b-7"))
    deleted["metadata"] |= GONE
    found = wishes.of(endpoint, [
        run("a", asks("a-b-1", EARLIER)), run("b", asks("a-b-2")), run("c", asks("a-b-3", state="Failed")), {"metadata": {"name": "new"}},
        run("d", asks("a-b-4"), completionTime=NOON), run("e", asks("a-b-5", endpoint="other")), deleted, run("g", asks("a-8")),
    ])  # fmt: skip
    assert [str(each) for each in found] == [
        f"step d of PipelineRun {name} asks for a-b-{n}" for name, n in (("b", 2), ("a", 1))
    ]


def sweep() -> Variant:
    return Variant("workspace/sweep-pod-unschedulable")


def test_a_sweep_that_waits_says_for_what_and_forgets_it_when_it_runs() -> None:
    def message(variant: Variant) -> str | None:
        return variant.plan().status.manifest()["retention"].get("message")

    assert (message(sweep()) or "").startswith("waits: Unschedulable: 0/2 nodes are available: 2 Insufficient cpu.")
    variant = sweep()
    variant.status["retention"]["message"] = "waits: x"
    variant.child("Pod")["status"] = {"phase": "Running"}
    assert message(variant) is None
    variant.without("Pod")
    assert message(variant) == "waits: x", "at the deadline the pods go before the Job says so"
    for about in ("another", "noria-sweep-4"):
        event = {"kind": "Event", "metadata": {"name": f"e-{about}", "namespace": "vision"}, "message": "forbidden"}
        variant.observed["children"].append(event | {"involvedObject": {"name": about}})
        assert message(variant) == ("waits: PodRefused: forbidden" if about == "noria-sweep-4" else "waits: x")


def test_an_endpoint_that_serves_nothing_yet_says_what_it_waits_for() -> None:
    assert case("first-version-starts").told("Ready") == "False Starting: digits-2 is being started"
    variant = case("first-version-routed-serves")
    assert variant.told("Ready").startswith("True Serving: digits-1 serves")
    crashed = case("current-crashes").without("Pod")
    assert crashed.told("Ready").startswith("False ")


def test_of_a_pinned_endpoint_the_spec_tells_the_version() -> None:
    variant = case("rollback-by-hand-to-the-warm-version")
    variant.spec["model"] = {"name": "digits", "version": 2}
    assert cleared(variant) == {"rollback-to", "by"}
    text = "noria.dev/rollback-to: spec.model.version asks for 2; set it to 1 instead"
    assert f"Warning VersionPinned: {text}" in variant.events()


def test_a_promotion_that_nobody_trained_for_mends_the_circuit() -> None:
    variant = case("moved-is-promoted-old-stays-warm")
    variant.status["retrain"] = {"state": "Broken", "failures": 3, "starts": []}
    for reason, failures in (("NewVersion", 0), ("Rollback", 3)):
        variant.status["cycle"]["trigger"] = {"reason": reason}
        status = variant.plan().status.manifest()
        assert status["history"][0]["outcome"] == "Promoted" and status["retrain"]["failures"] == failures


def test_data_that_were_looked_at_before_the_version_was_made_are_looked_at_again() -> None:
    """They differ from what it learned, and only another look tells which of them are newer."""
    variant = Variant("endpoint/signal-new-data-retrained-is-quiet")
    variant.status["probes"][0]["digest"] = "sha256:" + "d" * 64
    assert variant.plan().status.manifest()["signals"][0]["state"] == "Firing"
    for each in variant.related("ModelVersion"):
        each["metadata"]["creationTimestamp"] = "2026-11-24T11:58:00Z"
    status = variant.plan().status.manifest()
    assert status["signals"][0]["state"] == "Unknown" and "cycle" not in status
    assert (status["probes"][0]["number"], status["probes"][0]["state"]) == (3, "Running")
