"""What an evaluate step scores its model beside, what a gate that fails does to the run, and when its result is taken again."""

import json
from typing import Any

import pytest
from runs import DIGEST, World, ended, inline, scores, step

TRAIN = {"recipe": {"name": "classifier"}}
RULE = {"endpoint": "digits", "test": "pvc://noria-artifacts/data/held-out", "metrics": [{"name": "accuracy"}]}
STEPS = (
    step("train", train=TRAIN),
    step("judge", "model=train.model", evaluate=RULE),
    step("register", "model=train.model", "passed=judge.passed", register={"model": "digits"}),
)


def endpoint(version: str | None = "digits-1", **told: str) -> dict[str, Any]:
    current = {"current": {"version": version, "inferenceService": "x", "since": "x", **told}} if version else {}
    return {"kind": "Endpoint", "metadata": {"name": "digits", "namespace": "n"}, "status": current}


def version(number: int = 1, **spec: Any) -> dict[str, Any]:
    told = {"model": "digits", "version": number, "uri": f"pvc://noria-artifacts/jobs/old/attempt-{number}"}
    told |= {"digest": "sha256:" + str(number) * 64, "format": "onnx"} | spec
    metadata = {"name": f"digits-{number}", "namespace": "n"}
    return {"kind": "ModelVersion", "metadata": metadata, "spec": {k: v for k, v in told.items() if v is not None}}


def judging(*others: dict[str, Any], steps: Any = STEPS, **spec: Any) -> World:
    """A run whose model is made, with Endpoint and versions beside it."""
    return World(spec or inline(*steps), others or (endpoint(), version())).settle().succeed("train")


def order(world: World) -> dict[str, Any]:
    annotations = world.active()["judge"]["metadata"]["annotations"]
    told: dict[str, Any] = json.loads(annotations["noria.dev/score"])["models"]
    return told


def outputs(world: World) -> dict[str, Any]:
    return {each["name"]: each["value"] for each in world.step("judge")["outputs"]}


def test_a_better_model_passes_and_goes_on() -> None:
    world = judging()
    assert order(world)["champion"]["digest"] == "sha256:" + "1" * 64 and order(world)["challenger"]["digest"] == DIGEST
    world.succeed("judge")
    assert outputs(world) == {
        "passed": True,
        "changed": True,
        "metrics": {"accuracy": 0.95},
        "champion": {"accuracy": 0.9},
    }
    assert world.step("judge")["message"] == "beside digits-1: the challenger is good enough on held-out data"
    assert world.verdict() == ("True", "Completed")
    assert [each["metadata"]["name"] for each in world.others if each["kind"] == "ModelVersion"][1:] == ["digits-2"]


@pytest.mark.parametrize(
    ("told", "cause", "message"),
    [
        (
            scores(("champion", "challenger"))
            | {"scores": {"champion": {"accuracy": 0.9}, "challenger": {"accuracy": 0.8}}},
            "GateFailed",
            "beside digits-1: accuracy: champion 0.9, challenger 0.8, at least 0 better is wanted",
        ),
        (scores(("champion", "challenger"), samples=9), "TooFewSamples", "(evaluate.minSamples)"),
        (scores(("challenger",)), "GateInconclusive", "could not compute it for both models"),
        ({"error": "UnsafeModel", "whose": "challenger", "message": "challenger: x"}, "UnsafeModel", "challenger: x"),
        ({"error": "DigestMismatch", "whose": "champion", "message": "c"}, "ChampionUnscorable", "nothing can be"),
        ({"error": "InvalidData", "whose": "data", "message": "d"}, "DataUnscorable", "nothing can be compared"),
        ({"error": "no word of its own", "message": "d"}, "InvalidMessage", "cannot be read"),
        ({"samples": 720, "scores": {"challenger": {"accuracy": "x"}}}, "InvalidMessage", "cannot be read"),
    ],
)
def test_what_is_not_good_enough_fails_and_what_needs_it_is_skipped(told: Any, cause: str, message: str) -> None:
    world = judging().succeed("judge", told)
    assert world.states() == {"train": "Succeeded", "judge": "Failed", "register": "Skipped"}
    assert world.verdict() == ("False", cause) and message in world.step("judge")["message"], world.step("judge")
    assert outputs(world)["passed"] is False and sum(world.made.values()) == 2


def test_the_numbers_of_a_model_that_failed_are_outputs_of_the_pipeline() -> None:
    whole = [{"name": "numbers", "from": "judge.metrics"}, {"name": "better", "from": "judge.passed"}]
    world = judging(**inline(*STEPS, outputs=whole)).succeed("judge", scores(("champion", "challenger"), samples=9))
    assert world.verdict() == ("False", "TooFewSamples")
    assert world.status["outputs"] == [
        {"name": "numbers", "value": {"accuracy": 0.95}},
        {"name": "better", "value": False},
    ]


