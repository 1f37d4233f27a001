"""Secrets that are planted in objects, and where what holds them is found again."""

import base64
import binascii
import json
import re
import zlib
from collections.abc import Iterator
from typing import Any

Manifest = dict[str, Any]
SECRET, LITERAL, PARAMETER = "planted-in-a-secret-5b1d", "planted-in-a-variable-5b1d", "planted-in-a-parameter-5b1d"
"""The value of a Secret's key; of a variable that an object spells out; of a parameter of a run."""
VARIABLE = re.compile(r"\.env\[\d+\]\.value$")
GIVEN = re.compile(r"^PipelineRun\.(spec|status\.frozen)\.parameters\b|^ModelVersion\.spec\.parameters\.")
"""Where parameters are recorded: in the run as it was asked for and as it was frozen, and in what was made by them."""


def variables() -> list[Manifest]:
    """Of a container: one from the Secret `planted`, one spelled out."""
    return [
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "planted", "key": "token"}}},
        {"name": "LITERAL", "value": LITERAL},
    ]


def leaked(objects: list[Manifest]) -> list[str]:
    """Paths at which objects hold what they should not. A Secret's value is nowhere; a literal stands in variables, where its
    author put it; a parameter there too, and where parameters are recorded."""
    return [
        f"{path}: {text[:200]}"
        for each in objects
        for path, text in _texts(each, each["kind"])
        if SECRET in text
        or (LITERAL in text and not VARIABLE.search(path))
        or (PARAMETER in text and not (VARIABLE.search(path) or GIVEN.search(path)))
    ]


def found(objects: list[Manifest], value: str) -> list[str]:
    """All paths at which a value stands."""
    return [path for each in objects for path, text in _texts(each, each["kind"]) if value in text]


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every text with its path: keys too, and what is packed in it."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield path, key
            yield from _texts(each, f"{path}.{key}")
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _texts(each, f"{path}[{number}]")
    elif isinstance(value, str):
        yield path, value
        if (inner := _unpacked(value)) is not None:
            yield from _texts(inner, path)


def _unpacked(text: str) -> Any:
    """What a text holds as JSON, in base64, or deflated in base64; None if it is a plain text."""
    if text[:1] in ("{", "["):
        try:
            return json.loads(text)
        except ValueError:
            return None
    try:
        raw = base64.b64decode(text, validate=True) if len(text) > 15 else b""
        return json.loads(zlib.decompress(raw)) if raw[:1] == b"\x78" else raw.decode() or None
    except (binascii.Error, zlib.error, ValueError):
        return None
