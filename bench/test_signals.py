"""1,000 Endpoints with 8 signals each on one operator: its CPU, its queries and its writes at rest; from a signal to a training.

`.venv/bin/python -m pytest -q -s -p tests.apiserver.conftest bench/test_signals.py`: a real etcd and API server, the operator as a process
of its own, and in the place of Prometheus a server whose answers move a little at every evaluation, as live traffic's do.
"""

import asyncio
import json
import os
import platform
import random
import statistics
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from noria.api import Endpoint, ModelVersion
from noria.plan.contract import KINDS, Settings
from noria.plan.wheel import serving
from noria.plan.wheel.serving import Share

ENDPOINTS, NAMESPACES, EVALUATION, REST_SECONDS, CROSSINGS = 1000, 20, 10, 120, 20
SIGNALS = [
    {"name": "drift", "type": "DataDrift", "threshold": 0.2},
    {"name": "predictions", "type": "PredictionDrift", "threshold": 0.2},
    {"name": "quality", "type": "DataQuality", "threshold": 0.05},
    {"name": "accuracy", "type": "Performance", "metric": "accuracy", "threshold": 0.8},
    {"name": "f1", "type": "Performance", "metric": "f1", "threshold": 0.8},
    {"name": "latency", "type": "Latency", "quantile": 0.99, "threshold": 0.5},
    {"name": "errors", "type": "ErrorRate", "threshold": 0.01},
    {"name": "age", "type": "Staleness", "threshold": 2592000},
]
USUAL = {"topk by": 0.04, "noria_prediction_baseline": 0.03, "noria_feedback_class": 0.93, "noria_feedback_total": 0.94}
SETTINGS = {"gatewayName": "noria", "gatewayNamespace": "noria-gateway", "servingRuntime": "noria-server"}


class Prometheus:
    """Rows for all Endpoints, a little other each time; one of them may drift."""

    def __init__(self, names: list[tuple[str, str]]) -> None:
        self.names, self.asked, self.random = names, 0, random.Random(0)
        self.drifting: set[tuple[str, str]] = set()
        self.told: dict[tuple[str, str], float] = {}

    def value(self, query: str, name: tuple[str, str]) -> float:
        if query.startswith("sum by") and "/" not in query and "histogram" not in query:
            return 500 + self.random.random() * 20
        if name in self.drifting and query.startswith("topk") and "noria_feature_total" in query:
            self.told.setdefault(name, time.time())
            return 0.9
        usual = next((value for mark, value in USUAL.items() if mark in query), 0.005)
        return usual * (1 + self.random.uniform(-0.05, 0.05))

    async def query(self, request: web.Request) -> web.Response:
        self.asked += 1
        query = str((await request.post())["query"])
        rows = [
            {
                "metric": {"namespace": namespace, "modelendpoint": name, "version": f"{name}-1", "feature": "p0"},
                "value": [0, str(self.value(query, (namespace, name)))],
            }
            for namespace, name in self.names
        ]
        return web.json_response({"status": "success", "data": {"resultType": "vector", "result": rows}})


@pytest.fixture
async def prometheus() -> AsyncIterator[tuple[Prometheus, str]]:
    names = [(f"bench-{number % NAMESPACES}", f"m{number}") for number in range(ENDPOINTS)]
    server, application = Prometheus(names), web.Application(client_max_size=1 << 22)
    application.add_routes([web.post("/api/v1/query", server.query)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield server, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def definition(kind: str) -> dict[str, Any]:
    """A CRD of somebody else's kind that takes everything."""
    of = KINDS[kind]
    group, version = of.api_version.split("/")
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    served = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}
    names = {"plural": of.plural, "kind": of.name}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [served]}
    annotations = {"api-approved.kubernetes.io": "unapproved, for a bench"}
    metadata = {"name": f"{of.plural}.{group}", "annotations": annotations}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": spec,
    }


