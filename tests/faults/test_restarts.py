"""The API server, etcd, or the operator goes for a while, or a part of the cluster goes while the operator is away."""

import asyncio
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from ..apiserver.conftest import REPOSITORY, kubectl_of
from .harm import killed_after
from .lives import present
from .proxy import Act, Answer, Asked, Fault, Forward, Proxy
from .scenarios import SCENARIOS, WRITES, prepared
from .stage import Outcome, Play, cleared, employed, playing, the_same
from .test_watches import RELISTED_SECONDS

RESTORED = [("workspace", 0), ("train", 0), ("resume", 0), ("serve", 0), ("serve", 1), ("pipeline", 0)]
"""Stages in which the operator writes four times at least."""
DEFINITIONS = {
    "workspace": ("workspaces",),
    "train": ("trainingjobs",),
    "resume": ("trainingjobs",),
    "serve": ("modelendpoints", "modelversions"),
    "pipeline": ("pipelines", "pipelineruns"),
}
"""Of what users make in each scenario."""
EACH_DEFINITION = pytest.mark.parametrize(
    ("name", "plural"), [(name, each) for name, plurals in DEFINITIONS.items() for each in plurals]
)


def written(asked: Asked) -> bool:
    return asked.written


def after(write: Any) -> Act:
    """What happens to the control plane between a write and its answer."""

    async def act(proxy: Proxy, asked: Asked, forward: Forward) -> Answer:
        answer = await forward()
        await asyncio.to_thread(write)
        return answer

    return act


