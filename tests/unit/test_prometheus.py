"""What is asked of Prometheus, how often, and who hears of an answer."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from noria.plan.contract import Answer, Look, Needs, Query, Ref, Row
from noria.runtime.answers import Answers
from noria.runtime.interest import Interests
from noria.runtime.prometheus import OWN as OWN_LIMITS
from noria.runtime.prometheus import SHARED as SHARED_LIMITS
from noria.runtime.prometheus import Poller

SHARED, OWN = Query("shared", "modelendpoint"), Query("own")
A, B = Ref("Endpoint", "vision", "a"), Ref("Endpoint", "vision", "b")
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Prometheus:
    """Answers what it is told to, and counts."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, Any] = {}
        self.hanging: set[str] = set()
        self.slow: set[str] = set()
        """Each waits for `one_more`."""
        self.one_more, self._heard = asyncio.Semaphore(0), asyncio.Condition()

    async def reached(self, count: int) -> None:
        """Until so many queries came."""
        async with self._heard:
            await self._heard.wait_for(lambda: len(self.asked) >= count)

    async def query(self, request: web.Request) -> web.Response:
        query = str((await request.post())["query"])
        self.asked.append(query)
        async with self._heard:
            self._heard.notify_all()
        if query in self.slow:
            await self.one_more.acquire()
        if query in self.hanging:
            await asyncio.Event().wait()
        found = self.answers.get(query)
        if found is None:
            return web.json_response({"status": "error", "error": "parse error"}, status=400)
        result = [{"metric": labels, "value": [0, str(value)]} for labels, value in found]
        return web.json_response({"status": "success", "data": {"resultType": "vector", "result": result}})


@pytest.fixture
async def prometheus() -> AsyncIterator[tuple[Prometheus, str]]:
    server, application = Prometheus(), web.Application()
    application.add_routes([web.post("/api/v1/query", server.query)])
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield server, f"http://127.0.0.1:{port}"
    await runner.cleanup()


def news(asking: Mapping[Query, Collection[Ref]]) -> Callable[[Query], Iterator[tuple[Ref, Look]]]:
    """Whatever changes is news for whoever asks."""
    return lambda query: ((key, Look.NEWS) for key in asking.get(query, ()))


async def at_once(keys: Collection[Ref]) -> None:
    """Whatever was set off is done with already."""


def row(name: str, value: float) -> tuple[dict[str, str], float]:
    return {"namespace": "vision", "modelendpoint": name, "version": "m-1"}, value


async def heard(changed: asyncio.Queue[Ref], count: int) -> set[Ref]:
    return {await asyncio.wait_for(changed.get(), 10) for _ in range(count)}


async def test_one_query_serves_all_and_only_what_changed_is_told(prometheus: tuple[Prometheus, str]) -> None:
    server, url = prometheus
    server.answers = {"shared": [row("a", 1), row("b", 2), row("c", 3)]}
    answers, changed = Answers(), asyncio.Queue[Ref]()
    asking = {SHARED: {A, B}}
    poller = Poller(url, lambda: asking, answers, news(asking), changed.put_nowait, at_once, 3600)
    running = asyncio.create_task(poller.run())
    assert await heard(changed, 2) == {A, B}
    assert answers.of(A, [SHARED]) == {SHARED: Answer((Row(row("a", 1)[0], 1.0),))}
    server.answers = {"shared": [row("a", 1), row("b", 9)]}
    then = datetime.now(UTC)
    poller.wake()
    assert await heard(changed, 1) == {B}
    assert all(then <= (answers.of(each, [SHARED])[SHARED].at or NOON) <= datetime.now(UTC) for each in (A, B))
    assert changed.empty()
    assert server.asked == ["shared", "shared"]
    running.cancel()


