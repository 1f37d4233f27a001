"""What a run does step by step: order, conditions, retries, fan-out, approvals, stopping; and that nothing runs twice."""

import json
from collections import Counter
from typing import Any

import pytest
from runs import DIGEST, World, ended, inline, step

from noria.api import PipelineRun
from noria.plan.contract import Manifest
from noria.plan.manifests import canonical


def test_bindings_alone_make_the_order_and_after_adds_to_it() -> None:
    world = World(inline(step("c", after=["b"]), step("b", "x=a.rows"), step("a", gives="rows:integer"))).settle()
    assert list(world.active()) == ["a"] and world.status["progress"] == "0/3" and world.status["running"] == "a"
    assert list(world.succeed("a", {"rows": 7}).active()) == ["b"]
    (job,) = world.active().values()
    env = {each["name"]: each["value"] for each in job["spec"]["containers"][0]["env"]}
    assert env["NORIA_INPUT_X"] == "7"
    assert list(world.succeed("b").active()) == ["c"] and world.succeed("c").verdict() == ("True", "Completed")
    assert world.status["progress"] == "3/3" and set(world.made.values()) == {1}


def test_a_process_that_dies_before_it_recorded_a_start_takes_the_job_up() -> None:
    world = World(inline(step("a"), step("b", after=["a"])))
    world.look()
    world.look(written=False)
    world.settle().succeed("a", look=False)
    world.look(written=False)
    assert world.settle().states() == {"a": "Succeeded", "b": "Running"} and set(world.made.values()) == {1}


def test_other_steps_for_a_run_that_has_begun_change_nothing() -> None:
    world = World(inline(step("a"), step("b", after=["a"]))).settle()
    world.spec = inline(step("evil"))
    assert world.succeed("a").states() == {"a": "Succeeded", "b": "Running"}


def test_a_fault_is_told_with_its_path_before_any_pod_starts() -> None:
    world = World(inline(step("a", gives="rows:integer"), step("b", "x=a.row"))).settle()
    assert world.verdict() == ("False", "InvalidPipeline") and not world.live
    assert (
        "steps[b].inputs[x].from: row is no output of step a; did you mean rows?"
        in world.status["conditions"][0]["message"]
    )


def test_what_needs_a_failed_step_is_skipped_and_the_rest_goes_on() -> None:
    steps = (step("a", gives="x:integer"), step("b", "x=a.x"), step("c", after=["b"]), step("d"))
    world = World(inline(*steps)).settle().fail("a")
    assert world.states() == {"a": "Failed", "b": "Skipped", "c": "Skipped", "d": "Running"}
    assert world.succeed("d").verdict() == ("False", "ExitCode") and world.step("c")["cause"] == "UpstreamFailed"


@pytest.mark.parametrize(("accuracy", "state"), [(0.95, "Running"), (0.5, "Skipped")])
def test_when_decides_by_values_of_earlier_steps(accuracy: float, state: str) -> None:
    judged = step("b", "accuracy=a.accuracy", when="inputs.accuracy > 0.9", gives="y:integer")
    world = World(
        inline(step("a", gives="accuracy:number"), judged, step("c", "y=b.y"), step("d", after=["b"]))
    ).settle()
    world.succeed("a", {"accuracy": accuracy})
    assert world.states()["b"] == state
    if state == "Skipped":
        assert world.states() == {"a": "Succeeded", "b": "Skipped", "c": "Skipped", "d": "Running"}
        assert world.succeed("d").verdict() == ("True", "Completed")


def test_failures_are_retried_up_to_the_limit_and_disruptions_beyond_it() -> None:
    world = World(inline(step("a", retry={"limit": 1, "backoffSeconds": 10}))).settle().lose("a")
    assert world.step("a")["attempt"] == 2 and "failures" not in world.step("a")
    world.fail("a")
    assert world.states() == {"a": "Waiting"} and world.verdict() == ("Unknown", "Retrying") and world.wait == 10
    assert world.later(11).step("a")["attempt"] == 3
    assert world.fail("a").verdict() == ("False", "ExitCode") and sorted(world.made.values()) == [1, 1, 1]


