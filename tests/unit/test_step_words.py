"""What the record of a step says of its beginning, its end and the way there: cause, words, times and counts."""

from typing import Any

import pytest
from runs import DIGEST, World, inline, step

from noria.api.pipelinerun import StepStatus
from noria.api.step import Step
from noria.plan.contract import Manifest
from noria.plan.pipelines import outcomes

NOON, LATER = "2026-11-24T12:00:00Z", "2026-11-24T12:01:00Z"
TRAIN = {"recipe": {"name": "classifier"}}
TYPED = {"inputs": [{"name": "x", "from": "d.o", "type": "integer"}]}


def record(world: World, name: str = "a") -> Manifest:
    """The record of a step without what says where it ran."""
    return {key: value for key, value in world.step(name).items() if key not in ("job", "cache", "key")}


def said(world: World, message: str, code: int = 0) -> World:
    """The agent of a step that has just succeeded said something else, or was ended."""
    pod = world.live["Pod", world.step("a")["job"]]
    pod["status"]["initContainerStatuses"][0]["state"]["terminated"] |= {"message": message, "exitCode": code}
    return world.settle()


def test_a_step_that_succeeds_says_when_and_what_it_gave() -> None:
    world = World(inline(step("a", gives="x:integer d:model"))).settle()
    assert record(world) == {"name": "a", "state": "Running", "attempt": 1, "startTime": NOON}
    world.later(60).succeed("a", {"x": 3})
    uri = "pvc://noria-artifacts/runs/r-12345678/a/1/d"
    model = {"name": "d", "uri": uri, "digest": DIGEST, "format": "onnx"}
    assert record(world) == {
        "name": "a",
        "state": "Succeeded",
        "attempt": 1,
        "startTime": NOON,
        "endTime": LATER,
        "outputs": [{"name": "x", "value": 3}, model],
        "image": "x@sha256:1",
    }
    assert world.events == ["Completed 1 steps"] and world.status["completionTime"] == LATER


def test_a_step_without_outputs_says_with_which_image_it_ran() -> None:
    assert record(World(inline(step("a"))).settle().succeed("a"))["image"] == "x@sha256:1"
    assert "outputs" not in record(World(inline(step("a"))).settle().succeed("a"))


def test_what_went_wrong_before_is_forgotten_by_the_attempt_that_succeeds() -> None:
    world = World(inline(step("a", retry={"limit": 1}, gives="x:integer"))).settle().lose("a").fail("a").later(600)
    assert record(world)["attempt"] == 3 and "endTime" not in record(world)
    done = record(world.succeed("a"))
    assert done["failures"] == 1 and not {"cause", "message", "disruptions"} & done.keys()


def test_a_step_that_fails_says_so_with_its_exit_code_and_an_event() -> None:
    world = World(inline(step("a"))).settle().later(60).fail("a", 3)
    name = world.step("a")["job"]
    text = f"pod {name} ended with exit code 3; its last lines:\nboom"
    failed = {"name": "a", "state": "Failed", "cause": "ExitCode", "message": text, "failures": 1, "attempt": 1}
    assert record(world) == failed | {"startTime": NOON, "endTime": LATER}
    assert world.events == [f"ExitCode step a: {text}"]
    assert world.status["conditions"][0]["message"] == f"step a: {text}"


@pytest.mark.parametrize(
    ("told", "cause", "text"),
    [
        ('{"error": "EmptyOutput", "message": "output x is empty"}', "InvalidOutputs", "it completed, but output x is empty"),
        ('{"error": "EmptyOutput"}', "InvalidOutputs", "it completed, but EmptyOutput"),
        ('{"outputs": {}}', "InvalidOutputs", "it completed, but it gave no x"),
        ('{"outputs": {"x": {"digest": "d"}}}', "InvalidOutputs", "it completed, but it gave no value"),
        ('{"outputs": {"x": {"value": "s"}}}', "InvalidOutputs", "it completed, but output x: it is of type string, not integer"),
        ("[]", "InvalidOutputs", "it completed, but what the agent told cannot be read: Input should be an object"),
        ('{"outputs": []}', "InvalidOutputs", "it completed, but what the agent told cannot be read: outputs: Input should be an object"),
    ],
)  # fmt: skip
def test_a_step_whose_outputs_cannot_be_taken_says_why(told: str, cause: str, text: str) -> None:
    world = said(World(inline(step("a", gives="x:integer"))).settle().succeed("a", look=False), told)
    failed = {"state": "Failed", "failures": 1, "cause": cause, "message": text, "endTime": NOON}
    assert record(world).items() >= failed.items()


