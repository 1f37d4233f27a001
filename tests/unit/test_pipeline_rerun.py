"""A rerun from failed: what succeeded is kept, approvals among it, as long as it is still there; the rest runs."""

from typing import Any

import pytest
from runs import World, ended, inline, step

from noria.plan.contract import Manifest

ASK = step("ask", "rows=prepare.rows", approve={"message": "{rows} rows"})
STEPS = [
    step("prepare", gives="data:dataset rows:integer"),
    ASK,
    step("train", "data=prepare.data", "by=ask.by", gives="model:model"),
    step("register", "model=train.model", register={"model": "m"}),
    step("tell", onExit=True),
]


def approved(world: World, who: str = "ann") -> World:
    world.annotations = {"noria.dev/approve": "ask", "noria.dev/by": who}
    return world.settle()


def failed(steps: list[Manifest] = STEPS) -> World:
    """A run whose training failed, after the approval."""
    world = approved(World(inline(*steps)).settle().succeed("prepare"))
    return world.fail("train").succeed("tell")


def again(world: World, name: str = "earlier", *more: Manifest) -> World:
    uid = "87654321-0000" if world.uid.startswith("1") else "98765432-0000"
    return World({"rerunOf": name}, [ended(world, name), *more], uid).settle()


def versions(world: World) -> list[str]:
    return [each["metadata"]["name"] for each in world.others if each["kind"] == "ModelVersion"]


def test_what_succeeded_is_kept_after_a_look_and_what_failed_runs_with_its_exit() -> None:
    first = failed()
    assert first.verdict() == ("False", "ExitCode")
    world = again(first)
    assert world.verdict() == ("Unknown", "Verifying") and not world.active()
    assert world.looked().states() == {
        "prepare": "Cached", "ask": "Cached", "train": "Running", "register": "Pending", "tell": "Pending",
    }  # fmt: skip
    assert world.step("ask")["outputs"] == [{"name": "by", "value": "ann"}]
    assert world.step("prepare")["cache"] == {"result": "Hit", "run": "earlier"}
    assert world.step("prepare")["outputs"] == first.step("prepare")["outputs"]
    assert world.step("train")["cache"] == {"result": "Miss", "reason": "NotSucceeded", "run": "earlier"}
    assert world.succeed("train").succeed("tell").verdict() == ("True", "Completed")
    assert versions(world) == ["m-1"]


def test_a_rerun_of_a_rerun_keeps_what_both_did() -> None:
    second = again(failed()).looked().succeed("train")
    assert second.states()["register"] == "Succeeded"
    second = second.fail("tell")
    assert second.verdict()[0] == "False"
    third = again(second, "second", *(each for each in second.others if each["kind"] == "ModelVersion")).looked()
    assert third.succeed("tell").verdict() == ("True", "Completed")
    assert third.step("register")["outputs"] == [{"name": "version", "value": "m-1"}] and versions(third) == ["m-1"]
    assert third.step("prepare")["cache"] == {"result": "Hit", "run": "second"}


def test_a_folder_that_is_gone_is_made_again_and_what_was_approved_of_it_is_asked_anew() -> None:
    world = again(failed()).looked("prepare")
    assert world.step("prepare")["cache"] == {"result": "Miss", "reason": "ArtifactChanged", "run": "earlier"}
    world.succeed("prepare")
    assert world.step("ask")["state"] == "Waiting", "the value is the same, but nobody saw this one"
    assert approved(world, "bob").states()["train"] == "Running"


def test_an_approval_of_what_was_made_anew_far_before_it_is_asked_for_again() -> None:
    """It was kept if only what stands right before it was."""
    steps = [
        step("train", gives="model:model"),
        step("note", after=["train"]),
        step("ask", after=["note"], approve={}),
        step("use", "model=train.model", "by=ask.by"),
    ]
    first = approved(World(inline(*steps)).settle().succeed("train").succeed("note")).fail("use")
    world = again(first).looked("train").succeed("train")
    assert world.states() == {"train": "Succeeded", "note": "Cached", "ask": "Waiting", "use": "Pending"}


