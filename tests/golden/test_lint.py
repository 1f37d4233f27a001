"""What is told of a pipeline before anything runs, with the path of each fault; the same by `noria lint`. golden/lint.txt holds it word by word."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from runs import step

from noria.__main__ import main
from noria.plan.pipelines.files import faults

ROOT = Path(__file__).parents[2]
TOLD = Path(__file__).parent / "lint.txt"
TRAIN = {"recipe": {"name": "classifier"}}
COMPONENT = {
    "kind": "Component",
    "metadata": {"name": "c"},
    "spec": {
        "inputs": [{"name": "rows", "type": "integer"}, {"name": "data", "type": "dataset"}],
        "outputs": [{"name": "out", "type": "metrics"}],
        "run": {"image": "x"},
    },
}


def pipeline(*steps: Any, **spec: Any) -> dict[str, Any]:
    return {"kind": "Pipeline", "metadata": {"name": "p"}, "spec": {"steps": list(steps), **spec}}


def bound(name: str, **source: Any) -> dict[str, Any]:
    return step("b") | {"inputs": [{"name": name, **source}]}


A = step("a", gives="rows:integer data:dataset words:json score:number")
T = step("t", train=TRAIN)
EVALUATE = {"test": "pvc://c/held-out", "metrics": [{"name": "accuracy"}]}
CASES: dict[str, tuple[list[Any], str]] = {
    "unknown step": ([A, step("b", "x=aa.rows")], "steps[b].inputs[x].from: aa is no step; did you mean a?"),
    "unknown port": ([A, step("b", "x=a.row")], "steps[b].inputs[x].from: row is no output of step a; did you mean rows?"),
    "unknown after": ([A, step("b", after=["c"])], "steps[b].after[c]: c is no step"),
    "cycle": (
        [step("a", "x=c.o", gives="o:json"), step("b", "x=a.o", gives="o:json"), step("c", after=["b"], gives="o:json")],
        "it needs itself: a -> b -> c -> a",
    ),
    "itself": ([step("a", after=["a"])], "it needs itself: a -> a"),
    "wrong type": ([A, bound("x", **{"from": "a.data", "type": "integer"})], "it is to be of type integer, and a.data is of type dataset"),
    "integer is a number": ([A, bound("x", **{"from": "a.rows", "type": "number"})], ""),
    "number is no integer": ([A, bound("x", **{"from": "a.score", "type": "integer"})], "it is to be of type integer, and a.score is of type number"),
    "any folder is a directory": ([A, bound("x", **{"from": "a.data", "type": "directory"})], ""),
    "no source": ([bound("x", type="json")], "set exactly one of from, parameter, value, uri and item"),
    "unknown parameter": ([bound("x", parameter="p")], "steps[b].inputs[x].parameter: p is no parameter of the pipeline"),
    "value of another type": ([bound("x", value="a", type="integer")], "it is to be of type integer, and what is given is of type string"),
    "large value": ([bound("x", value="a" * 2000)], "steps[b].inputs[x].value: it has 2002 bytes"),
    "uri above": ([bound("x", uri="pvc://c/../d")], "steps[b].inputs[x].uri: it must not contain '..'"),
    "item without foreach": ([bound("x", item=True)], "the step has no foreach"),
    "foreach over a number": ([A, step("b", foreach={"from": "a.rows"})], "steps[b].foreach: its source is of type integer"),
    "foreach without a list": ([step("b", foreach={})], "set exactly one of items, parameter and from"),
    "when of another type": ([A, step("b", "x=a.rows", when="inputs.x == 'a'")], "steps[b].when: 1:10: found no matching overload"),
    "when of what it does not see": ([A, step("b", when="inputs.x > 1")], "undeclared reference to 'inputs.x'"),
    "when of an item": (
        [step("b", when="inputs.x > 1", foreach={"items": [1, 2]}) | {"inputs": [{"name": "x", "item": True}]}],
        "undeclared reference to 'inputs.x'",
    ),
    "when that is no condition": ([A, step("b", "x=a.rows", when="inputs.x + 1")], "it gives INT, not true or false"),
    "when of json": ([A, step("b", "x=a.words", when="inputs.x.f.all(each, each > 1)")], ""),
    "needs an exit": ([step("a", onExit=True), step("b", after=["a"]), step("c")], "steps[b]: a has onExit"),
    "exits alone": ([step("a", onExit=True)], "steps: all of them have onExit"),
    "trees on a GPU": ([step("t", train={"recipe": {"name": "sklearn"}, "gpusPerNode": 1})], "recipe sklearn trains in one process"),
    "a training that cannot be": ([step("t", train={})], "steps[t].train: set exactly one of recipe and image"),
    "a training's variable": (
        [step("t", train={"image": "x", "env": [{"name": "NORIA_X", "value": "1"}]})],
        "steps[t].train.env[NORIA_X]: names that start with NORIA_ or PET_ are set by Noria",
    ),
    "a training that is suspended": ([step("t", train=TRAIN | {"suspend": True})], "suspend and ttlSecondsAfterFinished are the run's"),
    "a list of folders to train on": (
        [step("a", foreach={"items": [1]}, gives="d:dataset"), step("t", "d=a.d", train=TRAIN)],
        "steps[t].inputs[d]: a training takes one folder an input",
    ),
    "registering data": ([A, step("r", "model=a.data", register={"model": "m"})], "steps[r].inputs[model]: it is of type dataset"),
    "registering what has no digest": (
        [step("r", register={"model": "m"}) | {"inputs": [{"name": "model", "uri": "pvc://c/m", "type": "model"}]}],
        "steps[r].inputs[model]: what lies there has no digest; register what a step has made",
    ),
    "registering nothing": ([A, step("r", register={"model": "m"})], "register takes the input model"),
    "evaluating nothing": ([step("e", evaluate=EVALUATE)], "steps[e].inputs: evaluate takes the input model; bind it"),
    "evaluating data": ([A, step("e", "model=a.data", evaluate=EVALUATE)], "steps[e].inputs[model]: it is of type dataset; bind an output of type model"),
    "evaluating what has no digest": (
        [step("e", evaluate=EVALUATE) | {"inputs": [{"name": "model", "uri": "pvc://c/m", "type": "model"}]}],
        "steps[e].inputs[model]: what lies there has no digest",
    ),
    "evaluating a list of models": (
        [step("t", train=TRAIN, foreach={"items": [1]}), step("e", "model=t.model", evaluate=EVALUATE)],
        "steps[e].inputs[model]: it is of type list of model",
    ),
    "evaluating on nothing": ([T, step("e", "model=t.model", evaluate={"metrics": [{"name": "f1"}]})], "steps[e].evaluate.test: there are no held-out data"),
    "evaluating on two": (
        [A, T, step("e", "model=t.model", "test=a.data", evaluate=EVALUATE)],
        "steps[e].evaluate.test: the held-out data are the input test already",
    ),
    "evaluating beside two": (
        [T, step("e", "model=t.model", "champion=t.model", evaluate=EVALUATE | {"endpoint": "x"})],
        "steps[e].evaluate.endpoint: the champion is the input champion already",
    ),
    "evaluating by nothing": ([T, step("e", "model=t.model", evaluate=EVALUATE | {"metrics": []})], "metrics: List should have at least 1 item"),
    "evaluating by a rule that cannot be": (
        [T, step("e", "model=t.model", evaluate=EVALUATE | {"slices": {"columns": ["a"]}})],
        "steps[e].evaluate.slices: set maxDrop, maxGap or both",
    ),
    "evaluating on what no Job reads": (
        [T, step("e", "model=t.model", evaluate=EVALUATE | {"test": "s3://b/c"})],
        "steps[e].evaluate.test: uri must be pvc://CLAIM/PATH",
    ),
    "evaluating more than it takes": (
        [A, T, step("e", "model=t.model", "x=a.data", evaluate=EVALUATE)],
        "steps[e].inputs[x]: evaluate takes the folders model, champion, test",
    ),
    "evaluating for a time": ([T, step("e", "model=t.model", evaluate=EVALUATE, timeoutSeconds=5)], "steps[e].timeoutSeconds: an evaluation ends as"),
    "evaluating again and again": ([T, step("e", "model=t.model", evaluate=EVALUATE, retry={"limit": 1})], "retry belongs to run"),
    "evaluating": (
        [A, T, step("e", "model=t.model", "x=a.rows", evaluate=EVALUATE, when="inputs.x > 1"), step("b", "m=e.metrics", "p=e.passed", when="inputs.p")],
        "",
    ),
    "approving a folder": ([A, step("k", "d=a.data", approve={})], "steps[k].inputs[d]: it is of type dataset"),
    "an output of nothing": ([A], "outputs[x].from: y is no output of step a"),
    "no such component": ([step("b", component="d")], "steps[b].component: there is no Component d; create it, or name one of: c"),
    "an input that a component lacks": (
        [A, step("b", "rows=a.rows", "data=a.data", "more=a.rows", component="c")],
        "steps[b].inputs[more]: more is no input of Component c",
    ),
    "an input that a component needs": ([A, step("b", "data=a.data", component="c")], "steps[b].inputs[rows]: Component c needs it (integer)"),
    "a component's type": ([A, step("b", "rows=a.score", "data=a.data", component="c")], "it is to be of type integer, and a.score is of type number"),
    "a component's output": ([A, step("b", "rows=a.rows", "data=a.data", component="c"), step("d", "m=b.out")], ""),
    "two inputs of one variable": ([A, step("b", "a-x=a.rows", "A-X=a.rows")], "two of them would be the variable A_X"),
    "a file that is none": ([step("a", run={"image": "x", "code": {"../x": ""}})], "steps[a].run.code[../x]: it is no plain file name"),
    "a version that is not registered": ([T, step("b", "v=t.version")], "steps[b].inputs[v].from: version is no output of step t"),
    "a default of another type": ([A], "spec.parameters[x].default: it is of type string, not integer; correct the default"),
    "names that stand twice": (
        [A, step("b", "x=a.rows", "x=a.words", gives="y:integer y:json"), A],
        "steps[b].inputs[x]: the name stands twice; choose another name for one of them",
    ),
    "an exit that sees the run": ([A, step("b", "x=a.rows", onExit=True, when="run > 1")], "correct it; it sees inputs.x and run"),
    "two values in when": ([A, step("b", "x=a.rows", "y=a.words", when="inputs.z")], "correct it; it sees inputs.x, inputs.y"),
    "a step that sees nothing": ([step("b", when="inputs.z")], "correct it; it sees no inputs"),
    "a parameter of another type": (
        [bound("x", parameter="p", type="json"), step("c") | {"inputs": [{"name": "x", "parameter": "p", "type": "integer"}]}],
        "it is to be of type integer, and parameter p is of type string",
    ),
    "an item that cannot be": ([step("b", foreach={"items": [1, "a" * 2000]})], "steps[b].foreach.items[1]: it has 2002 bytes as JSON"),
    "items of a parameter": ([step("b", foreach={"parameter": "p"})], "steps[b].foreach: its source is of type string; name one of type json"),
    "items of no parameter": ([step("b", foreach={"parameter": "q"})], "steps[b].foreach.parameter: q is no parameter of the pipeline; there are: p"),
    "folders as items": (
        [step("a", foreach={"items": [1]}, gives="d:dataset"), step("b", foreach={"from": "a.d"})],
        "steps[b].foreach: items are values, not folders; take all folders as one input of a step without foreach",
    ),
    "a list of values as a number": (
        [step("a", foreach={"items": [1]}, gives="n:integer d:dataset"), step("b") | {"inputs": [{"name": "x", "from": "a.n", "type": "integer"}]}],
        "it is to be of type integer, and a.n is of type list of integer",
    ),
    "a list of folders as a directory": (
        [step("a", foreach={"items": [1]}, gives="n:integer d:dataset"), step("b") | {"inputs": [
            {"name": "x", "from": "a.n", "type": "json"}, {"name": "y", "from": "a.d", "type": "directory"}]}],
        "",
    ),
    "what is in a json is known later": ([A, bound("x", **{"from": "a.words", "type": "integer"})], ""),
    "a json as a folder": ([A, bound("x", **{"from": "a.words", "type": "dataset"})], "it is to be of type dataset, and a.words is of type json"),
    "a value of 1024 bytes": ([bound("x", value="a" * 1022)], ""),
    "a value of 1025 bytes": ([bound("x", value="a" * 1023)], "it has 1025 bytes as JSON; at most 1024 are passed"),
    "a number that does not fit": ([bound("x", value=2**63)], "steps[b].inputs[x].value: it does not fit 64 bits; correct it"),
    "files of good names": ([step("a", run={"image": "x", "code": {"a_b-c.1.py": "", "x" * 40: ""}})], ""),
    "a file of a long name": ([step("a", run={"image": "x", "code": {"x" * 41: ""}})], "it is no plain file name; use up to 40 letters"),
    "a file of a strange name": ([step("a", run={"image": "x", "code": {"ä.py": ""}})], "steps[a].run.code[ä.py]: it is no plain file name"),
    "too much code": ([step("a", run={"image": "x", "code": {"a": "x" * 65536, "b": "x"}})], "together the files have more than 65536 bytes; build an image"),
    "just enough code": ([step("a", run={"image": "x", "code": {"a": "x" * 65535, "b": "x"}})], ""),
    "a training that retries": ([step("t", train=TRAIN, retry={"limit": 1})], "steps[t].retry: "),
    "a training's input twice": (
        [A, step("t", "data=a.data", train=TRAIN | {"inputs": [{"name": "data", "uri": "pvc://c/x"}]})],
        "steps[t].inputs[data]: train.inputs has one of this name; rename one",
    ),
    "a training's input in capitals": ([A, step("t", "dataSet=a.data", train=TRAIN)], "the name of a training's input has lower-case letters; rename it"),
    "registering a directory": ([step("a", gives="d:directory"), step("r", "model=a.d", register={"model": "m"})], ""),
    "deploying a number": ([A, step("d", "version=a.rows", deploy={"endpoint": "e"})], "steps[d].inputs[version]: it is of type integer; bind the name"),
    "deploying nothing": ([step("d", deploy={"endpoint": "e"})], "steps[d].inputs: deploy takes the input version; bind it to the output version"),
    "what an evaluation gives": (
        [T, step("e", "model=t.model", evaluate=EVALUATE),
         *(step(name, f"x=e.{name}", when="inputs.x == 3") for name in ("passed", "changed", "metrics", "champion"))],
        "found no matching overload",
    ),
    "what a deployment and an approval give": (
        [step("d", deploy={"endpoint": "e"}) | {"inputs": [{"name": "version", "value": "m-1"}]}, step("k", approve={}),
         step("b", "v=d.version", "o=d.outcome", "by=k.by", when="inputs.v + inputs.o + inputs.by == 3")],
        "found no matching overload",
    ),
    "no such field": ([step("a", retries=3)], "spec.steps[a].retries: there is no such field"),
}  # fmt: skip
P = [{"name": "p", "type": "string", "default": "a"}]
BESIDE_STEPS: dict[str, dict[str, Any]] = {
    "names that stand twice": {"parameters": P * 2, "outputs": [{"name": "o", "from": "a.rows"}] * 2},
    "a parameter of another type": {"parameters": P},
    "items of a parameter": {"parameters": P},
    "items of no parameter": {"parameters": P},
    "an output of nothing": {"outputs": [{"name": "x", "from": "a.y"}]},
    "a default of another type": {"parameters": [{"name": "x", "type": "integer", "default": "a"}]},
}


def told(case: str) -> list[str]:
    return list(faults([COMPONENT, pipeline(*CASES[case][0], **BESIDE_STEPS.get(case, {}))]))


@pytest.mark.parametrize("case", CASES)
def test_faults_are_told_with_their_path_and_the_remedy(case: str) -> None:
    found, sentence = told(case), CASES[case][1]
    assert any(sentence in each for each in found) if sentence else not found, found


def test_what_is_told_is_told_word_by_word(request: pytest.FixtureRequest) -> None:
    schedules = {case: list(faults([pipeline(A, schedule=SCHEDULES[case][0])])) for case in SCHEDULES}
    found = {case: told(case) for case in CASES} | schedules
    text = "\n".join("\n    ".join((case, *lines)) for case, lines in found.items()) + "\n"
    if request.config.getoption("--rewrite"):
        TOLD.write_text(text)
    assert text == TOLD.read_text()


SCHEDULES: dict[str, tuple[Any, str]] = {
    "as it should be": ({"cron": "*/5 1-3 L * MON#1,5L", "timeZone": "Europe/Berlin"}, ""),
    "a minute too late": ({"cron": "60 * * * *"}, "spec.schedule.cron: 60 * * * * is no cron expression: Bad minute; write minute"),
    "a day that never comes": ({"cron": "* * */20 * 1L"}, "names no time within 50 years; correct the day or the month"),
    "no such zone": ({"cron": "0 0 * * *", "timeZone": "Europe/Bonn"}, "spec.schedule.timeZone: there is no time zone Europe/Bonn"),
    "a folder of zones": ({"cron": "0 0 * * *", "timeZone": "Europe"}, "there is no time zone Europe; name one of IANA's"),
    "no such parameter": (
        {"cron": "0 0 * * *", "parameters": [{"name": "x", "value": 1}]},
        "spec.schedule.parameters[x]: x is no parameter of the pipeline",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SCHEDULES)
def test_faults_of_a_schedule_are_told(case: str) -> None:
    schedule, sentence = SCHEDULES[case]
    found = list(faults([pipeline(A, schedule=schedule)]))
    assert any(sentence in each for each in found) if sentence else not found, found


def test_a_pipeline_of_one_run_has_no_schedule() -> None:
    inline = {"steps": [A], "schedule": {"cron": "0 0 * * *"}, "maxConcurrentRuns": 1}
    found = [*faults([{"kind": "PipelineRun", "metadata": {"name": "r"}, "spec": {"inline": inline}}])]
    assert len(found) == 2 and all("there is no such field" in each for each in found)


def test_what_the_project_shows_has_no_faults() -> None:
    design = (ROOT / "docs/pipelines.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    for text in (design, (ROOT / "examples/pipeline/digits.yaml").read_text()):
        assert list(faults(yaml.safe_load_all(text))) == []


def test_a_rerun_names_a_run_and_nothing_beside_it() -> None:
    def told(**spec: Any) -> list[str]:
        return list(faults([{"kind": "PipelineRun", "metadata": {"name": "r"}, "spec": spec}]))

    assert told(rerunOf="q") == []
    assert told(rerunOf="q", pipeline="p") == ["PipelineRun r: spec: set exactly one of pipeline, inline and rerunOf"]
    given = [{"name": "x", "value": 1}]
    assert "leave parameters out" in told(rerunOf="q", parameters=given)[0]


def test_the_command_says_so_and_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(yaml.safe_dump(pipeline(A)))
    run = {"kind": "PipelineRun", "metadata": {"name": "r"}, "spec": {"inline": {"steps": [step("b", "x=a.rows")]}}}
    bad.write_text(yaml.safe_dump(run))
    assert main(["lint", str(good)]) == 0
    assert main(["lint", str(good), str(bad)]) == 1
    assert "PipelineRun r: spec.inline.steps[b].inputs[x].from: a is no step" in capsys.readouterr().out


def test_the_design_shows_the_picture_of_the_example(capsys: pytest.CaptureFixture[str]) -> None:
    design = (ROOT / "docs/pipelines.md").read_text().partition("```mermaid\n")[2].partition("```")[0]
    assert main(["graph", str(ROOT / "examples/pipeline/digits.yaml")]) == 0
    assert capsys.readouterr().out == design


def test_what_is_no_pipeline_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, text, said in (
        ("none", None, "there is no file"),
        ("other", "kind: Pod", "holds no Pipeline and no PipelineRun"),
        ("no-yaml", "a: b: c", "no-yaml cannot be read"),
        ("wrong", "{kind: Pipeline, metadata: {name: p}, spec: {}}", "spec.steps"),
        ("waits", "{kind: PipelineRun, metadata: {name: r}, spec: {pipeline: p}}", "PipelineRun r has not begun"),
    ):
        file = tmp_path / name
        if text:
            file.write_text(text)
        assert main(["graph", str(file)]) > 0
        assert said in capsys.readouterr().err
    assert main(["graph", "mep/x", "-n", "n"]) == 2
    assert "mep/x names no object of a known kind; write one of npl/NAME" in capsys.readouterr().err
    assert main(["lineage", "npl/x", "-n", "n"]) == 1
    assert "npl/x names no object of a known kind; write one of mep/NAME" in capsys.readouterr().err


def test_the_picture_has_every_step_and_arrow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(yaml.safe_dump(pipeline(A, step("b-c", "x=a.rows"), step("end", after=["b-c"], onExit=True))))
    assert main(["graph", str(file)]) == 0
    drawn = capsys.readouterr().out.splitlines()
    assert {'  s_b_c["b-c"]', '  s_end(["end"])', "  s_a -->|rows| s_b_c", "  s_b_c -.-> s_end"} <= set(drawn)