@pytest.mark.parametrize("more", [{}, {"when": "inputs.x > 0.5"}])
def test_a_list_where_a_number_is_declared_is_refused(more: Any) -> None:
    """Each plan raised, for ever."""
    taken = {"inputs": [{"name": "x", "type": "number", "from": "a.v"}], **more}
    world = World(inline(step("a", gives="v:json"), step("b", **taken))).settle().succeed("a", {"v": [0.9]})
    told = world.step("b")
    assert (told["state"], told["cause"]) == ("Failed", "InvalidInput")
    assert told["message"] == "input x: it is of type json, not number"


def test_a_number_that_no_double_holds_is_refused_in_a_json_too() -> None:
    world = said(
        World(inline(step("a", gives="x:json"))).settle().succeed("a", look=False),
        '{"outputs": {"x": {"value": {"n": [1' + "0" * 400 + "]}}}}",
    )
    assert record(world)["message"] == "it completed, but output x: it does not fit 64 bits"


def test_a_step_that_told_nothing_is_run_again() -> None:
    world = said(World(inline(step("a", gives="x:integer"))).settle().succeed("a", look=False), "")
    assert record(world).items() >= {"state": "Running", "attempt": 2, "disruptions": 1}.items()


def test_an_agent_that_was_ended_before_it_told_would_be_so_again() -> None:
    """Folders that take longer to digest than the pod's grace were made anew for ever."""
    world = World(inline(step("a", gives="d:dataset", retry={"limit": 1}))).settle()
    for attempt in (1, 2):
        said(world.succeed("a", look=False), "", 137)
        assert record(world)["failures"] == attempt
        world.later(600)
    assert (record(world)["state"], record(world)["cause"]) == ("Failed", "OutputsLost")
    text = "it completed, but the agent ended with exit code 137 before it told what the step gave; for digests of what was "
    text += "written, and read from outside, it has 300 s: give or read less, or use faster storage"
    assert record(world)["message"] == text


def test_what_a_step_read_from_outside_is_told_with_its_digest() -> None:
    reads = step("a", gives="x:integer") | {"inputs": [{"name": "raw", "uri": "pvc://data/raw"}]}
    assert record(World(inline(reads)).settle().succeed("a"))["read"] == {"raw": DIGEST}


def test_a_step_that_takes_too_long_names_the_field() -> None:
    world = World(inline(step("a", timeoutSeconds=60))).settle().later(60)
    late = "attempt 1 ran longer than timeoutSeconds (60)"
    assert (record(world)["cause"], record(world)["message"]) == ("DeadlineExceeded", late)
    rule = {"test": "pvc://c/held-out", "metrics": [{"name": "accuracy"}], "deadlineSeconds": 90}
    world = World(inline(step("t", train=TRAIN), step("a", "model=t.model", evaluate=rule))).settle().succeed("t")
    assert world.wait == 90
    late = "attempt 1 ran longer than evaluate.deadlineSeconds (90)"
    assert record(world.later(90))["message"] == late and record(world)["failures"] == 1


def test_a_pod_that_goes_is_no_failure_of_its_step() -> None:
    world = World(inline(step("a"))).settle()
    name = world.step("a")["job"]
    world.active()["a"]["metadata"]["deletionTimestamp"] = NOON
    told = record(world.settle())
    assert (told["state"], told["cause"], told["message"]) == ("Waiting", "PodDeleted", f"pod {name} was deleted")
    assert told["disruptions"] == 1 and "failures" not in told
    world = World(inline(step("a"))).settle().lose("a")
    world.live.clear()
    told = record(world.settle())
    assert (told["message"], told["disruptions"], told["endTime"], world.wait) == ("its pod is gone", 2, NOON, 5)


def test_a_training_says_what_its_training_job_says() -> None:
    world = World(inline(step("a", train=TRAIN))).settle()
    assert record(world) == {"name": "a", "state": "Running", "attempt": 1, "startTime": NOON}
    job = world.step("a")["job"]
    text = f"TrainingJob {job}: over"
    failed = record(world.fail("a"))
    assert (failed["state"], failed["cause"], failed["message"], failed["endTime"]) == ("Failed", "Done", text, NOON)
    world = World(inline(step("a", train=TRAIN))).settle().succeed("a", look=False)
    status = world.live["TrainingJob", world.step("a")["job"]]["status"]
    status |= {"completionTime": LATER, "modelVersion": "m-1"}
    status["output"]["inputs"] = {"data": DIGEST}
    model = {"name": "model", "uri": "pvc://noria-artifacts/jobs/x/attempt-1", "digest": DIGEST, "format": "onnx"}
    outputs = [{"name": "metrics", "value": {"accuracy": 0.9}}, model, {"name": "version", "value": "m-1"}]
    done = {"state": "Succeeded", "endTime": LATER, "outputs": outputs, "read": {"data": DIGEST}, "image": "t@sha256:1"}
    assert record(world.settle()).items() >= done.items() and not {"cause", "message"} & record(world).keys()