def test_a_training_whose_folder_was_not_published_is_not_kept() -> None:
    """Each rerun failed as the first run had, and nothing said why."""
    steps = [
        step("train", train={"recipe": {"name": "sklearn"}}),
        step("keep", "model=train.model", register={"model": "m"}),
    ]
    first = World(inline(*steps)).settle()
    words = "attempt 1 completed; its folder was not published: data/x cannot be read"
    first.active()["train"]["status"] = {"conditions": [first.condition("Succeeded", message=words)]}
    first.settle()
    train = first.step("train")
    assert train["message"] == f"TrainingJob {train['job']}: {words}" and "key" not in train
    assert first.verdict()[0] == "False"
    world = again(first)
    assert world.states()["train"] == "Running"
    assert world.step("train")["cache"] == {"result": "Miss", "reason": "NotSucceeded", "run": "earlier"}


def test_the_same_bytes_made_again_keep_what_was_made_of_them() -> None:
    chain = [step("a", gives="d:dataset"), step("b", "d=a.d", gives="d:dataset"), step("c", "d=b.d")]
    first = World(inline(*chain)).settle().succeed("a").succeed("b").fail("c")
    world = again(first).looked("a/1")
    assert world.succeed("a").states() == {"a": "Succeeded", "b": "Cached", "c": "Running"}
    world = again(first).looked("a/1").succeed("a", {"d": "sha256:" + "e" * 64})
    assert world.states()["b"] == "Running" and world.step("b")["cache"]["reason"] == "StepChanged"


def test_a_version_is_made_anew_where_its_model_lies_elsewhere_now() -> None:
    steps = [step("train", gives="model:model"), STEPS[3], step("last", after=["register"])]
    first = World(inline(*steps)).settle().succeed("train").fail("last")
    made = [each for each in first.others if each["kind"] == "ModelVersion"]
    world = again(first, "earlier", *made).looked("train")
    assert world.succeed("train").states()["register"] == "Succeeded" and versions(world) == ["m-1", "m-2"]


def test_a_version_is_made_anew_where_its_number_was_used_again() -> None:
    steps = [step("train", gives="model:model"), STEPS[3], step("last", after=["register"])]
    first = World(inline(*steps)).settle().succeed("train").fail("last")
    (made,) = [each for each in first.others if each["kind"] == "ModelVersion"]
    assert again(first, "earlier", made).looked().states()["register"] == "Cached"
    other = made | {
        "metadata": made["metadata"] | {"labels": {}},
        "spec": made["spec"] | {"digest": "sha256:" + "e" * 64},
    }
    world = again(first, "earlier", other).looked()
    assert world.states()["register"] == "Succeeded" and versions(world) == ["m-1", "m-2"]


def test_what_is_never_taken_from_the_cache_is_kept_by_a_rerun() -> None:
    outside = {"inputs": [{"name": "raw", "uri": "pvc://elsewhere/raw"}]}
    steps = [
        step("off", gives="d:dataset", cache={"enabled": False}),
        step("aged", gives="d:dataset", cache={"maxAgeSeconds": 0}),
        step("outside", gives="d:dataset") | outside,
        step("last", after=["off", "aged", "outside"]),
    ]
    first = World(inline(*steps)).settle()
    for name in ("off", "aged", "outside"):
        first.succeed(name)
    world = again(first.fail("last")).later(10).looked()
    assert world.states() == {"off": "Cached", "aged": "Cached", "outside": "Cached", "last": "Running"}


def test_items_of_a_foreach_are_kept_one_by_one() -> None:
    fan = step("fan", foreach={"items": [1, 2, 3], "parallelism": 1}, gives="d:dataset")
    fan["inputs"] = [{"name": "rate", "item": True}]
    first = World(inline(fan)).settle().succeed("fan[0]").fail("fan[1]").succeed("fan[2]")
    world = again(first)
    assert list(world.active()) == ["fan[1]"]
    assert world.looked().states() == {"fan": "Running", "fan[0]": "Cached", "fan[1]": "Running", "fan[2]": "Cached"}
    assert world.succeed("fan[1]").verdict() == ("True", "Completed")


