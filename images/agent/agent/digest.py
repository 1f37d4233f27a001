"""Digests over folders: SHA-256 of every file, a manifest in canonical JSON, and the SHA-256 of that."""

import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from agent.errors import EmptyInput, PublishError, ReadError, TooLarge
from agent.folder import Entry, entries, opened, opened_file

MANIFEST = "manifest.json"
MANIFEST_TEMPORARY = ".manifest.json.tmp"
MAX_INPUT_BYTES = 50 * 10**9
CHUNK = 1 << 20
PROGRESS_SECONDS = 10.0

log = logging.getLogger("agent")


class Manifest(NamedTuple):
    """The files of a folder with their hashes."""

    content: bytes
    """The canonical JSON; its SHA-256 is the digest."""
    digest: str
    """`sha256:` and 64 hex digits."""
    files: dict[str, str]
    """SHA-256 (hex) by path."""
    bytes: int
    """Size of all files together."""


def canonical(value: Any) -> bytes:
    """`value` as UTF-8 JSON with sorted keys, no spaces and one trailing newline."""
    return (json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n").encode()


class Progress:
    """Says in the log, at most every 10 s, how far the hashing of many bytes is."""

    def __init__(self, name: str, total: int) -> None:
        self.name, self.total, self.done = name, total, 0
        self.next = time.monotonic() + PROGRESS_SECONDS
        self.lock = threading.Lock()

    def add(self, count: int) -> None:
        """Counts `count` more bytes as hashed."""
        with self.lock:
            self.done += count
            if time.monotonic() < self.next:
                return
            self.next = time.monotonic() + PROGRESS_SECONDS
        log.info("hashing %s: %.1f of %.1f GB", self.name, self.done / 1e9, self.total / 1e9)


def manifest(directory: int, found: Sequence[Entry], name: str) -> Manifest:
    """Hashes the files `found` below the open `directory` on as many threads as there are cores (at most 4)."""
    progress = Progress(name, sum(entry.size for entry in found))
    with ThreadPoolExecutor(max_workers=min(4, len(os.sched_getaffinity(0)))) as pool:
        hashes = list(pool.map(lambda entry: _sha256(directory, entry, progress), found))
    listed = [
        {"path": entry.path, "size": entry.size, "sha256": value} for entry, value in zip(found, hashes, strict=True)
    ]
    content = canonical({"files": listed})
    return Manifest(
        content=content,
        digest="sha256:" + hashlib.sha256(content).hexdigest(),
        files={entry.path: value for entry, value in zip(found, hashes, strict=True)},
        bytes=progress.total,
    )


def _sha256(directory: int, entry: Entry, progress: Progress) -> str:
    state, count = hashlib.sha256(), 0
    with opened_file(directory, entry.path) as file:
        before = os.fstat(file.fileno())
        try:
            while chunk := file.read(CHUNK):
                state.update(chunk)
                count += len(chunk)
                progress.add(len(chunk))
        except OSError as error:
            raise ReadError(f"{entry.path} cannot be read to its end: {error.strerror}") from error
        after = os.fstat(file.fileno())
    if count != entry.size or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise ReadError(f"{entry.path} changed while it was hashed: whoever writes it must have ended by then")
    return state.hexdigest()


def content_digest(name: str, path: Path) -> str:
    """Digest of a folder, or of one file under its name; nothing is written.

    Raises EmptyInput for a folder without a file, TooLarge above 50 GB, and for links and what cannot be read whatever
    `entries` and `opened` raise.
    """
    with opened(path.parent if path.is_file() else path) as directory:
        found = [Entry(path.name, path.stat().st_size)] if path.is_file() else entries(directory)
        if not found:
            raise EmptyInput(f"{name} holds no file")
        size = sum(entry.size for entry in found)
        if size > MAX_INPUT_BYTES:
            raise TooLarge(f"{size / 1e9:.1f} GB are more than {MAX_INPUT_BYTES / 1e9:.0f} GB")
        return manifest(directory, found, name).digest


def input_digest(name: str, path: Path) -> str | None:
    """Digest of an input, or None, with the reason in the log, if it has none: a training never fails for its lineage.

    Raises EmptyInput for an empty folder: where a path does not exist, the kubelet makes one.
    """
    try:
        return content_digest(f"input {name}", path)
    except EmptyInput as error:
        raise EmptyInput(
            f"input {name!r} holds no file: correct the path in the uri of spec.inputs[name={name}], "
            "or write the data first, then train again"
        ) from error
    except (PublishError, OSError) as error:
        log.warning("input %s is not digested: %s", name, error)
        return None
