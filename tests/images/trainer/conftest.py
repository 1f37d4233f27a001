"""Runs recipes as their container would: pod.json, folders, and a process of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Training:
    """One TrainingJob's folders; every `run` is an attempt, with an output folder of its own."""

    root: Path
    recipe: str
    parameters: dict[str, str]
    data: Path
    attempt: int = 0
    interval: int = 3600
    checkpoints: bool = True
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def output(self) -> Path:
        """The newest attempt's output folder."""
        return self.root / f"attempt-{self.attempt}"

    def told(self, **environment: str) -> dict[str, str]:
        """Prepares the next attempt; the environment that it runs in."""
        self.attempt += 1
        for folder in (self.output, *([self.root / "checkpoint"] if self.checkpoints else [])):
            folder.mkdir(parents=True, exist_ok=True)
        (self.root / "pod.json").write_text(json.dumps(self.pod()))
        return os.environ | {"NORIA_POD_FILE": str(self.root / "pod.json"), "HOME": "/tmp"} | environment

    def pod(self) -> dict[str, Any]:
        """pod.json of this attempt."""
        return {
            "namespace": "test", "trainingJob": "job", "uid": "1", "attempt": self.attempt, "nodes": 1,
            "outputDir": str(self.output), **({"checkpointDir": str(self.root / "checkpoint")} if self.checkpoints else {}),
            "stepsFile": str(self.root / f"steps-{self.attempt}.jsonl"), "inputs": {"train": str(self.data)}, "resume": True,
            "checkpointIntervalSeconds": self.interval, "recipe": {"name": self.recipe, "parameters": self.parameters},
        }  # fmt: skip

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """One attempt to its end."""
        arguments = [sys.executable, *(command or ("-m", "trainer"))]
        told = self.told(**environment)
        return subprocess.run(arguments, env=told, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def steps(self) -> list[dict[str, Any]]:
        """The newest attempt's step log."""
        return [json.loads(line) for line in (self.root / f"steps-{self.attempt}.jsonl").read_text().splitlines()]

    def written(self, name: str) -> Any:
        """A JSON file of the newest output."""
        return json.loads((self.output / name).read_text())


@pytest.fixture(scope="session")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with each of the bundled data sets in a folder of its name."""
    root = tmp_path_factory.mktemp("datasets")
    for name in ("digits", "digits-images", "iris", "docstrings"):
        subprocess.run([sys.executable, "-m", "trainer.datasets", name, str(root / name)], check=True)
    return root


@pytest.fixture
def training(tmp_path: Path, datasets: Path) -> Any:
    """Makes a Training: recipe, data set (or folder), parameters."""

    def make(recipe: str, data: str | Path, **parameters: str) -> Training:
        return Training(tmp_path, recipe, parameters, datasets / data)

    return make