async def test_news_asks_only_what_has_not_been_asked(prometheus: tuple[Prometheus, str]) -> None:
    server, url = prometheus
    server.answers = {"shared": [row("a", 1)], "own": [({}, 5)]}
    asking, answers, changed = {SHARED: {A}}, Answers(), asyncio.Queue[Ref]()
    poller = Poller(url, lambda: asking, answers, news(asking), changed.put_nowait, at_once, 3600)
    running = asyncio.create_task(poller.run())
    await heard(changed, 1)
    asking[OWN] = {B}
    poller.news()
    assert await heard(changed, 1) == {B}
    assert server.asked == ["shared", "own"]
    assert answers.of(B, [OWN]) == {OWN: Answer((Row({}, 5.0),))}
    running.cancel()


async def test_a_refused_query_says_why_and_silence_says_so(prometheus: tuple[Prometheus, str]) -> None:
    _, url = prometheus
    answers, changed = Answers(), asyncio.Queue[Ref]()
    asking = {OWN: {A}}
    running = asyncio.create_task(
        Poller(url, lambda: asking, answers, news(asking), changed.put_nowait, at_once, 3600).run()
    )
    await heard(changed, 1)
    assert answers.of(A, [OWN])[OWN].error == "Prometheus refuses the query: parse error"
    running.cancel()
    asking = {SHARED: {A}}
    running = asyncio.create_task(
        Poller("http://127.0.0.1:9", lambda: asking, answers, news(asking), changed.put_nowait, at_once, 3600).run()
    )
    await heard(changed, 1)
    assert answers.of(A, [SHARED])[SHARED].error == "Prometheus at http://127.0.0.1:9 does not answer"
    running.cancel()


async def test_what_may_begin_something_is_told_at_once_and_other_news_once_a_round(
    prometheus: tuple[Prometheus, str],
) -> None:
    server, url = prometheus
    other, hanging = Query("other", "modelendpoint"), Query("hanging", "modelendpoint")
    server.answers = {each: [row("a", 1), row("b", 1)] for each in ("shared", "other")}
    server.hanging = {"hanging"}
    answers, changed, now = Answers(), asyncio.Queue[Ref](), set[Ref]()
    asking = {each: {A, B} for each in (SHARED, other, hanging)}

    def looks(query: Query) -> Iterator[tuple[Ref, Look]]:
        return ((key, Look.NOW if key in now else Look.NEWS) for key in asking[query])

    poller = Poller(url, lambda: asking, answers, looks, changed.put_nowait, at_once, 3600)
    running = asyncio.create_task(poller.run())
    assert await heard(changed, 2) == {A, B}, "what hangs is waited for only a moment"
    server.answers = {each: [row("a", 2), row("b", 2)] for each in ("shared", "other")}
    now.add(B)
    poller.wake()
    told = [await asyncio.wait_for(changed.get(), 10) for _ in range(3)]
    assert told == [B, B, A], "at each answer, before the round is over; A once for both"
    running.cancel()


async def test_what_an_answer_sets_off_is_done_before_the_next_is_read(prometheus: tuple[Prometheus, str]) -> None:
    server, url = prometheus
    few, many = Query("few", "modelendpoint"), Query("many", "modelendpoint")
    server.answers = {each: [row("a", 1), row("b", 1)] for each in ("few", "many")}
    answers, changed, done = Answers(), asyncio.Queue[Ref](), asyncio.Semaphore(0)
    asking: dict[Query, Collection[Ref]] = {many: [A, B], few: [B]}
    waited_for = list[Collection[Ref]]()

    async def settled(keys: Collection[Ref]) -> None:
        waited_for.append(list(keys))
        await done.acquire()

    def looks(query: Query) -> Iterator[tuple[Ref, Look]]:
        return ((key, Look.NOW) for key in asking[query])

    poller = Poller(url, lambda: asking, answers, looks, changed.put_nowait, settled, 3600)
    running = asyncio.create_task(poller.run())
    assert await asyncio.wait_for(changed.get(), 10) == B, "what one asks goes before what two ask"
    assert few in answers and many not in answers and waited_for == [[B]]
    done.release()
    assert await heard(changed, 2) == {A, B}, "and these are waited for only a moment"
    running.cancel()


