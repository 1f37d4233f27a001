"""Endpoints with 8 signals each on one operator: its CPU, its queries and its writes at rest; from a signal to a training, and
from a rollout's last sample to its promotion.

`.venv/bin/python -m pytest -q -s -p tests.apiserver.conftest bench/test_signals.py`: a real etcd and API server, the operator as a process
of its own, and in the place of Prometheus a server whose answers move a little at every evaluation, as live traffic's do. There is no
gateway: routes count as accepted at once.
"""

import asyncio
import json
import os
import platform
import random
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from noria.api import Endpoint, ModelVersion
from noria.plan.contract import KINDS, Settings
from noria.plan.wheel import serving
from noria.plan.wheel.serving import Share

NAMESPACES, EVALUATION, REST_SECONDS, TIMES = 20, 10, 60, 10
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
ROLLOUT = {
    "steps": [{"weight": 20, "holdSeconds": 1}],
    "gates": [{"name": "errors", "type": "ErrorRate", "limit": 0.05, "windowSeconds": 5, "minSamples": 50}],
    "patienceSeconds": 600000,
}
USUAL = {"topk by": 0.04, "noria_prediction_baseline": 0.03, "noria_feedback_class": 0.93, "noria_feedback_total": 0.94}
SETTINGS = {"gatewayName": "noria", "gatewayNamespace": "noria-gateway", "servingRuntime": "noria-server"}


class Prometheus:
    """Rows for all Endpoints, a little other each time; one of them may drift, and of one a challenger gets its samples."""

    def __init__(self, names: list[tuple[str, str]]) -> None:
        self.names, self.asked, self.random = names, 0, random.Random(0)
        self.drifting: set[tuple[str, str]] = set()
        self.sampled: set[tuple[str, str]] = set()
        self.told: dict[tuple[str, str], float] = {}
        """When an answer first held what moves an Endpoint on."""

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
        if "[5s]" in query:  # what the gates of challengers ask
            counts = "/" not in query
            for namespace, name in self.sampled:
                labels = {"namespace": namespace, "modelendpoint": name, "version": f"{name}-2"}
                rows.append({"metric": labels, "value": [0, "500" if counts else "0.001"]})
                if counts:
                    self.told.setdefault((namespace, name), time.time())
        return web.json_response({"status": "success", "data": {"resultType": "vector", "result": rows}})


