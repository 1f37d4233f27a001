"""One pass over the objects known so far: what is read, what has been told, and the leaves that all records share."""

from collections.abc import Iterator, Mapping
from typing import Any

from noria.api.step import Run
from noria.api.trainingjob import TrainingJobSpec
from noria.plan.contract import Manifest, Ref
from noria.plan.lineage.tree import Node
from noria.plan.training import code_digest

DEPTH = 30
"""Records below one another that a tree shows."""
GONE, ABOVE, UNDIGESTED = "gone", "as above", "no digest is recorded"
DEEPER = f"more than {DEPTH} records deep; ask for the lineage of its own object to go on"


class Telling:
    """Each record is told in full once, so that wrong ones come to an end too."""

    def __init__(self, namespace: str | None, known: Mapping[Ref, Manifest | None]) -> None:
        self._namespace, self._known = namespace, known
        self._told, self._depth = set[tuple[str | None, str]](), 0
        self.missing = set[Ref]()
        """What must be read to go on."""

    def read(self, kind: str, name: str, uid: str = "") -> Manifest | None:
        """The object, if its uid begins so; None if it is gone, or not known yet."""
        ref = Ref(kind, self._namespace, name)
        if ref not in self._known:
            self.missing.add(ref)
        live = self._known.get(ref)
        return live if live and live["metadata"].get("uid", "").startswith(uid) else None

    def tell(self, node: Node, mark: str, origins: Iterator[Node]) -> Node:
        """The node of a record with its origins, unless it stands above already or would be too deep. Among the records of
        a kind `mark` is its own, as names are not, which may be used again."""
        key = (node.kind, mark)
        if key in self._told:
            return Node(role=node.role, kind=node.kind, name=node.name, note=ABOVE)
        if self._depth == DEPTH:
            return node.model_copy(update={"note": DEEPER})
        self._told.add(key)
        self._depth += 1
        below = list(origins)
        self._depth -= 1
        return node.model_copy(update={"origins": below})


def body(spec: TrainingJobSpec | Run, ran: str | None) -> Iterator[Node]:
    """What a training or a step ran, by what it was told to run."""
    recipe = spec.recipe if isinstance(spec, TrainingJobSpec) else None
    image = f"of recipe {recipe.name}" if recipe else spec.image
    yield from work(image, ran, code_digest(spec), recipe.parameters if recipe else {})
    if spec.env:
        yield Node(
            role="environment",
            facts={each.name: each.value if each.value_from is None else "of a Secret" for each in spec.env},
        )


def work(image: str | None, ran: str | None, code: str | None, parameters: Mapping[str, Any]) -> Iterator[Node]:
    """Image, as the kubelet ran it, code and parameters of a training or a step."""
    yield Node(role="image", name=image, digest=ran, note=None if ran else UNDIGESTED)
    if code:
        yield Node(role="code", digest=code)
    if parameters:
        yield Node(role="parameters", facts=dict(parameters))
