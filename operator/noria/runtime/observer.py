"""What a plan is given of the cluster: from the store, and by a request only what the store cannot have."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

from noria.api.meta import API_VERSION, Resource
from noria.plan.contract import KINDS, Controller, Manifest, Needs, Observed, Ref, Selector, Settings
from noria.plan.manifests import OWNER_UID
from noria.plan.manifests import controller as controller_of
from noria.plan.overtaking import Heard, in_order, untold
from noria.runtime.answers import Answers
from noria.runtime.cluster import Cluster
from noria.runtime.errors import NotFound
from noria.runtime.store import Store

OTHERS = ("Deployment", "Event", "Pod")
"""Kinds that others make of our children, and a plan may make too: it knows itself whose they are."""


class Observer:
    """Looks at the cluster for plans."""

    def __init__(
        self, cluster: Cluster, store: Store, settings: Settings, now: Callable[[], datetime], answers: Answers
    ) -> None:
        self.cluster, self.store, self.settings, self.now, self.answers = cluster, store, settings, now, answers
        self._early: dict[Ref, frozenset[str]] = {}

    async def observe(
        self, controller: Controller[Any], resource: Resource, needs: Needs
    ) -> tuple[Observed, float | None]:
        """What concerns one object, and the seconds until some of it may be believed that may not be yet."""
        now = self.now()
        heard = await self._heard(controller, resource, now)
        observed = Observed(
            settings=self.settings,
            now=now,
            children=heard.children,
            related={need: await self._related(need) for need in needs.objects()},
            answers=self.answers.of(key_of(resource), needs.queries),
            absent=frozenset(self.store.absent),
        )
        return observed, heard.left

    def forget(self, key: Ref) -> None:
        """The object is gone."""
        self._early.pop(key, None)

    async def read(self, ref: Ref) -> Manifest | None:
        """The object as the API server has it."""
        with suppress(NotFound):
            return await self.cluster.get(*ref)
        return None

    async def _heard(self, controller: Controller[Any], resource: Resource, now: datetime) -> Heard:
        """Its children as they may be believed. Of a Job whose pods have not told of its end in time they are asked for, before
        a plan concludes that they are gone: their watch may say nothing, or have lost something."""
        key, metadata = key_of(resource), resource.metadata
        heard = in_order(self._children(controller, resource), now)
        if untold(heard.children, self._early.get(key, frozenset()) - heard.early):
            pods, _ = await self.cluster.list("Pod", metadata.namespace, labels=f"{OWNER_UID}={metadata.uid}")
            for pod in pods:
                self.store.put(pod)
            heard = in_order(self._children(controller, resource), now)
        self.forget(key)
        if heard.early:
            self._early[key] = heard.early
        return heard

    def _children(self, controller: Controller[Any], resource: Resource) -> tuple[Manifest, ...]:
        """What carries the owner label, and is ours or of others; of a namespaced object only what lies beside it."""
        uid, namespace = resource.metadata.uid, resource.metadata.namespace
        found = self.store.children(uid, (*controller.owns, *controller.watches))
        mine = (each for each in found if each["kind"] in OTHERS or ours(controller, each, uid))
        return tuple(each for each in mine if not resource.namespaced or each["metadata"].get("namespace") == namespace)

    async def _related(self, need: Ref | Selector) -> tuple[Manifest, ...]:
        """What the store has of it. One object of a foreign kind is read live, since only what we made is watched."""
        if isinstance(need, Selector):
            return self.store.select(need)
        found = self.store.get(need)
        if found is None and KINDS[need.kind].api_version != API_VERSION:
            found = await self.read(need)
        return (found,) if found else ()


def key_of(resource: Resource) -> Ref:
    """Which object it is."""
    return Ref(resource.kind(), resource.metadata.namespace, resource.metadata.name)


def ours(controller: Controller[Any], live: Manifest, uid: str) -> bool:
    """Whether an object is controlled by that of `uid`. Anyone may write labels: they prove it only where no reference can."""
    labels = live["metadata"].get("labels") or {}
    return controller_of(live).get("uid") == uid or (controller.owned_by_label and labels.get(OWNER_UID) == uid)
