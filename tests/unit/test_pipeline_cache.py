"""What is taken from an earlier run, what is not and why, and that nothing is taken that is not as it was."""

import json
from typing import Any

import pytest
from runs import DIGEST, World, ended, step

STEPS = [
    step("prepare", gives="data:dataset rows:integer"),
    step("train", "data=prepare.data", gives="model:model"),
    step("judge", "model=train.model", "rows=prepare.rows", gives="score:number"),
]


def pipeline(*steps: Any, **fields: Any) -> dict[str, Any]:
    return {"kind": "Pipeline", "metadata": {"name": "p", "namespace": "n"}, "spec": {"steps": list(steps), **fields}}


def through(world: World, **outputs: Any) -> World:
    """To the end, every Job a success."""
    world.settle()
    while names := sorted(world.active()):
        world.succeed(names[0], outputs.get(names[0]))
    return world


def again(*steps: Any, first: World | None = None, **spec: Any) -> World:
    """A run after one that has ended."""
    earlier = ended(first or through(World({"pipeline": "p"}, [pipeline(*STEPS)])), "earlier")
    return World({"pipeline": "p", **spec}, [pipeline(*(steps or STEPS)), earlier]).settle()


def said(world: World) -> dict[str, Any]:
    return {each["name"]: each.get("cache", {}).get("reason", each["state"]) for each in world.status["steps"]}


def test_an_unchanged_run_is_all_cached_after_one_look() -> None:
    world = again()
    assert not world.active() and world.look_job() is not None and world.verdict() == ("Unknown", "Verifying")
    world.looked()
    assert world.states() == dict.fromkeys(("prepare", "train", "judge"), "Cached")
    assert world.verdict() == ("True", "Completed") and list(world.made.values()) == [1]
    assert world.step("train")["cache"] == {"result": "Hit", "run": "earlier"}
    assert world.step("judge")["outputs"] == [{"name": "score", "value": 0.5}]


def test_a_run_of_cached_steps_is_a_source_itself() -> None:
    world = again(first=again().looked())
    assert world.looked().verdict() == ("True", "Completed")


def test_what_depends_on_a_change_runs_and_the_rest_is_taken() -> None:
    changed = STEPS[1] | {"run": {"image": "another"}}
    world = again(STEPS[0], changed, STEPS[2]).looked()
    assert world.states() == {"prepare": "Cached", "train": "Running", "judge": "Pending"}
    assert said(world)["train"] == "StepChanged"
    world.succeed("train")
    assert world.look_job() is None, "the model is the same as before, and the step that reads it gave a value alone"
    assert world.states()["judge"] == "Cached", "an upstream step that made the same again changes nothing"
    world = again(STEPS[0], changed, STEPS[2]).looked().succeed("train", {"model": "sha256:" + "e" * 64})
    assert list(world.active()) == ["judge"] and said(world)["judge"] == "StepChanged"


def test_an_artifact_that_is_gone_is_noticed_and_made_again() -> None:
    world = again().looked("train/1/model")
    assert world.states() == {"prepare": "Cached", "train": "Running", "judge": "Pending"}
    assert world.succeed("train").states()["judge"] == "Cached"
    assert world.step("train")["cache"] == {"result": "Miss", "reason": "ArtifactChanged", "run": "earlier"}


def test_a_look_that_fails_means_that_all_runs() -> None:
    world = again()
    job = world.look_job()
    assert job is not None
    job["status"] = {"conditions": [world.condition("Failed")]}
    assert list(world.settle().active()) == ["prepare"] and said(world)["prepare"] == "NotVerified"
    assert through(world).verdict() == ("True", "Completed")


def test_data_from_outside_are_looked_at_too() -> None:
    reads = step("a", gives="x:integer") | {"inputs": [{"name": "raw", "uri": "pvc://noria-artifacts/data/raw"}]}
    first = through(World({"pipeline": "p"}, [pipeline(reads)]))
    assert again(reads, first=first).looked().states() == {"a": "Cached"}
    assert again(reads, first=first).looked("data/raw").states() == {"a": "Running"}
    elsewhere = step("a") | {"inputs": [{"name": "raw", "uri": "pvc://other/data"}]}
    first = through(World({"pipeline": "p"}, [pipeline(elsewhere)]))
    assert said(again(elsewhere, first=first)) == {"a": "OtherClaim"}


