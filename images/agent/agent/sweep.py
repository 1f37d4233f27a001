"""Sweeping: removes from the artifact claim what nothing needs any more, and nothing that it was not told about.

Untrusted code wrote these folders: every step is taken from an open directory, and no link is ever followed.
"""

import contextlib
import json
import logging
import os
import re
import shutil
import stat
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath

from agent.folder import OPEN_DIRECTORY, opened
from agent.message import LIMIT, compact

JOB_FOLDER = re.compile(r".+-[0-9a-f]{8}")
STEP_FOLDER = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?(\.[0-9]+)?")
LAYOUTS = {
    "jobs": (JOB_FOLDER, re.compile(r"attempt-[0-9]+|checkpoint")),
    "runs": (JOB_FOLDER, STEP_FOLDER, re.compile(r"[0-9]+")),
}
"""By folder of the claim what those in it are called, level by level. The innermost, those of attempts, are what goes."""
MARGIN = timedelta(minutes=10)
"""What changed so shortly before the list was made may be newer than the list: clocks differ."""
FAILED_TOLD, FAILED_LENGTH = 5, 300

log = logging.getLogger("agent")


@dataclass(frozen=True)
class Order:
    """What a sweep is told: sweep.json and where the folders lie."""

    claim: Path
    """Where the claim's folders `jobs` and `runs` are."""
    before: float
    """Only what last changed before this moment (seconds since 1970) may go."""
    keep: frozenset[PurePosixPath]
    """Paths on the claim that somebody needs; `.` is all of it."""
    above: frozenset[PurePosixPath]
    """Everything that lies above a kept path."""
    termination_log: Path

    def keeps(self, path: str) -> bool:
        """Whether `path` is kept with all that is in it: it is a kept path, or lies below one."""
        here = PurePosixPath(path)
        return here in self.keep or not self.keep.isdisjoint(here.parents)

    def enters(self, path: str) -> bool:
        """Whether something below `path` is kept."""
        return PurePosixPath(path) in self.above


@dataclass
class Report:
    """What came of it; folders are those of attempts and checkpoints."""

    removed: int = 0
    bytes: int = 0
    kept: int = 0
    failed: list[str] = field(default_factory=list)

    def message(self) -> bytes:
        """The termination message: of what failed the first five, cut until it fits."""
        failed = [each.encode()[:FAILED_LENGTH].decode(errors="ignore") for each in self.failed[:FAILED_TOLD]]
        told = {"removed": self.removed, "bytes": self.bytes, "kept": self.kept, "failed": failed}
        while len(compact(told)) > LIMIT:
            failed.pop()
        return compact(told)


def read_order(environment: Mapping[str, str] = os.environ) -> Order:
    """The order as the environment tells; ValueError or KeyError if it is not one, and then nothing is removed.

    `NORIA_SWEEP_FILE` (default /noria/config/sweep.json), `NORIA_ARTIFACTS_DIR` (/noria/artifacts) and
    `NORIA_TERMINATION_LOG` (/dev/termination-log).
    """
    path = Path(environment.get("NORIA_SWEEP_FILE", "/noria/config/sweep.json"))
    told = json.loads(path.read_text(encoding="utf-8"))
    keep = told["keep"]
    if not isinstance(keep, list) or not all(isinstance(each, str) and _relative(each) for each in keep):
        raise ValueError(f"{path}: 'keep' must be a list of paths on the claim, without '..'")
    as_of = datetime.fromisoformat(told["asOf"])
    if as_of.tzinfo is None:
        raise ValueError(f"{path}: 'asOf' must say its time zone, as 2026-11-24T12:00:00Z does")
    kept = frozenset(PurePosixPath(each) for each in keep)
    return Order(
        claim=Path(environment.get("NORIA_ARTIFACTS_DIR", "/noria/artifacts")),
        before=(as_of - MARGIN).timestamp(),
        keep=kept,
        above=frozenset(parent for each in kept for parent in each.parents),
        termination_log=Path(environment.get("NORIA_TERMINATION_LOG", "/dev/termination-log")),
    )


def _relative(path: str) -> bool:
    return bool(path) and not path.startswith("/") and ".." not in path.split("/")


