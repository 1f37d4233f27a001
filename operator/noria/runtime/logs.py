"""Logs for machines: one JSON object a line, naming the object that is being reconciled."""

import logging
from contextvars import ContextVar

from pythonjsonlogger.json import JsonFormatter

from noria.plan.contract import Ref

KEY: ContextVar[Ref | None] = ContextVar("KEY", default=None)
"""The object that the current task works for."""


def _name_object(record: logging.LogRecord) -> bool:
    if key := KEY.get():
        record.__dict__.update(kind=key.kind, namespace=key.namespace, object=key.name)
    return True


def configure(level: str = "INFO") -> None:
    """Send the process's logs to stderr; of kopf and aiohttp only what is wrong."""
    handler = logging.StreamHandler()
    handler.addFilter(_name_object)
    handler.setFormatter(
        JsonFormatter(
            "%(asctime)s %(levelname)s %(name)s %(message)s",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger", "object": "name"},
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("kopf", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
