"""What comes of an object where nothing refuses it: all that the plans make, from its first look until its pods have ended."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from runs import World

from noria.api import Component, Endpoint, ModelVersion, PipelineRun, TrainingJob
from noria.plan import endpoint, pipelinerun, trainingjob
from noria.plan.contract import Manifest, Needs, Observed, Query, Selector, Settings
from noria.plan.wheel import serving

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
THEN = "2026-11-24T11:00:00Z"
SETTINGS = Settings(
    agent_image="agent:1",
    trainer_image="trainer:1",
    serving_runtime="noria-server",
    server_image="server:1",
    gateway_name="noria",
    gateway_namespace="gateway",
    gateway_mirrors=True,
    prometheus_url="http://prometheus",
)
UID = "00000000-0000-4000-8000-000000000001"
DIGEST = "sha256:" + "d" * 64
Made = Iterator[tuple[Manifest, Manifest | Query]]
"""Each child, or question to Prometheus, with the object that it is made for."""


def made(manifest: Manifest) -> Made:
    """All that an object comes to. Raises ValidationError where it cannot even be read, which its status tells."""
    metadata = {"uid": UID, **manifest["metadata"]}
    yield from MAKERS[manifest["kind"]](manifest | {"metadata": metadata})


def _trainingjob(job: Manifest) -> Made:
    observed = Observed(settings=SETTINGS, now=NOW)
    for child in trainingjob.plan(TrainingJob.model_validate(job), observed).children:
        yield job, child


def _endpoint(written: Manifest, version: Manifest | None = None) -> Made:
    """At its first look; and in each stage in which it makes something."""
    model = Endpoint.model_validate(written).spec.model.name
    versions = tuple(version or _version(model, number) for number in (1, 2))
    for status in ({}, *_stages(written, versions)):
        resource = Endpoint.model_validate(written | {"status": status})
        needs = endpoint.needs(resource, SETTINGS)
        yield from ((written, query) for query in needs.queries)
        for child in endpoint.plan(resource, _seen(needs, versions)).children:
            yield written, child
            yield from _grandchildren(child)


def _stages(written: Manifest, versions: tuple[Manifest, ...]) -> Iterator[Manifest]:
    names = [each["metadata"]["name"] for each in versions]
    services = [
        serving.service_name(Endpoint.model_validate(written), ModelVersion.model_validate(each)) for each in versions
    ]
    current, following = (
        {"version": name, "inferenceService": service, "since": THEN}
        for name, service in zip(names, services, strict=True)
    )
    uris = (each.get("uri") for each in written["spec"].get("monitoring", {}).get("signals", ()))
    probes = [
        {"uri": uri, "input": "data", "number": number, "state": "Running"} for number, uri in enumerate(uris, 1) if uri
    ]
    cycle = {"number": 1, "trigger": {"reason": "Manual"}, "champion": names[0], "startTime": THEN, "stageTime": THEN}
    yield {"current": current, "probes": probes}
    yield {"current": current, "cycle": cycle | {"stage": "Training"}, "cycles": 1}
    challenger = cycle | {"challenger": names[1]}
    for stage in ("Scoring", "Starting", "Mirroring", "Canary"):
        with_next = {"next": following} if stage != "Scoring" else {}
        yield {"current": current, "cycle": challenger | {"stage": stage, "step": 0}, "cycles": 1, **with_next}


def _version(model: str, number: int) -> Manifest:
    lineage = {"uid": "u", "attempt": 1, "image": "i", "inputs": []}
    spec = {"model": model, "version": number, "uri": f"pvc://noria-artifacts/{number}", "format": "onnx"}
    metadata = {"name": f"{model}-{number}", "uid": f"version-{number}"}
    return {"kind": "ModelVersion", "metadata": metadata, "spec": spec | {"digest": DIGEST, "lineage": lineage}}


def _seen(needs: Needs, versions: tuple[Manifest, ...]) -> Observed:
    related = {each: versions for each in needs.selectors if isinstance(each, Selector) and each.kind == "ModelVersion"}
    return Observed(settings=SETTINGS, now=NOW, related=dict(related))


def _modelversion(version: Manifest) -> Made:
    """An Endpoint serves it, and its gate scores it."""
    model = ModelVersion.model_validate(version).spec.model
    gate = {"test": "pvc://noria-artifacts/held-out", "metrics": [{"name": "accuracy"}]}
    metadata = {"name": "e", "namespace": version["metadata"]["namespace"], "uid": UID}
    spec = {"model": {"name": model, "track": "Latest"}, "gate": gate}
    yield from _endpoint({"kind": "Endpoint", "metadata": metadata, "spec": spec}, version)


def _component(component: Manifest) -> Made:
    """A pipeline of one step that gives it a value for all that it takes."""
    inputs = [
        {"name": each.name, "value": "$(HOME); {{x}}"}
        for each in Component.model_validate(component).spec.inputs
        if each.default is None
    ]
    step = {"name": "s", "component": component["metadata"]["name"], "inputs": inputs}
    yield from _run(component["metadata"], {"inline": {"steps": [step]}}, component)


def _pipeline(pipeline: Manifest) -> Made:
    yield from _run(pipeline["metadata"], {"pipeline": pipeline["metadata"]["name"]}, pipeline)


def _pipelinerun(run: Manifest) -> Made:
    yield from _run(run["metadata"], run["spec"], None)


class _Attacked(World):
    """A run under its own metadata."""

    def __init__(self, metadata: Manifest, spec: Manifest, others: tuple[Manifest, ...]) -> None:
        super().__init__(spec, others, uid=UID)
        self.metadata = metadata

    def run(self) -> PipelineRun:
        return PipelineRun.model_validate({"metadata": self.metadata, "spec": self.spec, "status": self.status})


def _run(metadata: Manifest, spec: Manifest, beside: Manifest | None) -> Made:
    """Every step runs and succeeds."""
    owner = {"kind": "PipelineRun", "metadata": {**metadata, "uid": UID}, "spec": spec}
    world = _Attacked(owner["metadata"], spec, (beside,) if beside else ())
    world.settle()
    while active := world.active():
        world.succeed(min(active))
    needs = pipelinerun.needs(world.run(), SETTINGS)
    yield from ((owner, query) for query in needs.queries)
    registered = (each for each in world.others if each["kind"] == "ModelVersion")
    for child in (*world.live.values(), *registered):
        yield owner, child
        yield from _grandchildren(child)


def _grandchildren(child: Manifest) -> Made:
    if child["kind"] == "TrainingJob":
        metadata: dict[str, Any] = child["metadata"] | {"uid": f"{UID[:-1]}2"}
        yield from _trainingjob(child | {"metadata": metadata})


MAKERS = {
    "TrainingJob": _trainingjob,
    "Endpoint": _endpoint,
    "ModelVersion": _modelversion,
    "Component": _component,
    "Pipeline": _pipeline,
    "PipelineRun": _pipelinerun,
}
