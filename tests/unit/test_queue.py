"""The queue against its promises, under any order of requests, time and finished work."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from noria.runtime.queue import SPARE, Queue

KEYS = [f"{namespace}/{name}" for namespace in "abc" for name in "xyz"]


def by_namespace(key: str) -> str:
    return key.partition("/")[0]


def share_of(group: str, waiting: int) -> int:
    return 1 if waiting > 1 else 3


class Promises(RuleBasedStateMachine):
    """A model that only knows the earliest time each key was asked for, and which keys are running."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0
        self.queue: Queue[str] = Queue(by_namespace, now=lambda: self.time, share=share_of)
        self.wanted: dict[str, float] = {}
        self.running: set[str] = set()

    @rule(key=st.sampled_from(KEYS))
    def add_ahead(self, key: str) -> None:
        self.queue.add_ahead(key)
        self.wanted[key] = min(self.wanted.get(key, float("inf")), self.time)

    @rule(key=st.sampled_from(KEYS), delay=st.sampled_from([0.0, 0.0, 1.0, 5.0, 60.0]))
    def add(self, key: str, delay: float) -> None:
        self.queue.add(key, delay)
        self.wanted[key] = min(self.wanted.get(key, float("inf")), self.time + delay)

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.time += seconds

    @rule()
    def take(self) -> None:
        busy = Counter(map(by_namespace, self.running))
        due = {key for key, at in self.wanted.items() if at <= self.time and key not in self.running}
        waiting = Counter(map(by_namespace, due))
        due = {key for key in due if busy[by_namespace(key)] < share_of("", waiting[by_namespace(key)])}
        key = self.queue.take()
        assert (key in due) if due else (key is None)
        if key is not None:
            del self.wanted[key]
            self.running.add(key)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.running)))
        self.running.remove(key)
        self.queue.done(key)

    @invariant()
    def a_sleeper_wakes_in_time(self) -> None:
        later = [at for key, at in self.wanted.items() if at > self.time and key not in self.running]
        due = self.queue.next_due()
        if later:
            assert due is not None and due <= min(later)


TestPromises = Promises.TestCase
TestPromises.settings = settings(max_examples=200, stateful_step_count=60)


@given(st.lists(st.sampled_from(KEYS), unique=True), st.data())
def test_namespaces_take_turns(keys: list[str], data: Any) -> None:
    queue: Queue[str] = Queue(by_namespace)
    for key in keys:
        queue.add(key)
    taken = [by_namespace(key) for key in iter(queue.take, None)]
    waiting = {each: taken.count(each) for each in taken}
    for turn, namespace in enumerate(taken):
        others = {each for each, left in waiting.items() if left and each != namespace}
        assert not others or turn == 0 or taken[turn - 1] != namespace
        waiting[namespace] -= 1


def test_within_a_namespace_what_was_asked_for_ahead_goes_first_and_can_still_be_moved_there() -> None:
    queue: Queue[str] = Queue(by_namespace, share=lambda group, waiting: 4)
    for key in ("a/x", "a/z", "b/x"):
        queue.add(key)
    for key in ("a/y", "a/z"):
        queue.add_ahead(key)
    assert list(iter(queue.take, None)) == ["a/y", "b/x", "a/z", "a/x"]
    queue.add("a/x")
    queue.add("a/y")
    queue.add_ahead("a/y")
    for key in ("a/x", "a/y"):
        queue.done(key)
    assert list(iter(queue.take, None)) == ["a/y", "a/x"]


def test_what_was_not_asked_for_ahead_waits_for_three_others_at_most() -> None:
    """A rollout whose gate failed waited while the pods of 200 runs told of themselves."""
    queue: Queue[str] = Queue(by_namespace)
    queue.add("a/gate")
    taken = list[str]()
    for number in range(8):
        queue.add_ahead(f"a/{number}")
        queue.add_ahead(f"a/{number}x")
        taken.append(queue.take() or "")
        queue.done(taken[-1])
    assert taken == ["a/0", "a/0x", "a/1", "a/gate", "a/1x", "a/2", "a/2x", "a/3"]


def test_a_namespace_has_its_share_of_the_workers_and_no_more() -> None:
    queue: Queue[str] = Queue(by_namespace, share=lambda group, waiting: 2)
    for key in ("a/x", "a/y", "a/z", "b/x"):
        queue.add(key)
    assert list(iter(queue.take, None)) == ["a/x", "b/x", "a/y"]
    queue.add_ahead("a/w")
    queue.done("b/x")
    assert queue.take() is None
    queue.done("a/x")
    assert list(iter(queue.take, None)) == ["a/w"]
    queue.done("a/y")
    assert list(iter(queue.take, None)) == ["a/z"]


