"""Probing: digests what lies at a path now, as a training digests its inputs, and leaves that as the termination message."""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from agent.digest import content_digest
from agent.errors import EmptyInput, PublishError
from agent.message import compact

log = logging.getLogger("agent")


def probe(environment: Mapping[str, str] = os.environ) -> None:
    """Writes the digest, or why there is none. KeyError or ValueError for an order that cannot be read.

    `NORIA_PROBE_FILE` (default /noria/config/probe.json) and `NORIA_TERMINATION_LOG` (/dev/termination-log).
    """
    order = json.loads(Path(environment.get("NORIA_PROBE_FILE", "/noria/config/probe.json")).read_text("utf-8"))
    message = _message(Path(order["path"]))
    log.info("%s: %s", order["path"], message)
    Path(environment.get("NORIA_TERMINATION_LOG", "/dev/termination-log")).write_bytes(compact(message))


def _message(path: Path) -> dict[str, str]:
    try:
        return {"digest": content_digest(str(path), path)}
    except EmptyInput:
        return {"error": "EmptyInput", "message": "there is no file; correct the path in the uri, or write the data"}
    except (PublishError, OSError) as error:
        return {"error": "NotDigested", "message": str(error)[:500]}
