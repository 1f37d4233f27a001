"""Plays a scenario on the real API server: the operator as a process behind the proxy, everybody else by the player."""

import asyncio
import difflib
import os
import re
import signal
import socket
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import yaml

from noria.plan.contract import KINDS

from .api import Api, path
from .ends import End, made, observe, outages
from .player import CHILDREN, Player
from .proxy import Fault, Passed, Proxy
from .scenarios import Scenario, prepared

REPOSITORY = Path(__file__).parents[2]
FIXED = {"agentImage": "agent:1", "trainerImage": "trainer:1", "servingRuntime": "noria-server", "serverImage": "server:1"}  # fmt: skip
HOME = "default"
"""Namespace of the lease."""
LOOK_SECONDS = 0.1
"""Between two looks at the operator; kopf gathers changes for as long."""


@dataclass
class Operator:
    """The process, begun anew whenever it ends, as its Deployment would."""

    command: list[str]
    environment: dict[str, str]
    log: Path
    port: int
    freed: Callable[[], Awaitable[None]]
    """Frees the lease of one that was killed, so that its successor need not wait for its end."""
    ends: list[int] = field(default_factory=list)
    """With which codes it ended."""
    process: asyncio.subprocess.Process | None = None
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is not set, one that ended is not begun anew."""

    async def run(self) -> None:
        """For ever."""
        self.wanted.set()
        while await self.wanted.wait():
            with self.log.open("ab") as log:
                self.process = await asyncio.create_subprocess_exec(
                    *self.command, env=self.environment, stdout=log, stderr=log
                )
            try:
                code = await self.process.wait()
            except asyncio.CancelledError:
                self.signal(signal.SIGKILL)
                await self.process.wait()
                raise
            self.ends.append(code)
            if code == -signal.SIGKILL:
                await self.freed()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it lives."""
        with suppress(ProcessLookupError):
            if self.process:
                self.process.send_signal(number)

    def words(self) -> str:
        """What it logged."""
        return self.log.read_text()


@dataclass
class Play:
    """A scenario under way."""

    scenario: Scenario
    namespace: str
    proxy: Proxy
    api: Api
    operator: Operator
    metrics: aiohttp.ClientSession
    deadline: float = 120.0
    """Seconds within which each stage must come."""
    renewals: ClassVar[int] = 2
    """So often the lease is renewed, every 2 s, while nothing else may be written."""
    hurried: bool = False
    """Whether the player goes on while statuses wait for what follows them."""
    began: int = 0
    """How many requests had passed when the operator had come to rest for the first time."""
    writes: list[int] = field(default_factory=list)
    """How many there were when each stage began."""

    async def through(self, renewals: int | None = None) -> End:
        """All stages, and quiet after them for so many renewals of the lease (as all by default)."""
        player = Player(self.api, self.namespace, self.scenario.fate)
        for stage in self.scenario.stages:
            self.writes.append(sum(each.asked.written for each in self.since()))
            await stage.act(self.api, self.namespace)
            await self.until(lambda stage=stage: stage.until(self.api, self.namespace), player)  # type: ignore[misc]
        await self.quiet(renewals)
        while await player.step():
            await self.quiet(renewals)
        return await observe(self.api, self.namespace)

    async def until(self, check: Callable[[], Awaitable[bool]], player: Player | None = None) -> None:
        """Until it is so; between two looks the operator comes to rest and the player makes a step."""
        deadline = time.monotonic() + self.deadline
        player = player or Player(self.api, self.namespace, self.scenario.fate)
        while True:
            await self.rest()
            if not await player.step() and await check():
                return
            assert time.monotonic() < deadline, await self.excuse()

    async def rest(self, seconds: float = 10) -> bool:
        """Whether the operator was told of everything, and has nothing to do and nothing under way, within so long."""
        deadline, before, calm = time.monotonic() + seconds, None, 0
        while time.monotonic() < deadline:
            now = await self._busyness()
            calm = calm + 1 if now is not None and now == before else 0
            if calm == 3:
                return True
            before = now
            await asyncio.sleep(LOOK_SECONDS)
        return False

    async def quiet(self, renewals: int | None = None) -> None:
        """Until it writes nothing while it renews its lease so often."""
        renewals = renewals or self.renewals
        deadline = time.monotonic() + self.deadline
        written, renewed = -1, 0
        while len(self.proxy.writes()) != written or self._renewals() < renewed + renewals:
            if len(self.proxy.writes()) != written:
                written, renewed = len(self.proxy.writes()), self._renewals()
            assert time.monotonic() < deadline, await self.excuse()
            await asyncio.sleep(LOOK_SECONDS)

    async def excuse(self) -> str:
        """What is known when something does not come."""
        end = await observe(self.api, self.namespace)
        ours = [each for each in end.objects if each["apiVersion"].startswith("noria.dev")]
        told = yaml.safe_dump([{"name": each["metadata"]["name"], "status": each.get("status")} for each in ours])
        writes = "\n".join(f"{each.asked} {each.answer.status}" for each in self.proxy.writes()[-20:])
        ended = f"ended with {self.operator.ends}"
        return f"not in time; {ended}\n{told}\n{writes}\n{self.operator.words()[-3000:]}"

    def since(self) -> list[Passed]:
        """Requests since the first rest, without those about the lease."""
        return [each for each in self.proxy.passed[self.began :] if not each.asked.leads]

    def _renewals(self) -> int:
        return sum(each.asked.leads and each.asked.method != "GET" for each in self.proxy.passed)

    async def _busyness(self) -> tuple[object, ...] | None:
        """What changes while it works; None if it is not known to be idle."""
        try:
            async with self.metrics.get(f"http://127.0.0.1:{self.operator.port}/metrics") as answer:
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            return None
        looks = sum(map(float, re.findall(r"^noria_reconciles_total\{.*\} (.*)$", text, re.M)))
        # A look may wait for a lease that is late, and a status for what follows: then nothing changes, and it is not idle.
        known = ("noria_leader 1.0", "noria_queue_depth 0.0", "noria_active_workers 0.0", "noria_held_statuses 0.0")
        idle = all(each in text for each in known[: 3 if self.hurried else 4]) and not self.proxy.under_way
        told = all(self.proxy.told.get(plural, 0) >= at for plural, at in self.api.wrote.items())
        return (looks, self.proxy.events, len(self.since())) if idle and told else None


