"""What the server is started with: two arguments and the environment."""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FORMATS = ("safetensors", "torch-export", "onnx")


@dataclass(frozen=True)
class Settings:
    """One model to serve."""

    name: str
    """The Endpoint's name: all its versions answer to it."""
    folder: Path
    digest: str
    """`sha256:...` that manifest.json must have; empty: nothing is verified."""
    format: str
    """safetensors, torch-export or onnx; empty: by the files."""
    version: str
    """Name of the ModelVersion; may be empty."""
    port: int
    most_bytes: int
    """Of a request's body; by default 16 MiB."""
    termination_log: Path


def read_settings(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from `--model_name`, `--model_dir`, `--http_port` and the variables NORIA_MODEL_* and NORIA_MAX_REQUEST_BYTES."""
    parser = argparse.ArgumentParser(prog="server", description=__doc__)
    parser.add_argument("--model_name", required=True)
    parser.add_argument("--model_dir", type=Path, default=Path("/mnt/models"))
    parser.add_argument("--http_port", type=int, default=8080)
    given, _ = parser.parse_known_args(arguments)
    format = environment.get("NORIA_MODEL_FORMAT", "")
    if format and format not in FORMATS:
        parser.error(f"NORIA_MODEL_FORMAT must be one of {', '.join(FORMATS)}, not {format!r}")
    return Settings(
        name=given.model_name,
        folder=given.model_dir,
        digest=environment.get("NORIA_MODEL_DIGEST", ""),
        format=format,
        version=environment.get("NORIA_MODEL_VERSION", ""),
        port=given.http_port,
        most_bytes=int(environment.get("NORIA_MAX_REQUEST_BYTES") or 16 << 20),
        termination_log=Path(environment.get("NORIA_TERMINATION_LOG", "/dev/termination-log")),
    )
