"""A world around one PipelineRun: what it plans is made, and its pods end as they are told to."""

import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from noria.api import PipelineRun
from noria.plan import contract, pipelinerun
from noria.plan.contract import Manifest, Observed, Plan, Settings
from noria.plan.manifests import rfc3339

BEGIN = datetime(2026, 11, 24, 12, tzinfo=UTC)
SETTINGS = Settings(agent_image="a", trainer_image="t", serving_runtime="s", server_image="v")
DIGEST = "sha256:" + "d" * 64


class World:
    """One run in namespace `n`; `others` are the objects beside it."""

    def __init__(self, spec: Manifest, others: Iterable[Manifest] = (), uid: str = "12345678-0000") -> None:
        self.uid = uid
        self.now, self.spec, self.status = BEGIN, spec, dict[str, Any]()
        self.annotations: dict[str, str] = {}
        self.others = [{"apiVersion": "noria.dev/v1alpha1", **each} for each in others]
        self.live: dict[tuple[str, str], Manifest] = {}
        self.pods: dict[str, Manifest] = {}
        """Of the Jobs that look."""
        self.made = Counter[str]()
        self.attempts = Counter[tuple[str, str, str]]()
        """Objects of each kind that were made for an attempt of a step or item, by whatever name."""
        self.events: list[str] = []
        self.gone = False

    def run(self) -> PipelineRun:
        metadata = {"name": "r", "namespace": "n", "uid": self.uid, "annotations": self.annotations}
        return PipelineRun.model_validate({"metadata": metadata, "spec": self.spec, "status": self.status})

    def observed(self) -> Observed:
        run = self.run()
        needs = pipelinerun.CONTROLLER.needs(run, SETTINGS)
        related: dict[Any, tuple[Manifest, ...]] = {}
        for each in needs.refs:
            known = (*self.others, *self.live.values())
            related[each] = tuple(
                one for one in known if one["kind"] == each.kind and one["metadata"]["name"] == each.name
            )
        for one in needs.selectors:
            related[one] = tuple(each for each in self.others if each["kind"] == one.kind)
        children = (*self.live.values(), *self.pods.values())
        return Observed(settings=SETTINGS, now=self.now, children=children, related=related)

    def plan(self) -> Plan:
        planned: Plan = pipelinerun.CONTROLLER.plan(self.run(), self.observed())
        return planned

    def look(self, written: bool = True) -> bool:
        """One reconciliation; whether it changed anything. Not `written`: the process died before the status was."""
        planned, changed = self.plan(), False
        while planned.creates:
            changed = True
            for each in planned.creates:
                if each["kind"] == "Pod":
                    self._make(each)
                else:
                    self.others.append(each)
            planned = self.plan()
        for each in planned.children:
            self._make(each)
        if not written:
            return True
        for each in planned.deletes:  # its containers end, and it goes
            del self.live[each["kind"], each["metadata"]["name"]]
            changed = True
        self.events += [f"{each.reason} {each.message}" for each in planned.events]
        self.gone = planned.delete_self
        status = planned.status.manifest()
        if status != self.status:
            self.status, changed = status, True
        elif planned.clear_annotations:
            self.annotations = {k: v for k, v in self.annotations.items() if k not in planned.clear_annotations}
            changed = True
        self.wait = planned.requeue_after
        return changed

    def _make(self, child: Manifest) -> None:
        assert child["kind"] in contract.KINDS
        key = (child["kind"], child["metadata"]["name"])
        if key not in self.live:
            self.made[key[1]] += 1
            self.attempts[child["kind"], named(child), child["metadata"]["labels"].get("noria.dev/attempt", "")] += 1
        born = {"uid": f"{key[1]}-{self.made[key[1]]}"}
        self.live[key] = self.live.get(key, {}) | child | {"metadata": child["metadata"] | born}

    def settle(self) -> "World":
        """Looks until nothing changes."""
        for _ in range(50):
            if not self.look():
                return self
        raise AssertionError("it never comes to rest")

    def later(self, seconds: float) -> "World":
        self.now += timedelta(seconds=seconds)
        return self.settle()

    def active(self) -> dict[str, Manifest]:
        """Pods and TrainingJobs that run, by step, or step[item]."""
        return {
            named(each): each
            for each in self.live.values()
            if named(each) and "status" not in each and not each["spec"].get("suspend")
        }

    def succeed(self, name: str, outputs: Manifest | None = None, look: bool = True) -> "World":
        """The pod of a step succeeds; values that are not given are made up."""
        live = self.active()[name]
        if live["kind"] == "TrainingJob":
            told = {
                "uri": "pvc://noria-artifacts/jobs/x/attempt-1",
                "digest": DIGEST,
                "format": "onnx",
                "image": "t@sha256:1",
            }
            live["status"] = {"metrics": {"accuracy": 0.9}, "output": told, "conditions": [self.condition("Succeeded")]}
            return self.settle() if look else self
        annotations = live["metadata"].get("annotations", {})
        order, message = json.loads(annotations.get("noria.dev/pod", "null")), None
        if "noria.dev/score" in annotations:
            message = json.dumps(outputs or scores(json.loads(annotations["noria.dev/score"])["models"]))
        elif order:
            made = {port: made_up(each["type"], (outputs or {}).get(port)) for port, each in order["outputs"].items()}
            message = json.dumps({"outputs": made, "inputs": dict.fromkeys(order["inputs"], DIGEST)})
        live["status"] = self._ended(live["spec"], 0, message)
        return self.settle() if look else self

    def look_job(self) -> Manifest | None:
        """The Job that looks whether what earlier runs made is still there."""
        found = [
            each for each in self.live.values() if each["kind"] == "Job" and named(each) == "" and "status" not in each
        ]
        return found[0] if found else None

    def looked(self, *changed: str) -> "World":
        """The look ends; the folders whose path holds one of `changed` are not as they were."""
        job = self.look_job()
        assert job is not None
        order = json.loads(job["spec"]["template"]["metadata"]["annotations"]["noria.dev/look"])
        checks = [check["path"] for each in order["steps"] for check in each["checks"]]
        wrong = [place for place, path in enumerate(checks) if any(part in path for part in changed)]
        ended = {"exitCode": 0, "message": json.dumps({"wrong": wrong})}
        status = {
            "phase": "Succeeded",
            "containerStatuses": [{"name": "agent", "state": {"terminated": ended}}],
        }
        name, labels = job["metadata"]["name"], job["spec"]["template"]["metadata"]["labels"]
        owner = {"kind": "Job", "name": name, "uid": job["metadata"]["uid"], "controller": True}
        metadata = {"name": name, "labels": labels, "ownerReferences": [owner]}
        self.pods[name] = {"kind": "Pod", "metadata": metadata, "status": status}
        job["status"] = {"conditions": [self.condition("Complete")], "completionTime": rfc3339(self.now)}
        return self.settle()

    def fail(self, name: str, code: int = 1, look: bool = True, **status: str) -> "World":
        """The pod of a step fails with an exit code."""
        live = self.active()[name]
        if live["kind"] == "TrainingJob":
            live["status"] = {"conditions": [self.condition("Succeeded", "False")]}
        else:
            live["status"] = self._ended(live["spec"], code, None) | status
        return self.settle() if look else self

    def lose(self, name: str) -> "World":
        """The pod of a step goes with its node."""
        live = self.active()[name]
        lost = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}
        live["status"] = self._ended(live["spec"], 137, None) | {"conditions": [lost]}
        return self.settle()

    def condition(self, type: str, status: str = "True", **more: str) -> Manifest:
        told = {"reason": "Done", "message": "over", "lastTransitionTime": rfc3339(self.now)} | more
        return {"type": type, "status": status, **told}

    def _ended(self, spec: Manifest, code: int, message: str | None) -> Manifest:
        main = {"exitCode": code, "reason": "Error" if code else "Completed", "message": "boom" if code else ""}
        container = spec["containers"][0]["name"]
        if container == "scorer" and message:
            main["message"] = message
        agent = {"exitCode": 0, "message": message or ""}
        return {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [{"name": container, "imageID": "x@sha256:1", "state": {"terminated": main}}],
            "initContainerStatuses": [{"name": "agent", "state": {"terminated": agent}}],
        }

    def states(self) -> dict[str, str]:
        return {each["name"]: each["state"] for each in self.status.get("steps", [])}

    def step(self, name: str) -> Manifest:
        found: Manifest = next(each for each in self.status["steps"] if each["name"] == name)
        return found

    def verdict(self) -> tuple[str, str]:
        (told,) = self.status["conditions"]
        return told["status"], told["reason"]


