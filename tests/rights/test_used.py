"""The operator has the rights that it uses and no others: all scenarios under the chart's roles, in the whole cluster and in one namespace."""

import signal
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import yaml

from ..apiserver.conftest import ControlPlane
from ..faults.player import Player
from ..faults.proxy import Answer, Asked, Fault, Forward, Proxy
from ..faults.scenarios import GATEWAY, SCENARIOS, Scenario, holds, pipeline, resource, serves, training, version
from ..faults.stage import HOME, Play, playing
from .conftest import OPERATOR, Install
from .rights import RARE, Manifest, granted, refused, used

SHARED = {name: each for name, each in SCENARIOS.items() if not each.everywhere}
"""Those that need no Workspace."""


class Nobody(Player):
    """Lets everything lie."""

    async def step(self) -> bool:
        """Nothing is done."""
        return False


async def until(play: Play, check: Callable[[], Awaitable[object]]) -> None:
    """Until it is so, by what the operator alone does."""

    async def so() -> bool:
        return bool(await check())

    await play.until(so, Nobody(play.api, play.namespace))


async def edited(play: Play) -> None:
    """A team gets all that a Workspace gives, and then less."""
    api, name = play.api, play.namespace
    spec: Manifest = {"members": [{"name": "ada"}], "quota": {"cpu": "64"}, "deletionPolicy": "Delete"}
    team = await api.create(resource("Workspace", name, None, **spec))
    await play.until(lambda: holds("Workspace", name, "Ready", "Provisioned")(api, ""))
    await api.patch(team, {"spec": {"members": None, "quota": None, "isolation": "None"}})
    for kind in ("RoleBinding", "ResourceQuota", "NetworkPolicy"):
        await until(play, lambda kind=kind: _none(play, kind))


async def paused(play: Play) -> None:
    """A training on two nodes is suspended, goes on, ends and deletes itself; somebody else takes its model's number."""
    api, name = play.api, play.namespace
    job = await api.create(training(name, nodes=2, code={"train.py": "pass"}, ttlSecondsAfterFinished=0))
    await until(play, lambda: api.list("Job", name))
    await api.patch(job, {"spec": {"suspend": True}})
    for kind in ("Job", "Service"):
        await until(play, lambda kind=kind: _none(play, kind))
    await api.patch(job, {"spec": {"suspend": False}})
    await play.until(lambda: _none(play, "TrainingJob"))


async def cancelled(play: Play) -> None:
    """A run is cancelled while a container and a training of it run: the one is ended, the other suspended."""
    api, name = play.api, play.namespace
    steps = [{"name": "count", "run": {"image": "x"}}, {"name": "train", "train": {"image": "x", "command": ["train"]}}]
    run = await api.create(resource("PipelineRun", "cancelled", name, inline={"steps": steps}))

    async def stand(pods: int, suspended: bool) -> bool:
        """Of the run's pods so many, and its training so."""
        found = [each for kind in ("Pod", "TrainingJob") for each in await api.list(kind, name)]
        made = [each for each in found if each["metadata"]["labels"]["noria.dev/owner-name"] == "cancelled"]
        trained = [bool(each["spec"].get("suspend")) for each in made if each["kind"] == "TrainingJob"]
        return len(made) - len(trained) == pods and trained == [suspended]

    await until(play, lambda: stand(1, False))
    await api.patch(run, {"spec": {"cancel": True}})
    await until(play, lambda: stand(0, True))


