"""Alertmanager may say that it is time to look, if it has the token; nothing it says is believed."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from noria.runtime import probes


@pytest.fixture
async def woken(tmp_path: Path) -> AsyncIterator[tuple[str, list[str], Path]]:
    """Address, what was woken, and the file of the token."""
    token, heard = tmp_path / "token", list[str]()
    stands_by = (tmp_path / "stands-by").exists
    token.write_text("first\n")
    runner = await probes.serve(
        0,
        lambda: 1.0,
        lambda: True,
        lambda: None,
        probes.Push(token, lambda: heard.append("wake"), lambda: not stands_by()),
    )
    yield address(runner), heard, token
    await runner.cleanup()


def address(runner: web.AppRunner) -> str:
    """It listens on IPv4 and IPv6; port 0 gives each another one."""
    port = next(each[1] for each in runner.addresses if len(each) == 2)
    return f"http://127.0.0.1:{port}/alerts"


async def push(url: str, token: str | None) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    async with aiohttp.ClientSession() as session, session.post(url, json={"alerts": []}, headers=headers) as answer:
        return answer.status


async def test_a_push_with_the_token_makes_the_operator_look(woken: tuple[str, list[str], Path]) -> None:
    url, heard, _ = woken
    assert await push(url, "first") == 202
    assert heard == ["wake"]


@pytest.mark.parametrize("token", [None, "", "second", "first2"])
async def test_a_push_without_it_is_refused(woken: tuple[str, list[str], Path], token: str | None) -> None:
    url, heard, _ = woken
    assert await push(url, token) == 401
    assert heard == []


async def test_who_stands_by_does_not_say_that_it_heard(woken: tuple[str, list[str], Path]) -> None:
    url, heard, file = woken
    (file.parent / "stands-by").touch()
    assert await push(url, "first") == 503 and heard == []


async def test_an_empty_token_opens_nothing(woken: tuple[str, list[str], Path]) -> None:
    url, heard, file = woken
    file.write_text("\n")
    assert await push(url, "") == await push(url, None) == 401 and heard == []


async def test_a_renewed_token_counts_at_once(woken: tuple[str, list[str], Path]) -> None:
    url, _, file = woken
    file.write_text("second")
    assert await push(url, "first") == 401
    assert await push(url, "second") == 202


async def test_ready_is_who_has_a_whole_picture() -> None:
    """A rollout must not take away a process that works for one that may list nothing."""
    for ready, status in ((True, 200), (False, 503)):
        runner = await probes.serve(0, lambda: 1.0, lambda ready=ready: ready, lambda: None)  # type: ignore[misc]
        url = address(runner).replace("/alerts", "/readyz")
        try:
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                assert answer.status == status
        finally:
            await runner.cleanup()


async def test_without_a_token_the_path_is_not_there() -> None:
    runner = await probes.serve(0, lambda: 1.0, lambda: True, lambda: None)
    try:
        assert await push(address(runner), "x") == 404
    finally:
        await runner.cleanup()
