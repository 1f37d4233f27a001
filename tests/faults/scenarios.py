"""The stories that are disturbed: what users do in each, and by what it is known to have come to its end."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from noria.api.meta import API_VERSION
from noria.plan.contract import Manifest
from noria.plan.manifests import ARTIFACT_CLAIM, SERVICE_ACCOUNT

from .api import Api
from .player import DIGEST, Fate, fine


class Stage(NamedTuple):
    """Something that users do, and what must come of it."""

    act: Callable[[Api, str], Awaitable[Any]]
    until: Callable[[Api, str], Awaitable[bool]]


@dataclass(frozen=True)
class Scenario:
    """A story in one namespace; `everywhere`: the operator sees the whole cluster."""

    name: str
    stages: tuple[Stage, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    fate: Fate = fine
    everywhere: bool = False


def resource(kind: str, name: str, namespace: str | None, **spec: Any) -> Manifest:
    """An object of ours."""
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def training(namespace: str, **spec: Any) -> Manifest:
    """A TrainingJob that leaves a model."""
    return resource("TrainingJob", "train", namespace, image="x", command=["train"], output={"model": "digits"}, **spec)


def _plain(namespace: str) -> Manifest:
    return resource("TrainingJob", "train", namespace, image="x", command=["train"])


def version(namespace: str, number: int) -> Manifest:
    """A version that a user registers."""
    return resource(
        "ModelVersion",
        f"digits-{number}",
        namespace,
        model="digits",
        version=number,
        uri=f"pvc://{ARTIFACT_CLAIM}/given/{number}",
        digest=DIGEST,
        format="onnx",
    )


def create(*makes: Callable[[str], Manifest]) -> Callable[[Api, str], Awaitable[None]]:
    """Users make those of these objects that are not there."""

    async def act(api: Api, namespace: str) -> None:
        for make in makes:
            manifest = make(namespace)
            metadata = manifest["metadata"]
            if not await api.get(manifest["kind"], metadata.get("namespace"), metadata["name"]):
                await api.create(manifest)

    return act


def holds(kind: str, name: str, type: str, reason: str) -> Callable[[Api, str], Awaitable[bool]]:
    """Whether the object's condition is True for that reason."""

    async def until(api: Api, namespace: str) -> bool:
        live = await api.get(kind, namespace, name or namespace)
        conditions = (live or {}).get("status", {}).get("conditions", [])
        return any((each["type"], each["status"], each["reason"]) == (type, "True", reason) for each in conditions)

    return until


async def _delete_workspace(api: Api, namespace: str) -> None:
    if workspace := await api.get("Workspace", None, namespace):
        await api.delete(workspace)


async def _no_namespace(api: Api, namespace: str) -> bool:
    return await api.get("Namespace", None, namespace) is None


def serves(number: int) -> Callable[[Api, str], Awaitable[bool]]:
    async def until(api: Api, namespace: str) -> bool:
        live = await api.get("Endpoint", namespace, "digits")
        status = (live or {}).get("status", {})
        alone = len(await api.list("InferenceService", namespace)) == 1
        return (status.get("current") or {}).get("version") == f"digits-{number}" and alone

    return until


def _team(namespace: str) -> Manifest:
    members = [{"name": "ada"}, {"kind": "Group", "name": "readers", "role": "Viewer"}]
    return resource("Workspace", namespace, None, members=members, quota={"cpu": "4"}, deletionPolicy="Delete")


def _endpoint(namespace: str) -> Manifest:
    model = {"name": "digits", "track": "Latest"}
    return resource(
        "Endpoint", "digits", namespace, model=model, predictor={"replicas": 2}, rollout={"drainSeconds": 1}
    )


def pipeline(namespace: str) -> Manifest:
    prepare = {"name": "prepare", "run": {"image": "x"}, "outputs": [{"name": "data", "type": "dataset"}]}
    given = [{"name": "data", "from": "prepare.data"}]
    train = {"name": "train", "inputs": given, "train": {"image": "x", "command": ["train"]}}
    model = [{"name": "model", "from": "train.model"}]
    register = {"name": "register", "inputs": model, "register": {"model": "digits"}}
    return resource("Pipeline", "digits", namespace, steps=[prepare, train, register])


def _run(namespace: str) -> Manifest:
    return resource("PipelineRun", "first", namespace, pipeline="digits")


def _evicted_once(job: Manifest) -> str:
    return "EvictionByEvictionAPI" if job["metadata"]["name"] == "train-1" else "Succeeded"


GATEWAY = {"gatewayName": "noria", "gatewayNamespace": "noria-gateway"}
SCENARIOS = {
    each.name: each
    for each in (
        Scenario(
            "workspace",
            (
                Stage(create(_team), holds("Workspace", "", "Ready", "Provisioned")),
                Stage(_delete_workspace, _no_namespace),
            ),
            everywhere=True,
        ),
        Scenario("train", (Stage(create(training), holds("TrainingJob", "train", "Succeeded", "Completed")),)),
        Scenario(
            "resume",
            (Stage(create(training), holds("TrainingJob", "train", "Succeeded", "Completed")),),
            fate=_evicted_once,
        ),
        Scenario(
            "serve",
            (
                Stage(create(lambda namespace: version(namespace, 1), _endpoint), serves(1)),
                Stage(create(lambda namespace: version(namespace, 2)), serves(2)),
            ),
            settings=GATEWAY,
        ),
        Scenario(
            "pipeline",
            (Stage(create(pipeline, _run), holds("PipelineRun", "first", "Succeeded", "Completed")),),
        ),
    )
}
PLAIN = Scenario("plain", (Stage(create(_plain), holds("TrainingJob", "train", "Succeeded", "Completed")),))
"""What is counted beside Kubeflow Trainer (bench/trainings.py): a training that leaves no model."""

COUNTS = Path(__file__).parent / "counts.yaml"
WRITES: Mapping[str, int] = {name: yaml.safe_load(COUNTS.read_text())[name]["writes"] for name in SCENARIOS}
"""How many writes each takes, so that each can be harmed."""


async def prepared(api: Api, scenario: Scenario, namespace: str) -> None:
    """What an administrator did before, if it is not the operator that makes the namespace."""
    if not scenario.everywhere:
        await furnished(api, namespace)


async def furnished(api: Api, namespace: str) -> None:
    """A namespace, and the account of its pods."""
    await api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    account = {"metadata": {"name": SERVICE_ACCOUNT, "namespace": namespace}}
    await api.create({"apiVersion": "v1", "kind": "ServiceAccount"} | account)
