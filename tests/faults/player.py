"""Plays whom a bare API server lacks: Job controller, kubelet, garbage collector, KServe and the gateway, one small step
of each at a time and always the same for the same objects."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from noria.plan.contract import Manifest
from noria.plan.manifests import rfc3339
from noria.plan.training import AGENT, INDEX_ANNOTATION, ROLE

from .api import Api, path

DIGEST = "sha256:" + "b" * 64
CHILDREN = (
    "Pod",
    "Job",
    "TrainingJob",
    "ConfigMap",
    "Service",
    "InferenceService",
    "PodDisruptionBudget",
    "HTTPRoute",
    "RoleBinding",
    "LimitRange",
    "ResourceQuota",
    "NetworkPolicy",
    "ServiceAccount",
    "PersistentVolumeClaim",
)
Fate = Callable[[Manifest], str]
"""What becomes of the pods of a Job, or of a step's pod: Succeeded, Running for ever, or the reason of its disruption."""


def fine(made: Manifest) -> str:
    """Every pod does what it should."""
    return "Succeeded"


class Player:
    """One namespace of the cluster, and what belongs to it."""

    def __init__(self, api: Api, namespace: str, fate: Fate = fine) -> None:
        self.api, self.namespace, self.fate = api, namespace, fate

    async def step(self) -> bool:
        """Whether anything was left to do; then one step of it is done."""
        if await self._collect():  # at first: a pod of a Job that is gone has the name that the next one's pod needs
            return True
        return any([await self._jobs(), await self._steps(), await self._serving(), await self._storage()])

    async def _jobs(self) -> bool:
        acted = False
        for job in await self.api.list("Job", self.namespace):
            if _ended(job) or job["spec"].get("suspend"):
                continue
            pods = [each for each in await self.api.list("Pod", self.namespace) if _owned(each, job)]
            if pods and self.fate(job) == "Running":
                continue
            acted = True
            if not pods:
                for index in range(job["spec"].get("completions", 1)):
                    await self._run(job, index)
                # Once: a startTime of another second would be refused.
                await self.api.status(job, {"active": job["spec"].get("completions", 1), "startTime": _now()})
            elif all(each["status"]["phase"] == "Running" for each in pods):
                for each in pods:
                    await self._end(each, self.fate(job))
            else:
                await self._finish(job, pods)
        return acted

    async def _steps(self) -> bool:
        """The pods that belong to no Job start, and end as their fate is."""
        acted = False
        for pod in await self.api.list("Pod", self.namespace):
            phase, owners = pod["status"]["phase"], pod["metadata"].get("ownerReferences", [])
            if any(each["kind"] == "Job" for each in owners) or phase not in ("Pending", "Running"):
                continue
            if phase == "Pending":
                await self.api.status(pod, {"phase": "Running", "startTime": _now()})
            elif self.fate(pod) == "Running":
                continue
            else:
                await self._end(pod, self.fate(pod))
            acted = True
        return acted

    async def _run(self, job: Manifest, index: int) -> None:
        """A pod of the Job that runs."""
        template, metadata = job["spec"]["template"], job["metadata"]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}
        marks = {INDEX_ANNOTATION: str(index)} if job["spec"].get("completionMode") == "Indexed" else {}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{metadata['name']}-{index}",
                "namespace": self.namespace,
                "labels": template["metadata"]["labels"],
                "annotations": template["metadata"].get("annotations", {}) | marks,
                "ownerReferences": [owner | {"controller": True}],
            },
            "spec": template["spec"],
        }
        made = await self.api.create(pod)
        await self.api.status(made, {"phase": "Running", "startTime": _now()})

    async def _end(self, pod: Manifest, fate: str) -> None:
        """The pod's containers end."""
        ended = {"reason": "Completed", "exitCode": 0, "startedAt": _now(), "finishedAt": _now()}
        status: Manifest = {"phase": "Succeeded"}
        if fate != "Succeeded":
            ended |= {"reason": "Error", "exitCode": 143}
            disruption = {"type": "DisruptionTarget", "status": "True", "reason": fate, "lastTransitionTime": _now()}
            status = {"phase": "Failed", "conditions": [disruption]}
        for kind in ("container", "initContainer"):
            told = [
                _container(each["name"], ended | _message(pod, each["name"], fate))
                for each in pod["spec"].get(f"{kind}s", [])
            ]
            status[f"{kind}Statuses"] = told
        await self.api.status(pod, status)

    async def _finish(self, job: Manifest, pods: list[Manifest]) -> None:
        """The Job follows from its pods."""
        now, over = _now(), {"active": 0, "ready": 0, "uncountedTerminatedPods": {}}
        if all(each["status"]["phase"] == "Succeeded" for each in pods):
            held = [("SuccessCriteriaMet", "CompletionsReached"), ("Complete", "CompletionsReached")]
            over |= {"succeeded": len(pods), "completionTime": now}
            if job["spec"].get("completionMode") == "Indexed":
                over["completedIndexes"] = "0" if len(pods) == 1 else f"0-{len(pods) - 1}"
        else:
            held = [("FailureTarget", "BackoffLimitExceeded"), ("Failed", "BackoffLimitExceeded")]
            over["failed"] = len(pods)
        over["conditions"] = [
            {
                "type": type,
                "status": "True",
                "reason": reason,
                "message": "",
                "lastTransitionTime": now,
                "lastProbeTime": now,
            }
            for type, reason in held
        ]
        await self.api.status(job, over)

    async def _serving(self) -> bool:
        """KServe calls each InferenceService ready; the gateway accepts each route."""
        acted = False
        for each in await self.api.list("InferenceService", self.namespace):
            if not each.get("status"):
                ready = [{"type": type, "status": "True"} for type in ("PredictorReady", "Ready")]
                await self.api.status(each, {"conditions": ready})
                acted = True
        for each in await self.api.list("HTTPRoute", self.namespace):
            generation = each["metadata"]["generation"]
            held = [
                {"type": type, "status": "True", "observedGeneration": generation}
                for type in ("Accepted", "ResolvedRefs")
            ]
            accepted = {"parents": [{"conditions": held}]}
            if each.get("status") != accepted:
                await self.api.status(each, accepted)
                acted = True
        return acted

    async def _storage(self) -> bool:
        acted = False
        for each in await self.api.list("PersistentVolumeClaim", self.namespace):
            if each["status"].get("phase") != "Bound" and "deletionTimestamp" not in each["metadata"]:
                await self.api.status(each, {"phase": "Bound", "capacity": each["spec"]["resources"]["requests"]})
                acted = True
        return acted

    async def _collect(self) -> bool:
        """The garbage collector, and the end of a namespace."""
        namespace = await self.api.get("Namespace", None, self.namespace)
        if namespace is None:
            return False
        going = "deletionTimestamp" in namespace["metadata"]
        children = [each for kind in CHILDREN for each in await self.api.list(kind, self.namespace)]
        # Listed after their children: an owner that is made meanwhile is there, and one that is not there is gone.
        alive = {each["metadata"]["uid"] for each in await self._owners()}
        acted = False
        for each in children:
            references = each["metadata"].get("ownerReferences", [])
            if going or (references and not any(one["uid"] in alive for one in references)):
                await self._remove(each)
                acted = True
        owners = namespace["metadata"].get("ownerReferences", [])
        if owners and not going and not any(one["uid"] in alive for one in owners):
            await self.api.delete(namespace)
            return True
        if going and not acted:
            await self.api.send("PUT", path("Namespace", None, self.namespace) + "/finalize", namespace | {"spec": {}})
            return True
        return acted

    async def _owners(self) -> list[Manifest]:
        kinds = ("Workspace", "TrainingJob", "Endpoint", "PipelineRun", "Job", "Namespace")
        return [each for kind in kinds for each in await self.api.list(kind, self.namespace)]

    async def _remove(self, manifest: Manifest) -> None:
        if manifest["metadata"].get("finalizers"):
            await self.api.patch(manifest, {"metadata": {"finalizers": None}})
        await self.api.delete(manifest)


