"""Reading labelled data: NumPy archives with `x` and `y`, or CSV with a header and a target column."""

import csv
import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.errors import TrainingInputError

SUFFIXES = (".npz", ".csv")
CHANNELS = (1, 3, 4)
"""Of images: grey, colours, and colours with transparency."""


@dataclass(frozen=True)
class Labelled:
    """Samples with their labels."""

    x: npt.NDArray[np.generic]
    """(samples, features) or (samples, height, width) or (samples, channels, height, width), float32; or texts (samples,)."""
    y: npt.NDArray[np.generic]
    """(samples,), int64 or str."""
    columns: tuple[str, ...]
    """Names of the features of tabular data; empty for images and texts."""

    def digest(self) -> str:
        """SHA-256 over samples, labels and columns, as hexadecimal digits."""
        found = hashlib.sha256(repr((self.x.shape, self.columns, str(self.y.dtype))).encode())
        for values in (self.x, self.y):
            if values.dtype.kind in "OU":
                found.update("\0".join(values.tolist()).encode(errors="surrogatepass"))
            else:
                found.update(np.ascontiguousarray(values))
        return found.hexdigest()


def find(folder: Path, stem: str) -> Path | None:
    """`<stem>.npz` or `<stem>.csv` in `folder`; `folder` itself if it is a file."""
    if folder.is_file():
        return folder
    return next((folder / f"{stem}{suffix}" for suffix in SUFFIXES if (folder / f"{stem}{suffix}").is_file()), None)


def find_training(folder: Path) -> Path:
    """train.npz, train.csv, or the only .npz or .csv file in `folder`."""
    if not folder.exists():
        raise TrainingInputError(f"input 'train': {folder} does not exist; name an input 'train' in spec.inputs")
    found = find(folder, "train")
    if found:
        return found
    files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    if len(files) != 1:
        names = ", ".join(path.name for path in files) or "none"
        raise TrainingInputError(
            f"input 'train': expected train.npz, train.csv, or one .npz or .csv file; found {names}"
        )
    return files[0]


def read(path: Path, target: str, text: str | None = None) -> Labelled:
    """The labelled data in `path`; `target` is the label's column in CSV, `text` that of texts (None: numbers are read).

    Raises TrainingInputError that names the file, the row and the column that cannot be used.
    """
    labelled = _read_npz(path, text is not None) if zipfile.is_zipfile(path) else _read_csv(path, target, text)
    if len(labelled.y) < 2:
        raise TrainingInputError(f"{path.name}: {len(labelled.y)} samples are too few to train on")
    if len(np.unique(labelled.y)) < 2:
        raise TrainingInputError(
            f"{path.name}: all labels are {labelled.y[0]!s}; a classifier needs at least two classes"
        )
    return labelled


def _read_npz(path: Path, texts: bool) -> Labelled:
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = {"x", "y"} - set(archive.files)
            if missing:
                raise TrainingInputError(
                    f"{path.name}: array {min(missing)!r} is missing; it holds {', '.join(archive.files)}"
                )
            x, y = archive["x"], archive["y"]
            columns = tuple(map(str, np.atleast_1d(archive["columns"]))) if "columns" in archive.files else ()
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise TrainingInputError(f"{path.name}: not a NumPy archive of plain arrays ({error})") from error
    if y.ndim != 1 or len(x) != len(y):
        raise TrainingInputError(
            f"{path.name}: y must have shape (samples,) and as many samples as x; x {x.shape}, y {y.shape}"
        )
    if texts != (x.dtype.kind == "U") or x.dtype.kind not in "biufU":
        raise TrainingInputError(f"{path.name}: x must hold {'texts' if texts else 'numbers'}, not {x.dtype}")
    if texts:
        return Labelled(x, _labels(y, path), ())
    if x.ndim not in (2, 3, 4):
        raise TrainingInputError(f"{path.name}: x must have 2 (tabular), 3 or 4 (images) dimensions, not {x.ndim}")
    _named(columns, path)
    if x.ndim == 4 and _last(*x.shape[1:]):
        raise TrainingInputError(
            f"{path.name}: x of shape {x.shape} looks like images with their channels last; "
            "put them first: x.transpose(0, 3, 1, 2)"
        )
    if x.ndim == 2 and not columns:
        columns = tuple(f"x{number}" for number in range(x.shape[1]))
    if columns and (x.ndim != 2 or len(columns) != x.shape[1]):
        raise TrainingInputError(f"{path.name}: {len(columns)} names in 'columns' do not fit x of shape {x.shape}")
    return Labelled(_finite(x.astype(np.float32), columns, path), _labels(y, path), columns)


