"""Types of ports: which fits which, and whether a value is of one."""

import json
import math
from collections.abc import Iterator
from typing import Any

from noria.api.ports import VALUE_TYPES
from noria.plan.manifests import canonical

LEAST_EXPONENT = 1e21
"""From here on Go writes a number with an exponent, so that it stays no whole one."""
VALUE_LIMIT = 1024
"""Bytes of one value as JSON; a list that foreach gathers may be longer."""


def fits(given: str, wanted: str) -> bool:
    """Whether what is of type `given` may go where `wanted` is expected."""
    if wanted == "json":
        return given in VALUE_TYPES
    if wanted == "directory":
        return given not in VALUE_TYPES
    return given == wanted or (given, wanted) == ("integer", "number")


def type_of(value: Any) -> str:
    """The narrowest type of a JSON value."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    return "string" if isinstance(value, str) else "json"


def fault(value: Any, type: str) -> str | None:
    """Why a value is not of that type, or too large; None if it is. The value itself is not told: it may be a secret."""
    if type not in VALUE_TYPES:
        return f"a value cannot be given where a {type} is expected"
    if wrong := next(filter(None, map(_unfit, _leaves(value))), None):
        return wrong
    if not fits(type_of(value), type):
        return f"it is of type {type_of(value)}, not {type}"
    size = len(canonical(value).encode())
    return (
        f"it has {size} bytes as JSON; at most {VALUE_LIMIT} are passed, more belongs into a folder"
        if size > VALUE_LIMIT
        else None
    )


def _leaves(value: Any) -> Iterator[Any]:
    """What a value is made of, however deep it is nested: not by a call for each level."""
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, dict | list):
            left += value.values() if isinstance(value, dict) else value
        else:
            yield value


def _unfit(value: Any) -> str | None:
    """Why a number, which may stand in a json, cannot be taken."""
    if isinstance(value, float) and not math.isfinite(value):
        return "it is no finite number"
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "it does not fit 64 bits"
    return None


def stored(value: Any) -> Any:
    """The value as an API server stores it: 1.0 becomes 1."""
    if isinstance(value, dict):
        return {name: stored(each) for name, each in value.items()}
    if isinstance(value, list):
        return [stored(each) for each in value]
    whole = isinstance(value, float) and value.is_integer() and abs(value) < LEAST_EXPONENT
    return int(value) if whole else value


def text(value: Any) -> str:
    """A value as a variable of the environment holds it: a string as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
