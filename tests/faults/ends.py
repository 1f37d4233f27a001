"""What a scenario came to, in words that two runs of it share: without uids, versions, moments and the hashes over them."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from math import inf
from typing import Any

import yaml

from noria.plan.contract import KINDS, Manifest
from noria.plan.manifests import MANAGED_BY, OWNER_UID

from .api import Api
from .proxy import Passed

FOREIGN = ("PrometheusRule", "PodMonitor", "Lease", "Event", "Namespace")
DROPPED = (
    "uid",
    "resourceVersion",
    "managedFields",
    "creationTimestamp",
    "generation",
    "observedGeneration",
    "noria.dev/applied",
)
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
MARKED = ("Job", "Pod", "TrainingJob", "InferenceService", "PodDisruptionBudget")
MARK = re.compile(r"-(?:[0-9a-f]{8}|[0-9a-f]{5})(?=-|$)")
"""Hash over a uid, at the end of such a kind's name (a step's child, an InferenceService); a pod's index may follow."""


class End:
    """The objects of a namespace, or of a Workspace and its namespace, as they are now."""

    def __init__(self, objects: list[Manifest], events: list[Manifest], namespace: str) -> None:
        self.objects, self._events, self.namespace = objects, events, namespace
        self._words = {namespace: "NAMESPACE"}
        for each in objects:
            uid, known = each["metadata"]["uid"], alias(each["kind"], each["metadata"]["name"])
            self._words |= {uid: f"uid of {known}", uid[:8]: f"mark of {known}"}
            self._words.setdefault(each["metadata"]["name"], known)
        longest = sorted(self._words, key=len, reverse=True)
        self._pattern = re.compile(f"(?<![a-z0-9])(?:{'|'.join(map(re.escape, longest))})(?![a-z0-9])")

    @property
    def state(self) -> list[str]:
        """Every object but Events."""
        return sorted(json.dumps(self._timeless(each), indent=1, sort_keys=True) for each in self.objects)

    @property
    def events(self) -> Counter[tuple[str, str, str]]:
        """How often which reason was told of whom."""
        told = ((each["involvedObject"], each) for each in self._events)
        return Counter(
            (of["kind"], alias(of["kind"], of["name"].replace(self.namespace, "NAMESPACE")), each["reason"])
            for of, each in told
        )

    def orphans(self) -> list[str]:
        """Objects of ours whose owner is no more."""
        alive = {each["metadata"]["uid"] for each in self.objects}
        ours = [each for each in self.objects if OWNER_UID in each["metadata"].get("labels", {})]
        return [
            f"{each['kind']} {each['metadata']['name']}"
            for each in ours
            if each["metadata"]["labels"][OWNER_UID] not in alive
        ]

    def _timeless(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._timeless(each) for each in value]
        if isinstance(value, dict):
            return {self._timeless(key): self._timeless(each) for key, each in value.items() if key not in DROPPED}
        if isinstance(value, str):
            return self._pattern.sub(lambda found: self._words[found[0]], MOMENT.sub("a moment", value))
        return value


def alias(kind: str, name: str) -> str:
    """The name without a hash over a uid."""
    return f"{kind}/{MARK.sub('', name)}" if kind in MARKED else f"{kind}/{name}"


async def observe(api: Api, namespace: str) -> End:
    """All that is there, ours or not."""
    objects = [
        each for kind in KINDS if kind not in FOREIGN and KINDS[kind].namespaced for each in await api.list(kind, namespace)
    ]  # fmt: skip
    for kind in ("Namespace", "Workspace"):
        found = await api.get(kind, None, namespace)
        if found and (kind == "Workspace" or MANAGED_BY in found["metadata"].get("labels", {})):
            objects.append(found)
    events = [*await api.list("Event", namespace), *await api.list("Event", "default")]
    about = [each for each in events if namespace in (each["involvedObject"].get("namespace"), each["involvedObject"].get("name"))]  # fmt: skip
    return End(objects, about, namespace)


def outages(passed: Iterable[Passed], said_of: Iterable[tuple[float, Manifest]]) -> list[str]:
    """Moments at which the gateway was on a route to a server that was not ready or was deleted, and requests were lost."""
    routes: dict[tuple[str, int], set[str]] = {}
    deleted: dict[str, float] = {}
    for each in passed:
        if not each.asked.written or each.answer.status >= 300:
            continue
        if each.asked.plural == "inferenceservices" and each.asked.method == "DELETE":
            deleted.setdefault(each.asked.name, each.at)
        elif each.asked.plural == "httproutes" and each.asked.method != "DELETE":
            route = json.loads(each.answer.body)
            routes[route["metadata"]["name"], route["metadata"]["generation"]] = _servers(route)
    ready: dict[str, float] = {}
    taken: list[tuple[float, str, set[str]]] = []
    for at, said in said_of:
        name = said["metadata"]["name"]
        if said["kind"] == "InferenceService":
            ready.setdefault(name, at)
        elif said["kind"] == "HTTPRoute":
            taken.append((at, name, routes.get((name, said["metadata"]["generation"]), set())))
    found = []
    for number, (at, name, servers) in enumerate(taken):
        until = next((later for later, other, _ in taken[number + 1 :] if other == name), inf)
        found += [f"{each} was not ready" for each in servers if ready.get(each, inf) > at]
        found += [f"{each} was deleted" for each in servers if deleted.get(each, inf) < until]
    return found


def _servers(route: Manifest) -> set[str]:
    backends = (each for rule in route["spec"]["rules"] for each in rule.get("backendRefs", ()))
    return {each["name"].removesuffix("-predictor") for each in backends if each.get("weight", 1)}


def made(passed: Iterable[Passed], namespace: str) -> Counter[str]:
    """What the API server made for the operator, whether or not the operator came to know; Events left out."""
    kinds = {each.plural: each.name for each in KINDS.values()}
    created = [
        yaml.safe_load(each.answer.body)["metadata"]["name"] if each.asked.method == "POST" else each.asked.name
        for each in passed
        if each.answer.status == 201
    ]
    plurals = [each.asked.plural for each in passed if each.answer.status == 201]
    pairs = zip(plurals, created, strict=True)
    named = ((kinds[plural], name.replace(namespace, "NAMESPACE")) for plural, name in pairs)
    return Counter(alias(kind, name) for kind, name in named if kind not in ("Event", "Lease"))
