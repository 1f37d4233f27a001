"""What a PipelineRun tells as a whole: its events, outputs and progress, what it must see, and what it looks for in earlier runs."""

from typing import Any

from runs import DIGEST, SETTINGS, World, inline, step

from noria.plan import pipelinerun
from noria.plan.contract import Ref, Selector
from noria.plan.pipelines import ports
from noria.plan.pipelines.containers import child_name
from noria.plan.pipelines.frozen import unpack

TRAIN = {"recipe": {"name": "classifier"}}


def needs(world: World) -> tuple[set[Any], set[Any]]:
    found = pipelinerun.CONTROLLER.needs(world.run(), SETTINGS)
    return set(found.refs), set(found.selectors)


def told(world: World) -> str:
    return str(world.status["conditions"][0]["message"])


def test_a_failure_is_told_by_one_event() -> None:
    world = World(inline(step("a"), step("b"))).settle().fail("a")
    first = list(world.events)
    assert len(first) == 1 and first[0].startswith("ExitCode step a: ")
    world.succeed("b")
    assert world.events == first, "the run's end was told by the step's"


def test_a_run_that_is_stopped_tells_so_once_and_not_of_each_step() -> None:
    world = World(inline(step("a"), step("b")) | {"activeDeadlineSeconds": 60}).settle().later(60)
    text = "it ran longer than activeDeadlineSeconds (60); raise it, or ask for less"
    assert world.events == [f"DeadlineExceeded {text}"] and told(world) == text
    world = World(inline(step("a"))).settle()
    world.spec = world.spec | {"cancel": True}
    assert world.settle().events == ["Cancelled spec.cancel was set"] and told(world) == "spec.cancel was set"


def test_progress_says_what_runs_and_what_was_skipped() -> None:
    steps = [step(name) for name in "abcd"]
    world = World(inline(*steps, step("e", after=["a"], when="1 > 2"))).settle()
    assert told(world) == "0/5 steps ended; a, b, c and 1 more runs" and world.status["running"] == "a, b, c and 1 more"
    world.succeed("a").succeed("b")
    assert told(world) == "3/5 steps ended; c, d runs" and world.status["progress"] == "3/5"
    world.succeed("c").succeed("d")
    assert told(world) == "5 steps, 1 skipped" and "running" not in world.status


def test_a_run_begins_with_all_of_its_steps_pending() -> None:
    world = World(inline(step("a"), step("b")))
    world.look()
    assert told(world) == "2 steps are to run" and world.status["progress"] == "0/2"
    assert world.status["steps"] == [{"name": "a", "state": "Pending"}, {"name": "b", "state": "Pending"}]


def test_steps_are_told_in_the_order_in_which_they_may_run() -> None:
    world = World(inline(step("z", onExit=True), step("c", "x=b.x"), step("b", gives="x:integer"), step("a"))).settle()
    assert list(world.states()) == ["b", "a", "c", "z"]
    others = [step(name) for name in "hgfedcb"]
    world = World(inline(step("a", after=list("bcdefgh")), *others)).settle()
    assert list(world.states()) == [*"hgfedcb", "a"], "whatever the order in which a process holds the names"


def test_outputs_of_the_pipeline_are_values_folders_and_lists_of_them() -> None:
    fan = step("b", foreach={"items": [1, 2]}, gives="d:dataset n:integer")
    outputs = [
        {"name": name, "from": source}
        for name, source in (("rows", "a.x"), ("data", "a.d"), ("all", "b.d"), ("numbers", "b.n"), ("none", "c.x"))
    ]
    world = World(
        inline(step("a", gives="x:integer d:dataset"), fan, step("c", when="1 > 2", gives="x:integer"), outputs=outputs)
    )
    world.settle().succeed("a", {"x": 3}).succeed("b[0]", {"n": 5}).succeed("b[1]", {"n": 6})
    folder = "pvc://noria-artifacts/runs/r-12345678"
    assert world.status["outputs"] == [
        {"name": "rows", "value": 3},
        {"name": "data", "uri": f"{folder}/a/1/d", "digest": DIGEST},
        {"name": "all", "uri": f"{folder}/b.0/1/d", "digest": DIGEST},
        {"name": "all", "uri": f"{folder}/b.1/1/d", "digest": DIGEST},
        {"name": "numbers", "value": [5, 6]},
    ]


