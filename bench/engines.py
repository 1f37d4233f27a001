"""The two that are measured: how each is installed and started, and how a pipeline of the same steps is written for it."""

import asyncio
import json
import sys
import urllib.request
from collections.abc import Iterable
from typing import Any

import aiohttp
import yaml
from local import ROOT, until
from plane import QPS, Plane, Process, built, flags, free_ports, module

Manifest = dict[str, Any]
IMAGE, COMMAND, NAMESPACE = "step:1", ["true"], "bench"
RESOURCES = {"cpu": "10m", "memory": "16Mi"}


class Noria:
    """The operator as its own process, as the image starts it."""

    name, plural = "Noria", "apis/noria.dev/v1alpha1/namespaces/bench/pipelineruns"

    def start(self, plane: Plane) -> Process:
        plane.define(ROOT / "crds")
        process, port = self.launch(plane)
        until(lambda: process.alive() or says(port, "noria_leader 1.0"), "the operator leads", 60)
        return process

    def launch(self, plane: Plane) -> tuple[Process, int]:
        """One more process of it, and the port of its metrics; it may lead or stand by."""
        settings = {"agentImage": "a", "trainerImage": "t", "serverImage": "s", "servingRuntime": "r"}
        (config := plane.folder / "noria.yaml").write_text(yaml.safe_dump(settings))
        port = free_ports(1)[0]
        environment = {
            "KUBECONFIG": str(plane.kubeconfig("engine")),
            "POD_NAME": "noria",
            "POD_NAMESPACE": NAMESPACE,
            "PYTHONPATH": str(ROOT / "operator"),
        }
        command = [sys.executable, "-m", "noria", "run", f"--config={config}", f"--port={port}"]
        return plane.start(
            "engine" if "engine" not in plane.processes else f"engine-{port}", *command, env=environment
        ), port

    def written(self, name: str, width: int, depth: int) -> Manifest:
        """`width` chains of `depth` steps in one pipeline; step n is after step n - width."""
        run = {"image": IMAGE, "command": COMMAND, "resources": RESOURCES}
        steps = [
            {"name": f"s{n}", "run": run} | ({"after": [f"s{n - width}"]} if n >= width else {})
            for n in range(width * depth)
        ]
        metadata = {"name": name, "namespace": NAMESPACE}
        spec = {"inline": {"steps": steps}}
        return {"apiVersion": "noria.dev/v1alpha1", "kind": "PipelineRun", "metadata": metadata, "spec": spec}

    def over(self, live: Manifest) -> bool:
        """Whether it has ended; raises if it did not succeed."""
        said = {each["type"]: each for each in live.get("status", {}).get("conditions", [])}.get("Succeeded", {})
        if said.get("status") == "False":
            raise RuntimeError(said["message"])
        return said.get("status") == "True"

    def step(self, pod: Manifest) -> tuple[str, int] | None:
        """Pipeline and number of the step that a pod runs."""
        labels = pod["metadata"].get("labels") or {}
        return (
            (labels["noria.dev/owner-name"], int(labels["noria.dev/step"][1:])) if "noria.dev/step" in labels else None
        )

    async def accompany(self, plane: Plane) -> None:
        """Nothing is missing on nodes without containers: these steps have no outputs, so no agent would speak."""


