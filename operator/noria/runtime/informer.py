"""Keeps the store's content of one kind as the API server has it, through every gap: list, watch, and list again."""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import aclosing

from noria.plan.contract import KINDS
from noria.plan.manifests import MANAGED_BY
from noria.runtime.cluster import Cluster
from noria.runtime.errors import ApiError, Forbidden, Gone, NotFound
from noria.runtime.store import Store, trimmed

log = logging.getLogger(__name__)
RELIST_SECONDS = 600
"""A LIST follows after this long at the latest and corrects whatever the watch lost."""
BACKOFF_CAP = 30.0
ABSENT_SECONDS = 30
"""So often it is looked whether what is not served has come."""
REFUSED_PODS = "type=Warning,reason=FailedCreate,involvedObject.kind=Job"
"""Events that tell why a Job's pods were refused by quota or admission: nothing else in the cluster says it."""


class BeginAnew(Exception):
    """What only a new process can mend: who lost the lease stands by; after a restore of etcd watches wait for versions that
    are yet to come again; and kopf never watches a kind that was not served when it began, nor a namespace that was refused then."""


class Groups:
    """Which API groups are served, by one request for all kinds that wait for theirs."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._turn = asyncio.Lock()
        self._looks, self._known = 0, frozenset[str]()

    async def served(self, group: str) -> bool:
        """Whether it is, after 30 s at most: one look for all who ask meanwhile. Raises ApiError. Who asks first looks, for when
        a signal comes kopf cancels tasks that were begun after its own."""
        looks = self._looks
        async with self._turn:
            if looks == self._looks:
                await asyncio.sleep(ABSENT_SECONDS)
                self._known = await self._cluster.groups()
                self._looks += 1
        return group in self._known


class Informer:
    """One kind in one namespace or in all. Children are listed and watched by our label; of `whole` kinds everything
    is listed, and another watch (kopf's) tells the changes."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        kind: str,
        namespace: str | None,
        absence_changed: Callable[[str], None],
        groups: Groups,
        *,
        whole: bool = False,
        relist: int = RELIST_SECONDS,
    ) -> None:
        self.kind, self.namespace = kind, namespace
        self.synced = asyncio.Event()
        """Set by the first LIST, or when the kind is known to be absent."""
        self.answered = asyncio.Event()
        """Set by the same, or when a LIST of a namespace is refused: it went with its Role, and others must not wait for it."""
        self.whole, self.left_out = whole, False
        """Whether kopf was begun without it, since it was refused."""
        self.listed_at = time.monotonic()
        self._cluster, self._store, self._absence_changed, self._groups = cluster, store, absence_changed, groups
        self._relist = relist
        self._labels = "" if whole or kind == "Event" else f"{MANAGED_BY}=noria"
        self._fields = REFUSED_PODS if kind == "Event" else ""
        self._wanted, self._hurried = asyncio.Event(), asyncio.Event()

    def relist(self) -> None:
        """Ask for a LIST soon: a watch may have lost something."""
        self._wanted.set()

    def hurry(self) -> None:
        """The API server answers again: a LIST that is backed away from need not wait."""
        self._hurried.set()

    async def run(self) -> None:
        """List and watch, for ever. Raises BeginAnew."""
        failures = 0
        while True:
            began = None
            self._hurried.clear()  # what answers again meanwhile is asked at once
            try:
                since = await self._list()
                began = time.monotonic()
                await (_either(self._wanted, self._relist) if self.whole and since else self._watch(since))
                failures = 0
            except Gone:
                log.info("the watch of %s is too old; listing anew", self.kind)
            except ApiError as error:
                # Whoever cuts watches now and then is not backed away from further each time.
                lasted = began is not None and time.monotonic() - began > BACKOFF_CAP
                failures = 1 if lasted else failures + 1
                if isinstance(error, Forbidden) and self.namespace:
                    self.listed_at = time.monotonic()
                    self.answered.set()
                log.warning("list and watch of %s: %s", self.kind, error)
                await _either(self._hurried, min(BACKOFF_CAP, 0.2 * 2 ** min(failures, 10)) * random.uniform(0.5, 1))

    async def _list(self) -> str | None:
        """Replaces what the store holds; the resourceVersion to watch from, or None where the kind is not served."""
        self._wanted.clear()
        known = self._store.newest[self.kind]
        with self._store.listing(self.kind) as touched:
            try:
                items, since = await self._cluster.list(
                    self.kind, self.namespace, labels=self._labels, fields=self._fields, kept=trimmed
                )
            except NotFound:
                items, since = [], ""
            if since and int(since) < known:
                raise BeginAnew(
                    f"{self.kind} was at version {known} and is at {since}: etcd was restored; beginning anew"
                )
            if since and self.left_out:
                raise BeginAnew(
                    f"{self.kind} in {self.namespace} may be listed now, and might not when this process began; beginning anew"
                )
            self._store.replace(self.kind, self.namespace, touched, items)
        if (self.kind in self._store.absent) == bool(since):
            if since and self.whole:
                raise BeginAnew(f"{self.kind} is served now, and was not when this process began; beginning anew")
            self._store.absent ^= {self.kind}
            self._absence_changed(self.kind)
        self.listed_at = time.monotonic()
        self.synced.set()
        self.answered.set()
        return since or None

    async def _watch(self, since: str | None) -> None:
        if since is None:
            while not await self._groups.served(KINDS[self.kind].api_version.partition("/")[0]):
                self.listed_at = time.monotonic()
            return
        changes = self._cluster.watch(
            self.kind, self.namespace, since, self._relist, labels=self._labels, fields=self._fields
        )
        async with aclosing(changes):
            async for change, manifest in changes:
                if change == "DELETED":
                    self._store.remove(manifest)
                elif change != "BOOKMARK":
                    self._store.put(manifest)


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Until it is set, for so long at most."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
