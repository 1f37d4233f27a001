"""A model's signature, and the checks that a request's values pass before they reach the model."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

DATATYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    **{f"INT{bits}": np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"float{bits}") for bits in (16, 32, 64)},
    "BYTES": np.dtype(np.object_),
}
"""NumPy's type for each datatype of the Open Inference Protocol v2; BYTES are str."""


DEEPEST = 16
"""Dimensions of an input at most."""


class InvalidRequest(ValueError):
    """A request that does not fit the signature; the text names the field, what was expected and what came."""


class InvalidSignature(ValueError):
    """The artifact's noria.json cannot be understood."""


@dataclass(frozen=True)
class Column:
    """A feature of tabular data, with what the training saw of it."""

    name: str
    minimum: float = -math.inf
    maximum: float = math.inf
    categories: tuple[Any, ...] = ()
    """The only values that the training saw; empty: not told."""


@dataclass(frozen=True)
class Tensor:
    """One input or output."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    """The first dimension is the batch; -1 stands for any."""
    columns: tuple[Column, ...] = ()
    """The features of tabular data."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(column.name for column in self.columns)

    def describe(self) -> str:
        """`FP32 [-1, 64]`."""
        return f"{self.datatype} {list(self.shape)}"

    def check(self, value: Array, where: str) -> Array:
        """`value` if its shape fits; raises InvalidRequest that begins with `where`."""
        fits = len(value.shape) == len(self.shape) and all(
            wanted in (-1, came) for wanted, came in zip(self.shape, value.shape, strict=True)
        )
        if value.shape and not value.shape[0]:
            raise InvalidRequest(f"{where}: expected at least one sample, got none")
        if not fits:
            raise InvalidRequest(f"{where}: expected shape {list(self.shape)}, got {list(value.shape)}")
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            index = [int(position) for position in np.argwhere(~np.isfinite(value))[0]]
            raise InvalidRequest(f"{where}: expected finite numbers, got {value[tuple(index)]} at {index}")
        return value


@dataclass(frozen=True)
class Signature:
    """What a model takes and gives."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    categories: dict[str, list[str]] = field(default_factory=dict)
    """For an output whose values are indexes: the texts that they stand for."""

    def input(self, name: str) -> Tensor | None:
        """The input called `name`."""
        return next((tensor for tensor in self.inputs if tensor.name == name), None)

    def named(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs, with texts in the place of indexes of categories."""
        texts = {name: np.array(each, dtype=np.object_) for name, each in self.categories.items()}
        return {name: texts[name][value] if name in texts else value for name, value in outputs.items()}

    @property
    def tabular(self) -> Tensor | None:
        """The input whose columns are the features; None if there is none, or more than one."""
        found = [tensor for tensor in self.inputs if tensor.columns]
        return found[0] if len(found) == 1 else None


def agreed(told: Signature | None, own: Signature, file: str) -> Signature:
    """`told`, if the model has such inputs and outputs; `own`, its own, if nothing is told. Raises InvalidSignature."""
    if told is None:
        return own
    for what, wanted, there in (("input", told.inputs, own.inputs), ("output", told.outputs, own.outputs)):
        known = {tensor.name: tensor for tensor in there}
        for tensor in wanted:
            if tensor.name not in known:
                names = ", ".join(map(repr, known))
                raise InvalidSignature(f"noria.json: {what} {tensor.name!r}: {file} has {names}")
            if what == "input" and not _alike(tensor, known[tensor.name]):
                raise InvalidSignature(
                    f"noria.json: input {tensor.name!r} is {tensor.describe()}, of {file} it is {known[tensor.name].describe()}"
                )
        if what == "input" and len(wanted) < len(there):
            names = {tensor.name for tensor in wanted}
            missing = next(name for name in known if name not in names)
            raise InvalidSignature(f"noria.json: {file} has input {missing!r}, which is not told")
    return told


def _alike(told: Tensor, own: Tensor) -> bool:
    """An input of a model may be of any number of dimensions, and then tells none."""
    return told.datatype == own.datatype and (not own.shape or len(told.shape) == len(own.shape))


def read_card(folder: Path) -> dict[str, Any]:
    """noria.json of the artifact; empty if it has none."""
    path = folder / "noria.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def read_signature(card: dict[str, Any]) -> Signature | None:
    """The signature in noria.json, or None: the model itself is asked then."""
    told = card.get("signature")
    if not told or not told.get("inputs"):
        return None
    return Signature(
        tuple(_tensor(entry) for entry in told["inputs"]),
        tuple(_tensor(entry) for entry in told.get("outputs", [])),
        card.get("categories", {}),
    )