def test_off_too_old_and_without_an_earlier_run() -> None:
    assert said(World({"pipeline": "p"}, [pipeline(STEPS[0])]).settle()) == {"prepare": "NoEarlierRun"}
    off = [each | {"cache": {"enabled": False}} for each in STEPS]
    assert "cache" not in again(*off).step("prepare")
    aged = [STEPS[0] | {"cache": {"maxAgeSeconds": 60}}]
    first = through(World({"pipeline": "p"}, [pipeline(*aged)]))
    world = World({"pipeline": "p"}, [pipeline(*aged), ended(first, "earlier")])
    assert said(world.later(61)) == {"prepare": "Expired"}


def test_items_of_a_foreach_are_taken_one_by_one() -> None:
    fan = step("fan", foreach={"parameter": "rates", "parallelism": 1}, gives="d:dataset")
    fan["inputs"] = [{"name": "rate", "item": True}]
    fields = {"parameters": [{"name": "rates", "type": "json", "default": [1, 2, 3]}]}
    first = through(World({"pipeline": "p"}, [pipeline(fan, **fields)]))
    others = [pipeline(fan, **fields), ended(first, "earlier")]
    world = World({"pipeline": "p", "parameters": [{"name": "rates", "value": [1, 5, 3]}]}, others).settle()
    assert list(world.active()) == ["fan[1]"]
    assert world.looked().states() == {"fan": "Running", "fan[0]": "Cached", "fan[1]": "Running", "fan[2]": "Cached"}
    assert world.succeed("fan[1]").verdict() == ("True", "Completed")


@pytest.mark.parametrize("value", [1.0, [1.0, {"a": 2.0}]])
def test_a_whole_number_is_known_as_the_api_server_stores_it(value: Any) -> None:
    """It stores 1.0 as 1, so what took it was made anew in each run."""
    type = "number" if isinstance(value, float) else "json"
    steps = [step("a", gives=f"v:{type}", cache={"enabled": False}), step("b", "v=a.v", gives="r:string")]

    def made(world: World) -> World:
        return world.settle().succeed("a", {"v": value})

    first = made(World({"pipeline": "p"}, [pipeline(*steps)])).succeed("b")
    assert json.dumps(first.step("a")["outputs"][0]["value"]) == json.dumps(value).replace(".0", "")
    stored = json.loads(json.dumps(ended(first, "earlier")))
    second = World({"pipeline": "p"}, [pipeline(*steps), stored], "87654321-0000").settle().succeed("a", {"v": value})
    assert second.step("b")["state"] == "Cached", second.step("b")


def test_a_training_is_taken_with_its_metrics() -> None:
    train = step("t", train={"recipe": {"name": "classifier"}})
    first = through(World({"pipeline": "p"}, [pipeline(train)]))
    world = again(train, first=first).looked()
    assert world.states() == {"t": "Cached"} and world.step("t")["outputs"][0]["value"] == {"accuracy": 0.9}


def test_a_process_that_dies_while_it_looks_goes_on_looking() -> None:
    earlier = ended(through(World({"pipeline": "p"}, [pipeline(*STEPS)])), "earlier")
    world = World({"pipeline": "p"}, [pipeline(*STEPS), earlier])
    world.look()
    world.look(written=False)
    assert world.settle().looked().verdict() == ("True", "Completed") and list(world.made.values()) == [1]


def test_a_look_whose_message_is_late_is_waited_for_and_one_that_is_lost_means_that_all_runs() -> None:
    for late in (True, False):
        world = again()
        job = world.look_job()
        assert job is not None
        job["status"] = {"conditions": [world.condition("Complete")], "completionTime": "2026-11-24T12:00:00Z"}
        assert world.settle().verdict() == ("Unknown", "Verifying") and world.wait == 60
        if late:
            del job["status"]
            assert world.looked().verdict() == ("True", "Completed")
        else:
            assert said(world.later(61))["prepare"] == "NotVerified" and list(world.active()) == ["prepare"]
        assert [each for each in world.made if "look" in each] == ["r-look-1-12345678"]


