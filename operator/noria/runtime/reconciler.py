"""The one reconciler of all kinds: observe, plan, apply what differs, delete what is no longer wished, tell."""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from pydantic import ValidationError

from noria.api.meta import Resource
from noria.plan.contract import KINDS, Controller, Event, Manifest, Plan, Ref, Selector, Settings
from noria.plan.manifests import OWNER_NAME
from noria.runtime import metrics, report
from noria.runtime.answers import Answers
from noria.runtime.cluster import Cluster
from noria.runtime.diff import contains, stamped
from noria.runtime.errors import AlreadyExists, ApiError, Conflict, Failed, NotFound, Refused
from noria.runtime.held import Held
from noria.runtime.interest import Interests
from noria.runtime.models import Models
from noria.runtime.observer import Observer, key_of, ours
from noria.runtime.store import Store, owner_of, ref_of

log = logging.getLogger(__name__)
AT_ONCE = 8
"""Objects of one kind that are brought about at the same time."""
ROUNDS = 3
"""How often a plan may ask for objects to be created before it is put back into the queue."""


class NameTaken(Refused):
    """A child's name belongs to an object that is not ours; it is not touched."""


class Reconciler:
    """Brings the cluster to what the plans say, one object at a time."""

    def __init__(
        self,
        controllers: Iterable[Controller[Any]],
        cluster: Cluster,
        store: Store,
        settings: Settings,
        now: Callable[[], datetime],
        answers: Answers | None = None,
        asked: Callable[[], None] = lambda: None,
    ) -> None:
        self.models = Models()
        self.controllers = {each.resource.kind(): each for each in controllers}
        self.cluster, self.store, self.settings, self.now, self.asked = cluster, store, settings, now, asked
        self.interests, self.held = Interests(), Held()
        self.observer = Observer(cluster, store, settings, now, answers or Answers())

    async def reconcile(self, key: Ref) -> float | None:
        """Look at one object; seconds until it wants to be looked at again."""
        live = self.store.get(key)
        if live is None or "deletionTimestamp" in live["metadata"]:
            self.interests.forget(key)
            self.observer.forget(key)
            self.held.release(key)
            return None
        controller = self.controllers[key.kind]
        try:
            resource = self.models.read(controller.resource, live)
        except ValidationError as error:
            await self._write_status(live, report.invalid(controller.resource, live, error, self.now()))
            return None
        try:
            return await self._bring(controller, resource, live)
        except ApiError:
            raise
        except Exception as error:
            seen = self.store.get(key) or live
            broken = report.broken(controller.resource.model_validate(seen), error, self.now())
            await self._write_status(seen, broken.manifest())
            raise

    async def _bring(self, controller: Controller[Any], resource: Resource, live: Manifest) -> float | None:
        """Carry out what is planned for one object; seconds until it wants to be looked at again."""
        plan = await self._plan(controller, resource)
        key, planned = key_of(resource), (*plan.creates, *plan.children)
        if key in self.store.bereft and any(self.store.get(ref_of(each)) is None for each in planned):
            await self._confirm(resource)
            self.store.bereft.discard(key)
        plan, problem = await self._create(controller, resource, plan)
        # Each also after a refusal of the one before: one pod too many keeps no other child, and a right that is withdrawn goes.
        for act in (self._apply_all, self._prune):
            try:
                await act(controller, resource, plan)
            except (Refused, Failed) as error:
                problem = problem or error
        if problem:
            problem.wait = plan.requeue_after
            plan = report.refused(resource, plan, problem, self.now())
        for event in plan.events:
            await self._tell(live, event)
        status = report.groomed(plan.status.manifest(), live)
        news = status != live.get("status")
        if plan.passing and news and (left := self.held.left(ref_of(live), self.now())) > 0:
            return min(left, plan.requeue_after or left)
        self.held.release(ref_of(live))
        if news:
            await self._write_status(live, status)
        if plan.clear_annotations and not news:  # after news the object is looked at again
            await self._clear(live, plan.clear_annotations)
        if plan.delete_self:
            await self._delete(live)
        if problem:
            raise problem
        return plan.requeue_after

    def concerned(self, ref: Ref, old: Manifest | None, new: Manifest | None) -> set[Ref]:
        """Keys whose plan may turn out otherwise since an object changed from `old` to `new`."""
        owners = {self.store.owner(each) for each in (old, new) if each}
        keys = {ref, *owners, *self.interests.in_change(ref, old, new)}
        return {key for key in keys if key and key.kind in self.controllers}

    async def _plan(self, controller: Controller[Any], resource: Resource) -> Plan:
        needs = controller.needs(resource, self.settings)
        if self.interests.remember(key_of(resource), needs):
            self.asked()
        observed, left = await self.observer.observe(controller, resource, needs)
        plan = controller.plan(resource, observed)
        return plan if left is None else replace(plan, requeue_after=min(left, plan.requeue_after or left))

    async def _create(
        self, controller: Controller[Any], resource: Resource, plan: Plan
    ) -> tuple[Plan, Refused | Failed | None]:
        """Create what must never be applied; the plan anew on what came of it, and what was refused first."""
        for _ in range(ROUNDS):
            if not plan.creates:
                return plan, None
            taken = set[Ref]()

            async def create(manifest: Manifest, taken: set[Ref] = taken) -> None:
                try:
                    self.store.put(await self.cluster.create(manifest))
                except AlreadyExists:
                    if existing := await self.observer.read(ref_of(manifest)):
                        self.store.put(existing)
                        taken.add(ref_of(manifest))

            refused: Refused | Failed | None = None
            try:
                await _side_by_side(create, plan.creates)
            except (Refused, Failed) as error:
                refused = error
            plan = await self._plan(controller, resource)
            if still := taken & {ref_of(each) for each in plan.creates}:  # to see it there changed nothing
                return plan, _name_taken(resource, min(still))
            if refused:
                return plan, refused
        if not plan.creates:
            return plan, None
        raise Conflict(
            409, "Contended", "the names that are due are always taken by others", ref_of(plan.creates[0]).name
        )

    async def _apply_all(self, controller: Controller[Any], resource: Resource, plan: Plan) -> None:
        """Apply the children, kind after kind."""
        for _, alike in itertools.groupby(plan.children, lambda child: child["kind"]):
            await _side_by_side(partial(self._apply, controller, resource), alike)

    async def _apply(self, controller: Controller[Any], resource: Resource, desired: Manifest) -> None:
        """Apply one child, unless it is so already. What exists and is not of this resource is not touched."""
        ref = ref_of(desired)
        live = self.store.get(ref)
        if live is None and KINDS[ref.kind].fixed:
            with suppress(AlreadyExists):
                return self.store.put(await self.cluster.create(stamped(desired, None)))
        live = live or await self.observer.read(ref)
        # What a Workspace of this name retained is its own again when it is made anew.
        by_name = controller.owned_by_label and live and owner_of(live) == key_of(resource)
        if live and not by_name and not ours(controller, live, resource.metadata.uid):
            raise _name_taken(resource, ref)
        if live:  # one that was there already is known from now on, whenever the watch tells of it
            self.store.put(live)
        desired = stamped(desired, live)
        if live is None or not contains(live, desired):
            # Not forced at first: should someone else take the name at this moment, it is a Conflict.
            self.store.put(await self.cluster.apply(desired, force=live is not None))

    async def _prune(self, controller: Controller[Any], resource: Resource, plan: Plan) -> None:
        """Delete what is proven ours and is no longer planned, and what the plan names."""
        uid, planned = resource.metadata.uid, {ref_of(child) for child in plan.children}
        mine = (each for each in self.store.children(uid, controller.owns) if ours(controller, each, uid))
        found = (*mine, *self._retained(controller, resource, planned))
        needless = [
            each for each in found if ref_of(each) not in planned and "deletionTimestamp" not in each["metadata"]
        ]
        if needless := [*needless, *plan.deletes]:
            await self._confirm(resource)
        for live in needless:
            await self._delete(live)

    async def _confirm(self, resource: Resource) -> None:
        """What is deleted no later look brings back: it must follow from the object as it is now. A successor whose first lists
        are old would take away what serves. And a child that went may have gone with the object, whose end is not told yet.
        Raises Conflict."""
        key = key_of(resource)
        known, live = self.store.get(key), await self.observer.read(key)
        if live and live["metadata"]["resourceVersion"] == resource.metadata.resource_version:
            return
        if live:
            self.store.put(live)
        elif known:
            self.store.remove(known)
        raise Conflict(409, "Stale", "it has changed since it was looked at", _words(key))

    def _retained(self, controller: Controller[Any], resource: Resource, planned: set[Ref]) -> list[Manifest]:
        """What an earlier object of this name retained, beside what is planned: it bears the earlier uid."""
        if not controller.owned_by_label:
            return []
        places, key = {ref.namespace for ref in planned}, key_of(resource)
        named = (Selector(kind, place, OWNER_NAME, key.name) for kind in controller.owns for place in places)
        found = (each for selector in named for each in self.store.select(selector))
        return [each for each in found if owner_of(each) == key and not ours(controller, each, resource.metadata.uid)]

    async def _delete(self, live: Manifest) -> None:
        with suppress(NotFound):
            answer = await self.cluster.delete(live)
            if answer["kind"] == live["kind"]:
                self.store.put(answer)
            else:
                self.store.remove(live)

    async def _clear(self, live: Manifest, annotations: Iterable[str]) -> None:
        """Take away annotations whose wish the status holds by now."""
        with suppress(NotFound):
            self.store.put(await self.cluster.unannotate(live, annotations))

    async def _tell(self, live: Manifest, event: Event) -> None:
        """Post it; once more if it is refused, for after the status nobody tells it again. It is worth no more than that:
        what may never be posted must not keep the status from being written."""
        for last in (False, True):
            try:
                await self.cluster.create(report.event(live, event, self.now()))
                metrics.EVENTS.labels(live["kind"], event.reason).inc()
            except AlreadyExists:
                pass
            except (Refused, Failed) as error:
                if last:
                    log.warning("an Event was refused: %s", error)
                continue
            return

    async def _write_status(self, live: Manifest, status: Manifest) -> None:
        """Put the status, if it says something new. It names the version that was judged: a stale writer gets Conflict."""
        status = report.groomed(status, live)
        if status == live.get("status"):
            return
        identity = {key: live["metadata"].get(key) for key in ("name", "namespace", "resourceVersion")}
        metadata = {key: value for key, value in identity.items() if value}
        told = {"apiVersion": live["apiVersion"], "kind": live["kind"], "metadata": metadata, "status": status}
        try:
            self.store.put(await self.cluster.replace_status(told))
        except NotFound:
            self.store.remove(live)


async def _side_by_side(act: Callable[[Manifest], Awaitable[None]], manifests: Iterable[Manifest]) -> None:
    """Do it for what does not wait for one another; then raises what the first of them met."""
    few = asyncio.Semaphore(AT_ONCE)

    async def one(manifest: Manifest) -> None:
        async with few:
            await act(manifest)

    for met in await asyncio.gather(*map(one, manifests), return_exceptions=True):
        if met:
            raise met


def _name_taken(resource: Resource, ref: Ref) -> NameTaken:
    remedy = f"delete it, or choose another name for this {resource.kind()}"
    return NameTaken(409, "NameTaken", f"it exists and was not made for this object; {remedy}", _words(ref))


def _words(ref: Ref) -> str:
    return f"{ref.kind} {ref.namespace}/{ref.name}" if ref.namespace else f"{ref.kind} {ref.name}"
