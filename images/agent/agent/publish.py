"""Publishing: checks and hashes the output, writes its manifest, and leaves the result as the termination message."""

import contextlib
import logging
import os
from collections.abc import Callable, Mapping

from agent.card import read_card
from agent.digest import MANIFEST, MANIFEST_TEMPORARY, Manifest, manifest
from agent.errors import EmptyOutput, PublishError, ReadError, UnsafeOutput
from agent.folder import entries, opened
from agent.message import Message, failure, fitted
from agent.pod import Pod

log = logging.getLogger("agent")


def publish(pod: Pod, inputs: Callable[[], Mapping[str, str | None]], steps: int | None) -> bytes:
    """Publishes the output of `pod` and returns the termination message that it has written.

    `inputs` gives the digests of the inputs by name, asked for when the output is done, or raises EmptyInput; `steps` is
    the last step seen.
    """
    try:
        message = fitted(_published(pod, inputs, steps))
    except PublishError as error:
        log.error("%s: %s", error.reason, error)
        message = failure(error)
    pod.termination_log.write_bytes(message)
    return message


def _published(pod: Pod, inputs: Callable[[], Mapping[str, str | None]], steps: int | None) -> Message:
    with opened(pod.output) as directory:
        found = [entry for entry in entries(directory) if entry.path not in (MANIFEST, MANIFEST_TEMPORARY)]
        if not found:
            raise EmptyOutput(
                "the training ended without an error and wrote no file: write the model into $NORIA_OUTPUT_DIR"
            )
        card = read_card(directory, {entry.path for entry in found})
        made = manifest(directory, found, "the output")
        write_manifest(directory, made)
    log.info("published %s: %d files, %d bytes, %s", pod.output, len(found), made.bytes, made.digest)
    baseline = (
        {"path": "baseline.json", "digest": "sha256:" + made.files["baseline.json"]} if card.has_baseline else None
    )
    return {
        "digest": made.digest,
        "files": len(found),
        "bytes": made.bytes,
        "format": card.format,
        "metrics": card.metrics,
        "signature": card.signature,
        "seed": card.seed,
        "parameters": card.parameters,
        "baseModel": card.base_model,
        "baseline": baseline,
        "inputs": dict(inputs()),
        "steps": steps,
    }


def write_manifest(directory: int, made: Manifest) -> None:
    """Writes manifest.json under a temporary name and renames it; a leftover of an interrupted attempt is replaced."""
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(MANIFEST_TEMPORARY, dir_fd=directory)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(MANIFEST_TEMPORARY, flags, 0o644, dir_fd=directory), "wb") as file:
            file.write(made.content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(MANIFEST_TEMPORARY, MANIFEST, src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)
    except (IsADirectoryError, FileExistsError) as error:
        raise UnsafeOutput(f"{MANIFEST} is a folder: the name belongs to Noria, use another") from error
    except OSError as error:
        raise ReadError(f"{MANIFEST} cannot be written into the output folder: {error.strerror}") from error
