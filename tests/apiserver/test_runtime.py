"""The client, the informer and the reconciler's effects against a real API server."""

import asyncio
import contextlib
import copy
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from noria.plan.contract import Manifest
from noria.runtime.cluster import Cluster
from noria.runtime.errors import AlreadyExists, Conflict, Fenced, Forbidden, Invalid, NotFound
from noria.runtime.informer import Groups, Informer
from noria.runtime.store import Store, ref_of


def configmap(namespace: str, name: str = "a", **data: str) -> Manifest:
    labels = {"app.kubernetes.io/managed-by": "noria"}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def trainingjob(namespace: str, name: str = "a") -> Manifest:
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"image": "x"},
    }


async def until(check: Callable[[], Any], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not check():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_apply_owns_fields_and_takes_back_those_no_longer_given(cluster: Cluster, namespace: str) -> None:
    await cluster.apply(configmap(namespace, x="1", y="2"), force=False)
    assert (await cluster.apply(configmap(namespace, x="1")))["data"] == {"x": "1"}
    again = await cluster.apply(configmap(namespace, x="1"))
    assert again == await cluster.get("ConfigMap", namespace, "a"), "an apply of the same changes nothing"


async def test_apply_that_is_not_forced_leaves_what_others_own(cluster: Cluster, namespace: str) -> None:
    foreign = configmap(namespace, x="theirs")
    await cluster._write("POST", *_place(cluster, foreign), body=foreign, query={"fieldManager": "them"})
    with pytest.raises(Conflict):
        await cluster.apply(configmap(namespace, x="ours"), force=False)
    assert (await cluster.get("ConfigMap", namespace, "a"))["data"] == {"x": "theirs"}


def _place(cluster: Cluster, manifest: Manifest) -> Any:
    from noria.plan.contract import KINDS

    return KINDS[manifest["kind"]], manifest["metadata"]["namespace"]


async def test_a_stale_status_is_refused(cluster: Cluster, namespace: str) -> None:
    seen = await cluster.create(trainingjob(namespace))
    metadata = {key: seen["metadata"][key] for key in ("name", "namespace", "resourceVersion")}
    status = {"apiVersion": seen["apiVersion"], "kind": seen["kind"], "metadata": metadata}
    told = await cluster.replace_status(status | {"status": {"observedGeneration": 1, "failures": 1}})
    assert told["status"] == {"observedGeneration": 1, "failures": 1}
    with pytest.raises(Conflict):
        await cluster.replace_status(status | {"status": {"observedGeneration": 1, "failures": 2}})


async def test_every_refusal_has_its_error(
    cluster: Cluster, namespace: str, control_plane: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await cluster.create(configmap(namespace))
    with pytest.raises(AlreadyExists):
        await cluster.create(configmap(namespace))
    with pytest.raises(NotFound, match="not found"):
        await cluster.get("ConfigMap", namespace, "b")
    with pytest.raises(NotFound):
        await cluster.list("InferenceService")
    with pytest.raises(Invalid, match="Invalid value"):
        await cluster.create(configmap(namespace, "UPPER"))
    other = copy.deepcopy(made)
    other["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
    with pytest.raises(Conflict):
        await cluster.delete(other)
    with pytest.raises(Fenced):
        await cluster.fenced(lambda: False).delete(made)
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig("nobody")))
    nobody = await Cluster.connect()
    with pytest.raises(Forbidden, match="nobody"):
        await nobody.create(configmap(namespace, "b"))
    await nobody.close()
    await cluster.delete(made)


async def test_a_list_has_all_pages(cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noria.runtime.cluster.PAGE", 2)
    for name in "abcde":
        await cluster.create(configmap(namespace, name))
    items, _ = await cluster.list("ConfigMap", namespace, labels="app.kubernetes.io/managed-by=noria")
    assert [ref_of(each).name for each in items] == list("abcde")


class Gated(Cluster):
    """A client whose watches begin only when the gate is open, as after a long break of the network."""

    gate: asyncio.Event

    async def watch(self, *arguments: Any, **selectors: str) -> AsyncGenerator[tuple[str, Manifest], None]:
        await self.gate.wait()
        async with contextlib.aclosing(super().watch(*arguments, **selectors)) as changes:
            async for each in changes:
                yield each


@contextlib.asynccontextmanager
async def informed(cluster: Cluster, store: Store, kind: str, namespace: str, **options: Any) -> Any:
    informer = Informer(cluster, store, kind, namespace, lambda kind: None, Groups(cluster), **options)
    task = asyncio.create_task(informer.run())
    try:
        await asyncio.wait_for(informer.synced.wait(), 10)
        yield informer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_informer_follows_our_objects_alone(cluster: Cluster, namespace: str) -> None:
    store = Store()
    old = await cluster.create(configmap(namespace, "old"))
    async with informed(cluster, store, "ConfigMap", namespace):
        assert store.get(ref_of(old))
        assert "managedFields" not in store.get(ref_of(old))["metadata"]  # type: ignore[index]
        foreign = configmap(namespace, "foreign")
        del foreign["metadata"]["labels"]
        await cluster.create(foreign)
        new = await cluster.create(configmap(namespace, "new"))
        await until(lambda: store.get(ref_of(new)))
        await cluster.delete(old)
        await until(lambda: not store.get(ref_of(old)))
        assert {ref.name for ref in store.refs("ConfigMap")} == {"new"}


class Counted(Cluster):
    """A client that counts its watches."""

    watches = 0

    def watch(self, *arguments: Any, **selectors: str) -> AsyncGenerator[tuple[str, Manifest], None]:
        self.watches += 1
        return super().watch(*arguments, **selectors)


async def test_a_watch_of_a_kind_without_objects_is_silent_and_begun_again(
    cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("noria.runtime.cluster.SILENCE_SECONDS", 0.3)
    store, counted = Store(), Counted(cluster._api)
    async with informed(counted, store, "ConfigMap", namespace):
        await until(lambda: counted.watches >= 3)
        new = await cluster.create(configmap(namespace, "new"))
        await until(lambda: store.get(ref_of(new)))
    assert not caplog.records, "nothing is wrong with a silence"


async def test_a_watch_hears_of_long_objects(cluster: Cluster, namespace: str) -> None:
    store = Store()
    async with informed(cluster, store, "ConfigMap", namespace):
        long = await cluster.create(configmap(namespace, "long", x="x" * 900_000))
        await until(lambda: store.get(ref_of(long)))


async def test_what_is_too_long_for_a_line_of_a_watch_is_listed(cluster: Cluster, namespace: str) -> None:
    """The API server writes < with six letters."""
    store = Store()
    async with informed(cluster, store, "ConfigMap", namespace):
        long = await cluster.create(configmap(namespace, "long", x="<" * 900_000))
        await until(lambda: store.get(ref_of(long)))
        new = await cluster.create(configmap(namespace, "new"))
        await until(lambda: store.get(ref_of(new)))


async def test_many_watches_leave_a_connection_for_others(cluster: Cluster, namespace: str) -> None:
    _, since = await cluster.list("ConfigMap", namespace)
    watching = [cluster.watch("ConfigMap", namespace, since, 60) for _ in range(120)]
    waiting = [asyncio.create_task(anext(each)) for each in watching]
    await cluster.create(configmap(namespace, "a"))
    async with asyncio.timeout(20):
        assert {change for change, _ in await asyncio.gather(*waiting)} == {"ADDED"}
        assert await cluster.get("ConfigMap", namespace, "a")
    for each in watching:
        await each.aclose()


async def test_deletions_in_a_gap_that_was_compacted_are_found(
    cluster: Cluster, namespace: str, control_plane: Any
) -> None:
    gone, gated = [], Gated(cluster._api)
    gated.gate = asyncio.Event()
    store = Store(lambda ref, old, new: gone.append(ref.name) if new is None else None)
    lost = await cluster.create(configmap(namespace, "lost"))
    async with informed(gated, store, "ConfigMap", namespace):
        assert store.get(ref_of(lost))
        await cluster.delete(lost)
        kept = await cluster.create(configmap(namespace, "kept"))
        await asyncio.to_thread(control_plane.compact)
        gated.gate.set()
        await until(lambda: store.get(ref_of(kept)))
        assert store.get(ref_of(lost)) is None
        assert gone == ["lost"], "the deletion was told"


async def test_a_kind_that_is_not_served_is_absent(cluster: Cluster, namespace: str) -> None:
    store = Store()
    async with informed(cluster, store, "InferenceService", namespace):
        assert store.absent == {"InferenceService"}
    groups = await cluster.groups()
    assert "noria.dev" in groups and "serving.kserve.io" not in groups


async def test_refused_pods_are_heard_of(cluster: Cluster, namespace: str) -> None:
    store = Store()
    job = {"kind": "Job", "name": "a", "namespace": namespace, "uid": "job-uid"}
    told = {"apiVersion": "v1", "kind": "Event", "type": "Warning", "reason": "FailedCreate", "message": "quota"}
    async with informed(cluster, store, "Event", namespace):
        for name, change in (("ours", {}), ("normal", {"type": "Normal"}), ("other", {"reason": "BackOff"})):
            metadata = {"name": name, "namespace": namespace}
            await cluster.create({**told, "metadata": metadata, "involvedObject": job} | change)
        await until(lambda: store.refs("Event"))
        await cluster.create({**told, "metadata": {"name": "last", "namespace": namespace}, "involvedObject": job})
        await until(lambda: len(store.refs("Event")) == 2)
        assert {ref.name for ref in store.refs("Event")} == {"ours", "last"}