def test_an_exit_code_named_fatal_is_not_retried() -> None:
    world = World(inline(step("a", retry={"limit": 5, "fatalExitCodes": [3]}))).settle().fail("a", 3)
    assert world.verdict() == ("False", "ExitCode")
    world = World(inline(step("a", retry={"limit": 5, "fatalExitCodes": [137]}))).settle().lose("a")
    assert world.step("a")["attempt"] == 2, "a disruption kills with any code"


def test_on_exit_runs_last_and_knows_what_came_of_the_run() -> None:
    world = World(inline(step("a"), step("z", onExit=True), step("y", onExit=True, when='run == "Succeeded"'))).settle()
    assert list(world.active()) == ["a"]
    world.fail("a")
    (job,) = world.active().values()
    assert {"name": "NORIA_RUN_STATE", "value": "Failed"} in job["spec"]["containers"][0]["env"]
    assert world.succeed("z").states() == {"a": "Failed", "z": "Succeeded", "y": "Skipped"}


def test_foreach_runs_no_more_than_its_parallelism_and_gathers_in_order() -> None:
    fan = step("b", foreach={"from": "a.list", "parallelism": 2}, gives="y:integer d:dataset")
    fan["inputs"] = [{"name": "i", "item": True}]
    last = step("c", "ys=b.y", "ds=b.d")
    world = World(inline(step("a", gives="list:json"), fan, last)).settle().succeed("a", {"list": [5, 6, 7]})
    assert sorted(world.active()) == ["b[0]", "b[1]"]
    assert sorted(world.succeed("b[1]", {"y": 11}).active()) == ["b[0]", "b[2]"]
    world.succeed("b[2]", {"y": 12}).succeed("b[0]", {"y": 10})
    (job,) = world.active().values()
    (main,) = job["spec"]["containers"]
    assert {"name": "NORIA_INPUT_YS", "value": "[10,11,12]"} in main["env"]
    assert [each["mountPath"] for each in main["volumeMounts"][:3]] == [f"/noria/input/ds/{n}" for n in range(3)]
    assert world.succeed("c").verdict() == ("True", "Completed") and world.status["progress"] == "3/3"


def test_a_foreach_over_nothing_is_done_and_one_with_a_failed_item_fails() -> None:
    empty = step("a", foreach={"items": []}, gives="y:integer")
    world = World(inline(empty, step("b", "ys=a.y"))).settle()
    assert world.states() == {"a": "Succeeded", "b": "Running"}
    world = World(inline(step("a", foreach={"items": [1, 2]}))).settle().fail("a[0]").succeed("a[1]")
    assert world.verdict() == ("False", "ItemsFailed") and world.step("a[0]")["cause"] == "ExitCode"


def test_an_approval_waits_for_its_annotation_which_goes_when_it_is_recorded() -> None:
    ask = step("ask", "rows=a.rows", approve={"message": "{rows} rows"})
    world = World(inline(step("a", gives="rows:integer"), ask, step("b", "who=ask.by"))).settle()
    world.annotations = {"noria.dev/approve": "ask", "noria.dev/by": "ada"}
    world.settle()
    assert "noria.dev/approve" not in world.annotations and any("NotWaiting" in each for each in world.events)
    world.succeed("a", {"rows": 9})
    assert world.verdict() == ("Unknown", "Approval") and "9 rows" in world.status["conditions"][0]["message"]
    world.annotations = {"noria.dev/approve": "ask", "noria.dev/by": "ada"}
    assert world.settle().states()["b"] == "Running" and "noria.dev/approve" not in world.annotations
    assert world.step("ask")["outputs"] == [{"name": "by", "value": "ada"}]


def test_a_rejection_and_a_timeout_fail_the_approval() -> None:
    for seconds, annotations, cause in (
        (0, {"noria.dev/reject": "ask", "noria.dev/by": "ada"}, "Rejected"),
        (61, {}, "DeadlineExceeded"),
    ):
        world = World(inline(step("ask", approve={}, timeoutSeconds=60))).settle()
        world.annotations = annotations
        assert world.later(seconds).verdict() == ("False", cause)


