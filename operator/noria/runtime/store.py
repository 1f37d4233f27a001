"""Keeps what the watches and our own writes told, indexed as plans ask for it, so that observing costs no request.

It holds at least what a plan may read: other people's objects never enter, Pods and Jobs are trimmed, what is for API server and kubectl alone is dropped.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from noria.plan.contract import KINDS, Manifest, Ref, Selector, marks
from noria.plan.manifests import OWNER_KIND, OWNER_NAME, OWNER_UID
from noria.plan.pipelines.cache import MARK as LOOK
from noria.plan.pipelines.evaluating import CHAMPION
from noria.plan.scoring import ORDER
from noria.plan.training import INDEX_ANNOTATION
from noria.runtime.shelf import Shelf

Changed = Callable[[Ref, Manifest | None, Manifest | None], None]
"""Told of each change of what is held with the object before and after; None where there is none."""

APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""Holds the object once more, for `kubectl apply` alone."""
ASIDE = ("Job", "Pod")
"""Kinds of which there are many, and which are looked at one by one: to select from what is laid aside would take long."""
_ENDED = {"exitCode": None, "finishedAt": None, "reason": None, "message": None}
_CONTAINERS = {
    "name": None, "image": None, "imageID": None,
    "state": {"waiting": None, "terminated": _ENDED}, "lastState": {"terminated": _ENDED},
}  # fmt: skip
_CONDITIONS = {"type": None, "status": None, "reason": None, "message": None, "lastTransitionTime": None}
_METADATA = {
    **dict.fromkeys(
        ("name", "namespace", "uid", "resourceVersion", "labels", "creationTimestamp", "deletionTimestamp")
    ),
    "ownerReferences": dict.fromkeys(("kind", "name", "uid", "controller")),
}
_POD = {
    "apiVersion": None, "kind": None,
    "metadata": {**_METADATA, "annotations": dict.fromkeys((INDEX_ANNOTATION, ORDER, CHAMPION))},
    "status": {
        "phase": None, "reason": None, "message": None, "conditions": _CONDITIONS,
        "containerStatuses": _CONTAINERS, "initContainerStatuses": _CONTAINERS,
    },
}  # fmt: skip
"""What a plan may read of a Pod: of a list this of each item; None: the whole of it."""
_POD_CONDITIONS = ("PodScheduled", "DisruptionTarget")
_JOB = {
    "apiVersion": None, "kind": None,
    "metadata": {**_METADATA, "annotations": None},
    "spec": {"suspend": None, "completions": None, "template": {"metadata": {"annotations": {LOOK: None}}}},
    "status": {"conditions": None, "completionTime": None},
}  # fmt: skip
"""What a plan may read of a Job, which is made once and never applied again. The Job controller counts pods in its status,
five writes a Job."""


def ref_of(manifest: Manifest) -> Ref:
    """Which object it is."""
    metadata = manifest["metadata"]
    return Ref(manifest["kind"], metadata.get("namespace"), metadata["name"])


def owner_of(manifest: Manifest) -> Ref | None:
    """The object of ours that its labels name as its owner."""
    labels = manifest["metadata"].get("labels") or {}
    kind, name = labels.get(OWNER_KIND, ""), labels.get(OWNER_NAME, "")
    if kind not in KINDS or not name:
        return None
    return Ref(kind, manifest["metadata"].get("namespace") if KINDS[kind].namespaced else None, name)