def sweep(order: Order, stopped: threading.Event) -> Report:
    """Removes what is neither kept nor young, until it is `stopped`, and leaves the report as the termination message."""
    report = Report()
    for place, (outer, *inner) in LAYOUTS.items():
        with opened(order.claim / place) as folder:
            for name in _names(folder):
                path = f"{place}/{name}"
                if stopped.is_set():
                    log.warning("stopped before %s", _printable(path))
                    break
                if not outer.fullmatch(name) or not _is_folder(folder, name):
                    continue
                try:
                    # A job or run that began after the list was made is in no list, but its folder is young.
                    stays = not order.enters(path) and not _is_all_old(folder, name, inner, order)
                    _sweep(folder, name, path, inner, stays, order, report)
                except OSError as error:
                    _failed(report, path, error)
    log.info("removed %d folders, %d bytes; kept %d", report.removed, report.bytes, report.kept)
    order.termination_log.write_bytes(report.message())
    return report


def _is_all_old(parent: int, name: str, inner: Sequence[re.Pattern[str]], order: Order) -> bool:
    """Whether a folder and all of ours in it, level by level, are old."""
    if not inner or not _is_old(parent, name, order):
        return _is_old(parent, name, order)
    with _entered(parent, name) as folder:
        return all(_is_all_old(folder, each, inner[1:], order) for each in _ours(folder, inner[0]))


def _sweep(
    parent: int, name: str, path: str, inner: Sequence[re.Pattern[str]], stays: bool, order: Order, report: Report
) -> bool:
    """One folder, unless it `stays`: an attempt's goes as a whole, any other when nothing is left in it. Whether it went."""
    stays = stays or order.keeps(path)
    needed = stays or order.enters(path) or not _is_old(parent, name, order)
    if not inner:
        report.kept += needed
        return not needed and _remove(parent, name, path, report)
    with _entered(parent, name) as folder:
        for each in _ours(folder, inner[0]):
            _sweep(folder, each, f"{path}/{each}", inner[1:], stays, order, report)
        left = _names(folder)
    if needed or left:
        return False
    os.rmdir(name, dir_fd=parent)
    return True


@contextlib.contextmanager
def _entered(parent: int, name: str) -> Iterator[int]:
    folder = os.open(name, OPEN_DIRECTORY, dir_fd=parent)
    try:
        yield folder
    finally:
        os.close(folder)


def _ours(folder: int, named: re.Pattern[str]) -> list[str]:
    return [each for each in _names(folder) if named.fullmatch(each) and _is_folder(folder, each)]


def _remove(parent: int, name: str, path: str, report: Report) -> bool:
    """Remove one folder; of one that cannot go as a whole, as much as can."""
    size = _size(parent, name)
    try:
        shutil.rmtree(name, dir_fd=parent)
    except (OSError, RecursionError) as error:
        _failed(report, path, error)
        with contextlib.suppress(RecursionError):
            shutil.rmtree(name, dir_fd=parent, ignore_errors=True)
        return False
    report.removed += 1
    report.bytes += size
    log.info("removed %s: %d bytes", _printable(path), size)
    return True


def _failed(report: Report, path: str, error: OSError | RecursionError) -> None:
    reason = "its folders lie too deep" if isinstance(error, RecursionError) else error.strerror or str(error)
    inside = error.filename if isinstance(error, OSError) and error.filename not in path.split("/") else None
    text = _printable(f"{path}: {reason} ({inside})" if inside else f"{path}: {reason}")
    log.error("not removed: %s", text)
    report.failed.append(text)


def _printable(text: str) -> str:
    """`text` with names that are not UTF-8 escaped."""
    return text.encode(errors="backslashreplace").decode()


def _size(directory: int, name: str) -> int:
    """Bytes of all files below the folder, as far as it can be looked at: what hinders that hinders the removal too."""
    size = 0
    with contextlib.suppress(OSError, RecursionError):
        for _, _, files, descriptor in os.fwalk(name, dir_fd=directory, follow_symlinks=False):
            for each in files:
                status = os.stat(each, dir_fd=descriptor, follow_symlinks=False)
                size += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return size


def _names(directory: int) -> list[str]:
    return sorted(os.listdir(directory))


def _is_folder(directory: int, name: str) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)


def _is_old(directory: int, name: str, order: Order) -> bool:
    return os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime < order.before
