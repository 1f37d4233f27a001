"""What an informer makes of lists, and when only a new process can go on."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from noria.plan.contract import Manifest
from noria.runtime.errors import Forbidden, NotFound, Unreachable
from noria.runtime.informer import BeginAnew, Groups, Informer
from noria.runtime.store import Store


class Listing:
    """A cluster that only lists, at one version after the other, and serves one set of groups after the other."""

    def __init__(self, *versions: str, served: tuple[str, ...] = ()) -> None:
        self.versions, self.served, self.asked = list(versions), list(served), 0

    async def list(self, kind: str, namespace: str | None, **_: Any) -> tuple[list[Manifest], str]:
        if not (version := self.versions.pop(0)):
            raise NotFound(404, "NotFound", "the server could not find the requested resource", kind)
        return [], version

    async def groups(self) -> frozenset[str]:
        self.asked += 1
        return frozenset(self.served.pop(0).split())


def job(version: str) -> Manifest:
    return {"kind": "Job", "metadata": {"name": "a", "namespace": "n", "resourceVersion": version}}


def informer(
    store: Store, *versions: str, kind: str = "Job", whole: bool = False, served: tuple[str, ...] = ()
) -> Informer:
    """The API server does not serve the kind where a version is empty."""
    listing: Any = Listing(*versions, served=served)
    return Informer(listing, store, kind, None, lambda kind: None, Groups(listing), whole=whole, relist=0)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not served is looked for again without a wait."""
    monkeypatch.setattr("noria.runtime.informer.ABSENT_SECONDS", 0)


async def test_versions_that_go_back_end_the_process() -> None:
    store = Store()
    jobs = informer(store, "7", "8")
    await jobs._list()
    store.put(job("9"))
    with pytest.raises(BeginAnew, match="Job was at version 9 and is at 8: etcd was restored"):
        await jobs.run()


async def test_a_list_as_new_as_what_is_known_is_taken() -> None:
    store = Store()
    store.put(job("9"))
    assert await informer(store, "9")._list() == "9"
    assert store.refs("Job") == ()


async def test_versions_of_other_kinds_say_nothing() -> None:
    """Events may lie in an etcd of their own."""
    store = Store()
    store.put(job("9") | {"kind": "Event", "involvedObject": {"name": "a"}})
    assert await informer(store, "8")._list() == "8"


@pytest.mark.usefixtures("at_once")
async def test_a_kind_of_our_own_that_comes_later_is_watched_by_a_new_process() -> None:
    served = ("", "apps", "apps noria.dev", "noria.dev")
    with pytest.raises(BeginAnew, match="TrainingJob is served now"):
        await informer(Store(), "", "", "7", kind="TrainingJob", whole=True, served=served).run()


@pytest.mark.usefixtures("at_once")
async def test_all_kinds_that_are_not_served_are_looked_for_by_one_request() -> None:
    listing: Any = Listing(served=("apps", "serving.kserve.io", "serving.kserve.io monitoring.coreos.com"))
    groups, came = Groups(listing), list[tuple[str, int]]()

    async def wait(group: str) -> None:
        while not await groups.served(group):
            pass
        came.append((group, listing.asked))

    await asyncio.gather(*(wait(each) for each in ("monitoring.coreos.com", "serving.kserve.io")))
    assert came == [("serving.kserve.io", 2), ("monitoring.coreos.com", 3)]


async def test_a_kind_of_others_that_comes_later_is_taken_up() -> None:
    store = Store()
    services = informer(store, "", "7", kind="InferenceService")
    assert (await services._list(), store.absent) == (None, {"InferenceService"})
    assert (await services._list(), store.absent) == ("7", set())


@pytest.mark.usefixtures("at_once")
async def test_a_kind_that_stays_away_is_not_taken_for_one_that_cannot_be_listed() -> None:
    """The age of the oldest list decides whether the process is called healthy."""
    services = informer(Store(), "", "7", kind="InferenceService", served=("apps", "apps", "serving.kserve.io"))
    await services._list()
    services.listed_at -= 10_000
    await services._watch(None)
    assert time.monotonic() - services.listed_at < 60


