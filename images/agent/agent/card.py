"""The three files in an output folder that mean something: noria.json, metrics.json and baseline.json."""

import json
import logging
import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from agent.errors import InvalidOutput
from agent.folder import opened_file

FORMATS = ("safetensors", "torch-export", "onnx", "custom")
MAX_CARD_BYTES = 16 << 20

log = logging.getLogger("agent")


@dataclass(frozen=True)
class Card:
    """What an output says about itself."""

    format: str
    metrics: dict[str, float] = field(default_factory=dict)
    signature: dict[str, Any] | None = None
    seed: int | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    base_model: str | None = None
    has_baseline: bool = False


def read_card(directory: int, paths: Collection[str]) -> Card:
    """The card of the output in the open `directory`, whose files are `paths`; InvalidOutput names what is wrong."""
    about = _object(directory, "noria.json") if "noria.json" in paths else {}
    metrics = _object(directory, "metrics.json") if "metrics.json" in paths else {}
    if "baseline.json" in paths:
        _object(directory, "baseline.json")
    for name, value in metrics.items():
        if not _finite(value):
            raise InvalidOutput(f"metrics.json: {name!r} must be a finite number, not {json.dumps(value)[:100]}")
    for path, value in (("noria.json", about), ("metrics.json", metrics)):
        try:
            json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
        except ValueError as error:
            raise InvalidOutput(f"{path}: holds what no record can hold: {error}") from error
    return Card(
        format=_format(about.get("format"), paths),
        metrics=metrics,
        signature=_member(about, "signature", dict),
        seed=_seed(about),
        parameters={key: str(value) for key, value in (_member(about, "parameters", dict) or {}).items()},
        base_model=_member(about, "baseModel", str),
        has_baseline="baseline.json" in paths,
    )


def _finite(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _object(directory: int, path: str) -> dict[str, Any]:
    with opened_file(directory, path) as file:
        content = b""
        while chunk := file.read(MAX_CARD_BYTES + 1 - len(content)):
            content += chunk
    if len(content) > MAX_CARD_BYTES:
        raise InvalidOutput(f"{path}: larger than 16 MiB, write less")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidOutput(f"{path}: not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise InvalidOutput(f"{path}: must be a JSON object, not {type(value).__name__}")
    return value


def _member(about: dict[str, Any], name: str, kind: type) -> Any:
    value = about.get(name)
    if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
        raise InvalidOutput(f"noria.json: {name!r} must be of type {kind.__name__}, not {type(value).__name__}")
    return value


def _seed(about: dict[str, Any]) -> int | None:
    """The seed; one that the record cannot hold is left out, as no training fails for its lineage."""
    seed: int | None = _member(about, "seed", int)
    if seed is not None and not -(2**63) <= seed < 2**63:
        log.warning("noria.json: 'seed' is left out: it must lie between -2**63 and 2**63 - 1")
        return None
    return seed


def _format(named: Any, paths: Collection[str]) -> str:
    if named is not None and named not in FORMATS:
        raise InvalidOutput(f"noria.json: 'format' must be one of {', '.join(FORMATS)}, not {json.dumps(named)[:100]}")
    if named is not None:
        return str(named)
    if "config.json" in paths and any(path.endswith(".safetensors") for path in paths):
        return "safetensors"
    if "model.pt2" in paths:
        return "torch-export"
    return "onnx" if "model.onnx" in paths else "custom"
