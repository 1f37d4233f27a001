"""Verifying: says which of many folders are not as they were, for a pipeline that would take them from an earlier run."""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from agent.digest import MANIFEST, MANIFEST_TEMPORARY, canonical, manifest
from agent.errors import PublishError
from agent.folder import Entry, entries, opened
from agent.message import compact

log = logging.getLogger("agent")


def verify(environment: Mapping[str, str] = os.environ) -> None:
    """Writes the places of those that are gone or have another digest. KeyError or ValueError for an order that cannot be read.

    `NORIA_LOOK_FILE` (default /noria/config/look.json), `NORIA_ARTIFACTS_DIR` (/noria/artifacts) and
    `NORIA_TERMINATION_LOG` (/dev/termination-log).
    """
    order = json.loads(Path(environment.get("NORIA_LOOK_FILE", "/noria/config/look.json")).read_text("utf-8"))
    root = Path(environment.get("NORIA_ARTIFACTS_DIR", "/noria/artifacts"))
    checks = [(step["name"], check) for step in order["steps"] for check in step["checks"]]
    wrong = [place for place, (step, check) in enumerate(checks) if not _is_as_it_was(root, step, check)]
    Path(environment.get("NORIA_TERMINATION_LOG", "/dev/termination-log")).write_bytes(compact({"wrong": wrong}))


def _is_as_it_was(root: Path, step: str, check: Mapping[str, str]) -> bool:
    try:
        found = _digest(root / check["path"], check["called"])
    except (PublishError, OSError) as error:
        log.warning("%s: %s: %s", step, check["path"], error)
        return False
    if found != check["digest"]:
        log.warning("%s: %s has digest %s, not %s", step, check["path"], found, check["digest"])
    return found == check["digest"]


def _digest(path: Path, called: str) -> str:
    """Of what a step gave the manifest itself is left out; a single file counts under the name that it was mounted as."""
    if path.is_file():
        with opened(path.parent) as directory:
            size = path.stat().st_size
            made = manifest(directory, [Entry(path.name, size)], str(path))
        listed = [{"path": called or path.name, "size": size, "sha256": made.files[path.name]}]
        return "sha256:" + hashlib.sha256(canonical({"files": listed})).hexdigest()
    with opened(path) as directory:
        found = [each for each in entries(directory) if called or each.path not in (MANIFEST, MANIFEST_TEMPORARY)]
        return manifest(directory, found, str(path)).digest
