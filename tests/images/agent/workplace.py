"""The folders of one attempt as the contract lays them out, below a temporary folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.pod import Pod
from agent.watch import publish_once


@dataclass(frozen=True)
class Workplace:
    """One attempt's folders and what the agent is told about them."""

    root: Path
    pod: Pod

    def write(self, path: str, content: str | bytes) -> Path:
        """Writes a file into the output folder."""
        file = self.pod.output / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    def publish(self) -> dict[str, Any]:
        """The message that `python3 -m agent publish` leaves."""
        publish_once(self.pod)
        content = self.pod.termination_log.read_bytes()
        assert len(content) <= 4096
        return json.loads(content)


def pod_json(root: Path, **changes: Any) -> dict[str, Any]:
    """The contract's example, with folders below `root`."""
    return {
        "namespace": "vision", "trainingJob": "digits", "uid": "6f0c", "attempt": 2, "nodes": 1,
        "outputDir": "/noria/output", "checkpointDir": "/noria/checkpoint", "stepsFile": str(root / "run/steps.jsonl"),
        "inputs": {"train": str(root / "input/train")}, "resume": True, "checkpointIntervalSeconds": 60,
    } | changes  # fmt: skip


def environment(root: Path) -> dict[str, str]:
    """The agent's environment, with every path below `root`."""
    return {
        "NORIA_POD_FILE": str(root / "pod.json"),
        "NORIA_JOB_DIR": str(root / "job"),
        "NORIA_TERMINATION_LOG": str(root / "termination-log"),
    }
