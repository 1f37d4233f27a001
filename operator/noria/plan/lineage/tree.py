"""The tree of a lineage: a record, and below it what it came from; as text with branches, or as JSON."""

import json
from collections.abc import Iterator
from typing import Any

from noria.api.meta import Model

VALUE_WIDTH = 60
"""Characters of one fact that a line shows; the JSON has all of it."""


class Node(Model):
    """An object, a step, or a piece of data, code or image."""

    role: str | None = None
    """What it is to the node above it: `serves`, `made by`, `input`, `image`."""
    kind: str | None = None
    """Of a record: Endpoint, ModelVersion, TrainingJob, PipelineRun, Step, Cycle."""
    name: str | None = None
    """Name; of a step with its run's."""
    uri: str | None = None
    """Where the files lie."""
    digest: str | None = None
    """By which its content is known."""
    facts: dict[str, Any] = {}
    """What else is recorded of it."""
    note: str | None = None
    """Why it is not told in full: it is gone, or stands above."""
    origins: list["Node"] = []
    """What it came from."""

    def manifest(self) -> dict[str, Any]:
        """The JSON object, without what is empty."""
        plain = self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"origins"})
        told = plain | {"origins": [each.manifest() for each in self.origins]}
        return {key: value for key, value in told.items() if value not in ({}, [])}


def text(node: Node) -> str:
    """The tree with branches, one node a line."""
    return "\n".join([_line(node), *_below(node, "")]) + "\n"


def _below(node: Node, margin: str) -> Iterator[str]:
    for each in node.origins:
        last = each is node.origins[-1]
        yield f"{margin}{'└── ' if last else '├── '}{_line(each)}"
        yield from _below(each, margin + ("    " if last else "│   "))


def _line(node: Node) -> str:
    facts = ", ".join(f"{name} {_short(value)}" for name, value in node.facts.items())
    parts = (node.role, node.kind, node.name, node.uri, node.digest, facts and f"({facts})")
    return " ".join(each for each in parts if each) + (f": {node.note}" if node.note else "")


def _short(value: Any) -> str:
    told = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    told = " ".join(told.split())
    return told if len(told) <= VALUE_WIDTH else told[: VALUE_WIDTH - 3] + "..."
