"""What users may write by mistake, from the definitions' own schemas: each leaf gone, empty, zero, negative, doubled, at its
bounds and past them, of another type, of no known word, of every other word that is known, and of the least that its pattern takes."""

import copy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from hypothesis import find
from hypothesis import strategies as st

from noria.plan.contract import KINDS, Manifest

from ..apiserver.conftest import REPOSITORY

Place = tuple[str, ...]
ANY = "[]"
"""In a path: the first item of a list, or the only value of a map."""
KNOWN = {"uri": "pvc://noria-artifacts/data", "test": "pvc://noria-artifacts/test", "name": "other", "image": "x"}
"""What fields with a pattern may hold."""
BASES: dict[str, list[Manifest]] = {}
"""By kind: the objects on whose ground mistakes are made."""
for _each in yaml.safe_load_all((Path(__file__).parent / "bases.yaml").read_text()):
    BASES.setdefault(_each["kind"], []).append(_each)


class Leaf(NamedTuple):
    """A field that holds a value, not fields."""

    path: Place
    schema: Manifest


class Mutation(NamedTuple):
    """The value of a leaf in place of the one it has; `gone` takes the leaf away, `doubled` makes twice as much of what it has."""

    path: Place
    what: str
    value: Any
    """Of what is doubled: what it is where nothing stands."""
    gone: bool = False
    doubled: bool = False

    def __str__(self) -> str:
        return f"{'.'.join(self.path)}: {self.what}"


def schema_of(kind: str) -> Manifest:
    """The schema of a kind of ours, as its definition has it."""
    definition = yaml.safe_load((REPOSITORY / "crds" / f"{KINDS[kind].plural}.yaml").read_text())
    return dict(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"])


def refusal(status: int, said: Manifest) -> str:
    """What is wrong with the way in which the API server refuses: it is the user's mistake, and a sentence says which."""
    message = str(said.get("message", ""))
    return "" if status in (400, 422) and len(message.split()) > 5 else f"{status}: {message}"


def leaves(schema: Manifest, path: Place = ("spec",)) -> Iterator[Leaf]:
    """All of them, in the schema's order."""
    if inner := schema.get("properties"):
        for name, each in inner.items():
            yield from leaves(each, (*path, name))
    elif isinstance(of := schema.get("items", schema.get("additionalProperties")), dict):
        yield Leaf(path, schema)
        yield from leaves(of, (*path, ANY))
    else:
        yield Leaf(path, schema)


def mutations(leaf: Leaf) -> Iterator[Mutation]:
    """Every mistake with it, and every other value that its enumeration holds."""
    path, schema = leaf
    yield Mutation(path, "gone", None, gone=True)
    yield Mutation(path, "null", None)
    kind = schema.get("type")
    if kind in ("integer", "number", "string", "array"):
        yield Mutation(path, "doubled", example(schema, path[-1]), doubled=True)
    if kind in ("integer", "number"):
        least, most = schema.get("minimum", 0), schema.get("maximum", 2**31 - 1)
        numbers = {"zero": 0, "negative": -1, "least": least, "most": most, "too many": most + 1, "huge": 2**62}
        yield from (Mutation(path, what, value) for what, value in numbers.items())
        yield Mutation(path, "a word", "many")
    elif kind == "boolean":
        yield from (Mutation(path, str(value), value) for value in (True, False, "yes", 0))
    elif kind == "array":
        yield Mutation(path, "empty", [])
        yield Mutation(path, "a word", "many")
        if most := schema.get("maxItems"):
            each = example(schema["items"], path[-1])
            yield from (Mutation(path, f"{count} items", [each] * count) for count in (most, most + 1))
    elif kind == "object" or "x-kubernetes-preserve-unknown-fields" in schema:
        yield Mutation(path, "empty", {})
        yield Mutation(path, "a list", [])
        if most := schema.get("maxProperties"):
            each = example(schema["additionalProperties"], path[-1])
            pairs = [(f"k{number}", each) for number in range(most + 1)]
            yield from (Mutation(path, f"{count} entries", dict(pairs[:count])) for count in (most, most + 1))
        yield Mutation(path, "strange", {"x": {"y": [None, 1, "z"]}})
    else:
        yield from (Mutation(path, f"the word {value}", value) for value in schema.get("enum", ()))
        texts = {
            "empty": "",
            "a space": " ",
            "unknown": "Unknown?",
            "dollars": "$(X)$",
            "long": "x" * 5000,
            "nul": "a\0b",
        }
        yield from (Mutation(path, what, value) for what, value in texts.items())
        yield from (
            Mutation(path, what, value) for what, value in {"zero": "0", "negative": "-1", "huge": "9E9"}.items()
        )
        yield Mutation(path, "a number", 7)
        if pattern := schema.get("pattern"):
            yield Mutation(path, "the least of its pattern", _least(pattern))
        if most := schema.get("maxLength"):
            yield from (Mutation(path, f"{count} letters", "x" * count) for count in (most, most + 1))


@cache
def _least(pattern: str) -> str:
    return find(st.from_regex(pattern, fullmatch=True), lambda found: True)


def mutated(base: Manifest, schema: Manifest, mutation: Mutation) -> Manifest:
    """`base` with the mutation; what must stand around the leaf, and does not, is made."""
    changed = copy.deepcopy(base)
    holder: Any = changed
    for name in mutation.path[:-1]:
        schema = _inner(schema, name)
        holder = _entered(holder, name, schema)
    last: Any = _key(holder, mutation.path[-1])
    there = bool(holder) if isinstance(holder, list) else last in holder
    value = 2 * (holder[last] if there else mutation.value) if mutation.doubled else mutation.value
    if mutation.gone:
        if isinstance(holder, list):
            holder[:] = []
        else:
            holder.pop(last, None)
    elif isinstance(holder, list) and not there:
        holder.append(value)
    else:
        holder[last] = value
    return changed


def _key(holder: Any, name: str) -> Any:
    if name != ANY:
        return name
    return 0 if isinstance(holder, list) else next(iter(holder), "a")


def _entered(holder: Any, name: str, schema: Manifest) -> Any:
    key = _key(holder, name)
    if isinstance(holder, list) and not holder:
        holder.append(example(schema))
    elif isinstance(holder, dict) and not isinstance(holder.get(key), dict | list):
        holder[key] = example(schema)
    return holder[key]


def _inner(schema: Manifest, name: str) -> Any:
    return schema.get("items", schema.get("additionalProperties")) if name == ANY else schema["properties"][name]


def example(schema: Manifest, name: str = "") -> Any:
    """The least that the schema allows."""
    if "default" in schema:
        return copy.deepcopy(schema["default"])
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            needed = schema.get("required", ())
            return {each: example(schema["properties"][each], each) for each in needed}
        case "array":
            return [example(schema["items"], name)] * schema.get("minItems", 0)
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
    return KNOWN.get(name, "x")
