"""The termination message: everything that the operator learns of an attempt, in the 4,096 bytes that the kubelet keeps."""

import json
from collections.abc import Callable
from typing import Any

from agent.errors import PublishError

LIMIT = 4096
MAX_METRICS = 16

Message = dict[str, Any]


def compact(message: Message) -> bytes:
    """`message` as compact UTF-8 JSON."""
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()


def first_metrics(message: Message) -> Message:
    """`message` with the first 16 metrics by name."""
    return message | {"metrics": dict(sorted(message["metrics"].items())[:MAX_METRICS])}


def without(name: str) -> Callable[[Message], Message]:
    """A step that leaves `name` out."""
    return lambda message: {key: value for key, value in message.items() if key != name}


SHORTENINGS = (
    without("signature"), without("parameters"), first_metrics,
    without("metrics"), without("baseModel"), without("inputs"),
)  # fmt: skip
"""What gives way, in this order, until the message fits."""


def fitted(message: Message) -> bytes:
    """`message` in at most 4,096 bytes; digest, files, bytes, format, baseline and steps always stay."""
    content = compact(message)
    for shortened in SHORTENINGS:
        if len(content) <= LIMIT:
            break
        message = shortened(message)
        content = compact(message)
    return content


def failure(error: PublishError) -> bytes:
    """The message of an output that cannot be published."""
    return compact({"error": error.reason, "message": str(error)[:500]})
