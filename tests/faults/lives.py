"""Objects that live, each in a namespace of its own and all under one operator, as the ground for edits."""

import copy
import difflib
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from noria.plan.contract import Manifest
from noria.plan.training import ROLE
from noria.plan.wheel.view import CYCLE

from .api import Moment
from .ends import End, observe
from .mutations import BASES, Leaf, Mutation, leaves, mutated, refusal, schema_of
from .player import DIGEST, Player
from .scenarios import GATEWAY, Scenario, furnished, resource
from .stage import Play, cleared

PAST = ("history", "cycles", "rejected", "attempts", "lastEndTime", "checked", "retention")
"""Fields of a status that tell what was, or hash over the generation; nothing takes that back."""
FINAL = ("spec.cancel:", "spec.monitoring.signals.[].type: the word Staleness")
"""Edits that are ends."""
WRITES = 40
"""So many writes an edit and its way back may take: two changes of version, and more than twice what they need."""
SECONDS = 120.0
"""Within which everything must have settled. A version that has lost its traffic drains for one of them."""


class Ground(NamedTuple):
    """What lives."""

    name: str
    manifest: Manifest
    beside: Callable[[str], list[Manifest]] = lambda namespace: []
    """What it needs in its namespace."""

    @property
    def leaves(self) -> list[Leaf]:
        """Of its spec, as its definition has them."""
        return list(leaves(schema_of(self.manifest["kind"])["properties"]["spec"]))


def _versions(namespace: str) -> list[Manifest]:
    common = {"model": "scans", "uri": "pvc://noria-artifacts/given", "digest": DIGEST, "format": "onnx"}
    return [resource("ModelVersion", f"scans-{number}", namespace, version=number, **common) for number in (1, 2)]


def _pinned() -> Manifest:
    model, rollout = {"name": "scans", "version": 2}, {"drainSeconds": 1}
    return resource("Endpoint", "scans", "default", model=model, rollout=rollout)


def grounds() -> list[Ground]:
    """The objects of bases.yaml, and an Endpoint that is asked for one version."""
    found = [
        Ground(f"{kind} {each['metadata']['name']}", each, _versions if kind == "Endpoint" else lambda namespace: [])
        for kind, bases in BASES.items()
        for each in bases
    ]
    return [*found, Ground("Endpoint pinned", _pinned(), _versions)]


def runs_on(made: Manifest) -> str:
    """Trainings and steps run for ever; whatever else there is of Jobs ends."""
    role = made["metadata"]["labels"].get(ROLE)
    return "Running" if role in ("training", "step") else "Succeeded"


SCENARIO = Scenario("lives", (), settings=GATEWAY | {"gatewayMirrors": True}, fate=runs_on, everywhere=True)


@dataclass
class Life:
    """One of them, and what became of its newest edit."""

    ground: Ground
    namespace: str
    before: list[str] = field(default_factory=list)
    """What it and its children were before the newest edit."""
    spec: Manifest = field(default_factory=dict)
    mutation: Mutation | None = None
    writes: int = 0
    wrong: str = ""

    @property
    def final(self) -> bool:
        """Whether no way leads back: a run was cancelled, or data that are older than half a second set off a training."""
        return self.mutation is not None and str(self.mutation).startswith(FINAL)

    def returned(self, now: list[str]) -> bool:
        """Whether all is as it was. A training that was suspended goes on as its next attempt."""
        if self.mutation and self.mutation.path == ("spec", "suspend"):
            return _numberless(now) == _numberless(self.before)
        return now == self.before

    @property
    def place(self) -> tuple[str, str | None, str]:
        """Kind, namespace, name."""
        kind, name = self.ground.manifest["kind"], self.ground.manifest["metadata"]["name"]
        return (kind, None, self.namespace) if kind == "Workspace" else (kind, self.namespace, name)


