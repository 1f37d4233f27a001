"""Asks Prometheus what plans need: each distinct query once a round, for all objects that need it, which are then looked at.

Queries that serve all objects are Noria's own. One that serves a single object is its user's, may be slow or huge, and
has slots of its own, so that nobody else waits for it.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from pydantic_core import from_json

from noria.plan.contract import Look, Query, Ref
from noria.runtime.answers import Answers, Reply, read, split
from noria.runtime.metrics import PROMETHEUS_QUERIES, PROMETHEUS_UP
from noria.runtime.queue import Queue

log = logging.getLogger(__name__)
AT_A_STRETCH = 50
"""Keys that are judged before others get their turn."""
SETTLE_SECONDS = 0.2
"""For so long at most news wait for the other answers of the round, so that a key is told once of them all."""
FIRST_SECONDS = 0.3
"""For so long at most the next answer waits until what this one sets off at once is carried out."""

Asking = Mapping[Query, Collection[Ref]]
Asked = tuple[str, Query]
"""A query, and the namespace whose turn it takes, which stays so while it waits and runs, whoever needs it by then."""


class Limits(NamedTuple):
    """What queries of one class may take."""

    at_once: int
    seconds: float
    """From sending to the last byte."""
    most_bytes: float


SHARED = Limits(at_once=8, seconds=10, most_bytes=math.inf)
OWN = Limits(at_once=4, seconds=5, most_bytes=2**20)


class TooLong(Exception): ...


class Poller:
    """Asks the Prometheus at `url` again and again. While it does not answer, nothing is concluded from its silence."""

    def __init__(
        self,
        url: str,
        asking: Callable[[], Asking],
        answers: Answers,
        looks: Callable[[Query], Iterable[tuple[Ref, Look]]],
        changed: Callable[[Ref], None],
        settled: Callable[[Collection[Ref]], Awaitable[None]],
        seconds: float,
    ) -> None:
        """`changed` hears of keys that are to be looked at, as soon as `looks` says of a new answer; `settled` returns when
        what was to be done for them is done. None of them raises anything."""
        self._url, self._asking, self._answers, self._looks = url.rstrip("/"), asking, answers, looks
        self._name = urlunsplit(urlsplit(self._url)._replace(netloc=urlsplit(self._url).netloc.rpartition("@")[2]))
        """The url as it is told, in statuses too: without a password."""
        self._changed, self._settled, self._seconds = changed, settled, seconds
        self._turns = {limits: _turns(limits.at_once) for limits in (SHARED, OWN)}
        self._under_way: set[Query] = set()
        self._concerned: dict[Ref, None] = {}
        self._reading = asyncio.Lock()
        self._woken, self._answered_one, self._answered_all = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._all = True
        self._up: bool | None = None
        self._heard = 0.0
        """When it last answered anything, as time.monotonic says."""

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
            for limits, turns in self._turns.items():
                tasks.create_task(turns.work(partial(self._ask, session), limits.at_once))
            while True:
                self._woken.clear()
                all_of_them, self._all = self._all or clock() >= due, False
                due = clock() + self._seconds if all_of_them else due
                asking = self._asking()
                self._answers.forget(asking)
                idle = (each for each in asking if each not in self._under_way)
                # What few need goes first: gates of rollouts before the signals of all.
                for query in sorted(idle, key=lambda each: len(asking[each])):
                    if all_of_them or query not in self._answers:
                        self._under_way.add(query)
                        self._turns[_limits(query)].add((_namespace(query, asking[query]), query))
                        self._answered_all.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), max(0.0, due - clock()))

    async def _ask(self, session: aiohttp.ClientSession, asked: Asked) -> None:
        """Asks, holds the answer, and tells of the keys that are to be looked at now; others it notes."""
        place, query = asked
        limits, at = _limits(query), datetime.now(UTC)
        said = await self._said(session, query, limits, at, alone=bool(place))
        async with self._reading:  # one answer at a time, and between two whatever else is ready has its turn
            await asyncio.sleep(0)
            begun = await self._judge(query, said if isinstance(said, Reply) else self._read(query, said, at))
            if limits is SHARED:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._settled(begun), FIRST_SECONDS)
        self._answered_one.set()
        if not any(each.label for each in self._under_way):
            self._answered_all.set()

    async def _judge(self, query: Query, reply: Reply) -> list[Ref]:
        """Holds it, and tells or notes whom it concerns; the keys that were told."""
        moved, begun = self._answers.take(query, reply), []
        self._under_way.discard(query)
        for number, (key, look) in enumerate(self._looks(query), start=1):
            if look is Look.NOW:
                self._changed(key)
                begun.append(key)
            elif look is Look.NEWS and moved(key):
                self._concerned[key] = None
            if number % AT_A_STRETCH == 0:
                await asyncio.sleep(0)
        return begun

    async def _tell(self) -> None:
        """Tells of keys that there are news of; of one that several answers concern, once."""
        while True:
            await self._answered_one.wait()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._answered_all.wait(), SETTLE_SECONDS)
            self._answered_one.clear()
            async with self._reading:  # after what is being carried out
                concerned, self._concerned = self._concerned, {}
                for key in concerned:
                    self._changed(key)

    async def _said(
        self, session: aiohttp.ClientSession, query: Query, limits: Limits, at: datetime, *, alone: bool
    ) -> bytes | Reply:
        """What came, or why nothing did; `alone`: one namespace asks it. What it asks is too much if others were answered."""
        began = time.monotonic()
        try:
            return await self._sent(session, query, limits)
        except TooLong:
            PROMETHEUS_QUERIES.labels("refused").inc()
            text = f"the answer is longer than {OWN.most_bytes / 2**20:.0f} MiB; aggregate, for example with max()"
            return Reply(error=text, at=at)
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, TimeoutError) and alone and (limits is OWN or self._heard > began):
                PROMETHEUS_QUERIES.labels("failed").inc()
                text = f"Prometheus has no answer within {limits.seconds} s; ask for less (a shorter window), or record a part of it by a rule"
                return Reply(error=text, at=at)
            return self._silence(error, at)

    def _silence(self, error: Exception, at: datetime) -> Reply:
        """Whatever is there is no Prometheus that answers."""
        PROMETHEUS_QUERIES.labels("failed").inc()
        self._note(False, f"does not answer: {error!r}")
        return Reply(error=f"Prometheus at {self._name} does not answer", at=at)

    def _read(self, query: Query, body: bytes, at: datetime) -> Reply:
        """What the body says."""
        try:
            document = _document(body)
        except ValueError as error:
            return self._silence(error, at)
        self._note(True, "answers")
        self._heard = time.monotonic()
        if document["status"] == "error":
            PROMETHEUS_QUERIES.labels("refused").inc()
            why = document.get("error") or "it does not say why"
            return Reply(error=f"Prometheus refuses the query: {why}", at=at)
        try:
            reply = split(query, read(document.get("data")), at)
        except ValueError:
            PROMETHEUS_QUERIES.labels("refused").inc()
            text = "Prometheus answers with what is no instant vector; write an expression that gives numbers"
            return Reply(error=text, at=at)
        PROMETHEUS_QUERIES.labels("answered").inc()
        return reply

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
            log.log(logging.INFO if up else logging.WARNING, "Prometheus at %s %s", self._name, message)
        self._up = up


def _document(body: bytes) -> dict[str, Any]:
    """What every answer of Prometheus's API is; ValueError for anything else."""
    document = from_json(body)
    if not isinstance(document, dict) or document.get("status") not in ("success", "error"):
        raise ValueError("it does not speak as Prometheus")
    return document


def _turns(at_once: int) -> Queue[Asked]:
    return Queue(lambda asked: asked[0], share=lambda place, waiting: at_once // 2 if place else at_once)


def _namespace(query: Query, asking: Collection[Ref]) -> str:
    """Whose query it is: namespaces take turns. Queries that serve several count as one."""
    places = {key.namespace or "" for key in asking}
    return places.pop() if len(places) == 1 else ""


def _limits(query: Query) -> Limits:
    return SHARED if query.label else OWN
