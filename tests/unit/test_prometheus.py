"""What is asked of Prometheus, how often, and who hears of an answer."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from noria.plan.contract import Answer, Query, Ref, Row
from noria.runtime.prometheus import Answers, Poller, read, split

SHARED, OWN = Query("shared", "modelendpoint"), Query("own")
A, B = Ref("Endpoint", "vision", "a"), Ref("Endpoint", "vision", "b")
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Prometheus:
    """Answers what it is told to, and counts."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, Any] = {}

    async def query(self, request: web.Request) -> web.Response:
        query = str((await request.post())["query"])
        self.asked.append(query)
        found = self.answers.get(query)
        if found is None:
            return web.json_response({"status": "error", "error": "parse error"}, status=400)
        result = [{"metric": labels, "value": [0, str(value)]} for labels, value in found]
        return web.json_response({"status": "success", "data": {"resultType": "vector", "result": result}})


@pytest.fixture
async def prometheus() -> AsyncIterator[tuple[Prometheus, str]]:
    server, application = Prometheus(), web.Application()
    application.add_routes([web.post("/api/v1/query", server.query)])
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield server, f"http://127.0.0.1:{port}"
    await runner.cleanup()


def row(name: str, value: float) -> tuple[dict[str, str], float]:
    return {"namespace": "vision", "modelendpoint": name, "version": "m-1"}, value


async def heard(changed: asyncio.Queue[Ref], count: int) -> set[Ref]:
    return {await asyncio.wait_for(changed.get(), 10) for _ in range(count)}


async def test_one_query_serves_all_and_only_what_changed_is_told(prometheus: tuple[Prometheus, str]) -> None:
    server, url = prometheus
    server.answers = {"shared": [row("a", 1), row("b", 2), row("c", 3)]}
    answers, changed = Answers(), asyncio.Queue[Ref]()
    poller = Poller(url, lambda: {SHARED: {A, B}}, answers, changed.put_nowait, 3600)
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
    poller = Poller(url, lambda: asking, answers, changed.put_nowait, 3600)
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
    running = asyncio.create_task(Poller(url, lambda: {OWN: {A}}, answers, changed.put_nowait, 3600).run())
    await heard(changed, 1)
    assert answers.of(A, [OWN])[OWN].error == "Prometheus refuses the query: parse error"
    running.cancel()
    running = asyncio.create_task(
        Poller("http://127.0.0.1:9", lambda: {SHARED: {A}}, answers, changed.put_nowait, 3600).run()
    )
    await heard(changed, 1)
    assert answers.of(A, [SHARED])[SHARED].error == "Prometheus at http://127.0.0.1:9 does not answer"
    running.cancel()


def test_what_has_not_been_asked_is_absent_and_what_nobody_asks_is_forgotten() -> None:
    answers = Answers()
    assert answers.of(A, [SHARED]) == {}
    answers.take(SHARED, {})
    assert answers.of(A, [SHARED]) == {SHARED: Answer()}
    answers.forget([OWN])
    assert answers.of(A, [SHARED]) == {}


def test_rows_go_to_the_object_that_their_labels_name() -> None:
    rows = (
        Row({"namespace": "vision", "modelendpoint": "a"}, 1.0),
        Row({"namespace": "other", "modelendpoint": "a"}, 2.0),
    )
    assert split(SHARED, rows, {A, B}, NOON) == {None: Answer(), A: Answer(rows[:1])}
    assert split(OWN, rows, {A}, NOON) == {None: Answer(rows)}


def test_whoever_has_no_rows_knows_when_it_was_asked_too() -> None:
    answers = Answers()
    answers.take(SHARED, split(SHARED, (), {A}, NOON))
    assert answers.of(A, [SHARED])[SHARED].at == NOON


def test_a_scalar_is_one_row_without_labels() -> None:
    assert read({"resultType": "scalar", "result": [0, "4"]}) == (Row({}, 4.0),)
