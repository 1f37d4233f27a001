"""What an informer makes of lists: versions that go back mean that etcd was restored."""

from typing import Any

import pytest

from noria.plan.contract import Manifest
from noria.runtime.informer import Informer, Rewound
from noria.runtime.store import Store


class Listing:
    """A cluster that only lists, at one version after the other."""

    def __init__(self, *versions: str) -> None:
        self.versions = list(versions)

    async def list(self, kind: str, namespace: str | None, **_: Any) -> tuple[list[Manifest], str]:
        return [], self.versions.pop(0)


def job(version: str) -> Manifest:
    return {"kind": "Job", "metadata": {"name": "a", "namespace": "n", "resourceVersion": version}}


def informer(store: Store, *versions: str) -> Informer:
    listing: Any = Listing(*versions)
    return Informer(listing, store, "Job", None, lambda kind: None)


async def test_versions_that_go_back_end_the_process() -> None:
    store = Store()
    jobs = informer(store, "7", "8")
    await jobs._list()
    store.put(job("9"))
    with pytest.raises(Rewound, match="Job was at version 9 and is at 8: etcd was restored"):
        await jobs.run()


async def test_a_list_as_new_as_what_is_known_is_taken() -> None:
    store = Store()
    store.put(job("9"))
    assert await informer(store, "9")._list() == "9"
    assert store.refs("Job") == ()


async def test_versions_of_other_kinds_say_nothing() -> None:
    """Events may lie in an etcd of their own."""
    store = Store()
    store.put(job("9") | {"kind": "Event", "involvedObject": {"name": "a"}})
    assert await informer(store, "8")._list() == "8"