def test_no_number_is_not_taken_for_one() -> None:
    world = judging()
    live = world.active()["judge"]
    world.succeed("judge", look=False)
    status = live["status"]["containerStatuses"][0]
    status["state"]["terminated"]["message"] = '{"samples": 720, "scores": {"challenger": {"accuracy": Infinity}}}'
    assert world.settle().verdict() == ("False", "InvalidMessage")


def test_a_model_that_is_the_champion_itself_is_not_scored() -> None:
    new = step("ask", "changed=judge.changed", when="inputs.changed", approve={})
    world = judging(endpoint(), version(digest=DIGEST), steps=(*STEPS[:2], new))
    assert outputs(world) == {"passed": True, "changed": False, "metrics": {}, "champion": {}}
    assert world.step("judge")["message"] == "it is digits-1 itself"
    assert world.step("ask")["cause"] == "WhenFalse" and world.verdict() == ("True", "Completed")


def test_without_a_champion_the_model_is_scored_alone() -> None:
    lone = RULE | {"slices": {"columns": ["site"], "maxDrop": 0.1, "maxGap": 0.2}}
    steps = (STEPS[0], step("judge", "model=train.model", evaluate=lone))
    groups = {
        f"site={name}": {"samples": 99, "challenger": {"accuracy": value}} for name, value in (("a", 1), ("b", 0.9))
    }
    world = judging(endpoint(None), steps=steps)
    assert list(order(world)) == ["challenger"]
    world.succeed("judge", scores(("challenger", "champion"), slices=groups))
    assert world.verdict() == ("True", "Completed") and outputs(world)["champion"] == {}
    assert world.step("judge")["message"] == "there is no champion to compare with"
    few = judging(endpoint(None), steps=steps).succeed("judge", scores(("challenger",), samples=5))
    assert few.verdict() == ("False", "TooFewSamples")
    groups["site=b"]["challenger"] = {"accuracy": 0.5}
    apart = judging(endpoint(None), steps=steps).succeed("judge", scores(("challenger",), slices=groups))
    assert apart.verdict() == ("False", "GateFailed") and "at most 0.2 apart" in apart.step("judge")["message"]
    unknown = judging(endpoint(None), steps=steps).succeed("judge", scores((), samples=720))
    assert unknown.verdict() == ("False", "GateInconclusive")
    nobody = {key: value for key, value in RULE.items() if key != "endpoint"}
    assert judging(steps=(STEPS[0], step("judge", "model=train.model", evaluate=nobody))).succeed(
        "judge"
    ).verdict() == (
        "True",
        "Completed",
    )


@pytest.mark.parametrize(
    ("others", "cause", "message"),
    [
        ([version()], "EndpointNotFound", "there is no Endpoint digits in this namespace"),
        ([endpoint()], "ChampionDeleted", "Endpoint digits serves digits-1, whose ModelVersion was deleted"),
        (
            [endpoint(uri="pvc://a/b"), version()],
            "ChampionDeleted",
            "Endpoint digits serves digits-1, whose ModelVersion was deleted",
        ),
        ([endpoint(), version(uri="hf://a/b")], "Unscorable", "digits-1 lies at hf://a/b; only pvc:// can be scored"),
        ([endpoint(), version(format="custom")], "Unscorable", "digits-1 has format custom"),
    ],
)
def test_a_champion_that_cannot_be_scored_is_told_before_a_pod_starts(others: Any, cause: str, message: str) -> None:
    world = judging(*others)
    assert world.verdict() == ("False", cause) and message in world.step("judge")["message"]
    assert sum(world.made.values()) == 1


def test_a_champion_and_data_of_earlier_steps() -> None:
    rule = {"metrics": [{"name": "accuracy", "minEffect": 0.2}]}
    bound = ("model=train.model", "champion=old.model", "test=data.held")
    steps = (STEPS[0], step("old", gives="model:model"), step("data", gives="held:dataset"))
    world = (
        judging(steps=(*steps, step("judge", *bound, evaluate=rule)))
        .succeed("old", {"model": "sha256:" + "0" * 64})
        .succeed("data")
    )
    mounts = world.active()["judge"]["spec"]["containers"][0]["volumeMounts"]
    assert {each["mountPath"]: each.get("subPath") for each in mounts if "subPath" in each} == {
        "/noria/champion": "runs/r-12345678/old/1/model",
        "/noria/challenger": "jobs/x/attempt-1",
        "/noria/test": "runs/r-12345678/data/1/held",
    }
    world.succeed("judge")
    assert world.verdict() == ("False", "GateFailed") and "at least 0.2 better" in world.step("judge")["message"]
    assert world.step("judge")["message"].startswith("beside the input champion: ") and "read" not in world.step(
        "judge"
    )


