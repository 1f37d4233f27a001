"""Starts the server as its container would, on models that the trainer has trained and the agent has published."""

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

MODELS = Path("/models")


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[str]
    url: str
    name: str
    lines: "queue.Queue[str]" = field(default_factory=queue.Queue)
    """What it has printed and nobody has read yet; empty text: its end."""

    def __post_init__(self) -> None:
        threading.Thread(target=self._collect, daemon=True).start()

    def _collect(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put("")

    def wait_for(self, text: str) -> None:
        """Reads until a line holds `text`; the test fails with what came if the server ends instead."""
        seen = ""
        while line := self.lines.get(timeout=120):
            seen += line
            if text in line:
                return
        pytest.fail(f"the server ended with {self.process.wait()}:\n{seen}")

    def stop(self) -> int:
        """Ends the server as the kubelet does; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a GET."""
        return self.send(urllib.request.Request(self.url + path))

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        """Status and JSON of a POST; bytes are sent as they are; `noria_slice` is the header noria-slice."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        told = {"Content-Type": "application/json"} | {name.replace("_", "-"): text for name, text in headers.items()}
        status, text = self.send(urllib.request.Request(self.url + path, content, told))
        return status, json.loads(text)

    def predict(self, instances: Any, **headers: str) -> tuple[int, Any]:
        """v1."""
        return self.post(f"/v1/models/{self.name}:predict", {"instances": instances}, **headers)

    def label(self, *labels: Any) -> tuple[int, Any]:
        """Feedback."""
        return self.post(f"/v1/models/{self.name}:feedback", {"labels": list(labels)})

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name that carry the labels; the test fails if there is none."""
        families = text_string_to_metric_families(self.get("/metrics")[1])
        found = [
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert found, f"no series {name} with {labels}"
        return sum(found)

    def infer(self, *inputs: dict[str, Any], **more: Any) -> tuple[int, Any]:
        """v2."""
        return self.post(f"/v2/models/{self.name}/infer", {"inputs": list(inputs)} | more)

    @staticmethod
    def send(request: urllib.request.Request) -> tuple[int, str]:
        """Status and body, also of an error."""
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


def digest_of(job: str) -> str:
    """The digest in the agent's message."""
    return str(json.loads((MODELS / job / "message.json").read_text())["digest"])


def environment(job: str, log: Path, **changes: str) -> dict[str, str]:
    """The environment of the server of a published model."""
    told = {"NORIA_MODEL_DIGEST": digest_of(job), "NORIA_MODEL_VERSION": f"{job}-1", "NORIA_TERMINATION_LOG": str(log)}
    return os.environ | told | changes


def start(job: str, log: Path, folder: Path | None = None, **changes: str) -> Server:
    """Starts a server and waits until it listens; the test fails with its output if it ends instead."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = folder or MODELS / job / "job/attempt-1"
    command = [sys.executable, "-m", "server", f"--model_name={job}", f"--model_dir={folder}", f"--http_port={port}"]
    process = subprocess.Popen(
        command, env=environment(job, log, **changes), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    server = Server(process, f"http://127.0.0.1:{port}", job)
    server.wait_for("Uvicorn running")
    return server


def held_out(job: str) -> tuple[np.ndarray, np.ndarray]:
    """The held-out samples and labels that the training was scored on."""
    with np.load(MODELS / job / "data/test.npz") as test:
        return test["x"], test["y"]