def named(child: Manifest) -> str:
    """The step, or step[item], that a child was made for."""
    labels = child["metadata"]["labels"]
    item = labels.get("noria.dev/item")
    return str(labels.get("noria.dev/step", "")) + (f"[{item}]" if item else "")


def scores(models: Iterable[str], **more: Any) -> Manifest:
    """A scorer's message: the challenger is better."""
    values = {"challenger": {"accuracy": 0.95, "f1": 0.9}, "champion": {"accuracy": 0.9, "f1": 0.9}}
    return {"samples": 720, "test": DIGEST, "scores": {role: values[role] for role in models}} | more


def made_up(type: str, value: Any) -> Manifest:
    defaults = {"string": "s", "integer": 1, "number": 0.5, "boolean": True, "json": [1, 2, 3]}
    if type in defaults:
        return {"value": defaults[type] if value is None else value}
    return {"digest": value or DIGEST, "files": 1, "bytes": 1} | ({"format": "onnx"} if type == "model" else {})


def step(name: str, *inputs: str, gives: str = "", **fields: Any) -> Manifest:
    """A run step; `inputs` as "name=step.port", `gives` as "port:type port:type"."""
    bound = [{"name": each.partition("=")[0], "from": each.partition("=")[2]} for each in inputs]
    ports = [{"name": each.partition(":")[0], "type": each.partition(":")[2]} for each in gives.split()]
    kinds = {"train", "evaluate", "approve", "register", "component", "deploy"}
    kind = {} if kinds & fields.keys() else {"run": {"image": "i"}}
    made = {"name": name, **kind, **({"inputs": bound} if bound else {}), **({"outputs": ports} if ports else {})}
    return made | fields


def inline(*steps: Manifest, **fields: Any) -> Manifest:
    """A run's spec with a pipeline of its own."""
    return {"inline": {"steps": list(steps), **fields}}


def ended(world: World, name: str) -> Manifest:
    """The run of a world that has ended, as an earlier one for another."""
    assert "completionTime" in world.status, world.status
    metadata = {"name": name, "namespace": "n", "uid": f"uid-of-{name}"}
    kind = {"apiVersion": "noria.dev/v1alpha1", "kind": "PipelineRun"}
    return {**kind, "metadata": metadata, "spec": world.spec, "status": world.status}
