"""Answers of Prometheus: read from what it says, split by the object that they are about, and held while they are needed."""

import math
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter

from noria.plan.contract import Answer, Query, Ref, Row

Named = tuple[str | None, str] | None
"""Namespace and name of an object, or None for all that need a query and have no rows of their own."""


class _Series(BaseModel):
    metric: dict[str, str]
    value: tuple[float, str]


class _Vector(BaseModel):
    resultType: Literal["vector"]
    result: list[_Series]


class _Scalar(BaseModel):
    resultType: Literal["scalar"]
    result: tuple[float, str]


DATA: TypeAdapter[_Vector | _Scalar] = TypeAdapter(_Vector | _Scalar)


class Answers:
    """The newest answers, by who needs them."""

    def __init__(self) -> None:
        self._by_query: dict[Query, dict[Named, Answer]] = {}

    def of(self, key: Ref, queries: Iterable[Query]) -> dict[Query, Answer]:
        """What is known for one object; what has not been asked is absent."""
        known = {}
        for query in queries:
            if (answers := self._by_query.get(query)) is not None:
                known[query] = answers.get(key[1:]) or answers[None]
        return known

    def take(self, query: Query, answers: dict[Named, Answer]) -> set[Named]:
        """Hold a new answer; for whom it differs."""
        before = self._by_query.get(query)
        self._by_query[query] = answers
        if before is None:
            return {None}
        return {name for name in before.keys() | answers.keys() if not same(before.get(name), answers.get(name))}

    def __contains__(self, query: Query) -> bool:
        return query in self._by_query

    def forget(self, needed: Iterable[Query]) -> None:
        """Drop what nobody needs any more."""
        wanted = set(needed)
        self._by_query = {query: answers for query, answers in self._by_query.items() if query in wanted}


def read(data: Any) -> tuple[Row, ...]:
    """The rows of an instant vector, or the one of a scalar, sorted by their labels. ValueError for anything else."""
    known = DATA.validate_python(data)
    if isinstance(known, _Scalar):
        return (Row({}, float(known.result[1])),)
    rows = (Row(each.metric, float(each.value[1])) for each in known.result)
    return tuple(sorted(rows, key=lambda row: sorted(row.labels.items())))


def split(query: Query, rows: tuple[Row, ...], at: datetime) -> dict[Named, Answer]:
    """The rows by the object that they are about, under None for those without; all of them for a query of one object."""
    if not query.label:
        return {None: Answer(rows, at=at)}
    found: dict[Named, list[Row]] = defaultdict(list)
    for row in rows:
        if name := row.labels.get(query.label):
            found[row.labels.get("namespace"), name].append(row)
    return {None: Answer(at=at)} | {name: Answer(tuple(each), at=at) for name, each in found.items()}


def same(before: Answer | None, after: Answer | None) -> bool:
    """Whether two answers say the same; NaN equals NaN."""
    if before is None or after is None or before.error != after.error or len(before.rows) != len(after.rows):
        return before is after
    return all(
        one.labels == other.labels and (one.value == other.value or (math.isnan(one.value) and math.isnan(other.value)))
        for one, other in zip(before.rows, after.rows, strict=True)
    )
