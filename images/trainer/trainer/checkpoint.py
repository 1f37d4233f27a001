"""Checkpoints: one file, replaced as a whole, read back without running any code in it."""

import logging
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trainer.errors import TrainingInputError

NAME = "checkpoint.pt"

log = logging.getLogger("trainer")


def save(
    folder: Path,
    step: int,
    model: Mapping[str, Any],
    optimizer: Mapping[str, Any],
    parameters: Mapping[str, str],
    data: str,
) -> None:
    """Writes the state after `step` under a temporary name, then renames it; `data` is the digest of what it learned from."""
    temporary = folder / f".{NAME}.tmp"
    with temporary.open("wb") as file:
        torch.save(
            {
                "step": step,
                "model": dict(model),
                "optimizer": dict(optimizer),
                "parameters": dict(parameters),
                "data": data,
            },
            file,
        )
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(folder / NAME)


def load(folder: Path, parameters: Mapping[str, str], data: str) -> dict[str, Any] | None:
    """The newest state, or None if there is none, it cannot be read, or the data are others by now (the training then starts anew
    and says so: orders, classes and tokens follow from the data).

    Raises TrainingInputError if it was made with other parameters.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        made_with = state["parameters"]
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError) as error:
        log.warning("%s cannot be read, the training starts anew: %s", path, str(error).splitlines()[0])
        return None
    if made_with != dict(parameters):
        differing = sorted(key for key in made_with | dict(parameters) if made_with.get(key) != parameters.get(key))
        raise TrainingInputError(
            f"{path} was made with other values of {', '.join(differing)}: use an empty checkpoint folder or set checkpoint.resume false"
        )
    if state.get("data", data) != data:
        log.warning("%s was made from other data, the training starts anew", path)
        return None
    return dict(state)
