"""Answers of Prometheus: read from what it says, split by the object that they are about, and held while they are needed."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import isnan
from typing import Any

from noria.plan.contract import Answer, Query, Ref, Row

Named = tuple[str | None, str] | None
"""Namespace and name of an object, or None for whoever asks."""


@dataclass(frozen=True)
class Reply:
    """All that Prometheus said to one query. What it says of one object becomes an Answer when somebody asks for it."""

    rows: Mapping[Named, tuple[Row, ...]] = field(default_factory=dict)
    """By the object that they are about; under None those for whoever asks."""
    error: str | None = None
    at: datetime | None = None

    def rows_of(self, key: Ref) -> tuple[Row, ...]:
        """The rows about one object."""
        return self.rows.get(key[1:]) or self.rows.get(None, ())

    def about(self, key: Ref) -> Answer:
        """What it says of one object."""
        return Answer(self.rows_of(key), self.error, self.at)


class Answers:
    """The newest replies, by query."""

    def __init__(self) -> None:
        self._by_query: dict[Query, Reply] = {}

    def of(self, key: Ref, queries: Iterable[Query]) -> dict[Query, Answer]:
        """What is known for one object; what has not been asked is absent."""
        return {query: self._by_query[query].about(key) for query in queries if query in self._by_query}

    def one(self, key: Ref, query: Query) -> Answer | None:
        """The newest answer about one object; None before the first."""
        reply = self._by_query.get(query)
        return reply.about(key) if reply else None

    def reply(self, query: Query) -> Reply:
        """The newest one; it is empty before the first."""
        return self._by_query.get(query) or Reply()

    def take(self, query: Query, reply: Reply) -> Callable[[Ref], bool]:
        """Hold a new reply; tells of whom it says something else than the one before."""
        before = self._by_query.get(query)
        self._by_query[query] = reply
        return lambda key: before is None or not same(before.about(key), reply.about(key))

    def __contains__(self, query: Query) -> bool:
        return query in self._by_query

    def forget(self, needed: Iterable[Query]) -> None:
        """Drop what nobody needs any more."""
        wanted = set(needed)
        self._by_query = {query: reply for query, reply in self._by_query.items() if query in wanted}


def read(data: Any) -> tuple[Row, ...]:
    """The rows of an instant vector, or the one of a scalar. ValueError for anything else.

    By hand, since a thousand objects have some ten thousand rows a round: a third of what pydantic takes.
    """
    match data:
        case {"resultType": "vector", "result": [*series]}:
            return tuple([_row(each) for each in series])
        case {"resultType": "scalar", "result": [_, str(value)]}:
            return (Row({}, float(value)),)
    raise ValueError("neither a vector nor a scalar")


def _row(series: Any) -> Row:
    try:
        labels, (_, value) = series["metric"], series["value"]
        if isinstance(value, str) and isinstance(labels, dict) and {str}.issuperset(map(type, labels.values())):
            return Row(labels, float(value))
    except (KeyError, TypeError) as error:
        raise ValueError(f"no element of a vector: {error!r}") from error
    raise ValueError("an element of a vector has labels and a number that are text")


def split(query: Query, rows: Sequence[Row], at: datetime) -> Reply:
    """The rows by the object that they are about, those without left out; all of them for a query of one object."""
    if not query.label:
        return Reply({None: _sorted(rows)}, at=at)
    found = defaultdict[Named, list[Row]](list)
    for row in rows:
        if name := row.labels.get(query.label):
            found[row.labels.get("namespace"), name].append(row)
    return Reply({about: _sorted(each) for about, each in found.items()}, at=at)


def _sorted(rows: Sequence[Row]) -> tuple[Row, ...]:
    """By their labels: Prometheus promises no order."""
    return tuple(rows) if len(rows) < 2 else tuple(sorted(rows, key=lambda row: sorted(row.labels.items())))


def same(one: Answer, other: Answer) -> bool:
    """Whether both say the same. NaN equals NaN."""
    if one.error != other.error or len(one.rows) != len(other.rows):
        return False
    pairs = zip(one.rows, other.rows, strict=True)
    return all(a.labels == b.labels and (a.value == b.value or (isnan(a.value) and isnan(b.value))) for a, b in pairs)
