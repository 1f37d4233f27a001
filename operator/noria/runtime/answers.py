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

    def take(self, query: Query, answers: dict[Named, Answer]) -> dict[Named, float]:
        """Hold a new answer; for whom it says something else, and by how much (see `movement`)."""
        before = self._by_query.get(query)
        self._by_query[query] = answers
        if before is None:
            return {None: math.inf}
        names = before.keys() | answers.keys()
        moved = {name: movement(before.get(name), answers.get(name)) for name in names}
        return {name: by for name, by in moved.items() if by}

    def __contains__(self, query: Query) -> bool:
        return query in self._by_query

    def forget(self, needed: Iterable[Query]) -> None:
        """Drop what nobody needs any more."""
        wanted = set(needed)
        self._by_query = {query: answers for query, answers in self._by_query.items() if query in wanted}


def read(data: Any) -> tuple[Row, ...]:
    """The rows of an instant vector, or the one of a scalar. ValueError for anything else."""
    known = DATA.validate_python(data)
    if isinstance(known, _Scalar):
        return (Row({}, float(known.result[1])),)
    return tuple(Row(each.metric, float(each.value[1])) for each in known.result)


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


def movement(before: Answer | None, after: Answer | None) -> float:
    """By which share a number moved at most; 0 if both say the same, inf if they differ in more. NaN equals NaN."""
    if before is None or after is None or before.error != after.error or len(before.rows) != len(after.rows):
        return 0.0 if before is after else math.inf
    moved = 0.0
    for one, other in zip(before.rows, after.rows, strict=True):
        if one.labels != other.labels:
            return math.inf
        moved = max(moved, _share(one.value, other.value))
    return moved


def _share(one: float, other: float) -> float:
    if one == other or (math.isnan(one) and math.isnan(other)):
        return 0.0
    if not (math.isfinite(one) and math.isfinite(other)):
        return math.inf
    return abs(other - one) / max(abs(one), abs(other))
