"""Asks Prometheus what plans need: each distinct query once a round, for all objects that need it, which are then looked at."""

import asyncio
import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import aiohttp

from noria.plan.contract import Answer, Query, Ref, Row
from noria.runtime.metrics import PROMETHEUS_QUERIES, PROMETHEUS_UP

log = logging.getLogger(__name__)
AT_ONCE = 8
"""Queries that are under way at the same time."""

AT_A_STRETCH = 20
"""Keys that are told before others get their turn."""

Asking = Mapping[Query, set[Ref]]


class Answers:
    """The newest answers, by who needs them."""

    def __init__(self) -> None:
        self._by_query: dict[Query, dict[Ref | None, Answer]] = {}

    def of(self, key: Ref, queries: Iterable[Query]) -> dict[Query, Answer]:
        """What is known for one object; what has not been asked is absent."""
        known = {}
        for query in queries:
            if (answers := self._by_query.get(query)) is not None:
                known[query] = answers.get(key if query.label else None) or answers.get(None) or Answer()
        return known

    def take(self, query: Query, answers: dict[Ref | None, Answer]) -> set[Ref | None]:
        """Hold a new answer; the keys for which it differs, None for all that need the query."""
        before = self._by_query.get(query)
        self._by_query[query] = answers
        if before is None:
            return {None}
        return {key for key in before.keys() | answers.keys() if not same(before.get(key), answers.get(key))}

    def __contains__(self, query: Query) -> bool:
        return query in self._by_query

    def forget(self, needed: Iterable[Query]) -> None:
        """Drop what nobody needs any more."""
        wanted = set(needed)
        self._by_query = {query: answers for query, answers in self._by_query.items() if query in wanted}


class Poller:
    """Asks the Prometheus at `url` again and again. While it does not answer, nothing is concluded from its silence."""

    def __init__(
        self, url: str, asking: Callable[[], Asking], answers: Answers, changed: Callable[[Ref], None], seconds: float
    ) -> None:
        self._url, self._asking, self._answers, self._changed = url.rstrip("/"), asking, answers, changed
        self._seconds = seconds
        self._woken = asyncio.Event()
        self._all = True
        self._up: bool | None = None

    def wake(self) -> None:
        """Ask everything now: an alert was pushed."""
        self._all = True
        self._woken.set()

    def news(self) -> None:
        """Ask now what has not been asked yet: somebody needs it."""
        self._woken.set()

    async def run(self) -> None:
        """For ever."""
        limit, due = asyncio.Semaphore(AT_ONCE), 0.0
        clock = asyncio.get_running_loop().time
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            while True:
                self._woken.clear()
                all_of_them, self._all = self._all or clock() >= due, False
                due = clock() + self._seconds if all_of_them else due
                asking = {query: set(keys) for query, keys in self._asking().items()}
                self._answers.forget(asking)
                if not all_of_them:
                    asking = {query: keys for query, keys in asking.items() if query not in self._answers}
                answered = await asyncio.gather(*(self._ask(session, limit, *each) for each in asking.items()))
                changed = set[Ref]().union(*answered)
                for number, key in enumerate(changed):
                    self._changed(key)
                    if number % AT_A_STRETCH == 0:
                        await asyncio.sleep(0)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), max(0.0, due - clock()))

    async def _ask(
        self, session: aiohttp.ClientSession, limit: asyncio.Semaphore, query: Query, keys: set[Ref]
    ) -> set[Ref]:
        """Asks, holds the answer, and gives the keys for which it is another than before."""
        async with limit:
            answers = await self._answered(session, query, keys)
        changed = self._answers.take(query, answers)
        return keys if None in changed else keys & {key for key in changed if key}

    async def _answered(self, session: aiohttp.ClientSession, query: Query, keys: set[Ref]) -> dict[Ref | None, Answer]:
        at = datetime.now(UTC)
        try:
            async with session.post(f"{self._url}/api/v1/query", data={"query": query.promql}) as response:
                document = await response.json()
                if document.get("status") != "success":
                    PROMETHEUS_QUERIES.labels("refused").inc()
                    self._tell(True, "answers")
                    why = f"Prometheus refuses the query: {document.get('error', response.status)}"
                    return {None: Answer(error=why, at=at)}
                answers = split(query, read(document["data"]), keys, at)
        except (aiohttp.ClientError, TimeoutError, LookupError, ValueError, TypeError) as error:
            PROMETHEUS_QUERIES.labels("failed").inc()
            self._tell(False, f"does not answer: {error!r}")
            return {None: Answer(error=f"Prometheus at {self._url} does not answer", at=at)}
        PROMETHEUS_QUERIES.labels("answered").inc()
        self._tell(True, "answers")
        return answers

    def _tell(self, up: bool, message: str) -> None:
        PROMETHEUS_UP.set(up)
        if up != self._up:
            log.log(logging.INFO if up else logging.WARNING, "Prometheus at %s %s", self._url, message)
        self._up = up


def read(data: Any) -> tuple[Row, ...]:
    """The rows of an instant vector, or the one of a scalar, sorted by their labels."""
    if data["resultType"] == "scalar":
        return (Row({}, float(data["result"][1])),)
    rows = (Row(each["metric"], float(each["value"][1])) for each in data["result"])
    return tuple(sorted(rows, key=lambda row: sorted(row.labels.items())))


def split(query: Query, rows: tuple[Row, ...], keys: set[Ref], at: datetime) -> dict[Ref | None, Answer]:
    """The rows by the object that they are about, under None for those without rows; all of them for a query that only
    one object asks."""
    if not query.label:
        return {None: Answer(rows, at=at)}
    by_name = {(key.namespace, key.name): key for key in keys}
    found: dict[Ref | None, list[Row]] = defaultdict(list)
    for row in rows:
        if key := by_name.get((row.labels.get("namespace"), row.labels.get(query.label, ""))):
            found[key].append(row)
    return {None: Answer(at=at)} | {key: Answer(tuple(each), at=at) for key, each in found.items()}


def same(before: Answer | None, after: Answer | None) -> bool:
    """Whether two answers say the same; NaN equals NaN."""
    if before is None or after is None or before.error != after.error or len(before.rows) != len(after.rows):
        return before is after
    return all(
        one.labels == other.labels and (one.value == other.value or (math.isnan(one.value) and math.isnan(other.value)))
        for one, other in zip(before.rows, after.rows, strict=True)
    )