@asynccontextmanager
async def playing(
    plane: Any,
    scenario: Scenario,
    folder: Path,
    faults: Iterable[Fault] = (),
    early: Iterable[Fault] = (),
    program: Iterable[str] = ("-m", "noria"),
    user: str = "first",
    before: Callable[[str], object] = lambda namespace: None,
) -> AsyncIterator[Play]:
    """A namespace of its own, an operator that has come to rest in it, and the harm that awaits it, `early` harm from its
    first request on. `before` is told the namespace's name before the operator begins. All goes at the end."""
    namespace = f"{scenario.name}-{uuid.uuid4().hex[:8]}"
    certificate, key = plane.folder / "server.crt", plane.folder / "server.key"
    async with (
        Api(plane.server, certificate) as api,
        Proxy(plane.server, certificate, key) as proxy,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as metrics,
    ):
        await prepared(api, scenario, namespace)

        before(namespace)
        await freed(api)
        operator = employed(plane, scenario, folder, proxy.url, namespace, api, user, program)
        play = Play(scenario, namespace, proxy, api, operator, metrics)
        proxy.faults = list(early)
        proxy.kill = lambda: operator.signal(signal.SIGKILL)
        running = asyncio.create_task(operator.run())
        try:
            deadline = time.monotonic() + play.deadline
            while not await play.rest():
                assert time.monotonic() < deadline and not running.done(), operator.words()[-3000:]
            play.began, proxy.faults = len(proxy.passed), [*early, *faults]
            yield play
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            proxy.faults = []
            await cleared(api, namespace)


async def freed(api: Api) -> None:
    """Nobody holds the lease."""
    if lease := await api.get("Lease", HOME, "noria"):
        await api.delete(lease)


def employed(
    plane: Any,
    scenario: Scenario,
    folder: Path,
    server: str,
    namespace: str,
    api: Api,
    user: str = "first",
    program: Iterable[str] = ("-m", "noria"),
) -> Operator:
    """An operator that is yet to run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {} if scenario.everywhere else {"namespaces": [namespace]}
    settings = folder / f"{user}.yaml"
    settings.write_text(yaml.safe_dump(FIXED | dict(scenario.settings) | place))
    environment = os.environ | {
        "KUBECONFIG": str(plane.kubeconfig(user, server)),
        "POD_NAME": user,
        "POD_NAMESPACE": HOME,
        "PYTHONPATH": str(REPOSITORY / "operator"),
    }
    command = [sys.executable, *program, "run", f"--config={settings}", f"--port={port}"]
    return Operator(command, environment, folder / f"{user}.log", port, partial(freed, api))


async def cleared(api: Api, namespace: str) -> None:
    """Nothing of the scenario stays for the next one to see."""
    player = Player(api, namespace)
    for kind in dict.fromkeys((*KINDS, *CHILDREN)):
        if KINDS[kind].namespaced and kind not in ("PrometheusRule", "PodMonitor"):
            for each in await api.list(kind, namespace):
                await player._remove(each)
    for kind in ("Workspace", "Namespace"):
        if found := await api.get(kind, None, namespace):
            await player._remove(found)
    if found := await api.get("Namespace", None, namespace):
        await api.send("PUT", path("Namespace", None, namespace) + "/finalize", found | {"spec": {}})


@dataclass(frozen=True)
class Outcome:
    """What a scenario comes to: its end, what was made on the way, and every write."""

    end: End
    made: dict[str, int]
    passed: list[Passed]
    start: list[Passed]
    outages: list[str]
    writes: list[int]
    """How many there were when each stage began."""

    @classmethod
    async def of(cls, play: Play, renewals: int | None = None) -> "Outcome":
        """Play it through, with quiet for so many renewals after it. Whatever is done to it, it never meets what it did not expect."""
        end = await play.through(renewals)
        words = play.operator.words()
        assert "Traceback" not in words, words[words.index("Traceback") :][:3000]
        passed = play.proxy.passed
        lost = outages(passed, play.api.said_of)
        return cls(end, dict(made(passed, play.namespace)), play.since(), passed[: play.began], lost, play.writes)


def the_same(disturbed: Outcome, undisturbed: Outcome) -> None:
    """Fails with the first lines that differ."""
    differing = difflib.unified_diff(
        "".join(undisturbed.end.state).splitlines(), "".join(disturbed.end.state).splitlines(), lineterm="", n=8
    )
    assert disturbed.end.state == undisturbed.end.state, "\n".join(differing)
    twice = {
        what: (disturbed.made.get(what, 0), undisturbed.made.get(what, 0))
        for what in disturbed.made | undisturbed.made
        if disturbed.made.get(what, 0) != undisturbed.made.get(what, 0)
    }
    asked = "\n".join(f"{each.asked} {each.answer.status}" for each in disturbed.passed if each.asked.written)
    assert not twice, f"made so often, instead of so often: {twice}\n{asked}"
    assert not disturbed.end.orphans()
    assert not disturbed.outages
