"""Training and held-out data: a second input, a second file, or a stratified share of the first."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from trainer.data import Labelled, find, find_training, read
from trainer.errors import TrainingInputError


def training_and_held_out(
    inputs: Mapping[str, Path], target: str, test_fraction: float, seed: int, text: str | None = None
) -> tuple[Labelled, Labelled]:
    """Input `train`, and what is held out: input `test`, or test.npz or test.csv beside train, or `test_fraction` of each class."""
    if "train" not in inputs:
        raise TrainingInputError(
            f"no input is named 'train': the inputs are {', '.join(inputs) or 'none'}; see spec.inputs"
        )
    path = find_training(inputs["train"])
    data = read(path, target, text)
    held_out_path = find(inputs["test"], "test") if "test" in inputs else find(path.parent, "test")
    if "test" in inputs and held_out_path is None:
        raise TrainingInputError("input 'test': expected test.npz or test.csv")
    if held_out_path is None or held_out_path == path:
        return _divided(data, test_fraction, seed)
    held_out = read(held_out_path, target, text)
    if held_out.x.shape[1:] != data.x.shape[1:] or held_out.columns != data.columns:
        raise TrainingInputError(f"{held_out_path.name}: samples are shaped or named otherwise than in {path.name}")
    if data.y.dtype.kind == "U":  # that all of the few happen to be numbers makes no other labels of them
        held_out = replace(held_out, y=held_out.y.astype(np.str_))
    unknown = sorted(set(map(str, held_out.y.tolist())) - set(map(str, data.y.tolist())))
    if unknown:
        raise TrainingInputError(f"{held_out_path.name}: labels {', '.join(unknown)} do not occur in {path.name}")
    if data.y.dtype != held_out.y.dtype and data.y.dtype.kind == "i":
        held_out = replace(held_out, y=held_out.y.astype(np.int64))
    return data, held_out


def _divided(data: Labelled, fraction: float, seed: int) -> tuple[Labelled, Labelled]:
    generator = np.random.default_rng(seed)
    held = np.zeros(len(data.y), dtype=bool)
    for label in np.unique(data.y):
        members = np.flatnonzero(data.y == label)
        held[generator.permutation(members)[: round(len(members) * fraction)]] = True
    if whole := sorted(set(data.y[held].tolist()) - set(data.y[~held].tolist())):
        raise TrainingInputError(
            f"parameter 'testFraction': {fraction} holds all samples of class {whole[0]} out; take less, or add samples"
        )
    if not held.any():
        raise TrainingInputError(
            f"parameter 'testFraction': {fraction} of {len(data.y)} samples leaves none to test on"
        )
    return (
        Labelled(data.x[~held], data.y[~held], data.columns),
        Labelled(data.x[held], data.y[held], data.columns),
    )
