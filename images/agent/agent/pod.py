"""What the pod is told: pod.json and the folders that the agent sees."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pod:
    """The facts of one attempt of one TrainingJob."""

    training_job: str
    attempt: int
    """Counts from 1."""
    steps_file: Path
    output: Path
    """What the training container sees as its output folder."""
    inputs: Mapping[str, Path]
    """Folder, or file, of each input by its name."""
    rank: int
    """0 publishes, the others only end."""
    termination_log: Path


def read_pod(environment: Mapping[str, str] = os.environ) -> Pod:
    """The pod as its environment tells.

    `NORIA_POD_FILE` (default /noria/config/pod.json), `NORIA_JOB_DIR` (/noria/job), `NORIA_TERMINATION_LOG`
    (/dev/termination-log) and `JOB_COMPLETION_INDEX` (0).
    """
    path = Path(environment.get("NORIA_POD_FILE", "/noria/config/pod.json"))
    told = json.loads(path.read_text(encoding="utf-8"))
    job = Path(environment.get("NORIA_JOB_DIR", "/noria/job"))
    return Pod(
        training_job=told["trainingJob"],
        attempt=int(told["attempt"]),
        steps_file=Path(told["stepsFile"]),
        output=job / f"attempt-{int(told['attempt'])}",
        inputs={name: Path(folder) for name, folder in told.get("inputs", {}).items()},
        rank=int(environment.get("JOB_COMPLETION_INDEX") or 0),
        termination_log=Path(environment.get("NORIA_TERMINATION_LOG", "/dev/termination-log")),
    )
