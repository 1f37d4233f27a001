"""A process that dies after any write comes to the same end as one that lives, and one that starts at the end writes nothing.

Every golden case is a beginning; a few worlds that go on by themselves stand below.
"""

import copy
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from noria.plan.contract import KINDS, Settings
from noria.plan.controllers import CONTROLLERS
from noria.plan.manifests import OWNER_UID
from noria.runtime.store import ref_of

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = sorted(path.parent for path in GOLDEN.glob("*/*/resource.yaml"))
SETTINGS = Settings.model_validate(yaml.safe_load((GOLDEN / "settings.yaml").read_text()))


TAKEOVER = timedelta(seconds=17)
OWNS = {controller.resource.kind(): controller for controller in CONTROLLERS}


def golden(folder: Path, case_type: Any) -> Any:
    """The beginning that a golden case describes."""
    resource = yaml.safe_load((folder / "resource.yaml").read_text())
    observed = yaml.safe_load((folder / "observed.yaml").read_text())
    children = copy.deepcopy(observed.get("children", []))
    controller = OWNS[resource["kind"]]
    related = copy.deepcopy([each for need in observed.get("related", []) for each in need["objects"]])
    uid = resource["metadata"]["uid"]
    made = (each for each in related if (each["metadata"].get("labels") or {}).get(OWNER_UID) == uid)
    for child in (*children, *made):
        if child["kind"] in controller.owns and not controller.owned_by_label:
            reference = {"kind": resource["kind"], "name": resource["metadata"]["name"], "uid": uid}
            child["metadata"]["ownerReferences"] = [reference | {"controller": True}]
    unique = {ref_of(each): each for each in (resource, *children, *related)}
    return case_type(
        objects=list(unique.values()),
        settings=SETTINGS.model_copy(update=observed.get("settings", {})),
        absent=frozenset(observed.get("absent", ["PodMonitor", "PrometheusRule"])),
        begin=observed["now"],
        world=route,
        controllers=CONTROLLERS,
    )


def route(server: Any) -> None:
    """The gateway: a route that it accepted once it accepts again after a change."""
    for live in [each for ref, each in server.objects.items() if ref.kind == "HTTPRoute" and "status" in each]:
        accepted = copy.deepcopy(live)
        for each in (told for parent in accepted["status"]["parents"] for told in parent["conditions"]):
            each["observedGeneration"] = live["metadata"]["generation"]
        server.seed(accepted)


def trainings(case_type: Any, count: int = 1) -> Any:
    """Trainings for one model whose pods all succeed at the same moment."""
    objects = [
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "TrainingJob",
            "metadata": {"name": f"train-{number}", "namespace": "vision"},
            "spec": {"image": "x", "command": ["train"], "output": {"model": "digits"}},
        }
        for number in range(count)
    ]
    return case_type(objects=objects, settings=SETTINGS, world=succeed, controllers=CONTROLLERS)


def succeed(server: Any) -> None:
    """The Job controller and the kubelet: every Job that is not finished completes, and every pod of its own succeeds."""
    for ref, live in list(server.objects.items()):
        now = server.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        if ref.kind == "Pod" and not live.get("status"):
            server.seed(live | {"status": success(ref.name, now)})
        if ref.kind != "Job" or live.get("status", {}).get("conditions") or live["spec"].get("suspend"):
            continue
        owner = {"kind": "Job", "name": ref.name, "uid": live["metadata"]["uid"], "controller": True}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{ref.name}-0",
                "namespace": ref.namespace,
                "labels": live["spec"]["template"]["metadata"]["labels"],
                "annotations": {"batch.kubernetes.io/job-completion-index": "0"},
                "ownerReferences": [owner],
            },
            "status": success(ref.name, now),
        }
        server.seed(pod)
        complete = [{"type": each, "status": "True", "lastTransitionTime": now} for each in ("SuccessCriteriaMet", "Complete")]  # fmt: skip
        server.seed(live | {"status": {"conditions": complete, "completionTime": now, "startTime": now}})


def success(name: str, now: str) -> dict[str, Any]:
    """The status of a pod, or of the pod of a Job, of that name: what the agent tells, or the scorer."""
    ended = {"exitCode": 0, "reason": "Completed", "finishedAt": now}
    told = {"digest": "sha256:" + "b" * 64, "files": 1, "bytes": 5, "format": "onnx", "wrong": []}
    container = "scorer" if "judge" in name else "main"
    scored = {"samples": 100, "test": "sha256:" + "c" * 64, "scores": {"challenger": {"accuracy": 0.9}}}
    main = ended | ({"message": json.dumps(scored)} if container == "scorer" else {})
    agent = ended | {"message": json.dumps(told)}
    return {
        "phase": "Succeeded",
        "containerStatuses": [{"name": container, "image": "x", "imageID": "", "state": {"terminated": main}}],
        "initContainerStatuses": [{"name": "agent", "state": {"terminated": agent}}],
    }


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
        crashed = False
        try:
            case.run(server, late)
        except BaseException as error:
            assert type(error).__name__ == "Crash", error
            crashed = True
        assert crashed
        server.crash_after = None
        server.now += TAKEOVER
        case.run(server, late)
        assert server.state() == undisturbed.state(), (
            f"another end after a crash behind write {after}, {writes[after - 1]}"
        )
    return writes


