"""The process: watches feed the store, changes become keys, and workers reconcile them while the Lease is held."""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from noria.api import RESOURCES
from noria.plan.contract import Controller, Look, Manifest, Query, Ref, Settings
from noria.plan.controllers import CONTROLLERS
from noria.runtime import informer, metrics, probes, watches
from noria.runtime.answers import Answers
from noria.runtime.cluster import Cluster
from noria.runtime.errors import ApiError, Conflict, Fenced, Refused
from noria.runtime.informer import BeginAnew, Groups, Informer
from noria.runtime.lease import Lease
from noria.runtime.logs import KEY
from noria.runtime.prometheus import Poller
from noria.runtime.queue import Queue
from noria.runtime.reconciler import Reconciler
from noria.runtime.store import Store

log = logging.getLogger(__name__)
WORKERS = 32
"""Looks at once: four namespaces may have all that is theirs, so that two whose requests hang do not hold up the others."""
UNSEEN_SECONDS = 10
"""So long a look waits for the lists of its namespace."""
RESULTS: Mapping[type[ApiError], str] = {Fenced: "fenced", Conflict: "conflict", Refused: "refused"}
"""How a look ended, for the metric."""
DEEPEST = 25_000
"""Calls within calls, of which Python allows 1,000: kopf's parser and ours need one for each level of an object, and the API
server takes 10,000 levels. In Python 3.11 that takes 4 of the 8 MiB of stack; from 3.12 on C code has a limit of its own, of 10,000
calls in 3.13."""
GARBAGE = 5_000
"""Containers that Python makes before it looks for garbage. An answer of Prometheus makes thousands, and with Python's own
number (700) each one sets off searches through all that the store holds; with more, what a burst throws away stays for long."""


