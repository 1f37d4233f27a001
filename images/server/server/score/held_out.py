"""The held-out set: read once, then given to each model as its signature asks for it."""

import csv
import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from server.score.request import Request, ScoreError
from server.signature import DATATYPES, Array, InvalidRequest, Signature, Tensor

SUFFIXES = (".npz", ".csv")
SEED = 0


@dataclass(frozen=True)
class HeldOut:
    """Samples, labels, and the groups that they are in."""

    file: str
    y: Array
    """(samples,), numbers or texts."""
    slices: Mapping[str, Array]
    """Texts (samples,) by slice."""
    x: Array | None
    """The samples of an npz file."""
    columns: tuple[str, ...]
    """Names of x's columns; of CSV, the columns that are neither the label nor a slice."""
    table: Mapping[str, Array]
    """Texts by column, of CSV."""

    def texts(self) -> Iterator[Array]:
        """The labels as texts, in each way in which classes may be written: as they stand, as whole numbers, as truth values."""
        stand = self.y.astype(np.str_)
        yield stand
        whole = stand
        with suppress(ValueError):  # of words
            yield (whole := _whole(_whole(self.y).astype(np.float64)).astype(np.str_))
        for words in (np.char.lower(stand), whole):
            if set(words.tolist()) <= {"true", "false"} or set(words.tolist()) <= {"0", "1"}:
                flags = np.isin(words, ("true", "1"))
                yield from (
                    flags.astype(np.int64).astype(np.str_),
                    flags.astype(np.str_),
                    np.char.lower(flags.astype(np.str_)),
                )

    def input(self, signature: Signature) -> tuple[str, Array]:
        """Name and values of the model's input. Raises ScoreError if the samples do not fit it."""
        if len(signature.inputs) != 1:
            raise ScoreError(
                "UnsupportedModel", f"takes {len(signature.inputs)} inputs; only models with one are scored"
            )
        tensor = signature.inputs[0]
        values = self._csv(tensor) if self.x is None else self._npz(self.x, tensor)
        if (values.dtype.kind in "OU") != (tensor.datatype == "BYTES"):
            raise ScoreError("InvalidData", f"{self.file}: expected {tensor.describe()}, got {values.dtype}")
        cast = values.astype(DATATYPES[tensor.datatype])
        if cast.dtype.kind in "iub" and not np.array_equal(cast, values):
            raise ScoreError("InvalidData", f"{self.file}: {tensor.name!r} holds numbers that no {tensor.datatype} is")
        try:
            of_any_number = replace(tensor, shape=(-1, *tensor.shape[1:]))
            return tensor.name, of_any_number.check(cast, f"{self.file} {tensor.name!r}")
        except InvalidRequest as error:
            raise ScoreError("InvalidData", str(error)) from error

    def _npz(self, x: Array, tensor: Tensor) -> Array:
        if not tensor.columns or not self.columns:
            return x
        return x[:, [self.columns.index(name) for name in self._present(tensor.names)]]

    def _csv(self, tensor: Tensor) -> Array:
        if tensor.datatype == "BYTES" and len(tensor.shape) == 1:
            name = tensor.name if tensor.name in self.table or len(self.columns) != 1 else self.columns[0]
            return self.table[self._present([name])[0]]
        names = self._present(tensor.names or self.columns)
        if tensor.datatype == "BYTES":
            return np.stack([self.table[name] for name in names], axis=1)
        return np.stack([_numbers(self.table[name], name, self.file) for name in names], axis=1)

    def _present(self, names: Sequence[str]) -> Sequence[str]:
        if missing := [name for name in names if name not in (self.table if self.x is None else self.columns)]:
            raise ScoreError("InvalidData", f"{self.file}: no column {missing[0]!r}, which the model needs")
        return names


def read(request: Request) -> HeldOut:
    """The held-out set, at most `max_samples` of it, a draw with a fixed seed. Raises ScoreError (InvalidData)."""
    path = _find(request.test)
    found = _read_npz(path, request) if zipfile.is_zipfile(path) else _read_csv(path, request)
    if len(found.y) < 2:
        raise ScoreError("InvalidData", f"{path.name}: {len(found.y)} samples are too few to score on")
    blank = np.isnan(found.y) if found.y.dtype.kind == "f" else np.char.strip(found.y.astype(np.str_)) == ""
    if blank.any():
        raise ScoreError(
            "InvalidData", f"{path.name}: row {int(np.argmax(blank)) + 1} has no label; fill it or drop the row"
        )
    if len(found.y) <= request.max_samples:
        return found
    kept = np.sort(np.random.default_rng(SEED).permutation(len(found.y))[: request.max_samples])
    slices, table = ({name: values[kept] for name, values in one.items()} for one in (found.slices, found.table))
    x = None if found.x is None else found.x[kept]
    return HeldOut(found.file, found.y[kept], slices, x, found.columns, table)