def test_suspending_stops_what_runs_and_going_on_is_the_next_attempt() -> None:
    world = World(
        inline(step("a"), step("t", train={"recipe": {"name": "classifier"}}), step("b", after=["a"]))
    ).settle()
    world.spec = world.spec | {"suspend": True}
    assert world.settle().states() == {"a": "Waiting", "t": "Waiting", "b": "Pending"} and not world.active()
    assert world.verdict() == ("Unknown", "Suspended")
    world.spec = world.spec | {"suspend": False}
    assert sorted(world.settle().active()) == ["a", "t"]
    assert (world.step("a")["attempt"], world.step("t")["attempt"]) == (2, 1) and "failures" not in world.step("a")
    assert world.succeed("a").succeed("t").succeed("b").verdict() == ("True", "Completed")


def test_cancelling_ends_what_runs_and_the_exit_still_runs() -> None:
    world = World(inline(step("a"), step("b", after=["a"]), step("z", onExit=True))).settle()
    world.spec = world.spec | {"cancel": True}
    assert world.settle().states() == {"a": "Failed", "b": "Skipped", "z": "Running"} and list(world.active()) == ["z"]
    assert world.succeed("z").verdict() == ("False", "Cancelled")


def test_the_exit_of_a_run_that_was_stopped_runs_also_while_it_is_suspended() -> None:
    for more in ({"cancel": True}, {"activeDeadlineSeconds": 60}):
        world = World(inline(step("a"), step("z", onExit=True))).settle()
        world.spec = world.spec | {"suspend": True} | more
        assert list(world.later(61).active()) == ["z"]
        assert world.succeed("z").verdict()[0] == "False"


def test_the_runs_deadline_ends_it_and_a_steps_timeout_counts_as_a_failure() -> None:
    world = World(inline(step("a")) | {"activeDeadlineSeconds": 60}).settle()
    assert world.wait == 60 and world.later(61).verdict() == ("False", "DeadlineExceeded") and not world.active()
    world = World(inline(step("a", timeoutSeconds=5))).settle()
    assert world.active()["a"]["spec"]["activeDeadlineSeconds"] == 5
    assert world.fail("a", reason="DeadlineExceeded").verdict() == ("False", "DeadlineExceeded")


def test_a_model_that_is_trained_is_registered_once() -> None:
    train = step("t", train={"recipe": {"name": "classifier"}})
    world = World(inline(train, step("reg", "model=t.model", register={"model": "digits"}))).settle().succeed("t")
    (version,) = (each for each in world.others if each["kind"] == "ModelVersion")
    assert version["metadata"]["name"] == "digits-1" and version["spec"]["metrics"] == {"accuracy": 0.9}
    assert version["spec"]["lineage"]["trainingJob"] == world.step("t")["job"]
    assert world.step("reg")["outputs"] == [{"name": "version", "value": "digits-1"}]
    assert world.verdict() == ("True", "Completed")


def test_a_version_knows_what_its_model_was_made_of() -> None:
    train = step("t", "data=p.data", train={"recipe": {"name": "classifier"}})
    register = step("reg", "model=t.model", register={"model": "digits"})
    world = World(inline(step("p", gives="data:dataset"), train, register)).settle().succeed("p").succeed("t")
    (version,) = (each for each in world.others if each["kind"] == "ModelVersion")
    assert version["spec"]["lineage"]["inputs"] == world.step("p")["outputs"]
    assert set(world.step("p")["outputs"][0]) == {"name", "uri", "digest"}


def test_an_output_of_the_wrong_type_or_too_large_fails_the_step_with_its_name() -> None:
    for value in ("text", "x" * 2000):
        type = "integer" if value == "text" else "string"
        world = World(inline(step("a", gives=f"x:{type}"))).settle().succeed("a", {"x": value})
        assert world.verdict() == ("False", "InvalidOutputs") and "output x" in world.step("a")["message"]