class Operator:
    """Everything that runs, wired once."""

    def __init__(
        self,
        cluster: Cluster,
        settings: Settings,
        lease: Lease,
        controllers: Iterable[Controller[Any]] = CONTROLLERS,
        relist: int = informer.RELIST_SECONDS,
    ) -> None:
        self.cluster, self.settings, self.lease = cluster.fenced(lease.held), settings, lease
        everywhere = not settings.namespaces
        controllers = [each for each in controllers if everywhere or each.resource.namespaced]
        self.resources = [each for each in RESOURCES if everywhere or each.namespaced]
        self.queue: Queue[Ref] = Queue(lambda key: key.namespace or "")
        self.store = Store(self._changed)
        self.answers = Answers()
        self.poller = Poller(
            settings.prometheus_url,
            lambda: self.reconciler.interests.asking,
            self.answers,
            self._looks,
            self._look_at,
            self.queue.settled,
            settings.evaluation_seconds,
        )
        self.reconciler = Reconciler(
            controllers, self.cluster, self.store, settings, lambda: datetime.now(UTC), self.answers, self.poller.news
        )
        own = {each.kind() for each in self.resources}
        children = {kind for each in controllers for kind in (*each.owns, *each.watches)}
        places: list[str | None] = [*settings.namespaces] or [None]
        groups = Groups(self.cluster)
        self.informers = [
            Informer(
                self.cluster, self.store, kind, namespace, self._look_at_all, groups, whole=kind in own, relist=relist
            )
            for kind in sorted(own | children)
            for namespace in places
        ]
        self._of = {place: [each for each in self.informers if each.namespace == place] for place in places}
        lease.ready, lease.answered = self.ready, self._hurry

    async def run(self) -> None:
        """Until a signal ends it, or a failure that only a new process can mend is raised."""
        parts = [self._watch(), self._lead()]
        parts += [each.run() for each in self.informers]
        if self.settings.prometheus_url:
            parts.append(self.poller.run())
        tasks = [asyncio.ensure_future(part) for part in parts]
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.lease.release()
        for task in ended:
            task.result()

    def age(self) -> float:
        """Seconds since the least recently listed kind was listed."""
        return time.monotonic() - min(each.listed_at for each in self.informers)

    def ready(self) -> bool:
        """Whether every kind was listed once, where it may be."""
        return all(each.answered.is_set() for each in self.informers)

    def refresh(self) -> None:
        """Set the gauges that are read from what is held."""
        metrics.QUEUE_DEPTH.set(len(self.queue))
        metrics.ACTIVE_WORKERS.set(self.queue.running)
        for kind, count in self.store.count().items():
            metrics.OBJECTS.labels(kind).set(count)

    async def _watch(self) -> None:
        """By kopf, which ends with the first watch that is refused: of listed namespaces those that may be listed."""
        own, places = [each for each in self.informers if each.whole], self.settings.namespaces
        for each in own if places else ():
            await each.answered.wait()
            each.left_out = not each.synced.is_set()
        allowed = [place for place in places if not any(each.left_out for each in own if each.namespace == place)]
        if places and not allowed:
            await asyncio.Event().wait()  # until one may be listed, and the process begins anew
        await watches.run(self.resources, allowed, self.cluster, self.store, self._relist)

    async def _lead(self) -> None:
        """Wait for a whole picture and for the Lease, then work until it is lost."""
        tasks = [asyncio.create_task(self.lease.run()), asyncio.create_task(self._work())]
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not any(task.cancelled() for task in ended):  # kopf cancels all tasks when a signal ends it
                for task in ended:
                    task.result()
                raise BeginAnew(
                    "the lease could not be renewed in time, and another may lead; beginning anew as a stand-by"
                )
        finally:
            await _end(tasks)

    async def _work(self) -> None:
        """Once the Lease is held, for ever. Who stands by keeps no keys: it would keep all that ever were."""
        await self.lease.acquired.wait()
        for kind in self.reconciler.controllers:
            for key in self.store.refs(kind):
                self.queue.add(key)
        await self.queue.work(self._handle, WORKERS)

    async def _handle(self, key: Ref) -> None:
        """One look at one object, whose trouble never stops the others. While the Lease is late nothing is planned in vain."""
        KEY.set(key)
        await self.lease.holding()
        if not all(each.synced.is_set() for each in self._of.get(key.namespace, ())):
            self.queue.add(key, UNSEEN_SECONDS)
            return
        began = time.monotonic()
        try:
            after = await self.reconciler.reconcile(key)
        except ApiError as error:
            result = next((told for kind, told in RESULTS.items() if isinstance(error, kind)), "error")
            seconds = self.queue.retry(key)
            if result in ("refused", "error"):
                level = logging.INFO if result == "refused" else logging.WARNING
                log.log(level, "waits %.0f s and tries again: %s", seconds, error)
            if error.wait is not None:
                self.queue.add(key, error.wait)
        except Exception:
            result = "error"
            log.exception("an unexpected error; it is tried again in %.0f s", self.queue.retry(key))
        else:
            result = "ok"
            self.queue.forget(key)
            if after is not None:
                self.queue.add(key, after)
        metrics.RECONCILES.labels(key.kind, result).inc()
        metrics.RECONCILE_SECONDS.labels(key.kind).observe(time.monotonic() - began)

    def _changed(self, ref: Ref, old: Manifest | None, new: Manifest | None) -> None:
        if not self.lease.acquired.is_set():
            return
        for key in self.reconciler.concerned(ref, old, new):
            begins = key == ref and old is None
            (self.queue.add if begins else self.queue.add_ahead)(key)

    def _looks(self, query: Query) -> Iterable[tuple[Ref, Look]]:
        return self.reconciler.interests.looks(query, self.answers)

    def _look_at(self, key: Ref) -> None:
        if self.store.get(key) is not None:
            self.queue.add_ahead(key)

    def _look_at_all(self, kind: str) -> None:
        """A kind came or went: whatever has such children is planned anew."""
        for controller in self.reconciler.controllers.values():
            if kind in (*controller.owns, *controller.watches):
                for key in self.store.refs(controller.resource.kind()):
                    self.queue.add(key)

    def _hurry(self) -> None:
        for each in self.informers:
            each.hurry()

    def _relist(self, kind: str) -> None:
        for each in self.informers:
            if each.kind == kind:
                each.relist()


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel until all have ended: a request whose own time is over at that moment may take the cancellation for it."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=1)


async def run(settings: Settings, port: int, alerts_token: Path | None = None) -> int:
    """The whole life of the process, and its exit code: 1 if it is to begin anew."""
    gc.collect()
    gc.freeze()  # what was imported stays, and is not looked through again
    gc.set_threshold(GARBAGE)
    sys.setrecursionlimit(DEEPEST)
    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None
    for number in (signal.SIGTERM, signal.SIGINT):  # until kopf takes them over, which may wait for lists
        loop.add_signal_handler(number, this.cancel)
    cluster = await Cluster.connect()
    namespace, pod = os.environ.get("POD_NAMESPACE", "default"), os.environ.get("POD_NAME", socket.gethostname())
    operator = Operator(cluster, settings, Lease(cluster, namespace, "noria", f"{pod}_{uuid.uuid4().hex[:8]}"))
    push = probes.Push(alerts_token, operator.poller.wake, operator.lease.held) if alerts_token else None
    probe = await probes.serve(port, operator.age, operator.ready, operator.refresh, push)
    try:
        await operator.run()
    except BeginAnew as reason:
        log.warning("%s", reason)
        return 1
    except asyncio.CancelledError:
        log.info("ended by a signal before it watched anything")
    finally:
        await probe.cleanup()
        await cluster.close()
    return 0