@pytest.mark.parametrize(
    ("later", "state", "cause", "text"),
    [
        (step("a", "x=b.x"), "Skipped", "UpstreamFailed", "b did not succeed"),
        (step("a", after=["b"]), "Skipped", "UpstreamFailed", "b did not succeed"),
        (step("a", "x=c.x"), "Skipped", "UpstreamSkipped", "c was skipped"),
        (step("a", "x=d.x", when="inputs.x > 5"), "Skipped", "WhenFalse", "inputs.x > 5"),
        (step("a", "x=d.l", when="inputs.x.f > 5"), "Failed", "InvalidCondition", "inputs.x.f > 5: it gave "),
        (step("a", foreach={"from": "d.o"}), "Failed", "InvalidInput", 'foreach: {"f":1} is no list'),
        (step("a") | TYPED, "Failed", "InvalidInput", "input x: it is of type json, not integer"),
        (step("a", when="inputs.x > 1") | TYPED, "Failed", "InvalidInput", "input x: it is of type json, not integer"),
    ],
)  # fmt: skip
def test_a_step_that_does_not_begin_says_why(later: Manifest, state: str, cause: str, text: str) -> None:
    others = (
        step("b", gives="x:integer"),
        step("c", when="1 > 2", gives="x:integer"),
        step("d", gives="x:integer l:json o:json"),
    )
    world = World(inline(*others, later)).settle().fail("b").succeed("d", {"x": 3, "l": [1], "o": {"f": 1}})
    told = record(world)
    assert (told["state"], told["cause"]) == (state, cause) and told["message"].startswith(text), told
    assert ("it gave" in text) or told["message"] == text
    assert not {"startTime", "attempt", "outputs"} & told.keys()


def test_a_condition_sees_what_came_of_the_run() -> None:
    for code, states in ((0, ("Succeeded", "Skipped")), (1, ("Skipped", "Succeeded"))):
        exits = (step(name, onExit=True, when=f'run == "{name.title()}"') for name in ("succeeded", "failed"))
        world = World(inline(step("a"), *exits)).settle()
        if code:
            world.fail("a").succeed("failed")
        else:
            world.succeed("a").succeed("succeeded")
        assert (world.states()["succeeded"], world.states()["failed"]) == states
        (skipped,) = (each for each in world.status["steps"] if each["state"] == "Skipped")
        assert skipped["message"] == f'run == "{skipped["name"].title()}"'


def test_a_fan_says_which_items_failed() -> None:
    world = World(inline(step("a", foreach={"items": [1, 2, 3]}))).settle()
    assert record(world) == {"name": "a", "state": "Running", "count": 3, "startTime": NOON}
    world.later(60).fail("a[1]").fail("a[2]").succeed("a[0]")
    name = world.step("a[1]")["job"]
    text = f"2 of 3 items failed; a[1]: pod {name} ended with exit code 1; its last lines:\nboom"
    failed = {"state": "Failed", "cause": "ItemsFailed", "message": text, "endTime": LATER}
    assert record(world).items() >= failed.items()
    done = record(World(inline(step("a", foreach={"items": [1]}))).settle().succeed("a[0]"))
    assert done == {"name": "a", "state": "Succeeded", "count": 1, "startTime": NOON, "endTime": NOON}


def test_an_approval_says_how_to_give_it_and_who_gave_it() -> None:
    ask = step("a", "rows=b.rows", approve={"message": "{rows} rows, {rest}"})
    world = World(inline(step("b", gives="rows:integer"), ask)).settle().succeed("b", {"rows": 9})
    how = "kubectl annotate nrun r noria.dev/by=<you> noria.dev/approve=a (or noria.dev/reject)"
    asked = {
        "name": "a",
        "state": "Waiting",
        "cause": "Approval",
        "message": f"9 rows, {{rest}}: {how}",
        "startTime": NOON,
    }
    assert record(world) == asked
    assert world.status["conditions"][0]["message"] == f"step a: {asked['message']}"
    world.annotations = {"noria.dev/approve": "a"}
    done = record(world.later(60))
    assert done == {"name": "a", "state": "Succeeded", "startTime": NOON, "endTime": LATER, "outputs": [{"name": "by", "value": "somebody"}]}  # fmt: skip
    plain = World(inline(step("a", approve={}))).settle()
    assert plain.step("a")["message"] == f"waits for an approval: {how}"