async def test_what_says_nothing_new_is_not_told(prometheus: tuple[Prometheus, str]) -> None:
    server, url = prometheus
    server.answers = {"shared": [row("a", 1), row("b", 1)]}
    looks = {A: Look.NEWS, B: Look.NEWS}
    answers, changed = Answers(), asyncio.Queue[Ref]()
    poller = Poller(
        url, lambda: {SHARED: {A, B}}, answers, lambda query: looks.items(), changed.put_nowait, at_once, 3600
    )
    running = asyncio.create_task(poller.run())
    assert await heard(changed, 2) == {A, B}
    looks[A], server.answers = Look.NONE, {"shared": [row("a", 2), row("b", 2)]}
    poller.wake()
    assert await heard(changed, 1) == {B}, "A is as it is recorded, whatever the number"
    looks[B] = Look.NOW
    poller.wake()
    assert await heard(changed, 1) == {B}, "also if the answer is the same"
    assert changed.empty()
    running.cancel()


async def test_namespaces_take_turns_with_queries_of_their_own(prometheus: tuple[Prometheus, str]) -> None:
    """However many slow queries one tenant has, the first of another's waits for one of them, not for all."""
    server, url = prometheus
    first = [Query(f"vision {number}") for number in range(OWN_LIMITS.at_once * 5)]
    second, third = Query("text"), Query("audio")
    asking = {each: {A} for each in first}
    asking |= {second: {Ref("Endpoint", "text", "a")}, third: {Ref("Endpoint", "audio", "a")}}
    server.slow = {each.promql for each in first}
    poller = Poller(url, lambda: asking, Answers(), news(asking), lambda key: None, at_once, 3600)
    running = asyncio.create_task(poller.run())
    for count in range(OWN_LIMITS.at_once, len(asking) + 1):
        await asyncio.wait_for(server.reached(count), 10)
        server.one_more.release()
    assert {"text", "audio"} <= set(server.asked[: OWN_LIMITS.at_once + 3]), "next to those that had slots already"
    running.cancel()


async def test_a_query_that_nobody_needs_any_more_when_it_ends_takes_no_turns_with_it(
    prometheus: tuple[Prometheus, str],
) -> None:
    server, url = prometheus
    asking = {Query(f"old {number}"): {A} for number in range(OWN_LIMITS.at_once)}
    server.slow = {each.promql for each in asking}
    poller = Poller(url, lambda: asking, Answers(), news(asking), lambda key: None, at_once, 3600)
    running = asyncio.create_task(poller.run())
    await asyncio.wait_for(server.reached(OWN_LIMITS.at_once), 10)
    asking.clear()
    asking[Query("new")] = {A}
    poller.news()
    for _ in server.slow:
        server.one_more.release()
    await asyncio.wait_for(server.reached(OWN_LIMITS.at_once + 1), 10)
    running.cancel()