def test_a_step_that_needs_a_person_or_a_remedy_comes_first() -> None:
    ask = step("ask", approve={"message": "go?"})
    again = step("a", retry={"limit": 1, "backoffSeconds": 10})
    world = World(inline(again, ask)).settle().fail("a")
    assert world.verdict() == ("Unknown", "Approval") and told(world).startswith(
        "step ask: go?: kubectl annotate nrun r "
    )
    world = World(inline(again)).settle().fail("a")
    name = world.step("a")["job"]
    text = f"step a: pod {name} ended with exit code 1; its last lines:\nboom\nThe next attempt follows."
    assert (world.verdict(), told(world)) == (("Unknown", "Retrying"), text)
    world = World(inline(step("a"), ask)).settle()
    waits = {"waiting": {"reason": "ErrImagePull", "message": "denied"}}
    world.active()["a"]["status"] = {"containerStatuses": [{"name": "main", "image": "i", "state": waits}]}
    text = "step a: image i: denied. Correct the image's name or imagePullSecrets."
    assert (world.settle().verdict(), told(world)) == (("Unknown", "ImagePullFailed"), text)


def test_pods_that_run_are_read_and_no_others() -> None:
    fan = step("b", foreach={"items": [1]})
    world = World(inline(step("a"), fan, step("t", train=TRAIN), step("c", after=["a"]))).settle()
    pods = {Ref("Pod", "n", world.step(name)["job"]) for name in ("a", "b[0]")}
    assert needs(world) == (pods, set())
    world.succeed("a")
    assert needs(world)[0] == {Ref("Pod", "n", world.step(name)["job"]) for name in ("b[0]", "c")}
    assert needs(world.succeed("b[0]").succeed("c").succeed("t")) == (set(), set())


def test_before_it_begins_a_run_sees_its_pipeline_and_the_components() -> None:
    components, runs = Selector("Component", "n"), Selector("PipelineRun", "n")
    assert needs(World({"pipeline": "p"})) == ({Ref("Pipeline", "n", "p")}, {components, runs})
    assert needs(World(inline(step("a")))) == (set(), {components})
    assert needs(World({"rerunOf": "q"})) == ({Ref("PipelineRun", "n", "q")}, set())


def test_versions_are_seen_while_one_is_to_be_registered_or_deployed() -> None:
    versions, runs = Selector("ModelVersion", "n"), Selector("PipelineRun", "n")
    world = World(inline(step("t", train=TRAIN), step("r", "model=t.model", register={"model": "m"}))).settle()
    assert needs(world) == (set(), {versions})
    deploys = {"name": "d", "inputs": [{"name": "version", "value": "m-1"}], "deploy": {"endpoint": "e"}}
    world = World(inline(deploys)).settle()
    assert needs(world) == ({Ref("Endpoint", "n", "e")}, {versions, runs})


def test_three_faults_are_told_and_how_many_more_there_are() -> None:
    lost = "\n".join(f"steps[a].after[{each}]: {each} is no step; there are: a" for each in "bcd")
    world = World(inline(step("a", after=list("bcde")))).settle()
    assert told(world) == f"{lost}\n(and 1 more; `noria lint` tells all)" and world.events == [
        f"InvalidPipeline {told(world)}"
    ]
    assert "completionTime" in world.status
    assert told(World(inline(step("a", after=list("bcd")))).settle()) == lost


def test_a_run_that_waits_says_for_what() -> None:
    world = World({"pipeline": "p"}).settle()
    assert told(world) == "there is no Pipeline p in this namespace; create it, and the run begins"
    steps = [{"name": name, "component": f"c-{name}"} for name in "abcd"]
    world.others.append({"kind": "Pipeline", "metadata": {"name": "p"}, "spec": {"steps": steps}})
    text = "there is no Component c-a, c-b, c-c and 1 more in this namespace; create it, and the run begins"
    assert told(world.settle()) == text
    world.spec = {"pipeline": "p", "cancel": True}
    assert told(world.settle()) == "spec.cancel was set before there was a Component c-a, c-b, c-c and 1 more"