@pytest.mark.parametrize("late", [False, True], ids=["prompt", "late"])
@pytest.mark.parametrize("folder", CASES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_golden_beginnings_converge(folder: Path, late: bool, case_type: Any) -> None:
    check(golden(folder, case_type), late)


@pytest.mark.parametrize("late", [False, True], ids=["prompt", "late"])
def test_two_trainings_that_end_together_get_two_versions(late: bool, case_type: Any) -> None:
    writes = check(trainings(case_type, 2), late)
    created = sorted(each for each in writes if each.startswith("create ModelVersion"))
    assert created == ["create ModelVersion digits-1", "create ModelVersion digits-2"]


WORKSPACE = {
    "apiVersion": "noria.dev/v1alpha1",
    "kind": "Workspace",
    "metadata": {"name": "vision"},
    "spec": {"isolation": "None"},
}


def retained(kind: str, name: str, namespace: str | None = "vision", workspace: str = "vision", **rest: Any) -> Any:
    """What a Workspace that is no more left behind, under its uid."""
    labels = {"app.kubernetes.io/managed-by": "noria", "noria.dev/owner-kind": "Workspace"}
    labels |= {"noria.dev/owner-name": workspace, "noria.dev/owner-uid": "00000000-0000-4000-8000-0000000000ff"}
    metadata = {"name": name, "labels": labels} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": KINDS[kind].api_version, "kind": kind, "metadata": metadata, **rest}


@pytest.mark.parametrize("late", [False, True], ids=["prompt", "late"])
def test_a_workspace_made_again_takes_back_what_it_retained_and_drops_the_rest(late: bool, case_type: Any) -> None:
    retaken = [retained("Namespace", "vision", None), retained("PersistentVolumeClaim", "noria-artifacts")]
    dropped = [retained("NetworkPolicy", "noria-isolation"), retained("ResourceQuota", "noria")]
    others = [
        retained("NetworkPolicy", "of-another", workspace="other"),
        retained("NetworkPolicy", "elsewhere", namespace="other"),
    ]
    objects = [WORKSPACE, *retaken, *dropped, *others]
    case = case_type(objects=objects, settings=SETTINGS, controllers=CONTROLLERS)
    check(case, late)
    server = case.serve()
    case.run(server, late)
    assert not {ref_of(each) for each in dropped} & server.objects.keys()
    assert {ref_of(each) for each in others} <= server.objects.keys()
    (uid,) = (each["metadata"]["uid"] for ref, each in server.objects.items() if ref.kind == "Workspace")
    for each in retaken:
        assert server.objects[ref_of(each)]["metadata"]["labels"]["noria.dev/owner-uid"] == uid


def sweeping(server: Any) -> None:
    """A claim that is bound, and a first sweep that removes something."""
    for ref, live in list(server.objects.items()):
        if ref.kind == "PersistentVolumeClaim":
            server.seed(live | {"status": {"phase": "Bound"}})
        if ref.name == "noria-sweep-1" and ref.kind == "Job" and not live.get("status"):
            now = server.now.strftime("%Y-%m-%dT%H:%M:%SZ")
            told = {"removed": 3, "bytes": 12, "kept": 1, "failed": []}
            ended = {"exitCode": 0, "reason": "Completed", "finishedAt": now, "message": json.dumps(told)}
            metadata = {"name": f"{ref.name}-0", "namespace": ref.namespace}
            metadata["labels"] = live["spec"]["template"]["metadata"]["labels"]
            owner = {"kind": "Job", "name": ref.name, "uid": live["metadata"]["uid"], "controller": True}
            metadata["ownerReferences"] = [owner]
            status = {"phase": "Succeeded", "containerStatuses": [{"name": "agent", "state": {"terminated": ended}}]}
            server.seed({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status})
            complete = [{"type": "Complete", "status": "True", "lastTransitionTime": now}]
            server.seed(live | {"status": {"conditions": complete, "completionTime": now}})


@pytest.mark.parametrize("late", [False, True], ids=["prompt", "late"])
def test_a_claim_is_swept_once_an_interval_and_told_once(late: bool, case_type: Any) -> None:
    case = case_type(objects=[WORKSPACE], settings=SETTINGS, world=sweeping, controllers=CONTROLLERS)
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


def probed(server: Any) -> None:
    """Probes of which the first finds the data as they were learned, and the second finds others."""
    for ref, live in list(server.objects.items()):
        if ref.name not in ("digits-probe-1", "digits-probe-2") or ref.kind != "Job" or live.get("status"):
            continue
        now = server.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        told = {"digest": "sha256:" + ("a" if ref.name.endswith("1") else "c") * 64}
        ended = {"exitCode": 0, "reason": "Completed", "finishedAt": now, "message": json.dumps(told)}
        metadata = {"name": f"{ref.name}-0", "namespace": ref.namespace}
        metadata["labels"] = live["spec"]["template"]["metadata"]["labels"]
        owner = {"kind": "Job", "name": ref.name, "uid": live["metadata"]["uid"], "controller": True}
        metadata["ownerReferences"] = [owner]
        status = {"phase": "Succeeded", "containerStatuses": [{"name": "agent", "state": {"terminated": ended}}]}
        server.seed({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status})
        complete = [{"type": "Complete", "status": "True", "lastTransitionTime": now}]
        server.seed(live | {"status": {"conditions": complete, "completionTime": now}})
    route(server)


@pytest.mark.parametrize("late", [False, True], ids=["prompt", "late"])
def test_new_data_are_found_once_and_set_off_one_training(late: bool, case_type: Any) -> None:
    case = golden(GOLDEN / "endpoint" / "signal-new-data-fires-a-cycle-begins", case_type)
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


def pipeline_run(case_type: Any) -> Any:
    """A run of a pipeline whose containers all succeed: data, a fan-out, a training, its evaluation, a version."""
    container = {"image": "x"}
    rule = {"test": "pvc://noria-artifacts/data/held-out", "metrics": [{"name": "accuracy"}], "endpoint": "digits"}
    steps = [
        {"name": "first", "run": container},
        {"name": "fan", "after": ["first"], "run": container, "foreach": {"items": [1, 2, 3], "parallelism": 2}},
        {"name": "train", "after": ["fan"], "train": {"image": "x", "command": ["train"]}},
        {"name": "judge", "inputs": [{"name": "model", "from": "train.model"}], "evaluate": rule},
        {
            "name": "register",
            "inputs": [{"name": "model", "from": "train.model"}, {"name": "passed", "from": "judge.passed"}],
            "register": {"model": "digits"},
        },
        {"name": "last", "run": container, "onExit": True},
    ]
    pipeline = {"apiVersion": "noria.dev/v1alpha1", "kind": "Pipeline", "spec": {"steps": steps}}
    run = {"apiVersion": "noria.dev/v1alpha1", "kind": "PipelineRun", "spec": {"pipeline": "digits"}}
    endpoint = {"apiVersion": "noria.dev/v1alpha1", "kind": "Endpoint"}
    endpoint["spec"] = {"model": {"name": "digits", "version": 7}}  # type: ignore[assignment]
    named = {"metadata": {"name": "digits", "namespace": "vision"}}
    objects = [each | named for each in (pipeline, run, endpoint)]
    return case_type(objects=objects, settings=SETTINGS, world=succeed, controllers=CONTROLLERS)


@pytest.mark.parametrize("late", [False, True], ids=["prompt", "late"])
def test_no_step_of_a_pipeline_runs_twice_however_often_the_operator_dies(late: bool, case_type: Any) -> None:
    writes = check(pipeline_run(case_type), late)
    made = [each for each in writes if each.startswith(("create Pod", "create Job", "create ModelVersion"))]
    assert len(made) == len(set(made)) == 1 + 3 + 1 + 1 + 1 + 1, made


def after_a_run(case_type: Any) -> tuple[Any, dict[str, Any]]:
    """The case, and its PipelineRun as it ended."""
    case = pipeline_run(case_type)
    before = case.serve()
    case.run(before)
    (earlier,) = (each for ref, each in before.objects.items() if ref.kind == "PipelineRun")
    return case, earlier


@pytest.mark.parametrize("late", [False, True], ids=["prompt", "late"])
def test_an_unchanged_run_takes_all_from_the_one_before_however_often_the_operator_dies(
    late: bool, case_type: Any
) -> None:
    case, earlier = after_a_run(case_type)
    (pipeline, run, endpoint) = case.objects
    metadata = {"name": "again", "namespace": "vision"}
    case.objects = [pipeline, earlier, endpoint, run | {"metadata": metadata}]
    made = [each for each in check(case, late) if each.startswith(("create Pod", "create Job", "create TrainingJob"))]
    assert len(made) == 2 and made[0].startswith("create Job again-look-1"), "one look, and the step with onExit"


@pytest.mark.parametrize("late", [False, True], ids=["prompt", "late"])
def test_a_rerun_keeps_what_succeeded_and_does_the_rest_once_however_often_the_operator_dies(
    late: bool, case_type: Any
) -> None:
    case, earlier = after_a_run(case_type)
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


def scheduled(case_type: Any, policy: str) -> Any:
    """A Pipeline that runs every ten minutes, one run at a time of which one is kept, for half an hour."""
    spec = {
        "steps": [{"name": "a", "run": {"image": "x"}}],
        "schedule": {"cron": "*/10 * * * *", "concurrencyPolicy": policy},
        "maxConcurrentRuns": 1,
        "historyLimits": {"succeeded": 1},
    }
    metadata = {"name": "digits", "namespace": "vision", "creationTimestamp": "2026-11-24T11:55:00Z"}
    pipeline = {"apiVersion": "noria.dev/v1alpha1", "kind": "Pipeline", "metadata": metadata, "spec": spec}
    case = case_type(objects=[pipeline], settings=SETTINGS, world=succeed, controllers=CONTROLLERS)
    case.until = case.begin + timedelta(minutes=32)
    return case


@pytest.mark.parametrize("policy", ["Allow", "Forbid", "Replace"])
@pytest.mark.parametrize("late", [False, True], ids=["prompt", "late"])
def test_each_time_of_a_schedule_starts_one_run_however_often_the_operator_dies(
    late: bool, policy: str, case_type: Any
) -> None:
    case = scheduled(case_type, policy)
    writes = check(case, late)
    created = [each for each in writes if each.startswith("create PipelineRun")]
    assert len(created) == len(set(created)) == 4, created
    gone = [each.removeprefix("delete ") for each in writes if each.startswith("delete PipelineRun")]
    assert gone == [each.removeprefix("create ") for each in created[:3]]


def serving(server: Any) -> None:
    """Jobs complete, KServe and the gateway take what they are given; nobody asks for numbers."""
    succeed(server)
    for ref, live in list(server.objects.items()):
        if ref.kind == "InferenceService":
            server.seed(live | {"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
        if ref.kind == "HTTPRoute":
            generation = live["metadata"]["generation"]
            held = [{"type": each, "status": "True", "observedGeneration": generation} for each in ("Accepted", "ResolvedRefs")]  # fmt: skip
            server.seed(live | {"status": {"parents": [{"conditions": held}]}})


LEARNING = [
    {"name": "train", "train": {"image": "x", "command": ["train"]}},
    {"name": "register", "inputs": [{"name": "model", "from": "train.model"}], "register": {"model": "digits"}},
    {"name": "deploy", "inputs": [{"name": "version", "from": "register.version"}], "deploy": {"endpoint": "digits"}},
]


def deploying(case_type: Any, *runs: str, **spec: Any) -> Any:
    """Runs of a pipeline that trains, registers and deploys to an Endpoint."""
    made = {
        "Pipeline digits": {"steps": LEARNING},
        "Endpoint digits": {"model": {"name": "digits", "track": "Deployed"}, **spec},
        **{f"PipelineRun {each}": {"pipeline": "digits"} for each in runs},
    }
    objects = [
        {"apiVersion": "noria.dev/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": "vision"}, "spec": each}
        for (kind, _, name), each in ((key.partition(" "), each) for key, each in made.items())
    ]  # fmt: skip
    absent = frozenset({"PodMonitor", "PrometheusRule"})
    return case_type(objects=objects, settings=SETTINGS, absent=absent, world=serving, controllers=CONTROLLERS)


def found(server: Any, kind: str) -> dict[str, Any]:
    return {ref.name: each for ref, each in server.objects.items() if ref.kind == kind}


@pytest.mark.parametrize("late", [False, True], ids=["prompt", "late"])
def test_what_a_run_deploys_is_served_however_often_the_operator_dies(late: bool, case_type: Any) -> None:
    case = deploying(case_type, "first")
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
def test_a_retraining_by_pipeline_that_deploys_does_not_wait_for_itself(late: bool, case_type: Any) -> None:
    signal = {"name": "errors", "type": "ErrorRate", "threshold": 0.1}
    retrain = {"signals": ["errors"], "pipeline": {"name": "digits"}, "frozen": True}
    asked = {"noria.dev/retrain": "new labels", "noria.dev/by": "ada"}
    case = deploying(case_type, "first", monitoring={"signals": [signal]}, retrain=retrain)
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
