"""The harms: each is done by the proxy to one request, or to the lines of one watch."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from .proxy import Act, Answer, Asked, Bend, Fault, Forward, Lines, Proxy

Matches = Callable[[Asked], bool]
REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


async def killed_before(proxy: Proxy, asked: Asked, forward: Forward) -> None:
    """The operator dies with the request on its lips: nothing comes of it."""
    proxy.kill()


async def killed_after(proxy: Proxy, asked: Asked, forward: Forward) -> None:
    """The operator dies after the write, before it knows of it."""
    await forward()
    proxy.kill()


async def reset(proxy: Proxy, asked: Asked, forward: Forward) -> None:
    """The connection breaks before the API server hears of it."""


async def reset_after(proxy: Proxy, asked: Asked, forward: Forward) -> None:
    """The connection breaks after the write: whether it was done is not known."""
    await forward()


def answered(status: int, **headers: str) -> Act:
    """The API server does nothing and says so."""

    async def act(proxy: Proxy, asked: Asked, forward: Forward) -> Answer:
        return _said(status, headers)

    return act


def answered_after(status: int) -> Act:
    """The API server does it and says that it could not."""

    async def act(proxy: Proxy, asked: Asked, forward: Forward) -> Answer:
        await forward()
        return _said(status, {})

    return act


def hung(seconds: float, after: bool = False) -> Act:
    """No answer for so long, and then a broken connection; `after`: it was done all the same."""

    async def act(proxy: Proxy, asked: Asked, forward: Forward) -> None:
        if after:
            await forward()
        await asyncio.sleep(seconds)

    return act


class Later(Fault):
    """Harm to the `number`-th request that matches, or to the next one after it once `begun` says so."""

    def __init__(self, matches: Matches, act: Act, number: int, begun: Callable[[], bool]) -> None:
        super().__init__(matches, act, number=number)
        self._begun, self._met = begun, False

    def due(self, asked: Asked) -> bool:
        if self.matches(asked):
            self.seen += 1
            if not self._met and self.seen >= self.number and self._begun():
                self._met = True
                return True
        return False


class Outage(Fault):
    """The same refusal to everything for `seconds`, from the `number`-th request that matches on; what is watched ends."""

    def __init__(self, matches: Matches, number: int, seconds: float, status: int = 503) -> None:
        refuse = answered(status)

        async def act(proxy: Proxy, asked: Asked, forward: Forward) -> Answer | None:
            proxy.end_watches()
            return await refuse(proxy, asked, forward)

        super().__init__(matches, act, number=number)
        self._seconds, self._until = seconds, 0.0

    def due(self, asked: Asked) -> bool:
        if super().due(asked):
            self._until = time.monotonic() + self._seconds
        return time.monotonic() < self._until


def _said(status: int, headers: dict[str, str]) -> Answer:
    reason = REASONS[status]
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "reason": reason}
    body["message"] = f"a planned {status}"
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json"} | headers)


def stale() -> Act:
    """Each LIST of a kind is answered as the first one was, as by an API server that hangs behind."""
    old: dict[str, Answer] = {}

    async def act(proxy: Proxy, asked: Asked, forward: Forward) -> Answer:
        if asked.plural not in old:
            old[asked.plural] = await forward()
        return old[asked.plural]

    return act


async def cut(lines: Lines) -> Lines:
    """The first event breaks off in the middle."""
    async for line in lines:
        yield line[: len(line) // 2]
        return


async def duplicated(lines: Lines) -> Lines:
    """Everything is said twice."""
    async for line in lines:
        yield line
        yield line


async def reordered(lines: Lines) -> Lines:
    """Two and two, the second before the first; one that stays alone for a second goes on alone."""
    held: bytes | None = None
    async for line in _paused(lines, 1):
        if line is None or held is not None:
            for each in filter(None, (line, held)):
                yield each
            held = None
        else:
            held = line
    if held is not None:
        yield held


async def repeated(lines: Lines) -> Lines:
    """The first event comes again after each later one: old news."""
    first: bytes | None = None
    async for line in lines:
        yield line
        if first:
            yield first
        first = first or line


def suppressed(count: int) -> Bend:
    """The first events are swallowed, and the watch goes on as if nothing had been."""

    async def bend(lines: Lines) -> Lines:
        left = count
        async for line in lines:
            if left and json.loads(line)["type"] != "BOOKMARK":
                left -= 1
            else:
                yield line

    return bend


def silent(seconds: float) -> Bend:
    """Open, and without a word for so long; then it ends, and what was said meanwhile is lost."""

    async def bend(lines: Lines) -> Lines:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                async for _ in lines:
                    pass
        for line in ():
            yield line

    return bend


async def gone(lines: Lines) -> Lines:
    """The first event is in its place an error: the resourceVersion is too old."""
    async for _ in lines:
        status = json.loads(_said(410, {}).body)
        yield json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"
        return


async def _paused(lines: Lines, seconds: float) -> AsyncIterator[bytes | None]:
    """The lines, and None whenever none came for so long after one."""
    iterator = aiter(lines)
    following = asyncio.ensure_future(anext(iterator, b""))
    quiet = True
    try:
        while True:
            done, _ = await asyncio.wait({following}, timeout=None if quiet else seconds)
            if not done:
                quiet = True
                yield None
                continue
            if not (line := following.result()):
                return
            quiet = False
            yield line
            following = asyncio.ensure_future(anext(iterator, b""))
    finally:
        following.cancel()


WATCH_HARMS: dict[str, Bend] = {
    "cut": cut,
    "duplicated": duplicated,
    "reordered": reordered,
    "repeated": repeated,
    "gone": gone,
}
WRITE_HARMS: dict[str, Act] = {
    "401": answered(401),
    "403": answered(403),
    "409": answered(409),
    "422": answered(422),
    "429": answered(429, **{"Retry-After": "1"}),
    "500": answered(500),
    "503": answered(503),
    "504 after": answered_after(504),
    "reset": reset,
    "reset after": reset_after,
}
KILLS: dict[str, Act] = {"before": killed_before, "after": killed_after}
READ_HARMS: dict[str, Act] = {
    "401": answered(401),
    "429": answered(429, **{"Retry-After": "1"}),
    "500": answered(500),
    "503": answered(503),
    "reset": reset,
}