def test_a_crowd_has_less_at_once_until_it_is_none() -> None:
    queue: Queue[str] = Queue(by_namespace, share=lambda group, waiting: 1 if waiting > 2 else 3)
    for key in ("a/1", "a/2", "a/3", "a/4", "a/5", "b/1", "b/2"):
        queue.add(key)
    assert list(iter(queue.take, None)) == ["a/1", "b/1", "b/2"]
    queue.done("a/1")
    assert list(iter(queue.take, None)) == ["a/2"]
    queue.done("a/2")
    assert list(iter(queue.take, None)) == ["a/3", "a/4", "a/5"]


def test_times_that_count_no_more_do_not_pile_up() -> None:
    """As of a run with a deadline of a day, which is looked at a thousand times."""
    queue: Queue[str] = Queue(by_namespace)
    for _ in range(1000):
        queue.add("a/x", 86_400)
        queue.add("a/x")
        assert queue.take() == "a/x"
        queue.done("a/x")
    queue.add("a/y", 10)
    queue.add("a/x", 20)
    assert len(queue._heap) <= SPARE + 4
    assert (queue.next_due() or 0) - queue._now() == pytest.approx(10, abs=1)


async def test_one_namespace_that_waits_for_ever_holds_up_no_other() -> None:
    queue: Queue[str] = Queue(by_namespace, share=lambda group, waiting: 2)
    others = asyncio.Event()

    async def handle(key: str) -> None:
        if by_namespace(key) == "b":
            others.set()
        else:
            await asyncio.Event().wait()

    working = asyncio.create_task(queue.work(handle, 3))
    for key in [*(f"a/{number}" for number in range(10)), "b/x"]:
        queue.add(key)
    await asyncio.wait_for(others.wait(), 5)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


def test_failures_wait_longer_each_time_up_to_a_cap_until_a_success() -> None:
    queue: Queue[str] = Queue(by_namespace, now=lambda: 0.0, backoff=1, cap=10)
    assert [queue.retry("a/x") for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    assert queue.retry("a/y") == 1
    queue.forget("a/x")
    assert queue.retry("a/x") == 1


async def test_workers_run_different_keys_at_once_and_one_key_once() -> None:
    queue: Queue[str] = Queue(by_namespace)
    running: set[str] = set()
    handled: list[str] = []
    together = 0
    finished = asyncio.Event()

    async def handle(key: str) -> None:
        nonlocal together
        assert key not in running
        running.add(key)
        if key == "a/x" and not handled:
            queue.add("a/x")
        together = max(together, len(running))
        for _ in KEYS:
            await asyncio.sleep(0)
        running.remove(key)
        handled.append(key)
        if len(handled) == len(KEYS) + 2:
            finished.set()

    working = asyncio.create_task(queue.work(handle, 3))
    for key in KEYS:
        queue.add(key)
    queue.add("late/z", 0.05)
    await asyncio.wait_for(finished.wait(), 5)
    assert together == 3
    assert sorted(handled) == sorted([*KEYS, "a/x", "late/z"])
    assert handled[-1] == "late/z"
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


async def test_work_that_waits_for_nothing_lets_others_run() -> None:
    """A thousand looks that write nothing must not keep the lease from being renewed."""
    queue: Queue[str] = Queue(by_namespace)
    left = set(KEYS)
    for key in KEYS:
        queue.add(key)

    async def handle(key: str) -> None:
        left.discard(key)

    working = asyncio.create_task(queue.work(handle, len(KEYS)))
    for _ in range(3):
        await asyncio.sleep(0)
    assert 0 < len(left) < len(KEYS), "one turn of the loop, one look"
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


async def test_keys_are_settled_when_none_of_them_is_ready_or_running() -> None:
    queue: Queue[str] = Queue(by_namespace)
    queue.add("a/x")
    queue.add("a/y")
    waiting = asyncio.create_task(queue.settled(["a/x", "b/z"]))
    key = queue.take()
    assert key == "a/x"
    queue.add("a/x")
    queue.done(key)
    await asyncio.sleep(0)
    assert not waiting.done(), "it was asked for again"
    assert [queue.take(), queue.take()] == ["a/y", "a/x"]
    queue.done("a/x")
    await asyncio.wait_for(waiting, 10)
