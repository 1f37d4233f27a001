"""What lineage tells of records that are on their way, in a circle, deep, many, or wrong; the trees are in tests/golden."""

import re

import pytest
from lineages import endpoint, followed, made_version, runs, told, training
from runs import World, inline, step

from noria.api import Endpoint, Pipeline
from noria.plan.contract import Ref
from noria.plan.lineage.tree import Node, text
from noria.plan.named import named


def test_what_is_on_its_way_stands_beside_what_serves() -> None:
    by_hand = {"reason": "Manual", "by": "ada", "message": "new labels"}
    flight = {"number": 3, "trigger": by_hand, "stage": "Training", "startTime": "2026-11-24T12:30:00Z"}
    place = {"inferenceService": "i", "since": "2026-11-24T12:00:00Z"}
    retiring = [{"version": "digits-1", **place}]
    assert "has begun Cycle 3 (trigger Manual, by ada, message new labels, stage Training)" in told(
        "Endpoint", "digits", [endpoint("digits-2", cycle=flight)]
    )
    flight |= {"stage": "Scoring", "challenger": "digits-3"}
    scored = told("Endpoint", "digits", [endpoint("digits-2", cycle=flight, retiring=retiring)])
    assert "retires ModelVersion digits-1" in scored and "judges ModelVersion digits-3" in scored
    starts = told("Endpoint", "digits", [endpoint("digits-2", cycle=flight, next={"version": "digits-3", **place})])
    assert "starts ModelVersion digits-3" in starts and "judges" not in starts and "brought by Cycle 3" in starts
    assert told("Endpoint", "digits", []) == "Endpoint digits: gone\n"


def test_a_version_that_a_user_registered_says_so() -> None:
    spec = {"model": "m", "version": 1, "uri": "hf://team/m", "format": "onnx"}
    assert (
        told("ModelVersion", "m-1", [{"kind": "ModelVersion", "metadata": {"name": "m-1"}, "spec": spec}])
        == """\
ModelVersion m-1 (format onnx)
├── files hf://team/m: no digest is recorded
└── made by: nothing is recorded; a user registered it
"""
    )


def test_a_training_of_a_step_is_told_as_the_step() -> None:
    first, _, _ = runs()
    labels = {
        "noria.dev/owner-kind": "PipelineRun",
        "noria.dev/owner-name": "first",
        "noria.dev/owner-uid": "uid-of-first",
        "noria.dev/step": "train",
        "noria.dev/item": "1",
    }
    made = training("first-train-1")
    made["metadata"]["labels"] = labels
    lines = told("TrainingJob", "first-train-1", [first, made]).splitlines()
    assert (
        lines[1].startswith("└── for Step first/train[1] (state Succeeded") and "learningRate (value 0.01)" in lines[-1]
    )
    alone = told("TrainingJob", "first-train-1", [made])
    assert "image of recipe classifier" in alone and "data/new" in alone


def test_data_that_a_training_or_a_step_has_written_are_followed() -> None:
    second = runs()[1]
    of_step = training("a", "11111111-1", "runs/r-12345678/prepare/1/data")
    of_item = training("b", "22222222-2", "runs/gone-12345678/train.1/1/data")
    of_job = training("c", "33333333-3", "jobs/a-11111111/attempt-1")
    objects = [second, of_step, of_item, of_job]
    assert "made by Step r/prepare" in told("TrainingJob", "a", objects)
    assert "made by PipelineRun gone (step train[1]): gone" in told("TrainingJob", "b", objects)
    assert "made by Step r/prepare" in told("TrainingJob", "c", objects).partition("made by TrainingJob a")[2]
    assert "made by TrainingJob a: gone" in told("TrainingJob", "c", [of_job])


def test_records_that_name_one_another_in_a_circle_come_to_an_end() -> None:
    circle = [training("a", "11111111", "jobs/b-22222222/x"), training("b", "22222222", "jobs/a-11111111/x")]
    assert told("TrainingJob", "a", circle).count("TrainingJob a") == 2
    first, second, _ = runs()
    hits = [each | {"cache": {"result": "Hit", "run": "r"}} for each in first["status"]["steps"]]
    first = first | {"status": first["status"] | {"steps": hits}}
    assert "taken from Step r/prepare: as above" in told("PipelineRun", "r", [first, second])


def test_what_is_deep_is_cut_and_goes_on_from_its_own_object() -> None:
    line = [training(f"t{n}", f"{n:08}", f"jobs/t{n + 1}-{n + 1:08}/x") for n in range(62)]
    deep = told("TrainingJob", "t0", line)
    assert "TrainingJob t30: more than 30 records deep" in deep and "t31" not in deep
    assert "TrainingJob t60: more than 30 records deep" in told("TrainingJob", "t30", line)


