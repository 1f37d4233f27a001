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
    token.write_text("first\n")
    runner = await probes.serve(0, lambda: 1.0, lambda: None, probes.Push(token, lambda: heard.append("wake")))
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


async def test_a_renewed_token_counts_at_once(woken: tuple[str, list[str], Path]) -> None:
    url, _, file = woken
    file.write_text("second")
    assert await push(url, "first") == 401
    assert await push(url, "second") == 202


async def test_without_a_token_the_path_is_not_there() -> None:
    runner = await probes.serve(0, lambda: 1.0, lambda: None)
    try:
        assert await push(address(runner), "x") == 404
    finally:
        await runner.cleanup()