def _tensor(entry: dict[str, Any]) -> Tensor:
    if entry.get("datatype") not in DATATYPES:
        raise InvalidSignature(f"noria.json: datatype of {entry.get('name')!r} must be one of {', '.join(DATATYPES)}")
    if not entry.get("shape"):
        raise InvalidSignature(f"noria.json: shape of {entry['name']!r} must begin with the batch dimension, -1")
    columns = tuple(_column(column, entry["name"]) for column in entry.get("columns", []))
    if len({column.name for column in columns}) < len(columns):
        raise InvalidSignature(f"noria.json: a column of {entry['name']!r} is named twice")
    shape = (entry["shape"][0], len(columns)) if columns else tuple(entry["shape"])
    return Tensor(entry["name"], entry["datatype"], shape, columns)


def _column(told: dict[str, Any], of: str) -> Column:
    minimum, maximum, categories = (told.get(key) for key in ("minimum", "maximum", "categories"))
    if not (
        isinstance(told.get("name"), str)
        and all(one is None or isinstance(one, int | float) for one in (minimum, maximum))
        and isinstance(categories, list | None)
        and all(isinstance(one, str | int | float) for one in categories or ())
    ):
        raise InvalidSignature(
            f"noria.json: a column of {of!r} needs a name; minimum and maximum are numbers, categories texts or numbers"
        )
    return Column(
        told["name"],
        -math.inf if minimum is None else minimum,
        math.inf if maximum is None else maximum,
        tuple(categories or ()),
    )


def rounded(numbers: Sequence[float], datatype: str) -> Array:
    """Numbers as values of the datatype have them, in float64: a limit of 0.1 is what a request's 0.1 becomes in FP32."""
    given, wanted = np.array(numbers, dtype=np.float64), DATATYPES[datatype]
    with np.errstate(over="ignore"):
        return given.astype(wanted).astype(np.float64) if wanted.kind == "f" else given


def array(value: Any, tensor: Tensor, where: str, shape: Sequence[int] | None = None) -> Array:
    """JSON values (nested or flat lists) as an array of the tensor's datatype, reshaped to `shape` if that is given.

    Raises InvalidRequest for ragged lists, for values of another type, and for numbers out of the datatype's range.
    """
    wanted = DATATYPES[tensor.datatype]
    try:
        came = np.array(value, dtype=np.object_ if tensor.datatype == "BYTES" else None)
    except ValueError as error:
        raise InvalidRequest(f"{where}: expected {tensor.describe()}, got lists of unequal lengths") from error
    if came.ndim > DEEPEST:
        raise InvalidRequest(f"{where}: expected {tensor.describe()}, got lists within more than {DEEPEST} others")
    if tensor.datatype == "BYTES":
        made = _texts(came, where)
    else:
        kinds = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}[wanted.kind]
        if came.size and came.dtype.kind not in kinds:
            raise InvalidRequest(f"{where}: expected {tensor.describe()}, got {_wrong(value, kinds)}")
        if (
            wanted.kind in "iu"
            and came.size
            and not (np.iinfo(wanted).min <= came.min() and came.max() <= np.iinfo(wanted).max)
        ):
            raise InvalidRequest(f"{where}: expected values in the range of {tensor.datatype}, got one outside")
        with np.errstate(over="ignore"):
            made = came.astype(wanted)
    if shape is not None:
        if len(shape) > DEEPEST or any(size < 0 for size in shape) or math.prod(shape) != made.size:
            raise InvalidRequest(f"{where}: expected as many values as shape {list(shape)} says, got {made.size}")
        made = made.reshape(tuple(shape))
    return made


def _texts(came: Array, where: str) -> Array:
    texts = np.empty(came.shape, dtype=np.object_)
    for index, item in np.ndenumerate(came):
        if isinstance(item, bytes):
            try:
                item = item.decode()
            except UnicodeDecodeError as error:
                raise InvalidRequest(f"{where}: expected text in UTF-8 at {list(index)}") from error
        if not isinstance(item, str):
            raise InvalidRequest(f"{where}: expected text, got {json.dumps(item, default=str)[:50]} at {list(index)}")
        texts[index] = item
    return texts


def _wrong(value: Any, kinds: str) -> str:
    """The first item of `value` that has not one of the NumPy `kinds`, as JSON."""
    items = np.array(value, dtype=np.object_).flat
    return json.dumps(next((item for item in items if np.asarray(item).dtype.kind not in kinds), None), default=str)[
        :50
    ]
