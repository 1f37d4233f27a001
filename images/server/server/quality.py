"""Counts values that the training would not have known: null, out of the column's range, an unknown category."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from kserve import InferRequest

from server.signature import Array, Tensor, rounded

PROBLEMS = ("Null", "OutOfRange", "UnknownCategory")


class Quality:
    """Problems by column of the tabular input, since the start of the process."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.counts = np.zeros((len(PROBLEMS), len(tensor.columns)), dtype=np.int64)
        self._minimum = rounded([column.minimum for column in tensor.columns], tensor.datatype)
        self._maximum = rounded([column.maximum for column in tensor.columns], tensor.datatype)
        self._categories = {
            number: _known(column.categories, tensor.datatype)
            for number, column in enumerate(tensor.columns)
            if column.categories
        }

    def problems(self) -> Iterator[tuple[str, str, int]]:
        """Column, problem and count of each problem that the column can have."""
        for number, column in enumerate(self.tensor.columns):
            can = (True, np.isfinite([column.minimum, column.maximum]).any(), bool(column.categories))
            for problem, possible, counts in zip(PROBLEMS, can, self.counts, strict=True):
                if possible:
                    yield column.name, problem, int(counts[number])

    def add(self, x: Array) -> None:
        """Counts samples that fit the signature: `x` (samples, columns)."""
        if x.dtype != np.object_:
            self.counts[0] += np.count_nonzero(np.isnan(x), axis=0)
            self.counts[1] += np.count_nonzero((x < self._minimum) | (x > self._maximum), axis=0)
        for number, known in self._categories.items():
            self.counts[2, number] += sum(value not in known for value in x[:, number].tolist())

    def add_refused(self, payload: Any) -> None:
        """Counts what can be understood of a request of either protocol that was refused."""
        for row in _rows(payload, self.tensor):
            for number, (value, column) in enumerate(zip(row, self.tensor.columns, strict=True)):
                if value is None or value != value:
                    self.counts[0, number] += 1
                    continue
                if isinstance(value, int | float) and not column.minimum <= value <= column.maximum:
                    self.counts[1, number] += 1
                if number in self._categories and isinstance(value, str | int | float):
                    self.counts[2, number] += value not in self._categories[number]


def _known(categories: Sequence[Any], datatype: str) -> frozenset[Any]:
    """The categories, numbers also as the datatype rounds them."""
    numbers = [each for each in categories if not isinstance(each, str)]
    return frozenset(categories) | frozenset(rounded(numbers, datatype).tolist())


def _rows(payload: Any, tensor: Tensor) -> Iterator[Sequence[Any]]:
    """Samples of the tabular input that have a value, or null, for each column; others cannot be told apart."""
    if isinstance(payload, InferRequest):
        given = [one.data for one in payload.inputs if one.name == tensor.name]
        values = np.array(given, dtype=np.object_).ravel().tolist()
        width = len(tensor.columns)
        rows: list[Any] = [values[start : start + width] for start in range(0, len(values), width)]
    else:
        instances = payload.get("instances") if isinstance(payload, dict) else None
        rows = [_row(instance, tensor) for instance in instances] if isinstance(instances, list) else []
    yield from (row for row in rows if isinstance(row, list) and len(row) == len(tensor.columns))


def _row(instance: Any, tensor: Tensor) -> Any:
    if not isinstance(instance, dict):
        return instance
    if tensor.name in instance:
        return instance[tensor.name]
    return [instance.get(name, MISSING) for name in tensor.names]


MISSING: list[Any] = []
"""Stands for a column that an instance does not name: that is an error of the schema, not a null."""