async def turned(play: Play) -> None:
    """Somebody changes the disruption budget of an Endpoint, and it changes back. It is asked by hand to train, by a Pipeline that
    keeps one run; then nothing is watched, and no gateway is there."""
    api, name = play.api, play.namespace
    steps = pipeline(name)
    await api.create(steps | {"spec": steps["spec"] | {"historyLimits": {"succeeded": 0}}})
    watched = {"signals": [{"name": "errors", "type": "ErrorRate", "threshold": 0.5}]}
    again = {"signals": ["errors"], "pipeline": {"name": "digits"}}
    await api.create(version(name, 2))
    spec: Manifest = {
        "model": {"name": "digits", "track": "Latest"},
        "predictor": {"replicas": 2},
        "rollout": {"drainSeconds": 1},
    }
    made = await api.create(resource("Endpoint", "digits", name, **spec, monitoring=watched, retrain=again))
    await play.until(lambda: serves(2)(api, name))
    (budget,) = await api.list("PodDisruptionBudget", name)
    await api.patch(budget, {"spec": {"maxUnavailable": 2}})

    async def restored() -> bool:
        return all(each["spec"]["maxUnavailable"] == 1 for each in await api.list("PodDisruptionBudget", name))

    await until(play, restored)
    await api.patch(made, {"metadata": {"annotations": {"noria.dev/retrain": "now", "noria.dev/by": "admin"}}})
    await play.until(lambda: serves(3)(api, name))
    run = resource("PipelineRun", "own", name, pipeline="digits", ttlSecondsAfterFinished=0)
    await api.create(run)
    await play.until(lambda: _gone(play, run))
    await api.patch(made, {"spec": {"monitoring": None, "retrain": None}})
    await until(play, lambda: _none(play, "PrometheusRule"))
    begin_anew(play, dict.fromkeys(GATEWAY, ""))
    await until(play, lambda: _none(play, "HTTPRoute"))


def begin_anew(play: Play, settings: Manifest) -> None:
    """The operator begins anew with other settings."""
    path = Path(next(word for word in play.operator.command if word.startswith("--config=")).partition("=")[2])
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | settings))
    play.operator.signal(signal.SIGKILL)


async def _none(play: Play, kind: str) -> bool:
    return not await play.api.list(kind, play.namespace)


async def _gone(play: Play, manifest: Manifest) -> bool:
    return not await play.api.get(manifest["kind"], play.namespace, manifest["metadata"]["name"])


def _made(asked: Asked, plural: str) -> bool:
    return asked.method == "POST" and asked.plural == plural


async def _taken(proxy: Proxy, asked: Asked, forward: Forward) -> Answer:
    """Somebody else was faster."""
    await forward()
    return await forward()


async def test_what_the_chart_grants_is_what_the_operator_uses(
    plane: ControlPlane, install: Install, tmp_path: Path
) -> None:
    roles = install()
    for scenario in SCENARIOS.values():
        (folder := tmp_path / scenario.name).mkdir()
        async with playing(plane, scenario, folder, user=OPERATOR) as play:
            await play.through()
    plurals = ("modelversions", "jobs", "pods", "trainingjobs", "poddisruptionbudgets")
    taken = [Fault(partial(_made, plural=each), _taken) for each in plurals]
    life = Scenario("life", (), settings=GATEWAY, everywhere=True)
    async with playing(plane, life, tmp_path, taken, user=OPERATOR) as play:
        for each in (edited, paused, cancelled, turned):
            await each(play)
    asked = plane.requests(OPERATOR)
    assert refused(asked) == []
    assert sorted(map(str, granted(roles) - used(asked))) == []
    assert RARE.keys() <= granted(roles)


@pytest.mark.parametrize("name", SHARED)
async def test_listed_namespaces_are_enough(name: str, plane: ControlPlane, install: Install, tmp_path: Path) -> None:
    """Every scenario comes to its end with Roles in its namespace alone, and nothing is asked of other places."""
    began = len(plane.requests(OPERATOR))

    def installed(namespace: str) -> None:
        assert {each["kind"] for each in install(f"namespaces={{{namespace}}}")} == {"Role"}

    async with playing(plane, SHARED[name], tmp_path, user=OPERATOR, before=installed) as play:
        await play.through()
    asked = plane.requests(OPERATOR)[began:]
    assert refused(asked) == []
    places = {each["objectRef"].get("namespace") for each in asked if each["objectRef"]["resource"] != "leases"}
    assert places == {play.namespace}
    assert {each["objectRef"]["namespace"] for each in asked if each["objectRef"]["resource"] == "leases"} == {HOME}
