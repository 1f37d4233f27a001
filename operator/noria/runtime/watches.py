"""Hears of changes of our own kinds: the only module that imports kopf, of which only the watching is used.

`on.event` handlers write nothing to objects and need no finalizer; kopf's own memory of them is switched off.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import kopf

from noria.api.meta import GROUP, VERSION, Resource
from noria.runtime.cluster import Cluster, Credentials
from noria.runtime.store import Store

IDENTITY: Any = "noria"
LISTING_GAP_SECONDS = 30.0
"""kopf marks listed objects but not a listing's begin: after this long without one, the next begins another listing."""


class _NoDiffs(kopf.DiffBaseStorage):
    """kopf's copy of the last state, which only edge-triggered handlers use: half of its cost is the copying."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence({})

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None


class _NoProgress(kopf.ProgressStorage):
    """kopf's memory of handlers to be retried, which only edge-triggered handlers use."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


class _Patience:
    """Seconds between the tries of a request of kopf's, for ever. By default it gives up after 54 s, and the process with it:
    while the API server is away its pod would crash again and again, and wait for minutes when it is back."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((1, 1, 2, 3, 5), itertools.repeat(8))


async def run(
    resources: Iterable[type[Resource]],
    namespaces: Sequence[str],
    cluster: Cluster,
    store: Store,
    relisted: Callable[[str], None],
) -> None:
    """Put every change into the store, until a signal ends the process. After a gap in a watch kopf lists anew and
    tells of no deletion: `relisted` hears of it."""
    registry = kopf.OperatorRegistry()
    login = _Login(cluster)
    kopf.on.login(registry=registry)(login.credentials)

    for resource in resources:
        handler = _Handler(resource.kind(), store, relisted)
        kopf.on.event(GROUP, VERSION, resource.plural, id=resource.plural, registry=registry)(handler.seen)
    clusterwide = not namespaces
    await kopf.operator(
        registry=registry,
        settings=_settings(),
        standalone=True,
        identity=IDENTITY,  # without one kopf asks for the user's name, and a container's user has none
        clusterwide=clusterwide,
        namespaces=namespaces,
    )


class _Login:
    """kopf asks for credentials at first, and after each 401."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._before: Credentials | None = None
        self._count, self._pauses = itertools.count(), iter(_Patience())

    async def credentials(self, **_: Any) -> kopf.ConnectionInfo:
        """Those in use now. What an API server refused that is only beginning is offered again, under another number: kopf
        would take it as refused for ever, and end the process with a traceback."""
        found = await self.cluster.credentials()
        if found == self._before:
            await asyncio.sleep(next(self._pauses))
            found = await self.cluster.credentials()
        else:
            self._pauses = iter(_Patience())
        self._before = found
        return kopf.ConnectionInfo(**found._asdict(), priority=next(self._count))


class _Handler:
    def __init__(self, kind: str, store: Store, relisted: Callable[[str], None]) -> None:
        self.kind, self.store, self.relisted = kind, store, relisted
        self.listed_at: float | None = None

    async def seen(self, event: kopf.RawEvent, **_: Any) -> None:
        manifest = dict(event["object"])
        if event["type"] == "DELETED":
            self.store.remove(manifest)
        else:
            self.store.put(manifest)
        if event["type"] is None:
            now = time.monotonic()
            if self.listed_at is not None and now - self.listed_at > LISTING_GAP_SECONDS:
                self.relisted(self.kind)
            self.listed_at = now


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.persistence.progress_storage = _NoProgress()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.watching.chunk_size = 500
    settings.networking.error_backoffs = _Patience()
    # A queue and a task for each object that changed stay for so long: 10 kB each, 5 s by default.
    settings.queueing.idle_timeout = 0.2
    return settings