@pytest.mark.sample(0)
@pytest.mark.parametrize("part", ["etcd", "kube-apiserver"])
@pytest.mark.parametrize("name", SCENARIOS)
async def test_killed_and_begun_anew(name: str, part: str, plane: Any, undisturbed: Any, tmp_path: Path) -> None:
    def restart() -> None:
        plane.kill(part)
        plane.launch(part)
        plane.wait_until_ready()

    expected = await undisturbed(name)
    fault = Fault(written, after(restart), number=WRITES[name] // 2)
    async with playing(plane, SCENARIOS[name], tmp_path, [fault]) as play:
        outcome = await Outcome.of(play)
        assert fault.done
    the_same(outcome, expected)
    assert outcome.end.events == expected.end.events


@pytest.mark.sample(0)
@pytest.mark.parametrize(("name", "stage"), RESTORED)
async def test_etcd_is_restored_from_a_snapshot(
    name: str, stage: int, plane: Any, undisturbed: Any, tmp_path: Path
) -> None:
    """All versions go back, and what was done since has never been. The operator notices, and begins anew. Both happen in one
    stage: what users did after the snapshot would be lost, and nobody does it again."""
    data, snapshot = plane.folder / "etcd", tmp_path / "snapshot"

    def off_and_on(between: Any) -> None:
        for part in ("kube-apiserver", "etcd"):
            plane.kill(part)
        between()
        for part in ("etcd", "kube-apiserver"):
            plane.launch(part)
        plane.wait_until_ready()

    def restore() -> None:
        shutil.rmtree(data)
        shutil.copytree(snapshot, data)
        play.api.forgets = True
        play.api.wrote.clear()

    expected = await undisturbed(name)
    begun, over, *_ = (*expected.writes[stage:], WRITES[name])
    faults = [
        Fault(written, after(lambda: off_and_on(lambda: shutil.copytree(data, snapshot))), number=begun + 2),
        # Half way: of the last writes one may be saved, since a status that passes is not written when the next one comes soon.
        Fault(written, after(lambda: off_and_on(restore)), number=(begun + 2 + over) // 2),
    ]
    async with playing(plane, SCENARIOS[name], tmp_path, faults) as play:
        play.deadline = RELISTED_SECONDS
        outcome = await Outcome.of(play)
        assert all(each.done for each in faults)
    differing = set(outcome.end.state) ^ set(expected.end.state)
    assert not differing and not outcome.end.orphans(), "\n".join(sorted(differing))


@pytest.mark.sample(0)
@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_stopped_leader_writes_nothing_when_it_goes_on(
    name: str, plane: Any, undisturbed: Any, tmp_path: Path
) -> None:
    expected = await undisturbed(name)
    scenario, certificate = SCENARIOS[name], plane.folder / "server.crt"
    async with (
        playing(plane, scenario, tmp_path) as play,
        Proxy(plane.server, certificate, plane.folder / "server.key") as proxy,
    ):
        first, standby = (
            play.operator,
            employed(plane, scenario, tmp_path, proxy.url, play.namespace, play.api, "second"),
        )
        stopped: list[float] = []

        async def stop(_: Proxy, asked: Asked, forward: Forward) -> Answer:
            answer = await forward()
            first.signal(signal.SIGSTOP)
            stopped.append(time.monotonic())
            play.operator, play.proxy = standby, proxy
            return answer

        behind = play.proxy
        behind.faults = [Fault(written, stop, number=2)]
        running = asyncio.create_task(standby.run())
        try:
            end = await play.through()
            while time.monotonic() < stopped[0] + 20:
                await play.quiet()
            before = len(behind.writes())
            first.signal(signal.SIGCONT)
            await until(lambda: bool(first.ends))
            await play.quiet()
            assert first.ends == [1], "who lost the lease ends"
            assert len(behind.writes()) == before
            assert end.state == expected.end.state and not end.orphans()
            assert end.events == expected.end.events
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def until(check: Any, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not check():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def away(play: Play) -> None:
    """The operator is killed behind its second write, and stays away."""
    play.operator.wanted.clear()
    play.proxy.faults = [Fault(written, killed_after, number=2)]
    stage = play.scenario.stages[0]
    await stage.act(play.api, play.namespace)
    await until(lambda: bool(play.operator.ends))


@pytest.mark.sample(0)
@pytest.mark.parametrize("name", ["train", "resume", "serve", "pipeline"])
async def test_the_namespace_goes_while_the_operator_is_away(
    name: str, plane: Any, undisturbed: Any, tmp_path: Path
) -> None:
    expected = await undisturbed(name)
    async with playing(plane, SCENARIOS[name], tmp_path) as play:
        await away(play)
        await cleared(play.api, play.namespace)
        before = len(play.proxy.writes())
        play.operator.wanted.set()
        await play.quiet()
        assert len(play.proxy.writes()) == before
        await prepared(play.api, play.scenario, play.namespace)
        end = await play.through()
    assert end.state == expected.end.state and not end.orphans()


async def defined(plane: Any, plural: str, *words: str) -> None:
    """kubectl does that with a definition of ours."""
    definition = str(REPOSITORY / "crds" / f"{plural}.yaml")
    assert (await asyncio.to_thread(kubectl_of(plane), *words, "-f", definition)).returncode == 0


@pytest.mark.sample(0)
@EACH_DEFINITION
async def test_a_definition_goes_while_the_operator_is_away(
    name: str, plural: str, plane: Any, undisturbed: Any, tmp_path: Path
) -> None:
    """It begins without the definition, and finds it when it comes; users make their objects again. History tells of both."""
    expected = await undisturbed(name)
    async with playing(plane, SCENARIOS[name], tmp_path) as play:
        play.deadline = RELISTED_SECONDS
        await away(play)
        await defined(plane, plural, "delete")
        play.operator.wanted.set()
        await play.quiet()
        await defined(plane, plural, "apply")
        await defined(plane, plural, "wait", "--for=condition=Established")
        end = await play.through()
    assert present(end) == present(expected.end) and not end.orphans()


@pytest.mark.sample(1)
@EACH_DEFINITION
async def test_a_definition_is_made_anew_while_the_operator_runs(
    name: str, plural: str, plane: Any, undisturbed: Any, tmp_path: Path
) -> None:
    """kopf ends with the watch of what is not served any more; a new process watches what is there then."""
    expected = await undisturbed(name)
    async with playing(plane, SCENARIOS[name], tmp_path) as play:
        await defined(plane, plural, "delete")
        await until(lambda: f"Watcher for {plural}" in play.operator.words())
        await defined(plane, plural, "apply")
        await defined(plane, plural, "wait", "--for=condition=Established")
        await until(lambda: bool(play.operator.ends))
        end = await play.through()
    assert present(end) == present(expected.end) and not end.orphans()