@asynccontextmanager
async def listening(server: Prometheus) -> AsyncIterator[str]:
    application = web.Application(client_max_size=1 << 22)
    application.add_routes([web.post("/api/v1/query", server.query)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
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


async def version_of(cluster: Any, namespace: str, name: str, number: int) -> ModelVersion:
    uri = f"pvc://noria-artifacts/jobs/{name}-0000000{number}/attempt-1"
    spec = {"model": name, "version": number, "uri": uri, "format": "onnx"}
    metadata = {"name": f"{name}-{number}", "namespace": namespace}
    made = {"apiVersion": "noria.dev/v1alpha1", "kind": "ModelVersion", "metadata": metadata, "spec": spec}
    return ModelVersion.model_validate(await cluster.create(made))


async def served(cluster: Any, settings: Settings, namespace: str, name: str, rolling: bool) -> None:
    """An Endpoint whose first version serves, and all that belongs to it, as the operator would have left it; while it is
    `rolling` out its second, which has a share of the traffic and no samples yet."""
    versions = [await version_of(cluster, namespace, name, number) for number in ((1, 2) if rolling else (1,))]
    retrain = {"signals": ["drift"], "template": {"recipe": {"name": "classifier"}}}
    turning = {"model": {"name": name, "track": "Latest"}, "monitoring": {"signals": SIGNALS}, "retrain": retrain}
    turning |= {"rollout": ROLLOUT} if rolling else {}
    metadata = {"name": name, "namespace": namespace}
    made = await cluster.create(
        {"apiVersion": "noria.dev/v1alpha1", "kind": "Endpoint", "metadata": metadata, "spec": turning}
    )
    endpoint = Endpoint.model_validate(made)
    since = "2026-11-24T12:00:00Z"
    services = [serving.service_name(endpoint, each) for each in versions]
    places = [
        {"version": each.metadata.name, "inferenceService": service, "since": since}
        for each, service in zip(versions, services, strict=True)
    ]
    status: dict[str, Any] = {"current": places[0], "cycles": 1, "conditions": []}
    if rolling:
        cycle = {"number": 1, "trigger": {"reason": "NewVersion"}, "champion": f"{name}-1", "challenger": f"{name}-2"}
        step = {"name": "Canary-20", "startTime": since}
        cycle |= {"stage": "Canary", "step": 0, "stageTime": since, "settledTime": since, "startTime": since}
        status |= {"next": places[1], "cycle": cycle | {"steps": [step]}}
    await cluster.replace_status(made | {"status": status})
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    for each in versions:
        await cluster.create(serving.inference_service(endpoint, each, None, settings) | {"status": ready})
    held = [{"type": each, "status": "True", "observedGeneration": 1000000} for each in ("Accepted", "ResolvedRefs")]
    shares = [Share(service, weight) for service, weight in zip(services, (80, 20) if rolling else (1,), strict=True)]
    route = serving.route(endpoint, shares, None, settings)
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


def at_rest(metrics: str) -> bool:
    """Whether every Endpoint has been looked at with its answers, and none waits for it."""
    lines = dict(line.rpartition(" ")[::2] for line in metrics.splitlines())
    done = float(lines.get('noria_reconciles_total{kind="Endpoint",result="ok"}', 0))
    held = float(lines.get('noria_store_objects{kind="Endpoint"}', 0))
    return done > 2 * held > 0 and float(lines["noria_queue_depth"]) == 0


def told(waits: list[float]) -> str:
    return f"{len(waits)} times: median {statistics.median(waits) * 1000:.0f} ms, longest {max(waits) * 1000:.0f} ms"


@pytest.mark.parametrize("endpoints", [10, 1000])
async def test_signals(
    endpoints: int, cluster: Any, kubectl: Any, start: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    for kind in ("InferenceService", "HTTPRoute"):
        assert kubectl("apply", "-f", "-", stdin=yaml.safe_dump(definition(kind))).returncode == 0
    kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    spaces = [f"bench-{endpoints}-{number}" for number in range(NAMESPACES)]
    for each in spaces:
        kubectl("create", "namespace", each)
    settings = Settings.model_validate({"agentImage": "a", "trainerImage": "t", "serverImage": "s", **SETTINGS})
    names = [(spaces[number % NAMESPACES], f"m{number}") for number in range(endpoints)]
    times = min(TIMES, endpoints // 2)
    drifting, rolling = names[:times], names[-times:]
    limit, server = asyncio.Semaphore(16), Prometheus(names)

    async def make(namespace: str, name: str) -> None:
        async with limit:
            await served(cluster, settings, namespace, name, (namespace, name) in rolling)

    await asyncio.gather(*(make(*each) for each in names))
    async with listening(server) as url:
        operator = start(lease_namespace=spaces[0], prometheusUrl=url, evaluationSeconds=EVALUATION, **SETTINGS)
        await asyncio.to_thread(eventually, lambda: operator.leads() and at_rest(operator.get("/metrics")), 300)

        before, asked, began = requests(operator.get("/metrics")), server.asked, cpu(operator.process.pid)
        await asyncio.sleep(REST_SECONDS)
        used = cpu(operator.process.pid) - began
        after = requests(operator.get("/metrics"))
        rss, asked_a_round = memory(operator.process.pid), (server.asked - asked) / (REST_SECONDS / EVALUATION)

        async def trained() -> AsyncIterator[float]:
            """Seconds from each value past its threshold to the training that it sets off."""
            changes = cluster.watch("TrainingJob", None, (await cluster.list("TrainingJob"))[1], 3600)
            for name in drifting:
                server.drifting = {name}
                async for type, job in changes:
                    if type == "ADDED" and job["metadata"]["name"].startswith(f"{name[1]}-retrain-"):
                        break
                yield time.time() - server.told[name]

        async def promoted() -> AsyncIterator[float]:
            """Seconds from each challenger's samples to its promotion."""
            changes = cluster.watch("Endpoint", None, (await cluster.list("Endpoint"))[1], 3600)
            for name in rolling:
                server.sampled.add(name)
                async for type, live in changes:
                    of_it = type == "MODIFIED" and live["metadata"]["name"] == name[1]
                    if of_it and live["status"]["current"]["version"] == f"{name[1]}-2":
                        break
                yield time.time() - server.told[name]

        async def all_of(waits: AsyncIterator[float]) -> list[float]:
            return [each async for each in waits]

        trainings, promotions = await asyncio.gather(all_of(trained()), all_of(promoted()))
    print(f"\n{platform.node()}, {os.cpu_count()} cores, {endpoints} Endpoints with {len(SIGNALS)} signals each")
    print(
        f"evaluated every {EVALUATION} s, at rest for {REST_SECONDS} s: {used / REST_SECONDS:.3f} cores, {rss:.0f} MiB"
    )
    print(f"{asked_a_round:.1f} queries a round; requests in that time:")
    print(json.dumps({verb: after[verb] - before.get(verb, 0) for verb in after}))
    print(f"past the threshold -> TrainingJob, {told(trainings)}")
    print(f"last needed sample -> promoted, {told(promotions)}")
