"""Asks Prometheus what plans need: each distinct query once a round, for all objects that need it, which are then looked at.

Queries that serve all objects are Noria's own. One that serves a single object is its user's, may be slow or huge, and
has slots of its own, so that nobody else waits for it.
"""

import asyncio
import logging
import math
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import aiohttp
from pydantic import BaseModel, TypeAdapter, ValidationError

from noria.plan.contract import Answer, Query, Ref, Row
from noria.runtime.metrics import PROMETHEUS_QUERIES, PROMETHEUS_UP

log = logging.getLogger(__name__)
AT_A_STRETCH = 20
"""Keys that are told before others get their turn."""

Asking = Mapping[Query, set[Ref]]
Named = tuple[str | None, str] | None
"""Namespace and name of an object, or None for all that need a query and have no rows of their own."""


class Limits(NamedTuple):
    """What queries of one class may take."""

    at_once: int
    seconds: float
    """From sending to the last byte."""
    most_bytes: float


SHARED = Limits(at_once=8, seconds=10, most_bytes=math.inf)
OWN = Limits(at_once=4, seconds=5, most_bytes=2**20)


class _Document(BaseModel):
    status: Literal["success", "error"]
    error: str = ""
    data: Any = None


class _Series(BaseModel):
    metric: dict[str, str]
    value: tuple[float, str]


class _Vector(BaseModel):
    resultType: Literal["vector"]
    result: list[_Series]


class _Scalar(BaseModel):
    resultType: Literal["scalar"]
    result: tuple[float, str]


DATA: TypeAdapter[_Vector | _Scalar] = TypeAdapter(_Vector | _Scalar)


class TooLong(Exception): ...


class Answers:
    """The newest answers, by who needs them."""

    def __init__(self) -> None:
        self._by_query: dict[Query, dict[Named, Answer]] = {}

    def of(self, key: Ref, queries: Iterable[Query]) -> dict[Query, Answer]:
        """What is known for one object; what has not been asked is absent."""
        known = {}
        for query in queries:
            if (answers := self._by_query.get(query)) is not None:
                known[query] = answers.get(key[1:]) or answers[None]
        return known

    def take(self, query: Query, answers: dict[Named, Answer]) -> set[Named]:
        """Hold a new answer; for whom it differs."""
        before = self._by_query.get(query)
        self._by_query[query] = answers
        if before is None:
            return {None}
        return {name for name in before.keys() | answers.keys() if not same(before.get(name), answers.get(name))}

    def __contains__(self, query: Query) -> bool:
        return query in self._by_query

    def forget(self, needed: Iterable[Query]) -> None:
        """Drop what nobody needs any more."""
        wanted = set(needed)
        self._by_query = {query: answers for query, answers in self._by_query.items() if query in wanted}


