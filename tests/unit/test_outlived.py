"""Which ended runs of a Pipeline go, and until when one stays that an Endpoint may have to read."""

from typing import Any

import pytest
from variants import Variant

from noria.plan.contract import Manifest

NOON = "2026-11-24T12:00:00Z"


def run(name: str, at: str = "11:00:00", ok: bool = True, **more: Any) -> Manifest:
    told = [{"type": "Succeeded", "status": str(ok), "reason": "X", "message": "", "lastTransitionTime": NOON}]
    status = {"frozen": "x", "completionTime": f"2026-11-24T{at}Z", "conditions": told} | more.pop("status", {})
    spec = {"pipeline": "p"} | more.pop("spec", {})
    metadata = {"name": name, "namespace": "n", "uid": f"uid-of-{name}", "creationTimestamp": NOON} | more
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "PipelineRun",
        "metadata": metadata,
        "spec": spec,
        "status": status,
    }


def gone(*runs: Manifest, **limits: int) -> list[str]:
    return [each["metadata"]["name"] for each in variant(*runs, **limits).plan().deletes]


def variant(*runs: Manifest, **limits: int) -> Variant:
    found = Variant("pipeline/history-deletes-the-oldest")
    found.spec["historyLimits"] = limits
    found.related("PipelineRun")[:] = runs
    return found


def test_the_oldest_go_of_those_that_succeeded_and_of_those_that_did_not() -> None:
    good = [run(f"g{n}", f"11:0{n}:00") for n in range(3)]
    bad = [run(f"b{n}", f"10:0{n}:00", ok=False) for n in range(3)]
    assert gone(*good, *bad, succeeded=2, failed=1) == ["b0", "b1", "g0"]
    assert gone(*good, *bad, succeeded=3, failed=3) == [] == gone(*good, *bad)
    assert gone(*good, *bad, succeeded=0) == ["g0", "g1", "g2"]


@pytest.mark.parametrize(
    "spared",
    [
        {"status": {"completionTime": ""}},
        {"deletionTimestamp": NOON},
        {"ownerReferences": [{"kind": "Endpoint", "name": "e", "uid": "e", "controller": True}]},
    ],
    ids=["it runs", "it goes already", "it is another's"],
)
def test_others_are_neither_counted_nor_deleted(spared: Any) -> None:
    assert gone(run("a", "10:00:00", **spared), run("b"), succeeded=1) == []
    assert gone(run("a", "10:00:00", **spared), run("b"), succeeded=0) == ["b"]


def test_what_an_open_run_takes_from_stays() -> None:
    for spec, status in (({"rerunOf": "a"}, {}), ({}, {"sources": ["a"]})):
        user = run("c", spec=spec, status=status | {"completionTime": ""})
        assert gone(run("a", "10:00:00"), run("b"), user, succeeded=0) == ["b"]


def test_fifty_go_at_once() -> None:
    many = [run(f"r{number:02}", f"10:00:{number:02}") for number in range(55)]
    assert gone(*many, succeeded=0) == [f"r{number:02}" for number in range(50)]


def test_one_whose_deploy_step_failed_stays_for_a_minute() -> None:
    wished = {"steps": [{"name": "d", "state": "Failed", "deploy": {"endpoint": "e", "version": "m-1"}}]}
    found = variant(run("a", "11:59:01", ok=False, status=wished), failed=0)
    assert found.plan().deletes == () and found.plan().requeue_after == 1
    assert [each["metadata"]["name"] for each in found.later(1).plan().deletes] == ["a"]
    done = {"steps": [wished["steps"][0] | {"state": "Succeeded"}]}
    assert gone(run("a", "11:59:59", status=done), succeeded=0) == ["a"]
