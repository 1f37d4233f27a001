"""Holds the keys that need a look: each once, each with one worker at a time, at the earliest time anyone asked for.

Namespaces take turns, so that one with a thousand keys does not keep another's single key waiting, and none has more than
its share of the workers: an API server that is asked by few answers each of them sooner, and a webhook that hangs holds up
its own tenant. Within a namespace, keys that were asked for ahead go before the others, what has begun goes on before more begins;
but of four one is of the others, so that none of them waits for ever.
"""

import asyncio
import heapq
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Collection, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
Lanes = tuple[OrderedDict[K, None], OrderedDict[K, None]]
"""Keys of one namespace that are ready: those ahead, and the others."""
SHARE, LEAST_SHARE = 8, 2
"""Keys of one namespace that run at once; and where more than CROWD wait."""
CROWD = 32
AHEAD = 3
"""So many keys go ahead of another that waits."""
SPARE = 64
"""Times that do not count any more, of keys that were looked at before, which may stay until then."""


def share_of(group: str, waiting: int) -> int:
    """How many keys of a namespace may run at once in which so many wait. A crowd waits long in any case, and by more at once it
    would only keep the API server from others; what is no crowd must not become one because the API server is slow."""
    return LEAST_SHARE if waiting > CROWD else SHARE


class Queue(Generic[K]):
    """A key is in one of these states: unknown, due later, ready, running, or running and asked for again."""

    def __init__(
        self,
        group: Callable[[K], str],
        *,
        now: Callable[[], float] = time.monotonic,
        share: Callable[[str, int], int] = share_of,
        backoff: float = 0.5,
        cap: float = 300.0,
    ) -> None:
        """The `group` of a key never changes; `share` says how many of one group may run at once in which so many wait."""
        self._group, self._now, self._share, self._backoff, self._cap = group, now, share, backoff, cap
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._pushed = 0
        self._turns: OrderedDict[str, Lanes[K]] = OrderedDict()
        self._resting: dict[str, Lanes[K]] = {}
        """Namespaces that have their share of the workers, and more that is ready."""
        self._workers: Counter[str] = Counter()
        self._passed: Counter[str] = Counter()
        """How many keys in a row went ahead of those of their namespace that wait."""
        self._ready: dict[K, bool] = {}
        self._running: set[K] = set()
        self._again: dict[K, bool] = {}
        self._failures: Counter[K] = Counter()
        self._woken, self._one_done = asyncio.Event(), asyncio.Event()

    def __len__(self) -> int:
        """Keys that are ready and wait for a worker."""
        return len(self._ready)

    @property
    def running(self) -> int:
        """Keys that a worker has, be it that it waits for the lease."""
        return len(self._running)

    def add(self, key: K, delay: float = 0.0) -> None:
        """Ask for a look at `key` in `delay` seconds; the earliest of several requests counts."""
        if key in self._ready or key in self._again:
            return
        if delay <= 0:
            self._make_ready(key)
        elif (at := self._now() + delay) < self._due.get(key, float("inf")):
            self._due[key] = at
            self._pushed += 1
            heapq.heappush(self._heap, (at, self._pushed, key))
            if len(self._heap) > 2 * len(self._due) + SPARE:
                self._heap = [each for each in self._heap if self._due.get(each[2]) == each[0]]
                heapq.heapify(self._heap)
        self._woken.set()

    def add_ahead(self, key: K) -> None:
        """Ask for a look at `key` now, before those of its namespace that were asked for by `add`."""
        if not self._ready.get(key, self._again.get(key, False)):
            self._make_ready(key, ahead=True)
            self._woken.set()

    def retry(self, key: K) -> float:
        """Ask for another look after a failure, later each time; says in how many seconds."""
        delay = min(self._cap, self._backoff * 2.0 ** min(self._failures[key], 30))
        self._failures[key] += 1
        self.add(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """The look succeeded: the next failure starts with the shortest delay again."""
        self._failures.pop(key, None)

    def take(self) -> K | None:
        """The next key whose time has come, which is then running until `done`; None if there is none."""
        now = self._now()
        while self._heap and self._heap[0][0] <= now:
            at, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == at:
                self._make_ready(key)
        while self._turns:
            group, lanes = self._turns.popitem(last=False)
            ahead, others = lanes
            if self._workers[group] >= self._share(group, len(ahead) + len(others)):
                self._resting[group] = lanes
                continue
            first = bool(ahead) and not (others and self._passed[group] == AHEAD)
            key, _ = (ahead if first else others).popitem(last=False)
            self._passed[group] = self._passed[group] + 1 if first and others else 0
            if not self._passed[group]:
                del self._passed[group]
            self._workers[group] += 1
            if ahead or others:
                self._turns[group] = lanes
            del self._ready[key]
            self._running.add(key)
            return key
        return None

    def done(self, key: K) -> None:
        """The worker of `key` is free; if the key was asked for meanwhile, it is ready again."""
        self._running.remove(key)
        group = self._group(key)
        self._workers[group] -= 1
        if not self._workers[group]:
            del self._workers[group]
        if lanes := self._resting.pop(group, None):
            self._turns[group] = lanes
        self._woken.set()
        self._one_done.set()
        if (ahead := self._again.pop(key, None)) is not None:
            self._make_ready(key, ahead)

    async def settled(self, keys: Collection[K]) -> None:
        """Until none of them is ready or running."""
        while any(key in self._ready or key in self._running for key in keys):
            self._one_done.clear()
            await self._one_done.wait()

    def next_due(self) -> float | None:
        """When the earliest delayed key becomes ready."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    async def work(self, handle: Callable[[K], Awaitable[None]], workers: int) -> None:
        """Look at the keys, so many at once, for ever; `handle` raises nothing."""
        async with asyncio.TaskGroup() as looks:
            while True:
                looks.create_task(self._look(handle, await self._next(workers)))
                await asyncio.sleep(0)  # looks that write nothing wait for nothing, and others must have their turn

    async def _next(self, workers: int) -> K:
        """Take a key, once one is ready and a worker free."""
        while (full := len(self._running) >= workers) or (key := self.take()) is None:
            self._woken.clear()
            due = None if full else self.next_due()
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due - self._now())):
                    await self._woken.wait()
            except TimeoutError:
                pass
        return key

    async def _look(self, handle: Callable[[K], Awaitable[None]], key: K) -> None:
        try:
            await handle(key)
        finally:
            self.done(key)

    def _make_ready(self, key: K, ahead: bool = False) -> None:
        self._due.pop(key, None)
        if key in self._running:
            self._again[key] = ahead
            return
        group = self._group(key)
        waiting = self._resting if group in self._resting else self._turns
        first, others = waiting.setdefault(group, (OrderedDict(), OrderedDict()))
        others.pop(key, None)
        (first if ahead else others)[key] = None
        self._ready[key] = ahead
        self._woken.set()