class Poller:
    """Asks the Prometheus at `url` again and again. While it does not answer, nothing is concluded from its silence."""

    def __init__(
        self,
        url: str,
        asking: Callable[[], Asking],
        answers: Answers,
        changed: Callable[[Ref], None],
        seconds: float,
        *,
        waiting: Callable[[], AbstractSet[Ref]] = frozenset,
    ) -> None:
        """`changed` hears of each key whose answer differs from the one before, and of those `waiting` at each answer;
        it raises nothing."""
        self._url, self._asking, self._answers, self._changed = url.rstrip("/"), asking, answers, changed
        self._seconds, self._waiting = seconds, waiting
        self._slots = {limits: asyncio.Semaphore(limits.at_once) for limits in (SHARED, OWN)}
        self._under_way: set[Query] = set()
        self._concerned: OrderedDict[Ref, None] = OrderedDict()
        self._answered_one, self._woken = asyncio.Event(), asyncio.Event()
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
        """For ever. A round waits for no answer: what is still under way in the next one is not asked again."""
        clock, due = asyncio.get_running_loop().time, 0.0
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tell())
            while True:
                self._woken.clear()
                all_of_them, self._all = self._all or clock() >= due, False
                due = clock() + self._seconds if all_of_them else due
                self._answers.forget(self._asking())
                for query in self._asking().keys() - self._under_way:
                    if all_of_them or query not in self._answers:
                        self._under_way.add(query)
                        tasks.create_task(self._ask(session, query))
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), max(0.0, due - clock()))

    async def _ask(self, session: aiohttp.ClientSession, query: Query) -> None:
        """Asks, holds the answer, and notes the keys that are to be looked at."""
        limits = SHARED if query.label else OWN
        async with self._slots[limits]:
            answers = await self._answer(session, query, limits)
        self._under_way.discard(query)
        changed, keys = self._answers.take(query, answers), self._asking().get(query, set())
        told = keys if None in changed else {key for key in keys if key[1:] in changed}
        self._concerned |= dict.fromkeys(told | (keys & self._waiting()))
        self._answered_one.set()

    async def _tell(self) -> None:
        """Tells of keys one after the other; of one that several answers concern meanwhile, once."""
        while True:
            await self._answered_one.wait()
            self._answered_one.clear()
            while self._concerned:
                for _ in range(min(AT_A_STRETCH, len(self._concerned))):
                    self._changed(self._concerned.popitem(last=False)[0])
                await asyncio.sleep(0)

    async def _answer(self, session: aiohttp.ClientSession, query: Query, limits: Limits) -> dict[Named, Answer]:
        at = datetime.now(UTC)
        try:
            document = _Document.model_validate_json(await self._sent(session, query, limits))
        except TooLong:
            PROMETHEUS_QUERIES.labels("refused").inc()
            text = f"the answer is longer than {OWN.most_bytes / 2**20:.0f} MiB; aggregate, for example with max()"
            return {None: Answer(error=text, at=at)}
        except (aiohttp.ClientError, OSError, ValidationError) as error:
            PROMETHEUS_QUERIES.labels("failed").inc()
            if isinstance(error, TimeoutError) and limits is OWN:
                text = f"Prometheus has no answer within {limits.seconds} s; ask for less, or record a part of it by a rule"
                return {None: Answer(error=text, at=at)}
            self._note(False, f"does not answer: {error!r}")
            return {None: Answer(error=f"Prometheus at {self._url} does not answer", at=at)}
        self._note(True, "answers")
        if document.status == "error":
            PROMETHEUS_QUERIES.labels("refused").inc()
            return {
                None: Answer(error=f"Prometheus refuses the query: {document.error or 'it does not say why'}", at=at)
            }
        try:
            answers = split(query, read(document.data), at)
        except ValueError:
            PROMETHEUS_QUERIES.labels("refused").inc()
            text = "Prometheus answers with what is no instant vector; write an expression that gives numbers"
            return {None: Answer(error=text, at=at)}
        PROMETHEUS_QUERIES.labels("answered").inc()
        return answers

    async def _sent(self, session: aiohttp.ClientSession, query: Query, limits: Limits) -> bytes:
        """The answer's body. Raises TooLong, and then reads no further."""
        timeout, body = aiohttp.ClientTimeout(total=limits.seconds), bytearray()
        asked = {"query": query.promql}
        async with session.post(f"{self._url}/api/v1/query", data=asked, timeout=timeout) as response:
            async for part in response.content.iter_any():
                body += part
                if len(body) > limits.most_bytes:
                    response.close()
                    raise TooLong
        return bytes(body)

    def _note(self, up: bool, message: str) -> None:
        PROMETHEUS_UP.set(up)
        if up != self._up:
            log.log(logging.INFO if up else logging.WARNING, "Prometheus at %s %s", self._url, message)
        self._up = up


def read(data: Any) -> tuple[Row, ...]:
    """The rows of an instant vector, or the one of a scalar, sorted by their labels. ValueError for anything else."""
    known = DATA.validate_python(data)
    if isinstance(known, _Scalar):
        return (Row({}, float(known.result[1])),)
    rows = (Row(each.metric, float(each.value[1])) for each in known.result)
    return tuple(sorted(rows, key=lambda row: sorted(row.labels.items())))


def split(query: Query, rows: tuple[Row, ...], at: datetime) -> dict[Named, Answer]:
    """The rows by the object that they are about, under None for those without; all of them for a query of one object."""
    if not query.label:
        return {None: Answer(rows, at=at)}
    found: dict[Named, list[Row]] = defaultdict(list)
    for row in rows:
        if name := row.labels.get(query.label):
            found[row.labels.get("namespace"), name].append(row)
    return {None: Answer(at=at)} | {name: Answer(tuple(each), at=at) for name, each in found.items()}


def same(before: Answer | None, after: Answer | None) -> bool:
    """Whether two answers say the same; NaN equals NaN."""
    if before is None or after is None or before.error != after.error or len(before.rows) != len(after.rows):
        return before is after
    return all(
        one.labels == other.labels and (one.value == other.value or (math.isnan(one.value) and math.isnan(other.value)))
        for one, other in zip(before.rows, after.rows, strict=True)
    )