async def served(cluster: Any, settings: Settings, namespace: str, name: str) -> None:
    """An Endpoint whose first version serves, and all that belongs to it, as the operator would have left it."""
    spec = {
        "model": name,
        "version": 1,
        "uri": f"pvc://noria-artifacts/jobs/{name}-00000001/attempt-1",
        "format": "onnx",
    }
    version = {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "ModelVersion",
        "metadata": {"name": f"{name}-1", "namespace": namespace},
    }
    version = ModelVersion.model_validate(await cluster.create(version | {"spec": spec}))
    retrain = {"signals": ["drift"], "template": {"recipe": {"name": "classifier"}}}
    turning = {"model": {"name": name, "track": "Latest"}, "monitoring": {"signals": SIGNALS}, "retrain": retrain}
    metadata = {"name": name, "namespace": namespace}
    made = await cluster.create(
        {"apiVersion": "noria.dev/v1alpha1", "kind": "Endpoint", "metadata": metadata, "spec": turning}
    )
    endpoint = Endpoint.model_validate(made)
    service = serving.service_name(endpoint, version)
    current = {"version": f"{name}-1", "inferenceService": service, "since": "2026-11-24T12:00:00Z"}
    status = {"current": current, "cycles": 1, "conditions": []}
    await cluster.apply_status(
        made
        | {"metadata": metadata | {"resourceVersion": made["metadata"]["resourceVersion"]}, "status": status}
        | {"spec": None}
    )
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    await cluster.create(serving.inference_service(endpoint, version, None, settings) | {"status": ready})
    held = [{"type": each, "status": "True", "observedGeneration": 1} for each in ("Accepted", "ResolvedRefs")]
    route = serving.route(endpoint, [Share(service, 1)], None, settings)
    await cluster.create({**(route or {}), "status": {"parents": [{"conditions": held}]}})


def cpu(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """MiB that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def requests(metrics: str) -> dict[str, float]:
    """The operator's requests to the API server by verb, leases left out."""
    found: dict[str, float] = {}
    for line in metrics.splitlines():
        if line.startswith("noria_api_requests_total{") and 'kind="Lease"' not in line:
            verb = line.partition('verb="')[2].partition('"')[0]
            found[verb] = found.get(verb, 0) + float(line.rpartition(" ")[2])
    return found


async def test_signals(
    cluster: Any,
    kubectl: Any,
    start: Callable[..., Any],
    eventually: Callable[..., Any],
    prometheus: tuple[Prometheus, str],
) -> None:
    server, url = prometheus
    for kind in ("InferenceService", "HTTPRoute"):
        assert kubectl("apply", "-f", "-", stdin=yaml.safe_dump(definition(kind))).returncode == 0
    kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    for number in range(NAMESPACES):
        kubectl("create", "namespace", f"bench-{number}")
    settings = Settings.model_validate({"agentImage": "a", "trainerImage": "t", "serverImage": "s", **SETTINGS})
    limit = asyncio.Semaphore(16)

    async def make(namespace: str, name: str) -> None:
        async with limit:
            await served(cluster, settings, namespace, name)

    await asyncio.gather(*(make(*each) for each in server.names))
    operator = start(prometheusUrl=url, evaluationSeconds=EVALUATION, **SETTINGS)
    await asyncio.to_thread(eventually, lambda: operator.leads() and server.asked > 3 * len(SIGNALS), 300)

    before, asked, began = requests(operator.get("/metrics")), server.asked, cpu(operator.process.pid)
    await asyncio.sleep(REST_SECONDS)
    used = cpu(operator.process.pid) - began
    after = requests(operator.get("/metrics"))
    rss, asked_a_round = memory(operator.process.pid), (server.asked - asked) / (REST_SECONDS / EVALUATION)

    waits, (_, since) = [], await cluster.list("TrainingJob")
    changes = cluster.watch("TrainingJob", None, since, 3600)
    for name in server.names[:CROSSINGS]:
        server.drifting = {name}
        async for type, job in changes:
            if type == "ADDED" and job["metadata"]["name"].startswith(f"{name[1]}-retrain-"):
                break
        waits.append(time.time() - server.told[name])
    print(f"\n{platform.node()}, {os.cpu_count()} cores, {ENDPOINTS} Endpoints with {len(SIGNALS)} signals each")
    print(
        f"evaluated every {EVALUATION} s, at rest for {REST_SECONDS} s: {used / REST_SECONDS:.3f} cores, {rss:.0f} MiB"
    )
    print(f"{asked_a_round:.1f} queries a round; requests in that time:")
    print(json.dumps({verb: after[verb] - before.get(verb, 0) for verb in after}))
    print(f"past the threshold -> TrainingJob, {CROSSINGS} times: median {statistics.median(waits) * 1000:.0f} ms")
    print(f"longest {max(waits) * 1000:.0f} ms")