class Store:
    """Objects by kind, namespace and name; `changed` hears of each change."""

    def __init__(self, changed: Changed = lambda ref, old, new: None) -> None:
        self.changed = changed
        self.absent: set[str] = set()
        """Kinds that the API server does not serve."""
        self.newest: dict[str, int] = defaultdict(int)
        """The highest resourceVersion that was told of each kind."""
        self.bereft: set[Ref] = set()
        """Objects of ours of which a child went; whoever has seen to it takes them out."""
        self._objects: dict[str, MutableMapping[Ref, Manifest]] = defaultdict(dict, {kind: Shelf() for kind in ASIDE})
        self._gone: dict[str, dict[Ref, int]] = defaultdict(dict)
        self._owned: dict[str, set[Ref]] = defaultdict(set)
        self._labelled: dict[tuple[str, str], dict[tuple[str | None, str], set[Ref]]] = {}
        self._listings: list[tuple[str, set[Ref]]] = []

    def get(self, ref: Ref) -> Manifest | None:
        """The object, if it is known to exist."""
        return self._objects[ref.kind].get(ref)

    def refs(self, kind: str) -> tuple[Ref, ...]:
        """All objects of a kind."""
        return tuple(self._objects[kind])

    def select(self, selector: Selector) -> tuple[Manifest, ...]:
        """Objects that the selector names, sorted by name."""
        kind, namespace, label, value = selector
        if not label:
            return self._sorted(ref for ref in self._objects[kind] if ref.namespace == namespace)
        if (index := self._labelled.get((kind, label))) is None:
            index = self._labelled[kind, label] = defaultdict(set)
            for ref, manifest in self._objects[kind].items():
                if found := marks(manifest).get(label):
                    index[ref.namespace, found].add(ref)
        return self._sorted(index.get((namespace, value), ()))

    def children(self, uid: str, kinds: Iterable[str]) -> tuple[Manifest, ...]:
        """What carries the owner label with `uid`, and the newest event about each of its Jobs, by kind and name."""
        wanted, owned = set(kinds), self._owned.get(uid, set())
        events: list[Manifest] = []
        if "Event" in wanted:
            jobs = (self._objects["Job"][ref]["metadata"]["uid"] for ref in owned if ref.kind == "Job")
            told = (self._sorted(self._owned[job]) for job in jobs if job in self._owned)
            events = [max(group, key=_revision) for group in told]
        children = [*self._sorted(ref for ref in owned if ref.kind in wanted), *events]
        return tuple(sorted(children, key=lambda each: (each["kind"], each["metadata"]["name"])))

    def owner(self, manifest: Manifest) -> Ref | None:
        """Whose child it is; an event about a Job belongs to the Job's owner."""
        if manifest["kind"] == "Event":
            involved = manifest["involvedObject"]  # in which nothing need be said
            job = self.get(Ref("Job", involved.get("namespace"), involved.get("name", "")))
            return owner_of(job) if job else None
        return owner_of(manifest)

    def put(self, manifest: Manifest) -> None:
        """Take in an object as a watch or the answer to a write tells it; what is older than what is known is left."""
        ref, revision = ref_of(manifest), _revision(manifest)
        old = self.get(ref)
        self.newest[ref.kind] = max(self.newest[ref.kind], revision)
        if revision <= max(_revision(old) if old else -1, self._gone[ref.kind].get(ref, -1)):
            return
        self._touch(ref)
        self._set(ref, old, trimmed(manifest))

    def remove(self, manifest: Manifest) -> None:
        """Take in that an object is gone as of its resourceVersion."""
        ref, revision = ref_of(manifest), _revision(manifest)
        old = self.get(ref)
        if old and _revision(old) > revision:
            return
        self._touch(ref)
        self._gone[ref.kind][ref] = revision
        self._set(ref, old, None)

    @contextmanager
    def listing(self, kind: str) -> Iterator[set[Ref]]:
        """Surrounds a LIST of `kind` and the `replace` by it: what changes meanwhile may be newer than its answer, or older."""
        mine: tuple[str, set[Ref]] = (kind, set())
        self._listings.append(mine)
        try:
            yield mine[1]
        finally:
            self._listings = [each for each in self._listings if each is not mine]

    def replace(self, kind: str, namespace: str | None, touched: set[Ref], items: Iterable[Manifest]) -> None:
        """Hold exactly `items` of the namespace (None: of all) from now on, whatever their resourceVersions; of what was `touched`
        meanwhile, by a watch or the answer to a write, the newer of both."""
        new = {ref_of(item): item for item in items}
        old = {ref for ref in self._objects[kind] if namespace is None or ref.namespace == namespace}
        self._gone[kind] = {ref: at for ref, at in self._gone[kind].items() if ref in touched}
        for ref in (old | set(new)) - touched:
            before, after = self.get(ref), new.get(ref)
            if before is None or after is None or _revision(before) != _revision(after):
                self._set(ref, before, trimmed(after) if after else None)
        for ref in touched & new.keys():
            self.put(new[ref])

    def count(self) -> dict[str, int]:
        """How many objects of each kind are held."""
        return {kind: len(objects) for kind, objects in self._objects.items()}

    def _touch(self, ref: Ref) -> None:
        for kind, touched in self._listings:
            if kind == ref.kind:
                touched.add(ref)

    def _set(self, ref: Ref, old: Manifest | None, new: Manifest | None) -> None:
        for manifest, change in ((old, set.discard), (new, set.add)):
            if manifest:
                self._index(ref, manifest, change)
        if new:
            self._objects[ref.kind][ref] = new
        else:
            self._objects[ref.kind].pop(ref, None)
            self.bereft.discard(ref)
            if old and (owner := owner_of(old)) and self.get(owner):
                self.bereft.add(owner)
        if not _alike(old, new):
            self.changed(ref, old, new)

    def _index(self, ref: Ref, manifest: Manifest, change: Callable[[set[Ref], Ref], None]) -> None:
        labels = manifest["metadata"].get("labels") or {}
        uid = manifest["involvedObject"].get("uid") if ref.kind == "Event" else labels.get(OWNER_UID)
        if uid:
            change(self._owned[uid], ref)
            if not self._owned[uid]:
                del self._owned[uid]
        for (kind, label), index in self._labelled.items():
            if kind == ref.kind and (found := marks(manifest).get(label)):
                change(index[ref.namespace, found], ref)
                if not index[ref.namespace, found]:
                    del index[ref.namespace, found]

    def _sorted(self, refs: Iterable[Ref]) -> tuple[Manifest, ...]:
        return tuple(self._objects[ref.kind][ref] for ref in sorted(refs, key=lambda ref: (ref.kind, ref.name)))