def digest(path: Path) -> str:
    """The digest of a file or folder, made as the agent makes that of a training's input (docs/pod-contract.md)."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    base = path.parent if path.is_file() else path
    listed = []
    for file in sorted(files, key=lambda one: one.relative_to(base).as_posix()):
        with file.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
        listed.append({"path": file.relative_to(base).as_posix(), "size": file.stat().st_size, "sha256": found})
    content = json.dumps({"files": listed}, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
    return "sha256:" + hashlib.sha256(content.encode()).hexdigest()


def _find(test: Path) -> Path:
    if test.is_file():
        return test
    if not test.is_dir():
        raise ScoreError("InvalidData", f"{test} does not exist")
    for suffix in SUFFIXES:
        if (test / f"test{suffix}").is_file():
            return test / f"test{suffix}"
    files = sorted(path for path in test.iterdir() if path.suffix in SUFFIXES)
    if len(files) != 1:
        names = ", ".join(path.name for path in files) or "none"
        raise ScoreError("InvalidData", f"{test}: expected test.npz, test.csv, or one .npz or .csv file; found {names}")
    return files[0]


def _read_npz(path: Path, request: Request) -> HeldOut:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise ScoreError("InvalidData", f"{path.name}: not a NumPy archive of plain arrays ({error})") from error
    for name in ("x", "y", *request.slices):
        if name not in arrays:
            raise ScoreError("InvalidData", f"{path.name}: array {name!r} is missing; it holds {', '.join(arrays)}")
        if (name != "x" and arrays[name].ndim != 1) or arrays[name].shape[:1] != arrays["x"].shape[:1]:
            raise ScoreError("InvalidData", f"{path.name}: {name!r} must have one value for each sample of x")
    x, columns = arrays["x"], tuple(map(str, arrays.get("columns", ())))
    if columns and (x.ndim != 2 or len(columns) != x.shape[1]):
        raise ScoreError(
            "InvalidData", f"{path.name}: {len(columns)} names in 'columns' do not fit x of shape {x.shape}"
        )
    slices = {name: arrays[name].astype(np.str_) for name in request.slices}
    return HeldOut(path.name, arrays["y"], slices, x, columns, {})


def _read_csv(path: Path, request: Request) -> HeldOut:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            csv.field_size_limit(path.stat().st_size + 1)  # of a text 128 KiB by default
            header, *rows = [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise ScoreError("InvalidData", f"{path.name}: not a CSV file with a header in UTF-8 ({error})") from error
    for name in (request.target, *request.slices):
        if name not in header:
            raise ScoreError("InvalidData", f"{path.name}: no column {name!r}; it has {', '.join(header)}")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise ScoreError(
                "InvalidData", f"{path.name}: line {number} has {len(row)} values, the header has {len(header)}"
            )
    table = {name: np.array([row[number] for row in rows], dtype=np.object_) for number, name in enumerate(header)}
    columns = tuple(name for name in header if name not in (request.target, *request.slices))
    slices = {name: table[name].astype(np.str_) for name in request.slices}
    return HeldOut(path.name, table[request.target].astype(np.str_), slices, None, columns, table)


def _whole(y: Array) -> Array:
    """Labels that all are whole numbers as such; others as they are."""
    try:
        return y.astype(np.int64) if y.dtype.kind not in "fb" or (y == np.round(y)).all() else y
    except (ValueError, OverflowError):
        return y


def _numbers(values: Array, column: str, file: str) -> Array:
    numbers = np.empty(len(values))
    for row, value in enumerate(values.tolist()):
        try:
            numbers[row] = float(value)
        except ValueError:
            raise ScoreError(
                "InvalidData", f"{file}: column {column!r}, row {row + 1} is not a number: {value[:50]!r}"
            ) from None
    return numbers