def test_disruptions_and_a_lost_message_are_followed_by_another_attempt_and_failures_are_not() -> None:
    world = judging().lose("judge")
    assert world.step("judge")["attempt"] == 2
    del world.live["Pod", world.active()["judge"]["metadata"]["name"]]
    assert world.settle().step("judge")["cause"] == "PodDeleted" and world.wait == 5
    assert world.later(5).step("judge")["attempt"] == 3
    assert world.succeed("judge").verdict() == ("True", "Completed")
    assert judging().fail("judge").verdict() == ("False", "ExitCode")
    late = judging().fail("judge", reason="DeadlineExceeded")
    assert "ran longer than evaluate.deadlineSeconds (3600)" in late.step("judge")["message"]


def test_suspending_and_cancelling_stop_the_scorer() -> None:
    world = judging()
    world.spec["suspend"] = True
    assert not world.settle().active() and world.step("judge")["cause"] == "Suspended"
    world.spec["suspend"] = False
    assert world.settle().step("judge")["attempt"] == 2
    world.spec["cancel"] = True
    assert not world.settle().active() and world.verdict() == ("False", "Cancelled")


def test_a_process_that_dies_and_an_endpoint_that_moves_meanwhile_change_nothing() -> None:
    world = World(inline(*STEPS), [endpoint(), version(), version(2)]).settle().succeed("train", look=False)
    world.look(written=False)
    world.others[0] = {"apiVersion": "noria.dev/v1alpha1", **endpoint("digits-2")}
    assert order(world.settle())["champion"]["digest"] == "sha256:" + "1" * 64
    world.succeed("judge")
    assert world.verdict() == ("True", "Completed") and set(world.made.values()) == {1}
    assert world.step("judge")["message"].startswith("beside digits-1: ")


def earlier(*others: dict[str, Any], steps: Any = STEPS[:2]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A pipeline, and a run of it that has ended."""
    pipeline = {"kind": "Pipeline", "metadata": {"name": "p", "namespace": "n"}, "spec": {"steps": list(steps)}}
    first = World({"pipeline": "p"}, [pipeline, *(others or (endpoint(), version()))]).settle()
    return pipeline, ended(first.succeed("train").succeed("judge"), "earlier")


def test_what_was_judged_beside_the_same_champion_on_the_same_data_is_taken() -> None:
    again = World({"pipeline": "p"}, [*earlier(), endpoint(), version()]).settle().looked()
    assert again.states() == {"train": "Cached", "judge": "Cached"} and outputs(again)["passed"] is True


@pytest.mark.parametrize("changed", ["champion", "data", "first"])
def test_another_champion_or_other_data_are_judged_anew(changed: str) -> None:
    others = [endpoint(None if changed == "first" else "digits-2" if changed == "champion" else "digits-1")]
    again = World({"pipeline": "p"}, [*earlier(), *others, version(), version(2)]).settle()
    again.looked(*(["held-out"] if changed == "data" else []))
    assert again.states() == {"train": "Cached", "judge": "Running"}
    assert again.step("judge")["cache"]["reason"] == ("ArtifactChanged" if changed == "data" else "StepChanged")


def test_a_champion_without_a_digest_or_data_on_another_claim_are_never_taken() -> None:
    others = (endpoint(), version(digest=None))
    again = World({"pipeline": "p"}, [*earlier(*others), *others]).settle().looked()
    assert again.step("judge")["cache"]["reason"] == "NoEarlierRun" and "key" not in again.step("judge")
    elsewhere = (STEPS[0], step("judge", "model=train.model", evaluate=RULE | {"test": "pvc://other/held-out"}))
    again = World({"pipeline": "p"}, [*earlier(steps=elsewhere), endpoint(), version()]).settle().looked()
    assert again.step("judge")["cache"]["reason"] == "OtherClaim"


def test_without_a_digest_a_rerun_judges_again() -> None:
    """What cannot be compared was taken for the same, so a model that nobody had scored passed."""
    first = judging(endpoint(), version(digest=None), steps=(*STEPS[:2], step("use", "passed=judge.passed")))
    first.succeed("judge").fail("use")
    serves = (endpoint(), version(digest=None))
    world = World({"rerunOf": "earlier"}, [ended(first, "earlier"), *serves], "87654321-0000").settle().looked()
    assert world.states() == {"train": "Cached", "judge": "Running", "use": "Pending"}
    assert world.step("judge")["cache"]["reason"] == "StepChanged"


@pytest.mark.parametrize(
    ("serves", "state"),
    [
        ((endpoint(), version()), "Cached"),
        ((endpoint("digits-2"), version(2, digest=DIGEST)), "Cached"),
        ((endpoint("digits-2"), version(2)), "Running"),
    ],
    ids=["the same", "its own model", "another"],
)
def test_a_rerun_keeps_what_was_judged_while_no_other_champion_serves(serves: Any, state: str) -> None:
    first = judging(steps=(*STEPS[:2], step("use", "passed=judge.passed"))).succeed("judge").fail("use")
    assert first.verdict() == ("False", "ExitCode")
    world = World({"rerunOf": "earlier"}, [ended(first, "earlier"), *serves], "87654321-0000").settle().looked()
    assert world.states() == {"train": "Cached", "judge": state, "use": "Running" if state == "Cached" else "Pending"}
