"""Brings training progress from Prometheus: one query for all runs, whose keys are looked at when their numbers changed."""

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Any

import aiohttp

from noria.plan.contract import Ref
from noria.runtime.metrics import PROMETHEUS_UP
from noria.runtime.store import Store

log = logging.getLogger(__name__)
QUERY = '{__name__=~"noria_training_.+"}'
SECONDS = 10.0

Values = dict[Ref, dict[str, float]]


class Poller:
    """Asks the Prometheus at `url`. While it does not answer, progress stands still and nothing else changes."""

    def __init__(self, url: str, store: Store, changed: Callable[[Ref], None]) -> None:
        self._url, self._store, self._changed = url.rstrip("/"), store, changed
        self._up: bool | None = None

    async def run(self, seconds: float = SECONDS) -> None:
        """Ask again and again, for ever."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            while True:
                try:
                    async with session.get(f"{self._url}/api/v1/query", params={"query": QUERY}) as response:
                        response.raise_for_status()
                        values = read(await response.json())
                except (aiohttp.ClientError, TimeoutError, LookupError, ValueError, TypeError) as error:
                    self._tell(False, f"does not answer, so progress stands still: {error!r}")
                else:
                    self._tell(True, "answers")
                    self._take(values)
                await asyncio.sleep(seconds)

    def _take(self, values: Values) -> None:
        before, self._store.metrics = self._store.metrics, values
        for key in before.keys() | values.keys():
            if before.get(key) != values.get(key):
                self._changed(key)

    def _tell(self, up: bool, message: str) -> None:
        PROMETHEUS_UP.set(up)
        if up != self._up:
            log.log(logging.INFO if up else logging.WARNING, "Prometheus at %s %s", self._url, message)
        self._up = up


def read(answer: Any) -> Values:
    """The values by TrainingJob and metric; of several attempts the newest counts."""
    values: Values = {}
    for series in sorted(answer["data"]["result"], key=lambda each: int(each["metric"].get("attempt") or 0)):
        labels, value = series["metric"], float(series["value"][1])
        if math.isfinite(value) and "namespace" in labels and "trainingjob" in labels:
            key = Ref("TrainingJob", labels["namespace"], labels["trainingjob"])
            values.setdefault(key, {})[labels["__name__"]] = value
    return values
