"""Conditions of steps: CEL over the step's own inputs, checked against their types before anything runs.

Google's runtime bounds recursion (32) and iterations (10,000), so that an expression cannot hold the operator up; and here it is
seen to that none makes values larger and larger, which nothing there bounds.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

TYPES = {"string": "STRING", "integer": "INT", "number": "DOUBLE", "boolean": "BOOL", "json": "DYN"}
"""Of the ports' types that a condition may look at: CEL's."""
MACRO = re.compile(r"\b(all|exists|exists_one|filter|map)(?:\s++|//[^\n]*+)*+\(")
"""What looks at each of a list. Each may make a value several times as large, by + or by a list of it: nine such steps make a
gigabyte of ten letters, or what takes hours to compare."""
RUN = "run"
"""The variable that tells a step with onExit what came of the run."""


def variable(name: str) -> str:
    """How an expression names an input."""
    return f"inputs.{name.replace('-', '_')}"


def fault(expression: str, inputs: Mapping[str, str], on_exit: bool = False) -> str | None:
    """Why an expression over inputs of those types cannot be judged; None if it can."""
    if grows := _grows(expression):
        return grows
    try:
        compiled = _compiled(expression, _variables(inputs, on_exit))
    except RuntimeError as error:
        return _first_line(error)
    kind = str(compiled.return_type().name())
    return None if kind in ("BOOL", "DYN") else f"it gives {kind}, not true or false"


def holds(expression: str, inputs: Mapping[str, tuple[str, Any]], run: str | None = None) -> bool | str:
    """Whether the expression holds for inputs given by type and value; a text says why that cannot be told."""
    types = {name: type for name, (type, _) in inputs.items()}
    if grows := _grows(expression):
        return grows
    try:
        data = {variable(name): _coerced(type, value) for name, (type, value) in inputs.items() if type in TYPES}
    except OverflowError:
        return "an input holds a number that no double holds"
    try:
        compiled = _compiled(expression, _variables(types, run is not None))
        result = compiled.eval(data=data | ({RUN: run} if run is not None else {}))
    except RuntimeError as error:
        return _first_line(error)
    value, kind = result.value(), str(result.type())
    if isinstance(value, bool):
        return value
    if kind != "ERROR":
        return f"it gave {kind}, not true or false"
    # What follows the second colon may be a value, and that a secret: `NOT_FOUND: Key not found in map : "..."`.
    return f"it gave {': '.join(each.strip() for each in str(value).split(':')[:2])}"


def _grows(expression: str) -> str | None:
    found = MACRO.findall(expression)
    if len(found) > 1:
        return f"it has {', '.join(f'{each}()' for each in found[:5])}, which may make values of any size; one is judged, have a step work it out"
    if found and "+" in expression:
        return f"it has + beside {found[0]}(), which may make values of any size; have a step work it out"
    return None


def _coerced(type: str, value: Any) -> Any:
    """A number as a double, in a json too: an API server stores 1.0 as 1, and CEL adds no double to a whole number."""
    if type == "json":
        if isinstance(value, dict):
            return {name: _coerced(type, each) for name, each in value.items()}
        if isinstance(value, list):
            return [_coerced(type, each) for each in value]
    whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if type == "number" or (type == "json" and whole) else value


def _variables(inputs: Mapping[str, str], on_exit: bool) -> tuple[tuple[str, str], ...]:
    named = [(variable(name), type) for name, type in inputs.items() if type in TYPES]
    return tuple(sorted(named + ([(RUN, "string")] if on_exit else [])))


@lru_cache(maxsize=256)
def _compiled(expression: str, variables: tuple[tuple[str, str], ...]) -> Any:
    from cel_expr_python import cel  # 6 MiB, which an operator without conditions does without

    environment = cel.NewEnv(variables={name: getattr(cel.Type, TYPES[type]) for name, type in variables})
    return environment.compile(expression)


def _first_line(error: RuntimeError) -> str:
    """Google's first line without the code before it."""
    return str(error).partition("\n")[0].partition("<input>:")[2] or str(error).partition("\n")[0]