class Argo:
    """The workflow controller, tuned: no throttle, no Events of nodes, no leases, logs of warnings, and the shortest requeue
    time that its source advises (the default is 10 s, by which it also waits after the end of a pod)."""

    name, plural = "Argo Workflows", "apis/argoproj.io/v1alpha1/namespaces/bench/workflows"
    requeue = "1s"

    def start(self, plane: Plane) -> Process:
        manifests = module("argo", "github.com/argoproj/argo-workflows/v3") / "manifests/base/crds/minimal"
        plane.define(*manifests.glob("argoproj.io_*.yaml"))
        port = free_ports(1)[0]
        config = {"nodeEvents": {"enabled": False}, "metricsConfig": {"port": port, "secure": False}}
        metadata = {"name": "workflow-controller-configmap", "namespace": NAMESPACE}
        data = {key: json.dumps(value) for key, value in config.items()}
        plane.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
        program = built("argo", "github.com/argoproj/argo-workflows/v3/cmd/workflow-controller")
        words = flags(
            kubeconfig=plane.kubeconfig("engine"),
            executor_image="executor:1",
            loglevel="warn",
            qps=QPS["kube-api-qps"],
            burst=QPS["kube-api-burst"],
            pod_cleanup_workers=32,
        )
        environment = {"LEADER_ELECTION_DISABLE": "true", "DEFAULT_REQUEUE_TIME": self.requeue}
        process = plane.start("engine", program, *words, env=environment)
        until(lambda: process.alive() or says(port, "argo_workflows"), "the controller works", 60)
        return process

    def written(self, name: str, width: int, depth: int) -> Manifest:
        """The same as a DAG of one template."""
        tasks = [
            {"name": f"s{n}", "template": "step"} | ({"dependencies": [f"s{n - width}"]} if n >= width else {})
            for n in range(width * depth)
        ]
        resources = {"requests": RESOURCES, "limits": RESOURCES}
        step = {"name": "step", "container": {"image": IMAGE, "command": COMMAND, "resources": resources}}
        spec = {"entrypoint": "main", "templates": [{"name": "main", "dag": {"tasks": tasks}}, step]}
        metadata = {"name": name, "namespace": NAMESPACE}
        return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": metadata, "spec": spec}

    def over(self, live: Manifest) -> bool:
        """Whether it has ended; raises if it did not succeed."""
        phase = live.get("status", {}).get("phase")
        if phase in ("Failed", "Error"):
            raise RuntimeError(live["status"].get("message"))
        return phase == "Succeeded"

    def step(self, pod: Manifest) -> tuple[str, int] | None:
        """Pipeline and number of the step that a pod runs."""
        name = (pod["metadata"].get("annotations") or {}).get("workflows.argoproj.io/node-name")
        workflow, _, step = (name or "").rpartition(".")
        return (workflow, int(step[1:])) if workflow else None

    async def accompany(self, plane: Plane) -> None:
        """Plays the executor, which no node runs here: a WorkflowTaskResult for each pod as soon as the pod is there. The real
        one writes it when its pod starts and again when the step has ended, before the pod ends."""
        pods, results = f"/api/v1/namespaces/{NAMESPACE}/pods", self.plural.replace("workflows", "workflowtaskresults")
        timeout = aiohttp.ClientTimeout(total=None)
        async with plane.session("executor") as session, asyncio.TaskGroup() as tasks:
            query = {"watch": "true", "labelSelector": "workflows.argoproj.io/workflow"}
            async with session.get(pods, params=query, timeout=timeout, read_bufsize=1 << 20) as changes:
                async for line in changes.content:
                    if (change := json.loads(line))["type"] == "ADDED":
                        result = _result(change["object"])
                        tasks.create_task(_post(session, f"/{results}", result))


Engine = Noria | Argo


def _result(pod: Manifest) -> Manifest:
    """What the executor tells of a step without outputs."""
    workflow = pod["metadata"]["labels"]["workflows.argoproj.io/workflow"]
    labels = {"workflows.argoproj.io/workflow": workflow, "workflows.argoproj.io/report-outputs-completed": "true"}
    name = pod["metadata"]["annotations"]["workflows.argoproj.io/node-id"]
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "WorkflowTaskResult", "metadata": metadata}


async def _post(session: aiohttp.ClientSession, path: str, manifest: Manifest) -> None:
    async with session.post(path, json=manifest) as answer:
        await answer.read()


async def submit(session: aiohttp.ClientSession, path: str, manifests: Iterable[Manifest], rate: float) -> None:
    """Creates them, `rate` a second (0: all at once)."""
    async with asyncio.TaskGroup() as tasks:
        for manifest in manifests:
            tasks.create_task(_post(session, f"/{path}", manifest))
            await asyncio.sleep(1 / rate if rate else 0)


def says(port: int, word: str, page: str = "metrics") -> bool:
    """Whether a page on loopback holds the word; not while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=2) as answer:
            return word in answer.read().decode()
    except OSError:
        return False
