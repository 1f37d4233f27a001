"""One object that is a trap: it is told what is wrong, its neighbours come to the same end, and the operator stays quiet."""

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from noria.plan.contract import Manifest

from ..apiserver.conftest import REPOSITORY, kubectl_of
from .api import Api
from .scenarios import SCENARIOS, resource
from .stage import Play, playing

RAISING = """
import sys
from noria.__main__ import main
from noria.plan.controllers import CONTROLLERS

controller = next(each for each in CONTROLLERS if each.resource.kind() == "TrainingJob")
plan = controller.plan

def raising(job, observed):
    if job.metadata.name == "poison":
        raise ZeroDivisionError(object())
    return plan(job, observed)

object.__setattr__(controller, "plan", raising)
sys.exit(main())
"""


def poison(namespace: str, **spec: Any) -> Manifest:
    return resource("TrainingJob", "poison", namespace, image="x", command=["train"], **spec)


async def told(play: Play) -> Any:
    live = await play.api.get("TrainingJob", play.namespace, "poison")
    return next(iter((live or {}).get("status", {}).get("conditions", [])), None)


async def neighbour(play: Play) -> None:
    """The neighbour comes to its end at the side of the poisoned object."""
    end = await play.through()
    live = next(each for each in end.objects if (each["kind"], each["metadata"]["name"]) == ("TrainingJob", "train"))
    assert live["status"]["modelVersion"] == "digits-1" and live["status"]["conditions"][0]["status"] == "True"


async def test_a_plan_that_raises(plane: Any, tmp_path: Path) -> None:
    async with playing(plane, SCENARIOS["train"], tmp_path, program=("-c", RAISING)) as play:
        await play.api.create(poison(play.namespace))
        await neighbour(play)
        condition = await told(play)
        assert (condition["status"], condition["reason"]) == ("Unknown", "OperatorError"), condition
        assert "ZeroDivisionError" in condition["message"]
        about = [each for each in play.proxy.writes() if each.asked.name == "poison"]
        assert [each.asked.subresource for each in about] == ["status"], "it is told once, however often it is tried"
        assert "ZeroDivisionError" in play.operator.words(), "the log says where"


@pytest.mark.sample(0)
async def test_an_annotation_as_large_as_they_come(plane: Any, tmp_path: Path) -> None:
    async with playing(plane, SCENARIOS["train"], tmp_path) as play:
        large = poison(play.namespace)
        large["metadata"]["annotations"] = {"noria.dev/large": "x" * 250_000}
        await play.api.create(large)
        await neighbour(play)
        assert (await told(play))["status"] == "True", "it trains like any other"


@pytest.mark.sample(1)
@pytest.mark.parametrize("depth", [60, 300, 1_500, 9_000])
async def test_an_object_that_is_nested_deeper_than_parsers_go(depth: int, plane: Any, tmp_path: Path) -> None:
    """Where a list or a watch of it cannot be read, all others of its kind would be unknown, in this process and the next."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(25_000)
    try:
        async with playing(plane, SCENARIOS["train"], tmp_path) as play:
            deep: Manifest = {}
            for _ in range(depth):
                deep = {"a": deep}
            await play.api.create(poison(play.namespace, placement={"affinity": deep}))
            play.operator.signal(signal.SIGTERM)
            await neighbour(play)
            assert (await told(play))["status"] == "True", "the Job's definition knows no such affinity, and it trains"
            assert play.operator.ends == [0], "it ended once, when it was told to"
    finally:
        sys.setrecursionlimit(before)


@pytest.mark.sample(1)
async def test_an_event_about_nobody(plane: Any, tmp_path: Path) -> None:
    """Who may edit may write Events, and the API server asks for no name in them."""
    async with playing(plane, SCENARIOS["train"], tmp_path) as play:
        about = {"kind": "Job", "namespace": play.namespace}
        told = {"type": "Warning", "reason": "FailedCreate", "message": "x", "involvedObject": about}
        metadata = {"name": "poison", "namespace": play.namespace}
        await play.api.create({"apiVersion": "v1", "kind": "Event", "metadata": metadata} | told)
        play.operator.signal(signal.SIGTERM)
        await neighbour(play)
        assert play.operator.ends == [0], "it ended once, when it was told to"


BROKEN: dict[str, tuple[Any, str]] = {
    "a word for a number": ({"nodes": "two"}, "spec.nodes: Input should be a valid integer"),
    "a list for an object": ({"retry": []}, "spec.retry: Input should be a valid dictionary"),
    "a number that nobody may ask for": ({"nodes": -3}, "spec.nodes: Input should be greater than or equal to 1"),
    "a field of a later version": ({"image": "x", "tomorrow": True}, "attempt 1 completed"),
    # The API server takes a Job whose template names no image, and refuses its pods, which the player does not.
    "nothing": ({}, "attempt 1 completed"),
}
"""What is stored, and what is told of it."""


@pytest.fixture
def lax(plane: Any) -> Iterator[Callable[[Api, Manifest], Awaitable[None]]]:
    """Stores an object that the definition does not allow, as one of an earlier version may be."""
    kubectl, strict = kubectl_of(plane), yaml.safe_load((REPOSITORY / "crds" / "trainingjobs.yaml").read_text())
    loose = json.loads(json.dumps(strict))
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    loose["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = {**anything, "properties": {"status": anything}}

    def define(definition: Manifest) -> None:
        ran = kubectl("replace", "-f", "-", stdin=json.dumps(definition))
        assert ran.returncode == 0, ran.stderr

    async def store(api: Api, manifest: Manifest) -> None:
        await asyncio.to_thread(define, loose)
        try:
            async with asyncio.timeout(30):
                while True:
                    try:
                        await api.create(manifest)
                        return
                    except AssertionError:
                        await asyncio.sleep(0.2)
        finally:
            await asyncio.to_thread(define, strict)

    yield store
    define(strict)


@pytest.mark.sample(1)
@pytest.mark.parametrize("case", BROKEN)
async def test_a_stored_object_that_the_definition_does_not_allow(
    case: str, lax: Any, plane: Any, tmp_path: Path
) -> None:
    async with playing(plane, SCENARIOS["train"], tmp_path) as play:
        broken = poison(play.namespace)
        spec, words = BROKEN[case]
        broken["spec"] = broken["spec"] | spec if spec else {}
        await lax(play.api, broken)
        await neighbour(play)
        condition = await told(play)
        assert condition and condition["message"].startswith(words), condition
        assert "Traceback" not in play.operator.words(), play.operator.words()[-3000:]
