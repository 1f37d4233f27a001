"""The proxy itself: what it forwards, what it does to one request and to no other, and what it says a request is."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from ..apiserver.conftest import tool
from .harm import KILLS, WATCH_HARMS, answered, answered_after, reset
from .proxy import Asked, Fault, Proxy

PLACE = "/apis/noria.dev/v1alpha1/namespaces/a/trainingjobs"
EVENTS = [{"type": "MODIFIED", "object": {"metadata": {"resourceVersion": str(number)}}} for number in (1, 2, 3, 4)]


class Upstream:
    """An API server that agrees to everything and remembers it."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") != "true":
            self.heard.append(f"{request.method} {request.rel_url} {request.headers.get('Authorization')}")
            return web.json_response({"metadata": {"resourceVersion": "7"}}, status=201)
        response = web.StreamResponse()
        await response.prepare(request)
        for each in EVENTS:
            await response.write(json.dumps(each).encode() + b"\n")
        return response


@pytest.fixture
async def upstream(tmp_path: Path) -> AsyncIterator[tuple[Upstream, Proxy, aiohttp.ClientSession]]:
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    wanted = ["-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-subj", "/CN=test"]
    signed = [tool("openssl"), "req", "-x509", *wanted, "-addext", "subjectAltName=IP:127.0.0.1"]
    await asyncio.to_thread(subprocess.run, signed, check=True, capture_output=True)
    server, application = Upstream(), web.Application()
    application.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    connector = aiohttp.TCPConnector(ssl=False)
    async with (
        Proxy(f"http://127.0.0.1:{runner.addresses[0][1]}", certificate, key) as proxy,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        yield server, proxy, session
    await runner.cleanup()


async def test_what_is_not_harmed_goes_through_as_it_is(upstream: Any) -> None:
    server, proxy, session = upstream
    sent = {"Authorization": "Bearer x"}
    async with session.patch(f"{proxy.url}{PLACE}/t/status?force=true", data=b"{}", headers=sent) as answer:
        assert (answer.status, await answer.json()) == (201, {"metadata": {"resourceVersion": "7"}})
    assert server.heard == [f"PATCH {PLACE}/t/status?force=true Bearer x"]
    (passed,) = proxy.writes()
    assert passed.asked == Asked("PATCH", "trainingjobs", "a", "t", "status", False, b"{}")


@pytest.mark.parametrize(
    ("act", "status", "heard"),
    [(answered(429), 429, 2), (answered_after(504), 504, 3), (reset, None, 2), (KILLS["before"], None, 2), (KILLS["after"], None, 3)],
)  # fmt: skip
async def test_the_second_of_three_is_harmed(upstream: Any, act: Any, status: int | None, heard: int) -> None:
    server, proxy, session = upstream
    killed: list[int] = []
    proxy.kill = lambda: killed.append(len(server.heard))
    proxy.faults = [Fault(lambda asked: asked.written, act, number=2)]
    answers: list[int | None] = []
    for _ in range(3):
        try:
            async with session.post(proxy.url + PLACE, data=b"{}") as answer:
                answers.append(answer.status)
        except aiohttp.ClientError:
            answers.append(None)
    assert answers == [201, status, 201] and len(server.heard) == heard
    assert killed == {KILLS["before"]: [1], KILLS["after"]: [2]}.get(act, [])


@pytest.mark.parametrize(
    ("harm", "versions"),
    [
        ("duplicated", [1, 1, 2, 2, 3, 3, 4, 4]),
        ("reordered", [2, 1, 4, 3]),
        ("repeated", [1, 2, 1, 3, 1, 4, 1]),
        ("gone", [410]),
        ("cut", []),
        (None, [1, 2, 3, 4]),
    ],
)
async def test_a_watch_is_bent(upstream: Any, harm: str | None, versions: list[int]) -> None:
    _, proxy, session = upstream
    proxy.faults = [Fault(lambda asked: asked.watch, bend=WATCH_HARMS[harm])] if harm else []
    seen: list[int] = []
    try:
        async with session.get(f"{proxy.url}{PLACE}?watch=true") as answer:
            async for line in answer.content:
                told = json.loads(line)["object"]
                seen.append(told.get("code") or int(told["metadata"]["resourceVersion"]))
    except (aiohttp.ClientError, ValueError):
        assert harm == "cut"
    assert seen == versions
