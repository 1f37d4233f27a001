"""Statuses that say only that something begins, and wait a moment for what comes of it."""

from datetime import datetime

from noria.plan.contract import Ref
from noria.runtime.metrics import HELD_STATUSES

PASSING_SECONDS = 1.0
"""How long one waits."""


class Held:
    """Whose status waits, and since when."""

    def __init__(self) -> None:
        self._since: dict[Ref, datetime] = {}

    def left(self, key: Ref, now: datetime) -> float:
        """Seconds that the status of `key` may wait still; it waits from the first time that this is asked."""
        since = self._since.setdefault(key, now)
        HELD_STATUSES.set(len(self._since))
        return PASSING_SECONDS - (now - since).total_seconds()

    def release(self, key: Ref) -> None:
        """It is written, or there is nothing to write."""
        self._since.pop(key, None)
        HELD_STATUSES.set(len(self._since))