class Refusing:
    """A cluster that lets nothing be listed."""

    def __init__(self) -> None:
        self.asked = asyncio.Semaphore(0)

    async def list(self, kind: str, namespace: str | None, **_: Any) -> tuple[list[Manifest], str]:
        self.asked.release()
        raise Forbidden(403, "Forbidden", "jobs is forbidden", kind)


@pytest.mark.parametrize("namespace", ["gone", None])
async def test_for_the_lists_of_a_namespace_that_went_nobody_waits(namespace: str | None) -> None:
    cluster: Any = Refusing()
    jobs = Informer(cluster, Store(), "Job", namespace, lambda kind: None, Groups(cluster))
    jobs.listed_at = 0.0
    running = asyncio.create_task(jobs.run())
    for _ in range(2):
        await asyncio.wait_for(cluster.asked.acquire(), 10)
    assert jobs.answered.is_set() is (jobs.listed_at > 0) is (namespace is not None)
    assert not jobs.synced.is_set()
    running.cancel()


class Away:
    """A cluster that answers nothing."""

    async def list(self, kind: str, namespace: str | None, **_: Any) -> tuple[list[Manifest], str]:
        raise Unreachable(0, "Unreachable", "no answer", kind)


class Breaking(Listing):
    """A cluster whose watches all break."""

    async def watch(self, kind: str, namespace: str | None, since: str, seconds: int, **_: Any) -> AsyncIterator[Any]:
        raise Unreachable(0, "Unreachable", "the watch broke", kind)
        yield


@pytest.mark.parametrize(
    ("cluster", "lasts", "least"), [(Breaking, False, 10), (Breaking, True, 0.1), (Away, True, 10)]
)
async def test_watches_that_break_after_a_while_are_begun_anew_at_once(
    cluster: Any, lasts: bool, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load balancer that cuts connections every minute made all tenants' news half a minute late. Who is away is waited for
    longer each time, however long that has been."""
    cluster = Breaking(*"123456789") if cluster is Breaking else Away()
    waits = list[float]()

    async def wait(_: asyncio.Event, seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 9:
            raise asyncio.CancelledError

    monkeypatch.setattr("noria.runtime.informer._either", wait)
    clock = itertools.count(step=31 if lasts else 0)
    monkeypatch.setattr("noria.runtime.informer.time", SimpleNamespace(monotonic=lambda: next(clock)))
    with pytest.raises(asyncio.CancelledError):
        await Informer(cluster, Store(), "Job", None, lambda kind: None, Groups(cluster)).run()
    assert waits[-1] >= least and (least > 1 or max(waits) <= 0.4)


async def test_that_it_answers_is_heard_while_a_list_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where connections hang, a list may break after the lease was answered."""
    monkeypatch.setattr("noria.runtime.informer.BACKOFF_CAP", 10_000)
    monkeypatch.setattr("noria.runtime.informer.random.uniform", lambda *_: 10_000)
    asked, breaks = asyncio.Semaphore(0), asyncio.Event()

    class Hanging:
        async def list(self, kind: str, namespace: str | None, **_: Any) -> tuple[list[Manifest], str]:
            asked.release()
            await breaks.wait()
            raise Unreachable(0, "Unreachable", "no answer", kind)

    cluster: Any = Hanging()
    jobs = Informer(cluster, Store(), "Job", None, lambda kind: None, Groups(cluster))
    running = asyncio.create_task(jobs.run())
    await asyncio.wait_for(asked.acquire(), 10)
    jobs.hurry()
    breaks.set()
    await asyncio.wait_for(asked.acquire(), 10)
    running.cancel()


async def test_who_is_away_is_asked_again_when_told_that_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an outage of 90 s the last of twenty kinds was listed half a minute later, and nobody led until then."""
    monkeypatch.setattr("noria.runtime.informer.BACKOFF_CAP", 10_000)
    monkeypatch.setattr("noria.runtime.informer.random.uniform", lambda *_: 10_000)
    cluster: Any = Refusing()
    jobs = Informer(cluster, Store(), "Job", None, lambda kind: None, Groups(cluster))
    running = asyncio.create_task(jobs.run())
    await asyncio.wait_for(cluster.asked.acquire(), 10)
    jobs.hurry()
    await asyncio.wait_for(cluster.asked.acquire(), 10)
    running.cancel()