class World:
    """All that live, and the player of each."""

    def __init__(self, play: Play) -> None:
        self.play, self.lives = play, list[Life]()

    async def born(self, grounds: list[Ground]) -> None:
        """One more of each; they settle."""
        new = [await self._begun(each) for each in grounds]
        self.lives += new
        await self.settled()
        for each in new:
            each.before = (await self.states([each]))[each.namespace]

    async def _begun(self, ground: Ground) -> Life:
        kind, name = ground.manifest["kind"], ground.manifest["metadata"]["name"]
        life = Life(ground, f"{name}-{uuid.uuid4().hex[:8]}")
        manifest = copy.deepcopy(ground.manifest)
        if kind == "Workspace":
            manifest["metadata"] = {"name": life.namespace}
            manifest["spec"]["namespace"] = life.namespace
        else:
            await furnished(self.play.api, life.namespace)
            manifest["metadata"]["namespace"] = life.namespace
        for each in (*ground.beside(life.namespace), manifest):
            await self.play.api.create(each)
        return life

    async def gone(self, life: Life) -> None:
        """One less."""
        self.lives.remove(life)
        await cleared(self.play.api, life.namespace)

    async def edit(self, life: Life, mutation: Mutation) -> None:
        """Makes the mistake. `life.mutation` is set if it is taken, `life.wrong` if it is not refused as it should be."""
        live = await self._live(life)
        status, said = await self.play.api.replace(mutated(live, schema_of(live["kind"]), mutation))
        if status < 300:
            life.spec, life.mutation = live["spec"], mutation
        else:
            life.wrong = refusal(status, said)

    async def undo(self, life: Life) -> None:
        """Takes it back, when the operator has seen it."""
        live = await self._live(life)
        if "status" in live and live["status"].get("observedGeneration") != live["metadata"]["generation"]:
            life.wrong = "it was taken, and nothing is told of it"
        for each in live.get("status", {}).get("conditions", []):
            if each["status"] != "True" and not each.get("message"):
                life.wrong = f"condition {each['type']} is {each['status']}, and no message tells why"
        status, said = await self.play.api.replace(live | {"spec": life.spec})
        if status >= 300 and not life.final:
            life.wrong = f"it is not taken back: {said.get('message')}"

    async def _live(self, life: Life) -> Manifest:
        found = await self.play.api.get(*life.place)
        assert found, life.place
        return found

    async def settled(self) -> None:
        """Until nobody has anything to do, and the operator writes nothing while it renews its lease."""
        deadline = time.monotonic() + SECONDS
        while not (await self.play.rest() and not await self._stepped()):
            assert time.monotonic() < deadline, await self.play.excuse()
        await self.play.quiet(1)

    async def _stepped(self) -> bool:
        seen = Moment(self.play.api)
        return any([await Player(seen, each.namespace, runs_on).step() for each in self.lives])

    async def states(self, lives: list[Life]) -> dict[str, list[str]]:
        """What each has become, with its children, but for what tells of the past."""
        seen = Moment(self.play.api)
        return {each.namespace: present(await observe(seen, each.namespace)) for each in lives}

    async def returned(self, lives: list[Life]) -> None:
        """Until each is as it was; what is not in time is wrong."""
        deadline = time.monotonic() + SECONDS / 4
        left = lives
        while left:
            await self.settled()
            now = await self.states(left)
            if time.monotonic() > deadline:
                for each in left:
                    each.wrong = _difference(each.before, now[each.namespace])
                return
            back = [each for each in left if each.returned(now[each.namespace])]
            for each in back:
                each.before = now[each.namespace]
            left = [each for each in left if each not in back]

    def count(self) -> None:
        """How much has been written about each since the last time."""
        for each in self.lives:
            about = (each.namespace in (one.asked.namespace, one.asked.name) for one in self.play.proxy.writes())
            each.writes = sum(about)
        self.play.proxy.passed.clear()
        self.play.began = 0


def present(end: End) -> list[str]:
    """Without the Jobs of changes of a version and of sweeps, which stay for their logs."""
    labels = {
        each["metadata"]["uid"]: each["metadata"].get("labels", {}) for each in end.objects if each["kind"] == "Job"
    }
    jobs = {uid for uid, each in labels.items() if CYCLE in each or each.get(ROLE) == "sweep"}
    kept = [
        each
        for each in end.objects
        if each["metadata"]["uid"] not in jobs
        and not any(one["uid"] in jobs for one in each["metadata"].get("ownerReferences", ()))
    ]
    return End([_without_past(each) for each in kept], [], end.namespace).state


def _without_past(manifest: Manifest) -> Manifest:
    if not isinstance(status := manifest.get("status"), dict):
        return manifest
    status = {key: value for key, value in status.items() if key not in PAST}
    if manifest["kind"] == "Endpoint" and "signals" in status:
        signals = manifest["spec"].get("monitoring", {}).get("signals", [])
        ages = {each["name"] for each in signals if each["type"] == "Staleness"}
        status["signals"] = [each | ({"value": "an age"} if each["name"] in ages else {}) for each in status["signals"]]
        if status.get("worstSignal", "").partition(" ")[0] in ages:
            del status["worstSignal"]
    return manifest | {"status": status}


def _difference(before: list[str], after: list[str]) -> str:
    lines = difflib.unified_diff("".join(before).splitlines(), "".join(after).splitlines(), lineterm="", n=4)
    return "\n".join(lines)


def _numberless(state: list[str]) -> list[str]:
    return sorted(re.sub(r"\d+", "#", each) for each in state)
