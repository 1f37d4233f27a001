"""A step of a pipeline: waits beside its container, then digests the folders and reads the values that it gave."""

import json
import logging
import math
import os
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.card import read_card
from agent.digest import MANIFEST, MANIFEST_TEMPORARY, input_digest, manifest
from agent.errors import EmptyOutput, InvalidOutput, PublishError
from agent.folder import entries, opened
from agent.message import LIMIT, Message, compact, failure
from agent.publish import write_manifest

VALUE_LIMIT = 1024
"""Bytes of one value."""
VALUES = ("string", "integer", "number", "boolean", "json")

log = logging.getLogger("agent")


@dataclass(frozen=True)
class Order:
    """What the pod is told: step.json."""

    outputs: Mapping[str, tuple[str, Path]]
    """Type and path of each output by name."""
    inputs: Mapping[str, Path]
    """Path of each input that came from outside of the pipeline."""
    termination_log: Path


def read_order(environment: Mapping[str, str] = os.environ) -> Order:
    """The order as the environment tells: `NORIA_STEP_FILE` (default /noria/config/step.json), `NORIA_TERMINATION_LOG`."""
    told = json.loads(Path(environment.get("NORIA_STEP_FILE", "/noria/config/step.json")).read_text("utf-8"))
    return Order(
        outputs={name: (each["type"], Path(each["path"])) for name, each in told["outputs"].items()},
        inputs={name: Path(path) for name, path in told["inputs"].items()},
        termination_log=Path(environment.get("NORIA_TERMINATION_LOG", "/dev/termination-log")),
    )


def accompany(order: Order, stopped: threading.Event) -> bytes:
    """Waits until `stopped`, then tells what the step gave; the inputs are digested meanwhile. The message it has written."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="inputs") as pool:
        digests = pool.submit(lambda: {name: input_digest(name, path) for name, path in order.inputs.items()})
        stopped.wait()
        try:
            outputs = {name: given(name, type, path) for name, (type, path) in order.outputs.items()}
            message = compact({"outputs": outputs, "inputs": digests.result()})
            if len(message) > LIMIT:
                raise InvalidOutput(
                    f"the outputs together have {len(message)} bytes as JSON, more than {LIMIT}: write folders"
                )
        except PublishError as error:
            log.error("%s: %s", error.reason, error)
            message = failure(error)
    order.termination_log.write_bytes(message)
    return message


def given(name: str, type: str, path: Path) -> Message:
    """What one output holds. Raises PublishError."""
    return {"value": _value(name, type, path)} if type in VALUES else _folder(name, type, path)


def _folder(name: str, type: str, path: Path) -> Message:
    with opened(path) as directory:
        found = list(entries(directory))
        if type != "model" and any(entry.path == MANIFEST for entry in found):
            raise InvalidOutput(
                f"output {name} holds {MANIFEST}, which would be in no digest: give the file another name"
            )
        found = [entry for entry in found if entry.path not in (MANIFEST, MANIFEST_TEMPORARY)]
        if not found:
            raise EmptyOutput(f"output {name} holds no file: write into the folder $NORIA_OUTPUT_{_variable(name)}")
        card = read_card(directory, {entry.path for entry in found}) if type == "model" else None
        made = manifest(directory, found, f"output {name}")
        if card:
            write_manifest(directory, made)
    told: Message = {"digest": made.digest, "files": len(found), "bytes": made.bytes}
    return told | ({"format": card.format} if card else {})


def _value(name: str, type: str, path: Path) -> Any:
    variable = f"$NORIA_OUTPUT_{_variable(name)}"
    try:
        with path.open("rb") as file:
            content = file.read(VALUE_LIMIT + 2)
    except OSError as error:
        raise EmptyOutput(f"output {name} was not written: write the {type} into the file {variable}") from error
    try:
        text = content.decode().removesuffix("\n")
        if len(content) > VALUE_LIMIT + 1:
            raise ValueError(f"it has more than {VALUE_LIMIT} bytes")
        return text if type == "string" else _parsed(type, text)
    except ValueError as error:
        raise InvalidOutput(f"output {name}: {variable} must hold a {type}: {error}") from error


def _parsed(type: str, text: str) -> Any:
    value = json.loads(text, parse_constant=_no_number, parse_float=_number, parse_int=_whole)
    fits = {
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "boolean": isinstance(value, bool),
        "json": value is not None,
    }
    if not fits[type]:
        raise ValueError(f"not {text[:60]!r}")
    return value


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


def _number(text: str) -> float:
    if not math.isfinite(value := float(text)):
        _no_number(text)
    return value


def _whole(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= (value := int(text)) < 2**63:
        raise ValueError(f"{text[:30]} does not fit 64 bits")
    return value


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")