def test_a_look_whose_words_are_lost_is_waited_for_a_minute() -> None:
    world = again()
    job = world.look_job()
    assert job is not None
    job["status"] = {"conditions": [world.condition("Complete")]}
    assert world.settle().wait == 60 and world.verdict() == ("Unknown", "Verifying")
    assert world.later(59).wait == 1 and not world.active()
    assert list(world.later(1).active()) == ["prepare"] and said(world)["prepare"] == "NotVerified"


def test_a_look_that_failed_verifies_nothing() -> None:
    world = again()
    job = world.look_job()
    assert job is not None
    job["status"] = {"conditions": [world.condition("Failed")]}
    assert list(world.settle().active()) == ["prepare"] and said(world)["prepare"] == "NotVerified"


SAME: list[dict[str, Any]] = [
    {"resources": {"cpu": "9", "memory": "9Gi"}},
    {"placement": {"nodeSelector": {"a": "b"}}},
    {"imagePullSecrets": ["s"]},
]
OTHERS: list[dict[str, Any]] = [
    {"args": ["x"]},
    {"command": ["x"]},
    {"env": [{"name": "A", "value": "b"}]},
    {"code": {"a.py": ""}},
    {"image": "another"},
    {"gpus": 1},
]


def test_where_a_step_runs_makes_no_difference_and_what_runs_does() -> None:
    for change in SAME:
        world = again(STEPS[0] | {"run": {"image": "i"} | change}, *STEPS[1:])
        assert world.verdict() == ("Unknown", "Verifying") and not world.active(), change
    for change in OTHERS:
        world = again(STEPS[0] | {"run": {"image": "i"} | change}, *STEPS[1:])
        assert said(world)["prepare"] == "StepChanged" and list(world.active()) == ["prepare"], change


def test_what_is_too_old_is_not_taken() -> None:
    first = through(World({"pipeline": "p"}, [pipeline(*STEPS)]))
    for seconds, reason in ((60, None), (61, "Expired")):
        aged = STEPS[0] | {"cache": {"maxAgeSeconds": 60}}
        world = World({"pipeline": "p"}, [pipeline(aged, *STEPS[1:]), ended(first, "earlier")]).later(seconds)
        assert world.step("prepare").get("cache", {}).get("reason") == reason


def test_ten_earlier_runs_of_the_pipeline_are_looked_in_the_newest_first() -> None:
    first = through(World({"pipeline": "p"}, [pipeline(*STEPS)]))
    others = []
    for number in range(12):
        other = ended(first, f"r-{number:02}")
        others.append(other | {"status": other["status"] | {"completionTime": f"2026-11-24T11:{number:02}:00Z"}})
    others[11]["status"]["pipeline"] = "q"
    del others[10]["status"]["completionTime"]
    world = World({"pipeline": "p"}, [pipeline(*STEPS), *others]).settle()
    assert world.status["sources"] == [f"r-{number:02}" for number in range(9, -1, -1)]
    inner = World({"inline": {"steps": STEPS}}, others).settle()
    assert "sources" not in inner.status


def test_a_version_is_taken_only_as_the_record_of_the_very_model() -> None:
    train = step("t", train={"recipe": {"name": "classifier"}, "output": {"model": "m"}})
    use = step("use", "version=t.version", gives="x:integer")
    steps = [train, use]
    first = World({"pipeline": "p"}, [pipeline(*steps)]).settle()
    live = first.active()["t"]
    first.succeed("t", look=False)
    live["status"]["modelVersion"] = "m-1"
    earlier = ended(first.settle().succeed("use"), "earlier")
    spec = {"uri": "pvc://noria-artifacts/jobs/x/attempt-1", "digest": DIGEST}
    for found, state in (
        ([spec], "Cached"),
        ([], "Running"),
        ([spec | {"uri": "pvc://noria-artifacts/jobs/y/attempt-1"}], "Running"),
        ([spec | {"digest": "sha256:" + "e" * 64}], "Running"),
    ):
        known = [
            {
                "kind": "ModelVersion",
                "metadata": {"name": "m-1", "namespace": "n"},
                "spec": {"model": "m", "version": 1} | each,
            }
            for each in found
        ]
        world = World({"pipeline": "p"}, [pipeline(*steps), earlier, *known]).settle()
        if state == "Cached":
            assert world.looked().states() == {"t": "Cached", "use": "Cached"}
        else:
            assert world.states()["t"] == "Running" and said(world)["t"] == "ArtifactChanged"
