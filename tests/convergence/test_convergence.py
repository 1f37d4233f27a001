"""A process that dies after any write comes to the same end as one that lives, and one that starts at the end writes nothing.

Every golden case is a beginning; a few worlds that go on by themselves stand below.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from inmemory import Case, Crash, planned
from stories import (
    CASES,
    GOLDEN,
    SETTINGS,
    WORKSPACE,
    after_a_run,
    canary,
    deploying,
    found,
    golden,
    pipeline_run,
    probed,
    retained,
    scheduled,
    sweeping,
    trainings,
)

from noria.plan.controllers import CONTROLLERS
from noria.runtime.store import ref_of

TAKEOVER = timedelta(seconds=17)


def check(case: Any, late: bool) -> list[str]:
    """The property itself; the writes of the undisturbed run."""
    undisturbed = case.serve()
    case.run(undisturbed, late)
    writes = list(undisturbed.writes)
    case.judge(undisturbed)
    undisturbed.writes.clear()
    case.run(undisturbed, late)
    assert undisturbed.writes == [], "a process that starts at the end has nothing to write"
    for after in range(1, len(writes) + 1):
        server = case.serve()
        server.crash_after = after
        with pytest.raises(Crash):
            case.run(server, late)
        server.crash_after = None
        server.now += TAKEOVER
        case.run(server, late)
        assert server.state() == undisturbed.state(), (
            f"another end after a crash behind write {after}, {writes[after - 1]}"
        )
    return writes


@pytest.mark.parametrize("late", [False, True], ids=["prompt", "late"])
@pytest.mark.parametrize("folder", CASES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_golden_beginnings_converge(folder: Path, late: bool) -> None:
    check(golden(folder), late)


@pytest.mark.parametrize("folder", CASES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_first_look_at_a_beginning_is_that_of_its_golden_case(folder: Path) -> None:
    """Else it would be another beginning: of one whose gate fails without an answer nothing fails."""
    case, written = golden(folder), yaml.safe_load((folder / "resource.yaml").read_text())
    server = case.serve()
    (live,) = (
        each
        for ref, each in server.objects.items()
        if (ref.kind, ref.name) == (written["kind"], written["metadata"]["name"])
    )
    assert told(planned(case, server, live)) == told(
        yaml.safe_load((folder / "plan.yaml").read_text()).get("status", {})
    )


def told(status: Any) -> Any:
    """What is decided."""
    cycle, steps = status.get("cycle") or {}, status.get("steps") or ()
    signals = [(each["name"], each["state"]) for each in status.get("signals") or ()]
    states = [(each["name"], each["state"]) for each in steps]
    return cycle.get("stage"), cycle.get("step"), signals, len(status.get("history") or ()), states


@pytest.mark.parametrize("late", [False, True], ids=["prompt", "late"])
def test_two_trainings_that_end_together_get_two_versions(late: bool) -> None:
    writes = check(trainings(2), late)
    created = sorted(each for each in writes if each.startswith("create ModelVersion"))
    assert created == ["create ModelVersion digits-1", "create ModelVersion digits-2"]


@pytest.mark.parametrize("late", [False, True], ids=["prompt", "late"])
def test_a_workspace_made_again_takes_back_what_it_retained_and_drops_the_rest(late: bool) -> None:
    retaken = [retained("Namespace", "vision", None), retained("PersistentVolumeClaim", "noria-artifacts")]
    dropped = [retained("NetworkPolicy", "noria-isolation"), retained("ResourceQuota", "noria")]
    others = [
        retained("NetworkPolicy", "of-another", workspace="other"),
        retained("NetworkPolicy", "elsewhere", namespace="other"),
    ]
    objects = [WORKSPACE, *retaken, *dropped, *others]
    case = Case(objects=objects, settings=SETTINGS, controllers=CONTROLLERS)
    check(case, late)
    server = case.serve()
    case.run(server, late)
    assert not {ref_of(each) for each in dropped} & server.objects.keys()
    assert {ref_of(each) for each in others} <= server.objects.keys()
    (uid,) = (each["metadata"]["uid"] for ref, each in server.objects.items() if ref.kind == "Workspace")
    for each in retaken:
        assert server.objects[ref_of(each)]["metadata"]["labels"]["noria.dev/owner-uid"] == uid


@pytest.mark.parametrize("late", [False, True], ids=["prompt", "late"])
def test_a_claim_is_swept_once_an_interval_and_told_once(late: bool) -> None:
    case = Case(objects=[WORKSPACE], settings=SETTINGS, world=sweeping, controllers=CONTROLLERS)
    writes = check(case, late)
    assert [each for each in writes if each.startswith("create Job")] == [
        "create Job noria-sweep-1",
        "create Job noria-sweep-2",
    ]
    assert "delete Job noria-sweep-1" in writes
    server = case.serve()
    case.run(server, late)
    told = [
        each["message"] for ref, each in server.objects.items() if ref.kind == "Event" and each["reason"] == "Swept"
    ]
    assert told == ["removed 3 folders with 12 bytes, kept 1 on claim noria-artifacts"]


@pytest.mark.parametrize("late", [False, True], ids=["prompt", "late"])
def test_new_data_are_found_once_and_set_off_one_training(late: bool) -> None:
    case = golden(GOLDEN / "endpoint" / "signal-new-data-fires-a-cycle-begins")
    case.objects = [each for each in case.objects if each["kind"] != "Job"]
    (endpoint,) = (each for each in case.objects if each["kind"] == "Endpoint")
    endpoint["spec"]["monitoring"]["signals"][0]["windowSeconds"] = 86400
    endpoint["status"] |= {"signals": [], "probes": []}
    case.world = probed
    made = [each for each in check(case, late) if each.startswith(("create Job digits-probe", "create TrainingJob"))]
    assert made == [
        "create Job digits-probe-1",
        "create Job digits-probe-2",
        "create TrainingJob digits-retrain-2",
        "create Job digits-probe-3",
    ]


@pytest.mark.parametrize("late", [False, True], ids=["prompt", "late"])
def test_no_step_of_a_pipeline_runs_twice_however_often_the_operator_dies(late: bool) -> None:
    writes = check(pipeline_run(), late)
    made = [each for each in writes if each.startswith(("create Pod", "create Job", "create ModelVersion"))]
    assert len(made) == len(set(made)) == 1 + 3 + 1 + 1 + 1 + 1, made


@pytest.mark.parametrize("late", [False, True], ids=["prompt", "late"])
def test_an_unchanged_run_takes_all_from_the_one_before_however_often_the_operator_dies(late: bool) -> None:
    case, earlier = after_a_run()
    (pipeline, run, endpoint) = case.objects
    metadata = {"name": "again", "namespace": "vision"}
    case.objects = [pipeline, earlier, endpoint, run | {"metadata": metadata}]
    made = [each for each in check(case, late) if each.startswith(("create Pod", "create Job", "create TrainingJob"))]
    assert len(made) == 2 and made[0].startswith("create Job again-look-1"), "one look, and the step with onExit"


@pytest.mark.parametrize("late", [False, True], ids=["prompt", "late"])
def test_a_rerun_keeps_what_succeeded_and_does_the_rest_once_however_often_the_operator_dies(late: bool) -> None:
    case, earlier = after_a_run()
    earlier["status"]["conditions"][0] |= {"status": "False", "reason": "InvalidModel"}
    failed = next(each for each in earlier["status"]["steps"] if each["name"] == "register")
    failed |= {"state": "Failed", "cause": "InvalidModel", "message": "it would be refused", "outputs": []}
    run = {"apiVersion": "noria.dev/v1alpha1", "kind": "PipelineRun", "spec": {"rerunOf": "digits"}}
    endpoint = case.objects[-1]
    case.objects = [earlier, endpoint, run | {"metadata": {"name": "again", "namespace": "vision"}}]
    writes = check(case, late)
    made = [
        each
        for each in writes
        if each.startswith(("create Pod", "create Job", "create TrainingJob", "create ModelVersion"))
    ]
    assert [each.rpartition("-")[0] for each in made] == [
        "create Job again-look-1", "create ModelVersion digits", "create Pod again-last",
    ]  # fmt: skip


@pytest.mark.parametrize("policy", ["Allow", "Forbid", "Replace"])
@pytest.mark.parametrize("late", [False, True], ids=["prompt", "late"])
def test_each_time_of_a_schedule_starts_one_run_however_often_the_operator_dies(late: bool, policy: str) -> None:
    case = scheduled(policy)
    writes = check(case, late)
    created = [each for each in writes if each.startswith("create PipelineRun")]
    assert len(created) == len(set(created)) == 4, created
    gone = [each.removeprefix("delete ") for each in writes if each.startswith("delete PipelineRun")]
    assert gone == [each.removeprefix("create ") for each in created[:3]]


@pytest.mark.parametrize("late", [False, True], ids=["prompt", "late"])
def test_what_a_run_deploys_is_served_however_often_the_operator_dies(late: bool) -> None:
    case = deploying("first")
    writes = check(case, late)
    assert len([each for each in writes if each.startswith(("apply InferenceService", "create ModelVersion"))]) == 2
    server = case.serve()
    case.run(server, late)
    (endpoint,), (run,) = found(server, "Endpoint").values(), found(server, "PipelineRun").values()
    (cycle,) = endpoint["status"]["history"]
    assert (
        cycle["trigger"] == {"reason": "Pipeline", "run": "first", "step": "deploy"} and cycle["outcome"] == "Promoted"
    )
    assert endpoint["status"]["current"]["version"] == "digits-1"
    (told,) = (each for each in run["status"]["steps"] if each["name"] == "deploy")
    assert {"name": "outcome", "value": "Promoted"} in told["outputs"] and run["status"]["conditions"][0][
        "status"
    ] == "True"


@pytest.mark.parametrize("late", [False, True], ids=["prompt", "late"])
def test_a_canary_goes_all_its_steps_however_often_the_operator_dies(late: bool) -> None:
    case = canary()
    writes = check(case, late)
    server = case.serve()
    case.run(server, late)
    (endpoint,) = found(server, "Endpoint").values()
    newest = endpoint["status"]["history"][0]
    assert (newest["challenger"], newest["outcome"]) == ("digits-2", "Promoted")
    assert endpoint["status"]["current"]["version"] == "digits-2"
    assert len([each for each in writes if each == "apply HTTPRoute digits"]) == 5, "first, mirror, 20 %, 50 %, all"


@pytest.mark.parametrize("late", [False, True], ids=["prompt", "late"])
def test_a_retraining_by_pipeline_that_deploys_does_not_wait_for_itself(late: bool) -> None:
    signal = {"name": "errors", "type": "ErrorRate", "threshold": 0.1}
    retrain = {"signals": ["errors"], "pipeline": {"name": "digits"}, "frozen": True}
    asked = {"noria.dev/retrain": "new labels", "noria.dev/by": "ada"}
    case = deploying("first", monitoring={"signals": [signal]}, retrain=retrain)
    before = case.serve()
    case.run(before)
    found(before, "Endpoint")["digits"]["metadata"]["annotations"] = asked
    case.objects, case.begin = list(before.objects.values()), before.now
    made = [each for each in check(case, late) if each.startswith(("apply PipelineRun", "create ModelVersion"))]
    assert len(made) == 2 and made[1] == "create ModelVersion digits-2", made
    server = case.serve()
    case.run(server, late)
    endpoint, runs = found(server, "Endpoint")["digits"], found(server, "PipelineRun")
    newest = endpoint["status"]["history"][0]
    assert (newest["trigger"]["reason"], newest["outcome"], newest["challenger"]) == ("Manual", "Promoted", "digits-2")
    assert runs[newest["pipelineRun"]]["status"]["conditions"][0]["reason"] == "Completed"
