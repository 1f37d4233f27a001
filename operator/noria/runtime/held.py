"""Statuses that say only that something begins, and wait a moment for what comes of it."""

from datetime import datetime

from noria.plan.contract import Ref
from noria.runtime.metrics import HELD_STATUSES

PASSING_SECONDS = 1.0
"""How long one waits."""
FEW, CROWDED_SECONDS = 20, 10.0
"""With more in one namespace each waits for as long: where hundreds begin at once, what follows takes longer, and a write for
each would make it longer still."""


class Held:
    """Whose status waits, and since when."""

    def __init__(self) -> None:
        self._since: dict[str | None, dict[Ref, datetime]] = {}
        """By namespace."""

    def left(self, key: Ref, now: datetime) -> float:
        """Seconds that the status of `key` may wait still; it waits from the first time that this is asked."""
        beside = self._since.setdefault(key.namespace, {})
        since = beside[key] = min(beside.get(key, now), now)  # a clock that goes back makes nobody wait longer
        self._count()
        return (PASSING_SECONDS if len(beside) <= FEW else CROWDED_SECONDS) - (now - since).total_seconds()

    def release(self, key: Ref) -> None:
        """It is written, or there is nothing to write."""
        beside = self._since.get(key.namespace, {})
        beside.pop(key, None)
        if not beside:
            self._since.pop(key.namespace, None)
        self._count()

    def _count(self) -> None:
        HELD_STATUSES.set(sum(map(len, self._since.values())))