def test_a_run_tells_its_steps_in_order_however_many() -> None:
    chain = [step("s0", gives="x:integer"), *(step(f"s{n}", f"x=s{n - 1}.x", gives="x:integer") for n in range(1, 200))]
    world = World({"inline": {"steps": chain}}).settle().succeed("s0", {"x": 4})
    run = {"kind": "PipelineRun", "metadata": {"name": "r", "uid": "u"}, "spec": world.spec, "status": world.status}
    lines = told("PipelineRun", "r", [run]).splitlines()
    assert sum(each.startswith(("├── Step", "└── Step")) for each in lines) == 200
    assert max(map(len, lines)) < 160 and "│   └── input x (value 4)" in lines
    assert "    └── input x" in lines, "what is not given yet has no value"
    del run["status"]["steps"][3]
    assert "Step r/s3 (" not in told("PipelineRun", "r", [run])
    for frozen, note in ((None, "it has not begun"), ("bm9uZQ==", "its status.frozen cannot be read")):
        broken = run | {"status": {"frozen": frozen}}
        assert told("PipelineRun", "r", [broken]) == f"PipelineRun r: {note}\n"


def test_records_of_one_name_are_each_told() -> None:
    place = {"version": "digits-12", "inferenceService": "i", "since": "2026-11-24T11:00:00Z"}
    newer, older = made_version(), made_version("digits-12", uid="an-earlier-one")
    served = [endpoint("digits-13", retiring=[place]), newer, older]
    for objects in ([], [training()]):
        tree = told("Endpoint", "digits", [*served, *objects])
        assert tree.count("made by TrainingJob digits-retrain-2 (attempt 1)") == 2 and "as above" not in tree
        assert tree.count("(attempt 1): gone") == 2 - len(objects) and tree.count("seed 7") == 2
    registered = runs()[2]
    twin = registered | {
        "metadata": registered["metadata"] | {"name": "digits-2"},
        "spec": registered["spec"] | {"version": 2},
    }
    served = [endpoint("digits-2", retiring=[place | {"version": "digits-1"}]), registered, twin]
    assert told("Endpoint", "digits", served).count("code sha256:") == 2


def test_the_json_holds_the_same_without_what_is_empty() -> None:
    version = made_version()
    tree = followed(Ref("ModelVersion", "n", version["metadata"]["name"]), [version]).manifest()
    maker = tree["origins"][-1]
    assert maker["kind"] == "TrainingJob" and maker["note"] == "gone" and tree["origins"][0]["digest"]
    assert [each["role"] for each in maker["origins"]] == ["image", "code", "parameters", "seed", "input"]
    assert "role" not in tree and "origins" not in maker["origins"][0]


def test_objects_are_named_as_kubectl_names_them() -> None:
    for each in ("mep/x", "modelendpoints/x", "modelendpoint/x", "Endpoint/x", "modelendpoints.noria.dev/x"):
        assert named(each, "n", (Pipeline, Endpoint)) == Ref("Endpoint", "n", "x")
    for each in ("x", "mep/", "pod/x", "/x"):
        with pytest.raises(ValueError, match=r"npl/NAME \(Pipeline\), mep/NAME \(Endpoint\)"):
            named(each, "n", (Pipeline, Endpoint))


def test_the_record_of_a_registered_version_is_bounded() -> None:
    many = step("many", gives="data:dataset told:json", foreach={"items": list(range(100)), "parallelism": 100})
    gathers = step("gathers", "data=many.data", "told=many.told", gives="model:model")
    world = World(inline(many, gathers, step("reg", "model=gathers.model", register={"model": "m"}))).settle()
    for name in sorted(world.active()):
        world.succeed(name, {"told": "x" * 100}, look=False)
    world.settle().succeed("gathers")
    spec = next(each["spec"] for each in world.others if each["kind"] == "ModelVersion")
    assert [each["name"] for each in spec["lineage"]["inputs"]] == [f"data/{n}" for n in range(64)]
    assert re.fullmatch("sha256:[0-9a-f]{64}", spec["parameters"]["told"]), "what is long is known by its digest"
    assert world.verdict() == ("True", "Completed")


def test_a_version_whose_training_is_gone_tells_what_it_holds_of_it() -> None:
    made = made_version()
    made["spec"]["lineage"] |= {"baseModel": "hf://team/base", "seed": 0}
    assert (
        told("ModelVersion", "digits-13", [made])
        == """\
ModelVersion digits-13 (format torch-export, accuracy 0.97)
├── files pvc://noria-artifacts/jobs/digits-6f0c1d2e/attempt-1 sha256:bbbbbb
└── made by TrainingJob digits-retrain-2 (attempt 1): gone
    ├── image noria.dev/trainer:1 noria.dev/trainer@sha256:aaaaaa
    ├── code sha256:91607a
    ├── parameters (epochs 5)
    ├── base model hf://team/base
    ├── seed 0
    └── input train pvc://noria-artifacts/data/digits sha256:dddddd
"""
    )


def test_of_a_long_value_the_line_shows_the_beginning_and_the_json_all() -> None:
    def line(value: object) -> str:
        return text(Node(name="x", facts={"value": value})).strip()

    assert line("a" * 60) == f"x (value {'a' * 60})" and line("a" * 61) == f"x (value {'a' * 57}...)"
    assert line(["é", 1]) == 'x (value ["é", 1])' and line("two\n lines") == "x (value two lines)"
    whole = Node(name="x", facts={"value": "a" * 61}, origins=[Node(role="input")]).manifest()
    assert whole == {"name": "x", "facts": {"value": "a" * 61}, "origins": [{"role": "input"}]}
