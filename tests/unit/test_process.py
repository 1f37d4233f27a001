"""The process around the reconciler: one object's trouble stops no other, and only what is needed is loaded."""

import asyncio
import contextlib
import itertools
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from noria.plan.contract import Look, Needs, Query, Ref, Settings, Steady
from noria.runtime import process, watches
from noria.runtime.errors import Conflict, Failed, Fenced, Forbidden, Unreachable
from noria.runtime.process import Operator, _end

SETTINGS = Settings(agent_image="a", trainer_image="t", serving_runtime="s", server_image="v")
KEY = Ref("TrainingJob", "n", "a")


class Nothing:
    """Neither a cluster nor a lease."""

    def __init__(self) -> None:
        self.acquired = asyncio.Event()
        self.acquired.set()

    def fenced(self, may_write: Any) -> Any:
        return self

    def held(self) -> bool:
        return True

    async def holding(self) -> None:
        pass


def operator(**settings: Any) -> Operator:
    nothing: Any = Nothing()
    return Operator(nothing, SETTINGS.model_copy(update=settings), nothing)


@pytest.mark.parametrize(
    ("error", "again", "told"),
    [
        (Conflict(409, "Conflict", "changed", "x"), True, None),
        (Forbidden(403, "Forbidden", "quota", "x"), True, logging.INFO),
        (Unreachable(0, "Unreachable", "no answer", "x"), True, logging.WARNING),
        (Failed(500, "InternalError", "broken", "x"), True, logging.WARNING),
        (ZeroDivisionError("poison"), True, logging.ERROR),
        (Fenced(0, "Fenced", "not the leader", "x"), True, None),
    ],
)
async def test_trouble_is_told_and_tried_again_later(
    error: Exception, again: bool, told: int | None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = operator()

    async def fail(key: Ref) -> float | None:
        raise error

    monkeypatch.setattr(one.reconciler, "reconcile", fail)
    with caplog.at_level(logging.INFO):
        await one._handle(KEY)
    assert (one.queue.next_due() is not None) is again
    assert [each.levelno for each in caplog.records] == ([told] if told else [])
    assert any(each.exc_info for each in caplog.records) is isinstance(error, ZeroDivisionError)


async def test_what_is_refused_is_looked_at_when_its_plan_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadline is kept while a pod of the same run is refused, again and again."""
    one, refused = operator(), Forbidden(403, "Forbidden", "quota", "x")
    refused.wait = 1

    async def fail(key: Ref) -> float | None:
        raise refused

    monkeypatch.setattr(one.reconciler, "reconcile", fail)
    for _ in range(12):
        await one._handle(KEY)
    due = one.queue.next_due()
    assert due is not None and due <= time.monotonic() + 1


def test_who_stands_by_keeps_no_keys() -> None:
    """All that ever were would stay, and be looked at together in the end."""
    one = operator()
    one.lease.acquired.clear()
    metadata = {"namespace": "n", "name": "a", "uid": "u", "resourceVersion": "1"}
    one.store.put({"kind": "TrainingJob", "apiVersion": "noria.dev/v1alpha1", "metadata": metadata})
    assert one.queue.take() is None and one.store.refs("TrainingJob") == (KEY,)


async def test_who_leads_begins_with_all_there_is() -> None:
    one = operator()
    one.lease.acquired.clear()
    metadata = {"namespace": "n", "name": "a", "uid": "u", "resourceVersion": "1"}
    one.store.put({"kind": "TrainingJob", "apiVersion": "noria.dev/v1alpha1", "metadata": metadata})
    looked = asyncio.Event()

    async def look(key: Ref) -> float | None:
        looked.set()
        return None

    one.reconciler.reconcile = look  # type: ignore[method-assign]
    for each in one.informers:
        each.synced.set()
    working = asyncio.create_task(one._work())
    one.lease.acquired.set()
    await asyncio.wait_for(looked.wait(), 10)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


async def test_while_the_lease_is_late_nothing_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    one, looked, renewed = operator(), asyncio.Event(), asyncio.Event()

    async def look(key: Ref) -> float | None:
        looked.set()
        return None

    monkeypatch.setattr(one.reconciler, "reconcile", look)
    monkeypatch.setattr(one.lease, "holding", renewed.wait)
    handling = asyncio.create_task(one._handle(KEY))
    await asyncio.sleep(0)
    assert not looked.is_set()
    renewed.set()
    await handling
    assert looked.is_set() and one.queue.next_due() is None


async def test_a_key_that_waits_for_the_lease_is_told_as_being_reconciled(monkeypatch: pytest.MonkeyPatch) -> None:
    one, renewed = operator(), asyncio.Event()
    monkeypatch.setattr(one.lease, "holding", renewed.wait)
    one.queue.add(KEY)
    working = asyncio.create_task(one.queue.work(one._handle, 1))
    await asyncio.sleep(0)
    one.refresh()
    assert REGISTRY.get_sample_value("noria_active_workers") == 1
    assert REGISTRY.get_sample_value("noria_queue_depth") == 0
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    one.refresh()
    assert REGISTRY.get_sample_value("noria_active_workers") == 0


def test_an_object_that_cannot_be_judged_by_an_answer_is_left_to_its_worker(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = operator()
    metadata = {"namespace": "n", "name": "a", "uid": "u", "resourceVersion": "1"}
    one.store.put({"kind": "TrainingJob", "apiVersion": "noria.dev/v1alpha1", "metadata": metadata})
    assert one.queue.take() == KEY
    one.queue.done(KEY)

    class Poisoned:
        def look(self, answer: Any) -> Look:
            raise ZeroDivisionError("poison")

    steady = Steady("m-1", 0, 1, (Poisoned(),))
    one.reconciler.interests.remember(KEY, Needs(queries=(Query("x"),), steady={Query("x"): steady}))
    assert list(one._looks(Query("x"))) == [(KEY, Look.NOW)]
    one._look_at(KEY)
    assert one.queue.take() == KEY
    [record] = caplog.records
    assert record.exc_info and "TrainingJob n/a" in record.message


async def test_a_worker_that_lost_its_cancellation_ends_all_the_same() -> None:
    lost = asyncio.Event()

    async def work() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        lost.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    await asyncio.wait_for(_end([task]), 10)
    assert lost.is_set() and task.cancelled()


async def test_a_plan_may_ask_for_another_look(monkeypatch: pytest.MonkeyPatch) -> None:
    one = operator()

    async def well(key: Ref) -> float | None:
        return 30.0

    monkeypatch.setattr(one.reconciler, "reconcile", well)
    await one._handle(KEY)
    assert one.queue.take() is None and one.queue.next_due() is not None


async def test_what_lies_in_a_namespace_whose_lists_did_not_come_waits_and_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, looked = operator(namespaces=["n", "gone"]), list[Ref]()

    async def look(key: Ref) -> float | None:
        looked.append(key)
        return None

    monkeypatch.setattr(one.reconciler, "reconcile", look)
    for each in one.informers:
        if each.namespace == "n" or each.kind != "Job":
            each.synced.set()
    for key in (KEY, KEY._replace(namespace="gone")):
        await one._handle(key)
    assert looked == [KEY] and one.queue.next_due() is not None


def test_listed_namespaces_leave_cluster_scoped_kinds_alone() -> None:
    one = operator(namespaces=["a", "b"])
    assert {each.namespace for each in one.informers} == {"a", "b"}
    assert "Workspace" not in one.reconciler.controllers
    assert not {"Namespace", "Workspace", "RoleBinding"} & {each.kind for each in one.informers}


def test_the_process_loads_no_synchronous_client_and_no_torch() -> None:
    code = "import json, sys, noria.runtime.process; print(json.dumps([n for n, m in sys.modules.items() if m]))"
    environment = {"PYTHONPATH": str(Path(__file__).parents[2] / "operator")}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    loaded = json.loads(ran.stdout)
    assert "kubernetes.aio" in loaded
    assert not [each for each in loaded if each.startswith("kubernetes.") and not each.startswith("kubernetes.aio")]
    assert not {"torch", "transformers", "kserve", "numpy"} & set(loaded)


def test_kopf_never_gives_up_an_api_server_that_is_away() -> None:
    """When its tries are used up it raises, and ends the process."""
    waits: Any = watches._settings().networking.error_backoffs
    for _ in range(2):  # each request begins with them anew
        assert 600 < sum(itertools.islice(waits, 100)) < 1200
        assert max(itertools.islice(waits, 100)) <= 10


async def test_a_signal_ends_it_also_while_nothing_is_watched_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the first process of a container it would ignore SIGTERM, and be killed with the lease in its hands."""
    begun = asyncio.Event()

    class Closing(Nothing):
        async def close(self) -> None:
            pass

    async def connect() -> Any:
        return Closing()

    async def waits(self: Operator) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(process.Cluster, "connect", connect)
    monkeypatch.setattr(process.Operator, "run", waits)
    monkeypatch.setattr(process.sys, "setrecursionlimit", lambda _: None)
    running = asyncio.create_task(process.run(SETTINGS, 0))
    await asyncio.wait_for(begun.wait(), 10)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(running, 10) == 0
