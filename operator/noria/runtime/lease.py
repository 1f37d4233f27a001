"""Leadership by a Lease: one process writes, the others stay ready. Whoever cannot renew in time stops writing before
another may begin; kubernetes.aio's leader election has neither that fence nor a release."""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from noria.plan.contract import Manifest
from noria.runtime.cluster import Cluster
from noria.runtime.errors import AlreadyExists, ApiError, Conflict, NotFound
from noria.runtime.metrics import LEADER

log = logging.getLogger(__name__)


class Lease:
    """The Lease `name` in `namespace`, wanted by `identity`; times in seconds. One who stands by sees a renewal up to `retry`
    late and begins when `duration` is over, so 15 s after the last one at the latest."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        name: str,
        identity: str,
        *,
        duration: float = 13,
        renew_deadline: float = 8,
        retry: float = 2,
    ) -> None:
        self._cluster, self._namespace, self._name, self._identity = cluster, namespace, name, identity
        self._duration, self._renew_deadline, self._retry = duration, renew_deadline, retry
        self.ready: Callable[[], bool] = lambda: True
        """It is taken only then: who cannot work would keep others from it."""
        self.answered: Callable[[], None] = lambda: None
        """Called when the API server answers again: nobody else asks it as often."""
        self.acquired = asyncio.Event()
        self._renewed = asyncio.Event()
        self._until = 0.0
        self._seen: tuple[object, ...] = ()
        self._seen_at = self._expires = 0.0

    def held(self) -> bool:
        """Whether this process may write now; a process that was suspended for long may not."""
        return time.monotonic() < self._until

    async def holding(self) -> None:
        """Returns when this process may write."""
        while not self.held():
            self._renewed.clear()
            await self._renewed.wait()

    async def run(self) -> None:
        """Take it and renew it; returns when it was held and is lost."""
        silent = False
        while True:
            began = time.monotonic()
            try:
                async with asyncio.timeout(self._renew_deadline / 2):
                    renewed = await self._take()
                if silent:
                    self.answered()
                silent = False
            except (ApiError, TimeoutError) as error:
                renewed, silent = False, True
                log.warning("the lease cannot be read or renewed: %s", error or "no answer in time")
            if renewed:
                self._until = began + self._renew_deadline
                self._renewed.set()
                LEADER.set(1)
                if not self.acquired.is_set():
                    log.info("leading as %s", self._identity)
                    self.acquired.set()
            elif self.acquired.is_set() and not self.held():
                LEADER.set(0)
                return
            left = self._expires - time.monotonic()
            await asyncio.sleep(left if 0 < left < self._retry else self._retry)

    async def release(self) -> None:
        """Let the next one begin at once."""
        if not self.held():
            return
        self._until = 0.0
        LEADER.set(0)
        try:
            live = await self._cluster.get("Lease", self._namespace, self._name)
            if live["spec"].get("holderIdentity") == self._identity:
                await self._put(live, "")
        except ApiError as error:
            log.warning("the lease was not released: %s", error)

    async def _take(self) -> bool:
        """One try to take or renew it; whether it is ours now."""
        try:
            live = await self._cluster.get("Lease", self._namespace, self._name)
        except NotFound:
            metadata = {"name": self._name, "namespace": self._namespace}
            live = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": {}}
        spec = live["spec"]
        holder = spec.get("holderIdentity")
        if (seen := (holder, spec.get("renewTime"))) != self._seen:
            self._seen, self._seen_at = seen, time.monotonic()
        # Clocks of two machines are not compared: what counts is how long ago we saw the holder renew.
        self._expires = self._seen_at + spec.get("leaseDurationSeconds", self._duration)
        if holder and holder != self._identity and time.monotonic() < self._expires:
            return False
        if holder != self._identity and not self.ready():
            return False
        try:
            await self._put(live, self._identity)
        except (Conflict, AlreadyExists):
            return False
        return True

    async def _put(self, live: Manifest, holder: str) -> None:
        spec, now = live["spec"], datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        taken = holder not in ("", spec.get("holderIdentity"))
        changed = {
            "holderIdentity": holder,
            "leaseDurationSeconds": max(1, round(self._duration)),
            "acquireTime": now if taken else spec.get("acquireTime", now),
            "renewTime": now,
            "leaseTransitions": spec.get("leaseTransitions", 0) + taken,
        }
        write = self._cluster.replace if "resourceVersion" in live["metadata"] else self._cluster.create
        await write(live | {"spec": changed})
