"""What the pod is told, as the recipes need it."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainer.errors import TrainingInputError


@dataclass(frozen=True)
class Pod:
    """One attempt of a training by recipe."""

    recipe: str
    parameters: Mapping[str, str]
    inputs: Mapping[str, Path]
    output: Path
    checkpoint: Path | None
    """Folder; None: it keeps none."""
    steps_file: Path
    resume: bool
    """Whether to continue from the newest checkpoint."""
    checkpoint_interval: float
    """Seconds between two checkpoints."""


def read_pod(environment: Mapping[str, str] = os.environ) -> Pod:
    """The pod as `NORIA_POD_FILE` (default /noria/config/pod.json) tells."""
    path = Path(environment.get("NORIA_POD_FILE", "/noria/config/pod.json"))
    told = json.loads(path.read_text(encoding="utf-8"))
    if "recipe" not in told:
        raise TrainingInputError(f"{path} names no recipe: set spec.recipe, or give spec.command its own program")
    return Pod(
        recipe=told["recipe"]["name"],
        parameters=told["recipe"].get("parameters", {}),
        inputs={name: Path(folder) for name, folder in told.get("inputs", {}).items()},
        output=Path(told["outputDir"]),
        checkpoint=Path(told["checkpointDir"]) if "checkpointDir" in told else None,
        steps_file=Path(told["stepsFile"]),
        resume=bool(told.get("resume", True)),
        checkpoint_interval=float(told.get("checkpointIntervalSeconds", 60)),
    )