def _read_csv(path: Path, target: str, text: str | None) -> Labelled:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            csv.field_size_limit(path.stat().st_size + 1)  # of a text 128 KiB by default
            header, *rows = [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise TrainingInputError(f"{path.name}: not a CSV file with a header in UTF-8 ({error})") from error
    for name, parameter in ((target, "target"), (text, "textColumn")):
        if name is not None and name not in header:
            raise TrainingInputError(
                f"{path.name}: no column {name!r} (parameter {parameter!r}); it has {', '.join(header)}"
            )
    _named(header, path)
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise TrainingInputError(f"{path.name}: line {number} has {len(row)} values, the header has {len(header)}")
    table = dict(zip(header, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(header, ())
    labels = _csv_labels(table[target], target, path)
    if text is not None:
        return Labelled(np.array(table[text], dtype=np.object_), labels, ())  # each as long as it is
    columns = tuple(name for name in header if name != target)
    if not columns:
        raise TrainingInputError(f"{path.name}: there is no column beside the target {target!r}")
    x = np.stack([_numbers(table[name], name, path) for name in columns], axis=1)
    return Labelled(_finite(x, columns, path), labels, columns)


def _last(first: int, second: int, third: int) -> bool:
    """Whether a sample looks like an image with its channels last; of width 1 only if it is square."""
    return third in CHANNELS and first not in CHANNELS and (first == second or (third > 1 and min(first, second) > 4))


def _named(columns: Sequence[str], path: Path) -> None:
    if len(set(columns)) != len(columns):
        raise TrainingInputError(f"{path.name}: a column name stands twice in the header")
    if any(not name.strip() for name in columns):
        raise TrainingInputError(f"{path.name}: a column has no name; pandas writes its index so, without index=False")


def _numbers(values: tuple[str, ...], column: str, path: Path) -> npt.NDArray[np.float32]:
    numbers = np.empty(len(values), dtype=np.float32)
    for row, value in enumerate(values):
        try:
            if "_" in value:  # which Python reads as a separator of digits
                raise ValueError
            numbers[row] = float(value)
        except ValueError:
            what = "is empty" if not value.strip() else f"is not a number: {value!r}"
            raise TrainingInputError(
                f"{path.name}: column {column!r}, row {row + 1} {what}; fill it or drop the row"
            ) from None
    return numbers


def _finite(x: npt.NDArray[np.float32], columns: tuple[str, ...], path: Path) -> npt.NDArray[np.float32]:
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        where = f"column {columns[bad[0][1]]!r}" if columns else f"index {tuple(int(i) for i in bad[0][1:])}"
        raise TrainingInputError(f"{path.name}: {where}, row {bad[0][0] + 1} is not finite; fill it or drop the row")
    return x


def _labels(y: npt.NDArray[np.generic], path: Path) -> npt.NDArray[np.generic]:
    if y.dtype.kind in "iub":
        if y.size and y.max() > np.iinfo(np.int64).max:
            raise TrainingInputError(f"{path.name}: y holds numbers above 2**63 - 1")
        return y.astype(np.int64)
    if y.dtype.kind == "U":
        return y
    raise TrainingInputError(f"{path.name}: y must hold whole numbers or texts, not {y.dtype}")


def _csv_labels(values: tuple[str, ...], name: str, path: Path) -> npt.NDArray[np.generic]:
    if blank := next((number for number, value in enumerate(values, start=1) if not value.strip()), None):
        raise TrainingInputError(f"{path.name}: column {name!r}, row {blank} is empty")
    try:
        numbers = [int(value) for value in values]
        if all(str(number) == value for number, value in zip(numbers, values, strict=True)):
            return np.array(numbers, dtype=np.int64)
    except (ValueError, OverflowError):
        pass
    return np.array(values, dtype=np.str_)  # 007 is another label than 7