def test_an_approval_that_is_refused_or_late_says_so() -> None:
    world = World(inline(step("a", approve={}))).settle()
    world.annotations = {"noria.dev/reject": "a", "noria.dev/by": "ada"}
    told = record(world.later(60))
    assert (told["cause"], told["message"], told["endTime"]) == ("Rejected", "ada rejected it", LATER)
    assert world.events == ["Rejected step a: ada rejected it"]
    world = World(inline(step("a", approve={}, timeoutSeconds=60))).settle()
    assert world.wait == 60 and world.later(59).step("a")["state"] == "Waiting" and world.wait == 1
    told = record(world.later(1))
    late = "nobody approved within timeoutSeconds (60)"
    assert (told["cause"], told["message"], told["endTime"]) == ("DeadlineExceeded", late, LATER)


def test_an_approval_of_what_does_not_wait_is_told_and_taken_away() -> None:
    world = World(inline(step("a"), step("b", after=["a"], approve={}))).settle()
    world.annotations = {"noria.dev/approve": "b", "noria.dev/by": "ada"}
    text = "ada set noria.dev/approve=b, but no step b waits for an approval"
    assert world.settle().events == [f"NotWaiting {text}"] and world.annotations == {}


def test_a_version_that_would_be_refused_is_told_before_it_is_written() -> None:
    register = step("a", "model=t.model", register={"model": "m"})
    world = World(inline(step("t", train=TRAIN), register)).settle().succeed("t", look=False)
    world.live["TrainingJob", world.step("t")["job"]]["status"]["output"]["digest"] = "d"
    told = record(world.settle())
    assert (told["state"], told["cause"], told["endTime"]) == ("Failed", "InvalidModel", NOON)
    assert told["message"].startswith("its ModelVersion would be refused: spec.digest: String should match pattern")


def test_a_version_that_is_registered_has_its_times() -> None:
    world = World(inline(step("t", train=TRAIN), step("a", "model=t.model", register={"model": "m"}))).settle()
    done = record(world.succeed("t"))
    assert (done["startTime"], done["endTime"], done["outputs"]) == (NOON, NOON, [{"name": "version", "value": "m-1"}])


def kept(**fields: Any) -> StepStatus:
    return StepStatus.model_validate({"name": "a", "state": "Waiting", **fields})


@pytest.mark.parametrize(
    ("record", "seconds"),
    [
        (kept(failures=1), 10),
        (kept(failures=2), 20),
        (kept(failures=3), 40),
        (kept(failures=60), 600),
        (kept(), 10),
        (kept(failures=3, disruptions=1), 0),
        (kept(disruptions=2), 5),
        (kept(disruptions=3), 10),
        (kept(disruptions=60), 300),
        (kept(failures=3, cause="Suspended"), 0),
    ],
)
def test_the_next_attempt_waits_longer_each_time(record: StepStatus, seconds: float) -> None:
    retried = Step.model_validate(step("a", retry={"limit": 9, "backoffSeconds": 10}))
    assert outcomes.backoff(retried, record) == seconds
    assert outcomes.backoff(Step.model_validate(step("a")), kept(failures=3)) == 0


@pytest.mark.parametrize(("failures", "code", "hopeless"), [(0, 1, False), (2, 1, False), (3, 1, True), (1, 3, True)])
def test_no_attempt_follows_beyond_the_limit_or_after_a_fatal_exit_code(
    failures: int, code: int, hopeless: bool
) -> None:
    retried = Step.model_validate(step("a", retry={"limit": 2, "fatalExitCodes": [3]}))
    assert outcomes.hopeless(retried, kept(failures=failures), code) == hopeless
    assert outcomes.hopeless(Step.model_validate(step("a")), kept(failures=1), 1)
    assert not outcomes.hopeless(Step.model_validate(step("a")), kept(), None)


def test_of_a_long_message_the_end_is_kept() -> None:
    assert outcomes.shortened("x" * 512) == "x" * 512
    assert outcomes.shortened("a" + "x" * 512) == "... " + "x" * 508


def test_the_next_attempt_begins_when_its_time_has_come_and_not_before() -> None:
    world = World(inline(step("a", retry={"limit": 1, "backoffSeconds": 10}))).settle().fail("a")
    assert world.wait == 10 and world.later(9).wait == 1 and not world.active()
    assert record(world.later(1))["attempt"] == 2


def test_what_a_drain_takes_from_the_agent_is_no_failure_of_the_step() -> None:
    world = World(inline(step("a", gives="d:dataset"))).settle().succeed("a", look=False)
    pod = world.live["Pod", world.step("a")["job"]]
    pod["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]
    said(world, "", 137)
    assert record(world)["attempt"] == 2 and "failures" not in record(world)