def _now() -> str:
    return rfc3339(datetime.now(UTC))


def _ended(job: Manifest) -> bool:
    return any(each["type"] in ("Complete", "Failed") for each in job.get("status", {}).get("conditions", []))


def _owned(pod: Manifest, job: Manifest) -> bool:
    return any(each["uid"] == job["metadata"]["uid"] for each in pod["metadata"].get("ownerReferences", []))


def _container(name: str, ended: Manifest) -> Manifest:
    state = {"terminated": ended}
    return {"name": name, "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": state}


def _message(pod: Manifest, container: str, fate: str) -> dict[str, str]:
    """What the agent tells at the end, if it is the agent and all went well."""
    if container != AGENT or fate != "Succeeded":
        return {}
    metadata = pod["metadata"]
    if metadata["labels"].get(ROLE) != "step":
        told: Any = {"digest": DIGEST, "files": 1, "bytes": 5, "format": "onnx", "wrong": []}
        return {"message": json.dumps(told)}
    outputs = json.loads(metadata["annotations"]["noria.dev/pod"])["outputs"]
    given = {name: _output(each["type"]) for name, each in outputs.items()}
    return {"message": json.dumps({"outputs": given, "inputs": {}})}


def _output(type: str) -> Manifest:
    values = {"string": "a", "integer": 7, "number": 0.5, "boolean": True, "json": []}
    if type in values:
        return {"value": values[type]}
    return {"digest": DIGEST} | ({"format": "onnx"} if type == "model" else {})
