"""Parameters of recipes: strings from the TrainingJob, checked against a dataclass whose fields are their documentation."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from trainer.errors import TrainingInputError

T = TypeVar("T")


@dataclass(frozen=True)
class Rule:
    """What a parameter may be."""

    minimum: float = -math.inf
    maximum: float = math.inf
    above: bool = False
    """Whether `minimum` itself is refused."""
    choices: tuple[str, ...] = ()


def parameter(default: Any, **rule: Any) -> Any:
    """A dataclass field with a default and a Rule."""
    return dataclasses.field(default=default, metadata={"rule": Rule(**rule)})


def parse(kind: type[T], given: Mapping[str, str], recipe: str) -> T:
    """An instance of the dataclass `kind` from strings by camelCase name.

    Raises TrainingInputError that names the parameter when it is unknown, is not of its type, or lies out of its range.
    """
    fields = {camel_case(field.name): field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in given:
        if name not in fields:
            raise TrainingInputError(f"recipe {recipe} has no parameter {name!r}; it has {', '.join(sorted(fields))}")
    return kind(**{fields[name].name: _value(name, text, fields[name]) for name, text in given.items()})


def strings(values: Any) -> dict[str, str]:
    """All parameters in effect, defaults included, as strings by camelCase name."""
    return {camel_case(field.name): str(getattr(values, field.name)) for field in dataclasses.fields(values)}


def camel_case(name: str) -> str:
    """`learning_rate` as `learningRate`."""
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


def _value(name: str, text: str, field: Any) -> Any:
    rule: Rule = field.metadata["rule"]
    kind = type(field.default)
    expected = {int: "a whole number", float: "a number", str: "text"}[kind]
    try:
        value = kind(text)
    except ValueError:
        raise TrainingInputError(f"parameter {name!r} must be {expected}, not {text!r}") from None
    if rule.choices and value not in rule.choices:
        raise TrainingInputError(f"parameter {name!r} must be one of {', '.join(rule.choices)}, not {text!r}")
    if kind is not str:
        low = value <= rule.minimum if rule.above else value < rule.minimum
        if not math.isfinite(value) or low or value > rule.maximum:
            raise TrainingInputError(f"parameter {name!r} must be {expected} {_range(rule)}, not {text}")
    return value


def _range(rule: Rule) -> str:
    low = f"{'above' if rule.above else 'of at least'} {rule.minimum:g}" if rule.minimum > -math.inf else ""
    high = f"at most {rule.maximum:g}" if rule.maximum < math.inf else ""
    return " and ".join(part for part in (low, high) if part)
