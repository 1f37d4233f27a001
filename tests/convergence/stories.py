"""Beginnings, and worlds that go on by themselves: kubelets, the Job controller, KServe and the gateway, as far as a story needs them."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from inmemory import Case, copied
from test_golden import read_answer, read_query

from noria.plan.contract import KINDS, Settings
from noria.plan.controllers import CONTROLLERS
from noria.plan.manifests import OWNER_UID
from noria.runtime.answers import Answers, Reply
from noria.runtime.store import ref_of

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = sorted(path.parent for path in GOLDEN.glob("*/*/resource.yaml"))
SETTINGS = Settings.model_validate(yaml.safe_load((GOLDEN / "settings.yaml").read_text()))
OWNS = {controller.resource.kind(): controller for controller in CONTROLLERS}


def golden(folder: Path) -> Any:
    """The beginning that a golden case describes."""
    resource = yaml.safe_load((folder / "resource.yaml").read_text())
    observed = yaml.safe_load((folder / "observed.yaml").read_text())
    children = copied(observed.get("children", []))
    controller = OWNS[resource["kind"]]
    related = copied([each for need in observed.get("related", []) for each in need["objects"]])
    uid = resource["metadata"]["uid"]
    made = (each for each in related if (each["metadata"].get("labels") or {}).get(OWNER_UID) == uid)
    for child in (*children, *made):
        if child["kind"] in controller.owns and not controller.owned_by_label:
            reference = {"kind": resource["kind"], "name": resource["metadata"]["name"], "uid": uid}
            child["metadata"]["ownerReferences"] = [reference | {"controller": True}]
    unique = {ref_of(each): each for each in (resource, *children, *related)}
    answers = Answers()
    for each in observed.get("answers", []):
        told = read_answer(each)
        answers.take(read_query(each), Reply({None: told.rows}, told.error, told.at))
    return Case(
        objects=list(unique.values()),
        settings=SETTINGS.model_copy(update=observed.get("settings", {})),
        absent=frozenset(observed.get("absent", ["PodMonitor", "PrometheusRule"])),
        begin=observed["now"],
        world=route,
        controllers=CONTROLLERS,
        answers=answers,
    )


def route(server: Any) -> None:
    """The gateway: a route that it accepted once it accepts again after a change."""
    for live in [each for ref, each in server.objects.items() if ref.kind == "HTTPRoute" and "status" in each]:
        accepted = copied(live)
        for each in (told for parent in accepted["status"]["parents"] for told in parent["conditions"]):
            each["observedGeneration"] = live["metadata"]["generation"]
        server.seed(accepted)


def trainings(count: int = 1) -> Any:
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
    return Case(objects=objects, settings=SETTINGS, world=succeed, controllers=CONTROLLERS)


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


def answered(server: Any, job: dict[str, Any], told: dict[str, Any]) -> None:
    """The Job of an errand completes, its agent having said this."""
    name, now = job["metadata"]["name"], server.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    ended = {"exitCode": 0, "reason": "Completed", "finishedAt": now, "message": json.dumps(told)}
    metadata = {"name": f"{name}-0", "namespace": job["metadata"]["namespace"]}
    metadata["labels"] = job["spec"]["template"]["metadata"]["labels"]
    metadata["ownerReferences"] = [{"kind": "Job", "name": name, "uid": job["metadata"]["uid"], "controller": True}]
    status = {"phase": "Succeeded", "containerStatuses": [{"name": "agent", "state": {"terminated": ended}}]}
    server.seed({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status})
    complete = [{"type": "Complete", "status": "True", "lastTransitionTime": now}]
    server.seed(job | {"status": {"conditions": complete, "completionTime": now}})


def sweeping(server: Any) -> None:
    """A claim that is bound, and a first sweep that removes something."""
    for ref, live in list(server.objects.items()):
        if ref.kind == "PersistentVolumeClaim":
            server.seed(live | {"status": {"phase": "Bound"}})
        if ref.name == "noria-sweep-1" and ref.kind == "Job" and not live.get("status"):
            answered(server, live, {"removed": 3, "bytes": 12, "kept": 1, "failed": []})


def probed(server: Any) -> None:
    """Probes of which the first finds the data as they were learned, and the second finds others."""
    for ref, live in list(server.objects.items()):
        if ref.name not in ("digits-probe-1", "digits-probe-2") or ref.kind != "Job" or live.get("status"):
            continue
        answered(server, live, {"digest": "sha256:" + ("a" if ref.name.endswith("1") else "c") * 64})
    route(server)


def pipeline_run() -> Any:
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
    return Case(objects=objects, settings=SETTINGS, world=succeed, controllers=CONTROLLERS)


def after_a_run() -> tuple[Any, dict[str, Any]]:
    """The case, and its PipelineRun as it ended."""
    case = pipeline_run()
    before = case.serve()
    case.run(before)
    (earlier,) = (each for ref, each in before.objects.items() if ref.kind == "PipelineRun")
    return case, earlier


def scheduled(policy: str) -> Any:
    """A Pipeline that runs every ten minutes, one run at a time of which one is kept, for half an hour."""
    spec = {
        "steps": [{"name": "a", "run": {"image": "x"}}],
        "schedule": {"cron": "*/10 * * * *", "concurrencyPolicy": policy},
        "maxConcurrentRuns": 1,
        "historyLimits": {"succeeded": 1},
    }
    metadata = {"name": "digits", "namespace": "vision", "creationTimestamp": "2026-11-24T11:55:00Z"}
    pipeline = {"apiVersion": "noria.dev/v1alpha1", "kind": "Pipeline", "metadata": metadata, "spec": spec}
    case = Case(objects=[pipeline], settings=SETTINGS, world=succeed, controllers=CONTROLLERS)
    case.until = case.begin + timedelta(minutes=32)
    return case


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


def deploying(*runs: str, **spec: Any) -> Any:
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
    return Case(objects=objects, settings=SETTINGS, absent=absent, world=serving, controllers=CONTROLLERS)


def canary() -> Any:
    """An Endpoint that serves version 1, until its user wants version 2 by a mirror and two steps."""
    rollout = {
        "mirror": {"holdSeconds": 30},
        "steps": [{"weight": 20, "holdSeconds": 60}, {"weight": 50, "holdSeconds": 60}],
        "drainSeconds": 15,
    }
    endpoint = {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "Endpoint",
        "metadata": {"name": "digits", "namespace": "vision"},
    }
    endpoint["spec"] = {"model": {"name": "digits", "version": 1}, "rollout": rollout}
    objects = [endpoint, *(version(number) for number in (1, 2))]
    absent = frozenset({"PodMonitor", "PrometheusRule"})
    return Case(objects=objects, settings=SETTINGS, absent=absent, world=wishing, controllers=CONTROLLERS)


def version(number: int) -> dict[str, Any]:
    """A version of the model digits."""
    metadata = {"name": f"digits-{number}", "namespace": "vision", "labels": {"noria.dev/model": "digits"}}
    uri = f"pvc://noria-artifacts/jobs/digits-0000000{number}/attempt-1"
    lineage = {"trainingJob": "digits", "uid": "other", "attempt": 1, "image": "x"}
    spec = {"model": "digits", "version": number, "uri": uri, "digest": "sha256:" + "b" * 64, "format": "torch-export"}
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "ModelVersion",
        "metadata": metadata,
        "spec": spec | {"lineage": lineage},
    }


def wishing(server: Any) -> None:
    """It serves, and its user wants the next version as soon as the first one serves."""
    serving(server)
    (endpoint,) = found(server, "Endpoint").values()
    if endpoint.get("status", {}).get("current", {}).get("version") == "digits-1":
        model = {"name": "digits", "version": 2}
        server.seed(endpoint | {"spec": endpoint["spec"] | {"model": model}})


def found(server: Any, kind: str) -> dict[str, Any]:
    return {ref.name: each for ref, each in server.objects.items() if ref.kind == kind}
