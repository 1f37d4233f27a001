"""Many objects in little memory: those that were used last as Python has them, all others as their JSON, a third of the size."""

from collections import OrderedDict
from collections.abc import Iterator, MutableMapping
from contextlib import suppress

from pydantic_core import PydanticSerializationError, to_json

from noria.plan.contract import Manifest, Ref
from noria.runtime.parsing import parsed

OPEN = 64


class Shelf(MutableMapping[Ref, Manifest]):
    """Objects by reference. Nobody changes what it gives."""

    def __init__(self) -> None:
        self._held: dict[Ref, Manifest | bytes] = {}
        self._open: OrderedDict[Ref, None] = OrderedDict()

    def __getitem__(self, ref: Ref) -> Manifest:
        held = self._held[ref]
        if isinstance(held, bytes):
            manifest: Manifest = parsed(held, ref.kind)
            self[ref] = manifest
            return manifest
        if ref in self._open:
            self._open.move_to_end(ref)
        return held

    def __setitem__(self, ref: Ref, manifest: Manifest) -> None:
        self._held[ref] = manifest
        self._open[ref] = None
        self._open.move_to_end(ref)
        if len(self._open) > OPEN:
            self._close(self._open.popitem(last=False)[0])

    def __delitem__(self, ref: Ref) -> None:
        del self._held[ref]
        self._open.pop(ref, None)

    def __iter__(self) -> Iterator[Ref]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def _close(self, ref: Ref) -> None:
        """As JSON from here on, but for what pydantic cannot write: what is nested very deep, or is no text."""
        with suppress(PydanticSerializationError):
            self._held[ref] = to_json(self._held[ref])