def test_what_went_with_its_pod_is_made_again_by_another_attempt() -> None:
    world = World(inline(step("a", gives="x:integer"))).settle().succeed("a", look=False)
    world.live.clear()
    assert world.settle().step("a")["attempt"] == 2 and "failures" not in world.step("a")
    for status in world.succeed("a", look=False).live["Pod", world.step("a")["job"]]["status"]["initContainerStatuses"]:
        status["state"]["terminated"]["message"] = ""
    assert world.settle().step("a")["cause"] == "OutputsLost" and world.wait == 5
    assert world.later(5).step("a")["attempt"] == 3 and "failures" not in world.step("a")


def test_a_pod_that_is_being_deleted_is_over_for_its_step_and_the_next_one_waits_for_its_end() -> None:
    world = World(inline(step("a"))).settle()
    world.active()["a"]["metadata"]["deletionTimestamp"] = "2026-11-24T12:00:00Z"
    assert world.settle().step("a")["cause"] == "PodDeleted" and list(world.made.values()) == [1]
    world.live.clear()
    assert world.settle().step("a")["attempt"] == 2 and list(world.made.values()) == [1, 1]


def test_a_step_that_finds_no_node_in_its_time_has_failed() -> None:
    world = World(inline(step("a", timeoutSeconds=60))).settle()
    assert world.wait == 60 and world.later(59).states() == {"a": "Running"}
    assert world.later(1).verdict() == ("False", "DeadlineExceeded") and not world.active()


def pipeline(*steps: Any, **fields: Any) -> dict[str, Any]:
    return {"kind": "Pipeline", "metadata": {"name": "p"}, "spec": {"steps": list(steps), **fields}}


def test_a_run_waits_for_its_pipeline_and_component_and_keeps_them_as_they_were() -> None:
    component = {
        "kind": "Component",
        "metadata": {"name": "c"},
        "spec": {"inputs": [{"name": "n", "type": "integer", "default": 3}], "run": {"image": "of-component"}},
    }
    world = World({"pipeline": "p"}).settle()
    assert world.verdict() == ("Unknown", "PipelineNotFound")
    world.others.append(pipeline(step("a", component="c"), step("b", after=["a"])))
    assert world.settle().verdict() == ("Unknown", "ComponentNotFound")
    world.others.append(component)
    (job,) = world.settle().active().values()
    (main,) = job["spec"]["containers"]
    assert main["image"] == "of-component" and {"name": "NORIA_INPUT_N", "value": "3"} in main["env"]
    world.others.clear()
    assert list(world.succeed("a").active()) == ["b"]


def test_a_run_that_is_cancelled_while_it_waits_for_its_pipeline_or_component_ends() -> None:
    for others in ([], [pipeline({"name": "a", "component": "c"})]):
        world = World({"pipeline": "p"}, others).settle()
        assert world.verdict()[0] == "Unknown"
        world.spec = {"pipeline": "p", "cancel": True}
        assert world.settle().verdict() == ("False", "Cancelled") and not world.live
        assert "before there was a " in world.status["conditions"][0]["message"]


def test_parameters_are_checked_and_reach_the_steps() -> None:
    takes = step("a") | {"inputs": [{"name": "epochs", "parameter": "epochs"}]}
    others = [pipeline(takes, parameters=[{"name": "epochs", "type": "integer"}])]
    assert World({"pipeline": "p"}, others).settle().verdict() == ("False", "InvalidPipeline")
    wrong = World({"pipeline": "p", "parameters": [{"name": "epochs", "value": "x"}]}, others).settle()
    assert "parameters[epochs]" in wrong.status["conditions"][0]["message"]
    world = World({"pipeline": "p", "parameters": [{"name": "epochs", "value": 4}]}, others).settle()
    (job,) = world.active().values()
    assert {"name": "NORIA_INPUT_EPOCHS", "value": "4"} in job["spec"]["containers"][0]["env"]


def test_a_finished_run_goes_when_its_time_is_over_and_changes_no_more() -> None:
    world = World(inline(step("a")) | {"ttlSecondsAfterFinished": 60}).settle().succeed("a")
    before = world.status
    world.live.clear()
    assert world.settle().status == before and not world.gone
    assert world.later(61).gone