def test_conditions_parameters_and_the_pipeline_are_those_of_the_earlier_run() -> None:
    numbers = {"parameters": [{"name": "n", "type": "integer", "default": 1}]}
    steps = [
        step("a", gives="x:integer"),
        step("never", "x=a.x", when="inputs.x > 100"),
        step("b", after=["a"]) | {"inputs": [{"name": "n", "parameter": "n"}]},
    ]
    pipeline = {"kind": "Pipeline", "metadata": {"name": "p", "namespace": "n"}, "spec": {"steps": steps, **numbers}}
    first = World({"pipeline": "p", "parameters": [{"name": "n", "value": 7}]}, [pipeline])
    first.settle().succeed("a").fail("b")
    world = again(first)
    assert world.status["pipeline"] == "p"
    assert world.states() == {"a": "Cached", "never": "Skipped", "b": "Running"}, "a value needs no look"
    env = world.active()["b"]["spec"]["containers"][0]["env"]
    assert {"name": "NORIA_INPUT_N", "value": "7"} in env
    world.succeed("b")
    later = World({"pipeline": "p", "parameters": [{"name": "n", "value": 7}]}, [pipeline, ended(world, "rerun")])
    assert later.settle().verdict() == ("True", "Completed"), "a rerun is a source of the same Pipeline"


def test_a_cancelled_run_goes_on_from_where_it_was() -> None:
    first = World(inline(step("a", gives="x:integer"), step("b", "x=a.x"))).settle().succeed("a")
    first.spec = {**first.spec, "cancel": True}
    assert first.settle().verdict() == ("False", "Cancelled")
    assert again(first).states() == {"a": "Cached", "b": "Running"}


def test_a_process_that_dies_while_it_keeps_does_nothing_twice() -> None:
    world = World({"rerunOf": "earlier"}, [ended(failed(), "earlier")])
    for _ in range(3):
        world.look(written=False)
        world.look()
    world.settle().looked().succeed("train").succeed("tell")
    assert world.verdict() == ("True", "Completed") and set(world.made.values()) == {1} and versions(world) == ["m-1"]


@pytest.mark.parametrize("frozen", [None, "another"])
def test_when_the_earlier_run_is_gone_all_runs(frozen: str | None) -> None:
    world = again(failed())
    earlier = next(each for each in world.others if each["kind"] == "PipelineRun")
    world.others.remove(earlier)
    if frozen:
        world.others.append(earlier | {"status": earlier["status"] | {"frozen": frozen}})
    assert (
        world.settle().states()["prepare"] == "Running" and world.step("prepare")["cache"]["reason"] == "NoEarlierRun"
    )


def test_a_run_that_cannot_be_taken_up_is_refused_with_the_remedy() -> None:
    def said(*others: Any) -> str:
        world = World({"rerunOf": "earlier"}, others).settle()
        assert world.verdict() == ("False", "InvalidRerun") and not world.live and "completionTime" in world.status
        assert world.events == [f"InvalidRerun {world.status['conditions'][0]['message']}"]
        return str(world.status["conditions"][0]["message"])

    assert said() == (
        "spec.rerunOf: there is no PipelineRun earlier in this namespace; name one that has ended without success"
    )
    running = World(inline(step("a"))).settle()
    told = {"kind": "PipelineRun", "metadata": {"name": "earlier"}, "spec": running.spec, "status": running.status}
    assert "has not ended; wait for its end, or cancel it" in said(told)
    assert "succeeded, so nothing of it is left to run" in said(ended(running.succeed("a"), "earlier"))
    invalid = World(inline(step("a", "x=b.x"))).settle()
    assert "never began (InvalidPipeline)" in said(ended(invalid, "earlier"))


def test_a_version_that_was_deleted_is_registered_anew() -> None:
    first = again(failed()).looked().succeed("train").fail("tell")
    assert first.states()["register"] == "Succeeded"
    kept = [each for each in first.others if each["kind"] == "ModelVersion"]
    assert again(first, "second", *kept).looked().states()["register"] == "Cached"
    world = again(first, "second").looked()
    assert world.step("register")["cache"] == {"result": "Miss", "reason": "NotVerified", "run": "second"}
    assert world.states()["register"] == "Succeeded" and versions(world)