async def test_nobody_waits_for_a_query_that_hangs(
    prometheus: tuple[Prometheus, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, url = prometheus
    hanging = [Query(f"hanging {number}") for number in range(OWN_LIMITS.at_once * 2)]
    server.hanging = {each.promql for each in hanging}
    server.answers = {"shared": [row("a", 1)]}
    answers, changed = Answers(), asyncio.Queue[Ref]()
    asking = {SHARED: {A}, **{each: {B} for each in hanging}}

    def looks(query: Query) -> Iterator[tuple[Ref, Look]]:
        return ((key, Look.NOW) for key in asking[query])

    running = asyncio.create_task(Poller(url, lambda: asking, answers, looks, changed.put_nowait, at_once, 0.05).run())
    assert await heard(changed, 1) == {A}
    for _ in range(5):
        assert await heard(changed, 1) == {A}, "the rounds go on, and each answer is told"
    assert server.asked.count("shared") >= 5
    assert sum(each in server.hanging for each in server.asked) == OWN_LIMITS.at_once // 2, "none twice"
    running.cancel()


async def test_a_query_of_ones_own_gets_less_time_and_its_silence_blames_nobody(
    prometheus: tuple[Prometheus, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server, url = prometheus
    server.hanging = {"own"}
    monkeypatch.setattr("noria.runtime.prometheus.OWN", OWN_LIMITS._replace(seconds=0.1))
    answers, changed = Answers(), asyncio.Queue[Ref]()
    asking = {OWN: {A}}
    running = asyncio.create_task(
        Poller(url, lambda: asking, answers, news(asking), changed.put_nowait, at_once, 3600).run()
    )
    await heard(changed, 1)
    told = answers.of(A, [OWN])[OWN].error
    assert (
        told
        == "Prometheus has no answer within 0.1 s; ask for less (a shorter window), or record a part of it by a rule"
    )
    assert not caplog.records
    running.cancel()
    assert OWN_LIMITS.seconds < SHARED_LIMITS.seconds


@pytest.mark.parametrize("hangs", ["one", "all"])
async def test_what_one_namespace_alone_asks_is_too_much_only_if_others_are_answered(
    prometheus: tuple[Prometheus, str], monkeypatch: pytest.MonkeyPatch, hangs: str
) -> None:
    """Windows that nobody else has, as a tenant may choose them, were told as Prometheus' silence."""
    server, url = prometheus
    mine = Query("mine", "modelendpoint")
    server.hanging = {"mine"} if hangs == "one" else {"mine", SHARED.promql}
    server.answers = {SHARED.promql: [row("a", 1)]}
    monkeypatch.setattr("noria.runtime.prometheus.SHARED", SHARED_LIMITS._replace(seconds=0.3))
    answers, changed = Answers(), asyncio.Queue[Ref]()
    asking = {mine: {A}, SHARED: {A, B}}
    running = asyncio.create_task(
        Poller(url, lambda: asking, answers, news(asking), changed.put_nowait, at_once, 0.1).run()
    )
    async with asyncio.timeout(10):
        while not (said := answers.of(A, [mine]).get(mine)) or not said.error:
            await heard(changed, 1)
    if hangs == "one":
        assert said.error.startswith("Prometheus has no answer within 0.3 s; ask for less (a shorter window)")
    else:
        assert said.error.endswith("does not answer")
    running.cancel()


async def test_a_huge_answer_to_a_query_of_ones_own_is_not_read(prometheus: tuple[Prometheus, str]) -> None:
    server, url = prometheus
    server.answers = {each.promql: [({"namespace": "vision", "padding": "x" * 2**20}, 1)] for each in (OWN, SHARED)}
    answers, changed = Answers(), asyncio.Queue[Ref]()
    asking = {OWN: {A}, SHARED: {B}}
    running = asyncio.create_task(
        Poller(url, lambda: asking, answers, news(asking), changed.put_nowait, at_once, 3600).run()
    )
    await heard(changed, 2)
    assert answers.of(A, [OWN])[OWN].error == "the answer is longer than 1 MiB; aggregate, for example with max()"
    assert answers.of(B, [SHARED])[SHARED].error is None
    running.cancel()


async def test_who_waits_hears_of_an_answer_that_says_the_same(prometheus: tuple[Prometheus, str]) -> None:
    server, url = prometheus
    server.answers = {"shared": [row("a", 1), row("b", 1)]}
    interests, answers, changed = Interests(), Answers(), asyncio.Queue[Ref]()
    interests.remember(A, Needs(queries=(SHARED,)))
    interests.remember(B, Needs(queries=(SHARED,), fresh=(SHARED,)))

    def looks(query: Query) -> Iterator[tuple[Ref, Look]]:
        return interests.looks(query, answers)

    poller = Poller(url, lambda: interests.asking, answers, looks, changed.put_nowait, at_once, 3600)
    running = asyncio.create_task(poller.run())
    assert await heard(changed, 2) == {A, B}
    before = answers.of(B, [SHARED])[SHARED].at
    poller.wake()
    assert await heard(changed, 1) == {B}
    assert before and before < (answers.of(B, [SHARED])[SHARED].at or before)
    running.cancel()
