"""Objects for tests of lineage: an Endpoint, versions, trainings, two runs of a pipeline; and their trees as the command tells them."""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from runs import World, ended, step

from noria.plan.contract import Manifest, Ref
from noria.plan.lineage.trace import trace
from noria.plan.lineage.tree import Node, text

D = "sha256:" + "d" * 64
UID = "6f0c1d2e-0000-4000-8000-000000000001"
CASE = Path(__file__).parents[1] / "golden" / "trainingjob" / "completed-asks-for-a-version"
STEPS = [
    step("prepare", gives="data:dataset rows:integer")
    | {
        "run": {
            "image": "images/data:1",
            "command": ["python3", "prepare.py"],
            "env": [
                {"name": "MODE", "value": "full"},
                {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            ],
        },
        "inputs": [{"name": "raw", "uri": "pvc://noria-artifacts/data/raw"}, {"name": "seed", "parameter": "seed"}],
    },
    step("train", "data=prepare.data", train={"recipe": {"name": "classifier", "parameters": {"epochs": "3"}}})
    | {"foreach": {"items": ["0.1", "0.01"]}},
    step("best", "models=train.model", "metrics=train.metrics", gives="model:model accuracy:number"),
    step("ask", "accuracy=best.accuracy", approve={}),
    step("register", "model=best.model", "approved=ask.by", register={"model": "digits"}),
]
STEPS[1]["inputs"].append({"name": "learningRate", "item": True})


def told(kind: str, name: str, objects: Iterable[Manifest]) -> str:
    """The tree as text, digests by their first digits."""
    tree = text(followed(Ref(kind, "n", name), objects))
    return re.sub(r"(sha256:[0-9a-f]{6})[0-9a-f]+", r"\1", tree)


def followed(root: Ref, objects: Iterable[Manifest]) -> Node:
    """As the command does: what is asked for is read, until nothing is."""
    there = {Ref(each["kind"], "n", each["metadata"]["name"]): each for each in objects}
    known: dict[Ref, Manifest | None] = {root: there.get(root)}
    for _ in range(50):
        node, missing = trace(root, known)
        if not missing:
            return node
        assert not missing & known.keys(), "what is known is not asked for again"
        known |= {each: there.get(each) for each in missing}
    raise AssertionError("it never comes to an end")


def pipeline(*steps: Any) -> Manifest:
    parameters = [{"name": "seed", "type": "integer", "default": 7}]
    return {"kind": "Pipeline", "metadata": {"name": "p"}, "spec": {"parameters": parameters, "steps": list(steps)}}


def through(world: World) -> World:
    """To the end: every Job a success, every artifact as it was, and approved by ada."""
    world.settle()
    while True:
        if world.look_job():
            world.looked()
        elif names := sorted(world.active()):
            world.succeed(names[0], {"accuracy": 0.9})
        elif world.states().get("ask") == "Waiting":
            world.annotations |= {"noria.dev/approve": "ask", "noria.dev/by": "ada"}
            world.settle()
        else:
            return world


@cache
def runs() -> tuple[Manifest, Manifest, Manifest]:
    """A run, one after it whose last steps alone were changed, and the version that this one registered."""
    first = ended(through(World({"pipeline": "p"}, [pipeline(*STEPS)])), "first")
    changed = STEPS[2] | {"run": {"image": "images/best:2", "code": {"best.py": "..."}}}
    world = World({"pipeline": "p"}, [pipeline(STEPS[0], STEPS[1], changed, *STEPS[3:]), first])
    second = ended(through(world), "r") | {"metadata": {"name": "r", "namespace": "n", "uid": "12345678-0000"}}
    version = next(each for each in world.others if each["kind"] == "ModelVersion")
    return first, second, version


def endpoint(version: str, **status: Any) -> Manifest:
    """It serves a version that drift brought."""
    signal = {"name": "drift", "value": 0.31, "threshold": 0.2, "feature": "p0"}
    cycle = {
        "number": 2,
        "trigger": {"reason": "Signal", "signals": [signal]},
        "champion": "digits-0",
        "challenger": version,
        "trainingJob": "digits-retrain-2",
        "outcome": "Promoted",
        "startTime": "2026-11-24T11:30:00Z",
        "endTime": "2026-11-24T12:00:00Z",
    }
    current = {"version": version, "inferenceService": "i", "since": "2026-11-24T12:00:00Z"}
    return {
        "kind": "Endpoint",
        "metadata": {"name": "digits", "namespace": "n", "uid": "e"},
        "spec": {"model": {"name": "digits", "track": "Latest"}},
        "status": {"current": current, "history": [cycle]} | status,
    }


def training(name: str = "digits-retrain-2", uid: str = UID, reads: str = "data/new", **fields: Any) -> Manifest:
    spec = {
        "recipe": {"name": "classifier", "parameters": {"epochs": "5"}},
        "inputs": [{"name": "train", "uri": f"pvc://noria-artifacts/{reads}"}],
    }
    labels = {"noria.dev/owner-kind": "Endpoint", "noria.dev/owner-name": "digits", "noria.dev/owner-uid": "e"}
    metadata = {"name": name, "namespace": "n", "uid": uid, "labels": labels}
    return {"kind": "TrainingJob", "metadata": metadata, "spec": spec, **fields}


def made_version(name: str = "digits-13", uid: str = UID) -> Manifest:
    """As the plan of a TrainingJob makes it."""
    (wanted,) = yaml.safe_load((CASE / "plan.yaml").read_text())["creates"]
    lineage = wanted["spec"]["lineage"] | {"trainingJob": "digits-retrain-2", "uid": uid}
    made = wanted["spec"] | {"version": int(name.rpartition("-")[2]), "lineage": lineage}
    return wanted | {"metadata": wanted["metadata"] | {"name": name}, "spec": made}
