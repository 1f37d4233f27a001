"""Secrets in what users write reach no status, event, log, argument or metric, also where the operator has something to complain about."""

from pathlib import Path

from ..apiserver.conftest import ControlPlane
from ..faults.scenarios import Scenario, resource, serves
from ..faults.stage import Play, playing
from .conftest import OPERATOR, Install
from .planted import LITERAL, PARAMETER, SECRET, Manifest, found, leaked, variables

CONTAINER = {"image": "x", "env": variables()}
KINDS = (
    "TrainingJob",
    "ModelVersion",
    "Endpoint",
    "Component",
    "Pipeline",
    "PipelineRun",
    "Job",
    "Pod",
    "ConfigMap",
    "Service",
    "InferenceService",
    "Event",
)


def training(namespace: str, name: str, **spec: object) -> Manifest:
    """A TrainingJob whose variables hold secrets."""
    return resource("TrainingJob", name, namespace, **CONTAINER, command=["true"], **spec)


def run(namespace: str, name: str, type: str = "string", **step: object) -> Manifest:
    """A run that is given a token as a parameter of a type, and gives it to a step and to a training."""
    given = [{"name": "token", "parameter": "token"}]
    steps = [
        {"name": "use", "inputs": given, "run": CONTAINER, "outputs": [{"name": "data", "type": "dataset"}], **step},
        {"name": "train", "inputs": [*given, {"name": "d", "from": "use.data"}], "train": CONTAINER},
        {"name": "keep", "inputs": [{"name": "model", "from": "train.model"}], "register": {"model": "kept"}},
    ]
    inline = {"parameters": [{"name": "token", "type": type}], "steps": steps}
    value = {"a": PARAMETER} if type == "json" else PARAMETER
    parameters = [{"name": "token", "value": value}]
    return resource("PipelineRun", name, namespace, inline=inline, parameters=parameters)


async def ended(play: Play, manifest: Manifest) -> Manifest:
    """The object once it has a last word, or one that somebody must act on."""
    told: list[Manifest] = []

    async def look() -> bool:
        live = await play.api.get(manifest["kind"], play.namespace, manifest["metadata"]["name"])
        told[:] = [each for each in (live or {}).get("status", {}).get("conditions", []) if each["type"] == "Succeeded"]
        return bool(told) and (told[0]["status"] != "Unknown" or told[0]["reason"] == "Invalid")

    await play.until(look)
    return told[0]


async def test_no_secret_leaves_where_it_was_put(plane: ControlPlane, install: Install, tmp_path: Path) -> None:
    install()
    async with playing(plane, Scenario("planted", ()), tmp_path, user=OPERATOR) as play:
        api, name = play.api, play.namespace
        pods = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "planted", "namespace": name}}
        await api.send("POST", f"/api/v1/namespaces/{name}/secrets", pods | {"stringData": {"token": SECRET}})
        good = await api.create(training(name, "good", output={"model": "digits"}))
        nowhere = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}
        bad = await api.create(training(name, "bad", placement={"affinity": nowhere}))
        runs = {
            "3 steps": run(name, "good"),
            "it is of type string, not integer": run(name, "typed", "integer"),
            "Key not found in map": run(name, "missing", when="{'a': true}[inputs.token]"),
            "it gave STRING, not true or false": run(name, "dynamic", "json", when="inputs.token.a"),
        }
        for each in runs.values():
            await api.create(each)
        again = {"signals": ["errors"], "template": CONTAINER | {"command": ["true"]}}
        watched = {"signals": [{"name": "errors", "type": "ErrorRate", "threshold": 0.5}]}
        spec: Manifest = {"model": {"name": "digits", "track": "Latest"}, "retrain": again, "monitoring": watched}
        endpoint = await api.create(resource("Endpoint", "digits", name, **spec))
        assert (await ended(play, good))["reason"] == "Completed"
        assert "nodeSelectorTerms" in (await ended(play, bad))["message"]
        told = {words: (await ended(play, each))["message"] for words, each in runs.items()}
        await play.until(lambda: serves(1)(api, name))
        asked = {"noria.dev/retrain": "now", "noria.dev/by": "admin"}
        await api.patch(endpoint, {"metadata": {"annotations": asked}})
        await play.until(lambda: serves(2)(api, name))
        objects = [each for kind in KINDS for each in await api.list(kind, name)]
        events = await api.list("Event", name)
        async with play.metrics.get(f"http://127.0.0.1:{play.operator.port}/metrics") as answer:
            logged = await answer.text() + play.operator.words()
    assert all(words in message for words, message in told.items()), told
    assert {"bad", "typed", "digits"} <= {each["involvedObject"]["name"] for each in events}
    assert [path for path in found(objects, LITERAL) if path.startswith("Pod.spec.containers")]
    assert [path for path in found(objects, PARAMETER) if path.startswith("PipelineRun.status.frozen.parameters")]
    assert leaked(objects) == []
    assert [value for value in (SECRET, LITERAL, PARAMETER) if value in logged] == []