def test_a_run_of_500_steps_stays_below_a_mebibyte() -> None:
    chain = [step("s0", gives="rows:integer data:dataset")]
    for number in range(1, 500):
        fields = {"retry": {"limit": 3}, "timeoutSeconds": 3600, "when": "inputs.rows > 0"}
        container = {
            "image": f"registry.example.com/team/image@{DIGEST}",
            "command": ["python3", "-m", "team.step", "--number", str(number)],
        }
        container["env"] = [{"name": "MODE", "value": "full"}, {"name": "LEVEL", "value": "info"}]
        inputs = (f"rows=s{number - 1}.rows", f"data=s{number - 1}.data")
        chain.append(step(f"s{number}", *inputs, gives="rows:integer data:dataset", **fields) | {"run": container})
    world = World(inline(*chain)).settle()
    for number in range(499):
        world.status["steps"][number] |= STATUS | {"job": f"a-name-of-twenty-let-a-step-of-18-lette-{number:08}"}
    written = {"spec": PipelineRun.model_validate(world.run()).spec.manifest(), "status": world.status}
    # Client-side apply keeps a second copy of the spec below 256 KiB; server-side, field managers are some 40 %.
    assert len(canonical(written).encode()) < 700_000
    assert len(world.status["frozen"]) < 30_000


STATUS = {
    "state": "Succeeded",
    "attempt": 1,
    "startTime": "2026-11-24T12:00:00Z",
    "endTime": "2026-11-24T12:00:00Z",
    "image": f"registry.example.com/team/image@{DIGEST}",
    "outputs": [
        {"name": "rows", "value": 123456},
        {"name": "data", "uri": "pvc://noria-artifacts/runs/a-name-of-twenty-five-lett-12345678/s499/1/data", "digest": DIGEST},
    ],
}  # fmt: skip


def test_foreach_runs_over_a_hundred_items_and_over_no_more() -> None:
    def over(count: int) -> World:
        spread = step("b", foreach={"from": "a.list", "parallelism": 100})
        return World(inline(step("a", gives="list:json"), spread)).settle().succeed("a", {"list": list(range(count))})

    assert len(over(100).active()) == 100
    assert over(101).verdict() == ("False", "InvalidInput")
    assert "the list has 101 items; at most 100 are run" in over(101).step("b")["message"]


def fan(number: int, gives: str = "x:integer") -> Manifest:
    each = step(f"f{number}", foreach={"items": list(range(100)), "parallelism": 100}, gives=gives)
    return each | {"inputs": [{"name": "i", "item": True}]}


def test_steps_and_items_of_a_run_fit_its_object() -> None:
    world = World(inline(*(fan(number) for number in range(10)))).settle()
    assert [each["state"] for each in world.status["steps"] if "count" in each] == ["Running"] * 9
    last = world.step("f9")
    assert (last["state"], last["cause"]) == ("Failed", "InvalidInput") and len(world.active()) == 900
    text = "foreach: with its 100 items the run would have 1010 steps and items; at most 1000 fit an object"
    assert last["message"] == text


def test_what_steps_gave_fits_the_runs_object_also_from_the_cache() -> None:
    """An object that has grown too large is not written any more, and nothing goes on."""
    spec = {"steps": [fan(number, "a:string b:string") for number in range(3)]}
    pipeline = {"kind": "Pipeline", "metadata": {"name": "p", "namespace": "n"}, "spec": spec}
    world = World({"pipeline": "p"}, [pipeline]).settle()
    while names := list(world.active()):
        for name in names:
            world.succeed(name, {"a": "x" * 1000, "b": "y" * 1000}, look=False)
        world.settle()
    states = Counter(each["state"] for each in world.status["steps"] if "[" in each["name"])
    assert states == {"Succeeded": 146, "Failed": 154} and world.verdict() == ("False", "ItemsFailed")
    told = next(each for each in world.status["steps"] if each.get("cause") == "OutputsTooLarge")
    assert "outputs" not in told and told["message"].endswith("give folders instead of values, or split the pipeline")
    assert len(json.dumps(world.status)) < 700_000
    again = World({"pipeline": "p"}, [pipeline, ended(world, "earlier")]).settle()
    states = Counter(each["state"] for each in again.status["steps"] if "[" in each["name"])
    assert states == {"Cached": 146, "Running": 154}