def test_names_of_pods_hold_no_two_hyphens_where_they_were_cut() -> None:
    world = World(inline(step("a"))).settle()
    (plain,) = unpack(world.status["frozen"]).steps
    cut = plain.model_copy(update={"name": "a" * 17 + "-b"})
    run = world.run().model_copy(update={"metadata": world.run().metadata.model_copy(update={"name": "r" * 19 + "-s"})})
    name = child_name(run, cut, None)
    assert name.startswith("r" * 19 + "-" + "a" * 17 + "-") and "--" not in name and len(name) <= 48
    assert len({name, child_name(run, cut, 0), child_name(run, cut, 1), child_name(run, cut, None, 2)}) == 4


def test_a_suspended_run_says_how_to_go_on() -> None:
    world = World(inline(step("a"))).settle()
    world.spec = world.spec | {"suspend": True}
    assert told(world.settle()) == "spec.suspend is true; set it to false to go on"
    stopped = world.step("a")
    assert (stopped["cause"], stopped["message"]) == (
        "Suspended",
        "it was stopped; the next attempt follows when the run goes on",
    )
    assert not {"failures", "disruptions"} & stopped.keys()


def test_an_ended_run_goes_after_its_time_and_not_before() -> None:
    world = World(inline(step("a")) | {"ttlSecondsAfterFinished": 60}).settle().succeed("a")
    assert world.wait == 60 and not world.gone
    assert world.later(59).wait == 1 and not world.gone and world.later(1).gone


def test_types_of_values_are_the_narrowest() -> None:
    values = {True: "boolean", 3: "integer", 0.5: "number", "a": "string"}
    assert {value: ports.type_of(value) for value in values} == values and ports.type_of([1]) == "json"
    assert ports.fault(float("inf"), "number") == "it is no finite number"
    assert (
        ports.fault(-(2**63), "integer") is None and ports.fault(-(2**63) - 1, "integer") == "it does not fit 64 bits"
    )
    assert ports.fault("x", "dataset") == "a value cannot be given where a dataset is expected"
    assert ports.text({"a": "é"}) == '{"a":"é"}' and ports.text("a") == "a"


def test_what_somebody_must_act_on_comes_before_what_runs() -> None:
    ask = step("ask", approve={"message": "well?"})
    world = World(inline(ask, step("long"), step("t", train=TRAIN))).settle()
    assert world.verdict() == ("Unknown", "Approval") and told(world).startswith("step ask: well?")
    world = World(inline(step("long"), step("t", train=TRAIN))).settle()
    for reason, message, tells in (
        ("Unschedulable", "no GPUs", "Unschedulable"),
        ("Running", "attempt 1 runs", "Running"),
        ("Retrying", "attempt 1 is ending", "Running"),
    ):
        condition = world.condition("Succeeded", "Unknown", reason=reason, message=message)
        world.active()["t"]["status"] = {"conditions": [condition]}
        world.settle()
        assert world.verdict() == ("Unknown", tells)
        del world.live["TrainingJob", world.step("t")["job"]]["status"]
    fan = step("fan", foreach={"items": [1, 2], "parallelism": 2}, retry={"limit": 1, "backoffSeconds": 60})
    fan["inputs"] = [{"name": "i", "item": True}]
    world = World(inline(fan)).settle().fail("fan[0]").succeed("fan[1]")
    assert world.verdict() == ("Unknown", "Retrying"), "the record of the fan-out itself runs all the same"


def test_a_training_that_would_be_refused_fails_its_step() -> None:
    """It was made again and again."""
    fan = step("fan", foreach={"items": list(range(20))}, gives="notes:string")
    fan["inputs"] = [{"name": "i", "item": True}]
    world = World(inline(fan, step("t", "notes=fan.notes", train=TRAIN))).settle()
    while names := [each for each in world.active() if each != "t"]:
        for name in names:
            world.succeed(name, {"notes": "x" * 200}, look=False)
        world.settle()
    assert world.verdict() == ("False", "InvalidInput")
    assert told(world).startswith("step t: its TrainingJob would be refused: spec.recipe.parameters.notes")


def test_the_attempt_of_a_train_step_is_the_one_that_completed() -> None:
    world = World(inline(step("t", train=TRAIN), step("r", "model=t.model", register={"model": "m"}))).settle()
    live = world.active()["t"]
    world.succeed("t", look=False)
    live["status"]["attempts"] = [{"number": number} for number in (1, 2, 3)]
    world.settle()
    (version,) = [each for each in world.others if each["kind"] == "ModelVersion"]
    assert version["spec"]["lineage"]["attempt"] == 3
