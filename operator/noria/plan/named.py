"""How a command line names an object: KIND/NAME, the kind as kubectl takes it."""

from collections.abc import Iterable

from noria.api.meta import GROUP, Resource
from noria.plan.contract import Ref


def named(text: str, namespace: str, kinds: Iterable[type[Resource]]) -> Ref:
    """The object that KIND/NAME means, one of `kinds`. Raises ValueError, which says what is known."""
    kind, _, name = text.partition("/")
    wanted = kind.lower().removesuffix(f".{GROUP}")
    for each in kinds:
        if name and wanted in (each.singular, each.plural, each.kind().lower(), *each.short_names):
            return Ref(each.kind(), namespace, name)
    known = ", ".join(f"{each.short_names[0]}/NAME ({each.kind()})" for each in kinds)
    raise ValueError(f"{text} names no object of a known kind; write one of {known}")
