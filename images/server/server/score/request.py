"""What the scorer is asked: score.json, checked."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CODES = ("DigestMismatch", "UnsafeModel", "UnsupportedModel", "InvalidSignature", "InvalidData")
MAX_SAMPLES = 100_000
CHALLENGER, CHAMPION, DATA = "challenger", "champion", "data"


class ScoreError(Exception):
    """The models cannot be scored; `code` is one of CODES, the text says what is wrong with which file."""

    whose = DATA
    """Whose fault it is: that of the data, or of CHALLENGER or CHAMPION."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Candidate:
    """A published model."""

    folder: Path
    digest: str
    """`sha256:...`; empty: not verified."""
    format: str
    """safetensors, torch-export or onnx; empty: by the files."""


@dataclass(frozen=True)
class Request:
    """One comparison."""

    test: Path
    """A file, or a folder with test.npz, test.csv, or one .npz or .csv file."""
    models: Mapping[str, Candidate]
    """`challenger`, and `champion` unless it is the first version."""
    metrics: tuple[str, ...]
    target: str = "target"
    """Column of the labels in CSV. Default `target`."""
    slices: tuple[str, ...] = ()
    """Columns, or arrays, whose values make groups that are scored by themselves. Default none."""
    max_samples: int = MAX_SAMPLES
    """A larger test set is sampled. Default 100,000."""


def read_request(environment: Mapping[str, str] = os.environ) -> Request:
    """The request in NORIA_SCORE_FILE, by default /noria/config/score.json."""
    path = Path(environment.get("NORIA_SCORE_FILE", "/noria/config/score.json"))
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return Request(
        test=Path(told["test"]),
        models={role: _candidate(told["models"][role]) for role in (CHAMPION, CHALLENGER) if role in told["models"]},
        metrics=tuple(told["metrics"]),
        target=told.get("target", "target"),
        slices=tuple(told.get("slices", ())),
        max_samples=told.get("maxSamples", MAX_SAMPLES),
    )


def _candidate(told: dict[str, Any]) -> Candidate:
    return Candidate(Path(told["folder"]), told.get("digest", ""), told.get("format", ""))