def _revision(manifest: Manifest) -> int:
    return int(manifest["metadata"].get("resourceVersion") or 0)


def _alike(old: Manifest | None, new: Manifest | None) -> bool:
    """Whether nothing but the resourceVersion tells them apart."""
    return _unversioned(old) == _unversioned(new)


def _unversioned(manifest: Manifest | None) -> Manifest | None:
    return manifest and manifest | {"metadata": manifest["metadata"] | {"resourceVersion": None}}


def trimmed(manifest: Manifest) -> Manifest:
    """What a plan may read of an object."""
    metadata = {key: value for key, value in manifest["metadata"].items() if key != "managedFields"}
    if APPLIED in (given := metadata.get("annotations") or {}):
        metadata["annotations"] = {key: value for key, value in given.items() if key != APPLIED}
    manifest = manifest | {"metadata": metadata}
    if manifest["kind"] == "Pod":
        pod = _only(manifest, _POD)
        if conditions := pod.get("status", {}).get("conditions"):
            pod["status"]["conditions"] = [each for each in conditions if each["type"] in _POD_CONDITIONS]
        return pod
    return _only(manifest, _JOB) if manifest["kind"] == "Job" else manifest


def _only(value: Manifest, keep: dict[str, Any]) -> Manifest:
    return dict(_kept(value, keep))


def _kept(value: Manifest, keep: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, inner in keep.items():
        if key in value:
            held = value[key]
            if inner is None:
                yield key, held
            else:
                yield key, [_only(each, inner) for each in held] if isinstance(held, list) else _only(held, inner)
