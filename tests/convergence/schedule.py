"""One order of many in which things may happen: watches lag, looks overlap, processes die between writes, successors overlap with them."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, NamedTuple

from inmemory import CALM_LOOKS, Case, Server, copied, watched

from noria.plan.contract import Manifest, Ref
from noria.runtime.cluster import Cluster
from noria.runtime.errors import Conflict, Fenced, NotFound
from noria.runtime.queue import Queue
from noria.runtime.reconciler import Reconciler
from noria.runtime.store import Store

LOOKS, DEATHS = 4, 3
"""Looks of one process at the same time; processes that die or are superseded."""
AFTERWARDS = 40
"""What is drawn after the last death, before all goes on undisturbed."""
TAKEOVER = timedelta(seconds=17)


class News(NamedTuple):
    """What a watch has to tell: an object as it was then, or that it went."""

    ref: Ref
    manifest: Manifest | None
    revision: int


class Reach(Cluster):
    """The server as one process reaches it: each write waits for its turn, and none is sent once another leads."""

    def __init__(self, server: Server, process: "Process") -> None:
        self._server, self._process = server, process

    async def get(self, kind: str, namespace: str | None, name: str) -> Manifest:
        return await self._server.get(kind, namespace, name)

    async def list(
        self, kind: str, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> tuple[list[Manifest], str]:
        return await self._server.list(kind, namespace, labels=labels)

    async def create(self, manifest: Manifest) -> Manifest:
        return await self._in_turn(lambda: self._server.create(manifest))

    async def apply(self, manifest: Manifest, *, force: bool = True) -> Manifest:
        return await self._in_turn(lambda: self._server.apply(manifest, force=force))

    async def replace_status(self, manifest: Manifest) -> Manifest:
        return await self._in_turn(lambda: self._server.replace_status(manifest))

    async def unannotate(self, manifest: Manifest, annotations: Iterable[str]) -> Manifest:
        return await self._in_turn(lambda: self._server.unannotate(manifest, annotations))

    async def delete(self, manifest: Manifest) -> Manifest:
        return await self._in_turn(lambda: self._server.delete(manifest))

    async def _in_turn(self, write: Callable[[], Any]) -> Manifest:
        if not self._process.leads:
            raise Fenced(0, "Fenced", "another process leads", "")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._process.writes.append(turn)
        await turn  # what is on its way arrives, even when another leads by then
        answer: Manifest = await write()
        return answer


class Process:
    """One operator: what it knows, what its watches have yet to tell it, its looks under way and their writes."""

    def __init__(self, case: Case, server: Server) -> None:
        self.leads = True
        self._now = lambda: server.now.timestamp()
        self.queue: Queue[Ref] = Queue(
            lambda key: key.namespace or "", now=self._now, share=lambda group, waiting: LOOKS
        )
        self.store = Store(self._changed)
        self.store.absent = set(case.absent)
        reach = Reach(server, self)
        self.reconciler = Reconciler(
            case.controllers, reach, self.store, case.settings, lambda: server.now, case.answers
        )
        self.news: defaultdict[str, deque[News]] = defaultdict(deque)
        self.writes: list[asyncio.Future[None]] = []
        self.looks: set[asyncio.Task[None]] = set()
        self.error: BaseException | None = None
        self._known: dict[Ref, Manifest] = {}
        for ref, manifest in server.objects.items():
            self._hear(News(ref, copied(manifest), 0))

    def _changed(self, ref: Ref, old: Manifest | None, new: Manifest | None) -> None:
        for key in self.reconciler.concerned(ref, old, new):
            self.queue.add(key)

    def hear_one(self, kind: str) -> None:
        """The next news of one kind; kinds are watched one by one, so their news have no order."""
        self._hear(self.news[kind].popleft())
        if not self.news[kind]:
            del self.news[kind]

    def _hear(self, news: News) -> None:
        if news.manifest and watched(news.manifest):
            self._known[news.ref] = news.manifest
            self.store.put(copied(news.manifest))
        elif gone := self._known.pop(news.ref, None):
            self.store.remove(gone | {"metadata": gone["metadata"] | {"resourceVersion": str(news.revision)}})

    def may_look(self) -> bool:
        """Whether a key is ready, or its time has come, and a worker is free."""
        due = self.queue.next_due()
        return len(self.looks) < LOOKS and (len(self.queue) > 0 or (due is not None and due <= self._now()))

    def look(self) -> bool:
        """Begin a look; whether there was anything to look at."""
        if key := self.queue.take():
            self.looks.add(task := asyncio.create_task(self._look(key)))
            task.add_done_callback(self._ended)
        return key is not None

    async def _look(self, key: Ref) -> None:
        try:
            after = await self.reconciler.reconcile(key)
            self.queue.forget(key)
            if after is not None:
                self.queue.add(key, after)
        except (Conflict, NotFound, Fenced):
            self.queue.retry(key)
        finally:
            self.queue.done(key)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.looks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.error = error

    async def die(self) -> None:
        """At once, whatever is under way: a write that has not had its turn is not made."""
        for task in (dying := list(self.looks)):
            task.cancel()
        await asyncio.gather(*dying, return_exceptions=True)
        self.writes.clear()


class Schedule:
    """Plays a case in an order that `random` draws, and then to its end without further disturbance. Processes die after so many
    writes as it draws, of the number that an undisturbed one makes: at the beginning of the story or near its end."""

    def __init__(self, case: Case, random: Random, writes: int) -> None:
        self.case, self.random = case, random
        self.deaths = sorted(random.randrange(writes) for _ in range(random.randint(1, DEATHS)))
        """After how many writes somebody is yet to die."""
        self.server = case.serve()
        self.told: list[str] = []
        """What was drawn, for whoever reads a failure."""

    def play(self) -> Server:
        """The server as it is at the end."""
        asyncio.run(self._play())
        return self.server

    async def _play(self) -> None:
        self.processes = [Process(self.case, self.server)]
        self.server.listener = self._listen
        left, calm = AFTERWARDS, 0
        while left:
            revision = self.server._revision
            possible = [*self._possible()]
            if self.deaths and len(self.server.writes) >= self.deaths[0]:
                possible += ["die"] * 4  # soon, but what is under way just then is drawn
            action = self.random.choice(possible)
            self.told.append(action)
            if action == "die":
                self.deaths.pop(0)
                await self._die(self.random.choice(("before a write", "after a write", "superseded")))
            else:
                await self._do(action)
            left -= not self.deaths
            if self._busy():
                continue
            passes, calm = self._time_passes(), calm + 1 if revision == self.server._revision else 0
            if passes and calm < CALM_LOOKS:
                continue
            if not self.deaths:
                break
            self.deaths.pop(0)  # this order takes fewer writes: at its end
            await self._die("before a write")
            calm = 0
        await self._finish()

    def _possible(self) -> Iterable[str]:
        """Likely things more than once."""
        yield "world"
        if any(each.news for each in self.processes):
            yield from ("tell", "tell", "tell")
        if any(each.may_look() for each in self.processes):
            yield from ("look", "look")
        if any(each.writes for each in self.processes):
            yield from ("write", "write", "write")

    async def _do(self, action: str) -> None:
        if action == "world":
            self.case.world(self.server)
        elif action == "tell":
            process = self._one(lambda each: bool(each.news))
            process.hear_one(self.random.choice(sorted(process.news)))
        elif action == "look":
            self._one(lambda each: each.may_look()).look()
        else:
            writes = self._one(lambda each: bool(each.writes)).writes
            writes.pop(self.random.randrange(len(writes))).set_result(None)
        await self._settle()

    def _one(self, fits: Callable[[Process], bool]) -> Process:
        return self.random.choice([each for each in self.processes if fits(each)])

    async def _settle(self) -> None:
        """Until every look has ended or waits for a write."""
        for _ in range(12):
            await asyncio.sleep(0)
        for each in self.processes:
            if each.error:
                raise each.error

    async def _die(self, how: str) -> None:
        leader = self.processes[-1]
        self.told.append(how)
        if how == "superseded":  # stopped for so long that another leads; it goes on with what it had begun
            leader.leads = False
        else:
            if how == "after a write" and leader.writes:
                leader.writes.pop(self.random.randrange(len(leader.writes))).set_result(None)
                await asyncio.sleep(0)  # the write is made, and nobody hears the answer
            await leader.die()
            self.processes.remove(leader)
        self.server.now += TAKEOVER
        self.processes.append(Process(self.case, self.server))

    def _listen(self, ref: Ref) -> None:
        manifest = self.server.objects.get(ref)
        for each in self.processes:
            each.news[ref.kind].append(News(ref, copied(manifest), self.server._revision))

    def _busy(self) -> bool:
        return any(each.news or each.looks or len(each.queue) for each in self.processes)

    def _time_passes(self) -> bool:
        """To when the leader wants to look again, if the world has nothing to say; whether there was such a time."""
        self.case.world(self.server)
        due = self.processes[-1].queue.next_due()
        if self._busy() or due is None or (self.case.until and due > self.case.until.timestamp()):
            return self._busy()
        self.server.now = max(self.server.now, datetime.fromtimestamp(due, UTC) + timedelta(milliseconds=1))
        return True

    async def _finish(self) -> None:
        """Whoever is superseded ends, and the leader goes on, promptly told, until neither it nor the world has anything to do."""
        leader = self.processes.pop()
        for each in self.processes:
            await each.die()
        self.processes, calm = [leader], 0
        while calm < CALM_LOOKS:
            revision = self.server._revision
            while leader.news:
                leader.hear_one(next(iter(leader.news)))
            while len(leader.looks) < LOOKS and leader.look():
                pass
            await self._settle()
            while leader.writes:
                leader.writes.pop(0).set_result(None)
            await self._settle()
            if not self._busy() and not self._time_passes():
                return
            calm = calm + 1 if revision == self.server._revision else 0
