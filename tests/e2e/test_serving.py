"""Endpoints on the real cluster: three formats, a change of version under load, a corrupted artifact, what clients do wrong."""

import concurrent.futures
import http.client
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from .conftest import Kubectl, condition, endpoint, finished, says, training, until

RECIPES: dict[str, tuple[str, dict[str, str], str]] = {
    "torch-export": ("classifier", {"epochs": "3"}, "iris"),
    "onnx": ("sklearn", {}, "iris"),
    "safetensors": ("text-classifier", {"epochs": "1"}, "docstrings"),
}
FLOWER = [5.1, 3.5, 1.4, 0.2]
SMALL = {"cpu": "500m", "memory": "1Gi"}


def train(
    kubectl: Kubectl,
    workspace: str,
    model: str,
    recipe: str,
    parameters: dict[str, str],
    data: str,
    job: str | None = None,
) -> dict[str, Any]:
    spec = {
        "recipe": {"name": recipe, "parameters": parameters},
        "inputs": [{"name": "train", "uri": f"pvc://noria-artifacts/data/{data}"}],
        "resources": {"cpu": "1", "memory": "2Gi"},
        "output": {"model": model},
    }
    kubectl.apply(training(job or model, workspace, **spec))
    ended = finished(kubectl, job or model, workspace, 400)
    assert condition(ended, "Succeeded")["status"] == "True", condition(ended, "Succeeded")
    return ended


def ask(gateway: str, host: str, path: str, body: object) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(gateway, 80, timeout=10)
    try:
        connection.request("POST", path, json.dumps(body), {"Host": host, "Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def serving(kubectl: Kubectl, name: str, workspace: str, version: str, seconds: float = 300) -> str:
    """The host of the Endpoint once it serves `version` and nothing else is under way."""

    def look() -> str | None:
        status = kubectl.get("modelendpoint", name, workspace).get("status", {})
        done = status.get("current", {}).get("version") == version and "next" not in status and "retiring" not in status
        return status["url"].removeprefix("http://") if done else None

    return str(until(look, f"Endpoint {name} serves {version}", seconds))


@contextmanager
def load(gateway: str, host: str) -> Iterator[Counter[str]]:
    """Four clients that ask the Endpoint for a flower's kind, each 40 times a second at most; what they were answered, by
    status. Each request is a connection of its own, and its port is free again after 60 s: of 28,000, 9,600 are taken so."""
    stop, answers, path = threading.Event(), Counter[str](), f"/v1/models/{host.partition('.')[0]}:predict"

    def client() -> None:
        while not stop.wait(0.025):
            try:
                status, _ = ask(gateway, host, path, {"instances": [FLOWER]})
                answers[str(status)] += 1
            except (OSError, ValueError, http.client.HTTPException) as error:
                answers[f"{type(error).__name__}: {error}"] += 1

    with concurrent.futures.ThreadPoolExecutor(4) as clients:
        running = [clients.submit(client) for _ in range(4)]
        try:
            yield answers
        finally:
            stop.set()
        for each in running:
            each.result()


@pytest.mark.parametrize("format", RECIPES)
def test_each_format_is_trained_and_served(kubectl: Kubectl, workspace: str, gateway: str, format: str) -> None:
    name = format.split("-")[0]
    recipe, parameters, data = RECIPES[format]
    train(kubectl, workspace, name, recipe, parameters, data)
    assert kubectl.get("modelversion", f"{name}-1", workspace)["spec"]["format"] == format
    kubectl.apply(
        endpoint(
            name,
            workspace,
            model={"name": name, "version": 1},
            predictor={"resources": {"cpu": "500m", "memory": "1500Mi"}},
        )
    )
    host = serving(kubectl, name, workspace, f"{name}-1")
    instance: object = (
        FLOWER
        if data == "iris"
        else "You may copy and distribute verbatim copies of the Program's source code as you receive it."
    )
    status, answer = ask(gateway, host, f"/v1/models/{name}:predict", {"instances": [instance]})
    assert status == 200, answer
    assert len(answer["predictions"]) == 1
    status, answer = ask(
        gateway, host, f"/v1/models/{name}:predict", {"instances": [[1.0, 2.0]] if data == "iris" else [3]}
    )
    assert status == 400
    assert answer["error"]
    assert condition(kubectl.get("modelendpoint", name, workspace), "Verified")["status"] == "True"
    kubectl.run("delete", "modelendpoint", name, "-n", workspace)
    until(
        lambda: not kubectl.list("inferenceservices", workspace, f"noria.dev/owner-name={name}"),
        "its InferenceService goes with it",
    )


def test_not_one_request_fails_while_the_version_changes(kubectl: Kubectl, workspace: str, gateway: str) -> None:
    train(kubectl, workspace, "rolling", "sklearn", {}, "iris", job="rolling-1")
    kubectl.apply(
        endpoint(
            "rolling",
            workspace,
            model={"name": "rolling", "track": "Latest"},
            predictor={"resources": SMALL},
            rollout={"drainSeconds": 10},
        )
    )
    host = serving(kubectl, "rolling", workspace, "rolling-1")
    with load(gateway, host) as answers:
        train(kubectl, workspace, "rolling", "sklearn", {}, "iris", job="rolling-2")
        serving(kubectl, "rolling", workspace, "rolling-2")
    assert set(answers) == {"200"}, answers
    assert answers["200"] > 100


def test_a_corrupted_artifact_is_not_served(kubectl: Kubectl, workspace: str) -> None:
    train(kubectl, workspace, "broken", "sklearn", {}, "iris")
    version = kubectl.get("modelversion", "broken-1", workspace)
    path = version["spec"]["uri"].removeprefix("pvc://noria-artifacts/")
    script = f"import pathlib; p = next(pathlib.Path('/data/{path}').glob('*.onnx')); p.write_bytes(p.read_bytes()[:-1] + b'x')"
    pod = json.loads(kubectl.run("get", "job", "data-iris", "-n", workspace, "-o", "json").stdout)["spec"]["template"][
        "spec"
    ]
    pod["containers"][0]["command"] = ["python3", "-c", script]
    pod["containers"][0]["volumeMounts"][0] = {"name": "artifacts", "mountPath": "/data"}
    pod["restartPolicy"] = "Never"
    kubectl.apply(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "vandal", "namespace": workspace}, "spec": pod}
    )
    until(
        lambda: kubectl.get("pod", "vandal", workspace).get("status", {}).get("phase") == "Succeeded",
        "the file is changed",
    )
    kubectl.apply(endpoint("broken", workspace, model={"name": "broken", "version": 1}, predictor={"resources": SMALL}))
    said = says(kubectl, "modelendpoint", "broken", workspace, "Ready", "DigestMismatch", 240)
    assert ".onnx" in said["message"]


def test_a_model_that_does_not_exist(kubectl: Kubectl, workspace: str) -> None:
    kubectl.apply(endpoint("nothing", workspace, model={"name": "nothing", "track": "Latest"}))
    assert "TrainingJob" in says(kubectl, "modelendpoint", "nothing", workspace, "Ready", "ModelNotFound")["message"]
