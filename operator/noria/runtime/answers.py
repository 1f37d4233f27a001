"""Answers of Prometheus: read from what it says, split by the object that they are about, and held while they are needed."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime
from math import isnan
from typing import Any

from noria.plan.contract import Answer, Query, Ref, Row

Named = tuple[str | None, str] | None
"""Namespace and name of an object, or None for all that need a query and have no rows of their own."""


class Answers:
    """The newest answers, by who needs them."""

    def __init__(self) -> None:
        self._by_query: dict[Query, dict[Named, Answer]] = {}

    def of(self, key: Ref, queries: Iterable[Query]) -> dict[Query, Answer]:
        """What is known for one object; what has not been asked is absent."""
        known = {}
        for query in queries:
            if (answers := self._by_query.get(query)) is not None:
                known[query] = _about(key, answers)
        return known

    def one(self, key: Ref, query: Query) -> Answer | None:
        """The newest answer about one object; None before the first."""
        answers = self._by_query.get(query)
        return None if answers is None else _about(key, answers)

    def take(self, query: Query, answers: dict[Named, Answer]) -> Callable[[Ref], bool]:
        """Hold a new answer; tells for whom it says something else than the one before."""
        before = self._by_query.get(query)
        self._by_query[query] = answers
        return lambda key: before is None or not same(_about(key, before), _about(key, answers))

    def __contains__(self, query: Query) -> bool:
        return query in self._by_query

    def forget(self, needed: Iterable[Query]) -> None:
        """Drop what nobody needs any more."""
        wanted = set(needed)
        self._by_query = {query: answers for query, answers in self._by_query.items() if query in wanted}


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
        if (
            isinstance(value, str)
            and isinstance(labels, dict)
            and all(isinstance(each, str) for each in labels.values())
        ):
            return Row(labels, float(value))
    except (KeyError, TypeError) as error:
        raise ValueError(f"no element of a vector: {error!r}") from error
    raise ValueError("an element of a vector has labels and a number that are text")


def split(query: Query, rows: Iterable[Row], at: datetime) -> dict[Named, Answer]:
    """The rows by the object that they are about, under None for those without; all of them for a query of one object."""
    if not query.label:
        return {None: Answer(_sorted(rows), at=at)}
    found: dict[Named, list[Row]] = defaultdict(list)
    for row in rows:
        if name := row.labels.get(query.label):
            found[row.labels.get("namespace"), name].append(row)
    return {None: Answer(at=at)} | {name: Answer(_sorted(each), at=at) for name, each in found.items()}


def _sorted(rows: Iterable[Row]) -> tuple[Row, ...]:
    """By their labels: Prometheus promises no order."""
    rows = tuple(rows)
    return rows if len(rows) < 2 else tuple(sorted(rows, key=lambda row: sorted(row.labels.items())))


def _about(key: Ref, answers: dict[Named, Answer]) -> Answer:
    return answers.get(key[1:]) or answers[None]


def same(one: Answer, other: Answer) -> bool:
    """Whether both say the same. NaN equals NaN."""
    if one.error != other.error or len(one.rows) != len(other.rows):
        return False
    pairs = zip(one.rows, other.rows, strict=True)
    return all(a.labels == b.labels and (a.value == b.value or (isnan(a.value) and isnan(b.value))) for a, b in pairs)
