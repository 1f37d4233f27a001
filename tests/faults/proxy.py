"""Stands between the operator and the API server, records what passes, and does one planned harm at a time to it."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import aiohttp
from aiohttp import web

END_TO_END = ("Authorization", "Content-Type", "Accept", "Accept-Encoding", "User-Agent")
TOLD = ("Content-Type", "Content-Encoding", "Retry-After")
LINE_BYTES = 4 << 20
"""An event holds a whole object; etcd takes 1.5 MiB."""


class Asked(NamedTuple):
    """A request as the API server would understand it."""

    method: str
    plural: str
    namespace: str | None
    name: str
    subresource: str
    watch: bool
    body: bytes

    @property
    def written(self) -> bool:
        """Whether it changes an object; renewals of the lease are not counted as that."""
        return self.method != "GET" and not self.leads

    @property
    def listed(self) -> bool:
        """Whether it reads a whole kind."""
        return self.method == "GET" and not self.name and not self.watch

    @property
    def leads(self) -> bool:
        """Whether it is about the operator's own lease."""
        return self.plural == "leases"

    def __str__(self) -> str:
        verb = "WATCH" if self.watch else "LIST" if self.listed else self.method
        return " ".join(filter(None, (verb, self.plural, self.name, self.subresource)))


class Answer(NamedTuple):
    """What the API server said, or what is said in its place."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = {}


Forward = Callable[[], Awaitable[Answer]]
Act = Callable[["Proxy", Asked, Forward], Awaitable[Answer | None]]
"""What is done to a request: an answer, or None to break the connection without one."""
Lines = AsyncIterator[bytes]
Bend = Callable[[Lines], Lines]
"""What is done to the lines of a watch. A last line without an end leaves the connection broken."""


@dataclass
class Fault:
    """Harm to `times` requests that match, from the `number`-th on."""

    matches: Callable[[Asked], bool]
    act: Act | None = None
    bend: Bend | None = None
    number: int = 1
    times: int = 1
    seen: int = 0
    came: list[bytes] = field(default_factory=list)
    """Lines that were to be bent."""
    told: list[bytes] = field(default_factory=list)
    """What became of them."""

    def due(self, asked: Asked) -> bool:
        """Counts a request, and tells whether it is to be harmed."""
        if not self.matches(asked):
            return False
        self.seen += 1
        return self.number <= self.seen < self.number + self.times

    @property
    def done(self) -> bool:
        """Whether it came to it; a watch must have told something else than it would have."""
        return self.seen >= self.number and (self.bend is None or self.came != self.told)

    async def bent(self, bend: Bend, lines: Lines) -> Lines:
        """The lines as they are told."""

        async def coming() -> Lines:
            async for line in lines:
                self.came.append(line)
                yield line

        async for line in bend(coming()):
            self.told.append(line)
            yield line


class Passed(NamedTuple):
    """A request that was answered by the API server, and when (time.monotonic)."""

    asked: Asked
    answer: Answer
    at: float


@dataclass
class Proxy:
    """An HTTPS server that forwards to `upstream`; `kill` ends the operator at once."""

    upstream: str
    certificate: Path
    key: Path
    kill: Callable[[], None] = lambda: None
    faults: list[Fault] = field(default_factory=list)
    passed: list[Passed] = field(default_factory=list)
    events: int = 0
    """Lines of watches that were handed on."""
    under_way: int = 0
    """Requests without an answer as yet, but for watches and the lease."""
    told: dict[str, int] = field(default_factory=dict)
    """By plural: the newest resourceVersion that the operator has been told of."""
    url: str = ""
    _sending: set[asyncio.Future[Answer]] = field(default_factory=set)
    _watching: set[asyncio.Transport] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        trusted = ssl.create_default_context(cafile=str(self.certificate))
        connector = aiohttp.TCPConnector(limit=0, ssl=trusted)
        endless = aiohttp.ClientTimeout(total=None)
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=endless, auto_decompress=False, read_bufsize=LINE_BYTES
        )
        served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        served.load_cert_chain(self.certificate, self.key)
        application = web.Application(client_max_size=LINE_BYTES)
        application.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=served)
        await site.start()
        self.url = f"https://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await asyncio.gather(*self._sending, return_exceptions=True)
        await self._session.close()

    def writes(self) -> list[Passed]:
        """What changed objects, or tried to, in the order in which the API server answered."""
        return [each for each in self.passed if each.asked.written]

    def end_watches(self) -> None:
        """Breaks the connections of all that are open."""
        for each in self._watching:
            each.abort()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        asked = _understood(request, await request.read())
        due = [each for each in self.faults if each.due(asked)]  # all of them count each request
        fault = due[0] if due else None
        if asked.watch and not (fault and fault.act):
            return await self._watch(request, asked, fault)
        counted = not asked.leads and not asked.watch
        self.under_way += counted
        try:
            forward = self._forwarding(request, asked)
            answer = await (fault.act(self, asked, forward) if fault and fault.act else forward())
        except aiohttp.ClientError:
            answer = None
        finally:
            self.under_way -= counted
        if answer is None:
            return _broken(request)
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    def _forwarding(self, request: web.Request, asked: Asked) -> Forward:
        async def forward() -> Answer:
            # A write that is on its way is done and recorded, whoever still waits for the answer.
            sending = asyncio.ensure_future(self._forward(request.method, request.raw_path, _headers(request), asked))
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)
            return await asyncio.shield(sending)

        return forward

    async def _forward(self, method: str, path: str, headers: dict[str, str], asked: Asked) -> Answer:
        sent = self._session.request(method, self.upstream + path, data=asked.body or None, headers=headers)
        async with sent as response:
            kept = {name: response.headers[name] for name in TOLD if name in response.headers}
            answer = Answer(response.status, await response.read(), kept)
        self.passed.append(Passed(asked, answer, time.monotonic()))
        if asked.listed and answer.status == 200 and "Content-Encoding" not in answer.headers:
            self._tell(asked.plural, json.loads(answer.body))
        return answer

    async def _watch(self, request: web.Request, asked: Asked, fault: Fault | None) -> web.StreamResponse:
        try:
            upstream = await self._session.get(self.upstream + request.raw_path, headers=_headers(request))
        except aiohttp.ClientError:
            return _broken(request)
        async with upstream:
            response = web.StreamResponse(status=upstream.status, headers={"Content-Type": "application/json"})
            await response.prepare(request)
            assert request.transport
            self._watching.add(request.transport)
            try:
                lines: Lines = aiter(upstream.content)
                async for line in fault.bent(fault.bend, lines) if fault and fault.bend else lines:
                    self.events += 1
                    await response.write(line)
                    if line.startswith(b"{") and line.endswith(b"}\n"):
                        self._tell(asked.plural, json.loads(line)["object"])
                    if not line.endswith(b"\n"):
                        return _broken(request)
                await response.write_eof()
            except (aiohttp.ClientError, ConnectionError):
                return _broken(request)
            finally:
                self._watching.discard(request.transport)
        return response

    def _tell(self, plural: str, manifest: Any) -> None:
        version = int(manifest.get("metadata", {}).get("resourceVersion") or 0)
        self.told[plural] = max(version, self.told.get(plural, 0))


def _headers(request: web.Request) -> dict[str, str]:
    return {name: request.headers[name] for name in END_TO_END if name in request.headers}


def _broken(request: web.Request) -> web.StreamResponse:
    if request.transport:
        request.transport.abort()
    return web.Response()


def _understood(request: web.Request, body: bytes) -> Asked:
    parts = request.path.strip("/").split("/")
    parts = parts[3:] if parts[0] == "apis" else parts[2:]
    namespace = None
    if len(parts) > 2 and parts[0] == "namespaces" and parts[2] not in ("status", "finalize"):
        namespace, parts = parts[1], parts[2:]
    plural, name, subresource = (*parts, "", "", "")[:3]
    return Asked(request.method, plural, namespace, name, subresource, request.query.get("watch") == "true", body)
