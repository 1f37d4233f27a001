"""The rules that an API server holds objects to (x-kubernetes-validations), for what a pipeline makes only later."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from noria.api.meta import Resource
from noria.api.schema import crd


@lru_cache(maxsize=8)
def schema_of(resource: type[Resource]) -> dict[str, Any]:
    """The schema of a kind's spec."""
    schema: dict[str, Any] = crd(resource)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return schema


def broken(schema: dict[str, Any], value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Path and message of each rule that a value breaks; rules about a change are left out."""
    for each in schema.get("x-kubernetes-validations", ()):
        if "oldSelf" not in each["rule"] and _compiled(each["rule"]).eval(data={"self": value}).value() is False:
            yield path, each["message"]
    if isinstance(value, dict):
        for name, inner in value.items():
            below = schema.get("properties", {}).get(name) or schema.get("additionalProperties") or {}
            yield from broken(below, inner, f"{path}.{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            named = inner.get("name", number) if isinstance(inner, dict) else number
            yield from broken(schema.get("items", {}), inner, f"{path}[{named}]")


def unknown(schema: dict[str, Any], value: Any, path: str = "") -> Iterator[str]:
    """Paths of fields that the schema does not know, which kubectl refuses."""
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        for name, inner in value.items():
            if name in known or others:
                yield from unknown(known.get(name) or _open(others), inner, f"{path}.{name}")
            else:
                yield f"{path}.{name}"
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            named = inner.get("name", number) if isinstance(inner, dict) else number
            yield from unknown(schema.get("items", {}), inner, f"{path}[{named}]")


@lru_cache(maxsize=256)
def _compiled(rule: str) -> Any:
    from cel_expr_python import cel  # see when.py

    return cel.NewEnv(variables={"self": cel.Type.DYN}).compile(rule)


def _open(additional: Any) -> dict[str, Any]:
    """The schema of values under free keys."""
    return additional if isinstance(additional, dict) else {}
