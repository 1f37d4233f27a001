"""Verifying an artifact before any of it is loaded: manifest.json against the digest, every file against manifest.json."""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cores import cores

MANIFEST = "manifest.json"


class DigestMismatch(Exception):
    """The folder is not what was published; the text is `<file>: <what differs>`."""

    def __init__(self, file: str, difference: str) -> None:
        super().__init__(f"{file}: {difference}")


def verify(folder: Path, digest: str) -> int:
    """Checks all files in `folder`; returns their number. Raises DigestMismatch with the first file that differs.

    A file that the manifest does not list is a mismatch too: whoever may add files may add code.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise DigestMismatch(
            MANIFEST, f"cannot be read ({error.strerror}), the artifact was never published here"
        ) from error
    found = "sha256:" + hashlib.sha256(content).hexdigest()
    if found != digest:
        raise DigestMismatch(MANIFEST, f"expected {digest}, found {found}")
    listed = {entry["path"]: entry for entry in json.loads(content)["files"]}
    present = {path.relative_to(folder).as_posix() for path in _files(folder)} - {MANIFEST}
    if extra := sorted(present - set(listed)):
        raise DigestMismatch(extra[0], "is not in manifest.json, it was added after the training")
    with ThreadPoolExecutor(max_workers=cores()) as pool:
        list(pool.map(lambda entry: _check(folder, **entry), listed.values()))
    return len(listed)


def _files(folder: Path) -> list[Path]:
    """With links to folders, which may lead to files anywhere."""
    found = [Path(root) / name for root, folders, names in os.walk(folder) for name in (*folders, *names)]
    return [path for path in found if path.is_symlink() or not path.is_dir()]


def _check(folder: Path, path: str, size: int, sha256: str) -> None:
    file = folder / path
    if file.is_symlink() or not file.is_file():
        raise DigestMismatch(path, "is missing, or is no regular file")
    if file.stat().st_size != size:
        raise DigestMismatch(path, f"expected {size} bytes, found {file.stat().st_size}")
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != sha256:
        raise DigestMismatch(path, f"expected sha256 {sha256}, found {found}")
