"""Reading a folder that untrusted code wrote: every step is taken from an open directory, and no link is ever followed."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from agent.errors import InvalidOutput, ReadError, UnsafeOutput

MAX_FILES = 100_000
MAX_DEPTH = 64
OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Entry(NamedTuple):
    """A regular file below the folder."""

    path: str
    """Relative, with `/` as separator."""
    size: int
    """Bytes."""


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """The folder itself as an open directory; ReadError if it is missing, UnsafeOutput if it is a link."""
    try:
        descriptor = os.open(path, OPEN_DIRECTORY)
    except FileNotFoundError as error:
        raise ReadError(
            f"{path} is missing: the volume was not mounted, or the folder was removed during the training"
        ) from error
    except OSError as error:
        if path.is_symlink() or path.is_file():
            raise UnsafeOutput(
                f"{path} is not a folder but a link or a file: write files into the folder itself"
            ) from error
        raise ReadError(f"{path} cannot be opened: {error.strerror}; user 1000 must be able to read it") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def entries(directory: int) -> list[Entry]:
    """All files below `directory`, sorted by path.

    Raises UnsafeOutput for whatever is neither a folder nor a regular file, for names that are not UTF-8 and for more
    than 64 levels; InvalidOutput for more than 100,000 files; ReadError for what cannot be read.
    """
    found: list[Entry] = []
    _walk(directory, "", 0, found)
    return sorted(found)


def _walk(directory: int, prefix: str, depth: int, found: list[Entry]) -> None:
    if depth > MAX_DEPTH:
        raise UnsafeOutput(f"{prefix} lies more than {MAX_DEPTH} folders deep: write a flatter tree")
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise ReadError(f"{prefix or 'the output folder'} cannot be listed: {error.strerror}") from error
    for name in names:
        path = prefix + name
        try:
            path.encode()
        except UnicodeEncodeError as error:
            raise UnsafeOutput(f"the name of {path!a} is not UTF-8: rename the file") from error
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                inner = os.open(name, OPEN_DIRECTORY, dir_fd=directory)
                try:
                    _walk(inner, path + "/", depth + 1, found)
                finally:
                    os.close(inner)
                continue
        except OSError as error:
            raise ReadError(f"{path} cannot be read: {error.strerror}") from error
        if not stat.S_ISREG(status.st_mode):
            raise UnsafeOutput(
                f"{path} is a {_kind(status.st_mode)}: only regular files may lie here, copy the content instead"
            )
        found.append(Entry(path, status.st_size))
        if len(found) > MAX_FILES:
            raise InvalidOutput(f"there are more than {MAX_FILES:,} files: pack them into fewer")


@contextmanager
def opened_file(directory: int, path: str) -> Iterator[FileIO]:
    """A regular file below `directory`; neither it nor a folder on the way to it may be a link."""
    *folders, name = path.split("/")
    here, close = directory, []
    try:
        for folder in folders:
            here = os.open(folder, OPEN_DIRECTORY, dir_fd=here)
            close.append(here)
        descriptor = os.open(name, OPEN_FILE, dir_fd=here)
    except OSError as error:
        raise ReadError(
            f"{path} cannot be opened: {error.strerror}; it must not change once the training has ended"
        ) from error
    finally:
        for folder_descriptor in close:
            os.close(folder_descriptor)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnsafeOutput(f"{path} is not a regular file any more: it must not change once the training has ended")
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        yield file


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISLNK, "symbolic link"), (stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"))
    return next((name for matches, name in kinds if matches(mode)), "device")
