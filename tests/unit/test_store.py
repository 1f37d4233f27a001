"""What the store holds, in which order it believes what it is told, and what it lets go."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria.plan.contract import Manifest, Needs, Ref, Selector
from noria.runtime.interest import Interests
from noria.runtime.store import Store, ref_of

OWNER = {
    "app.kubernetes.io/managed-by": "noria",
    "noria.dev/owner-kind": "TrainingJob",
    "noria.dev/owner-name": "train",
    "noria.dev/owner-uid": "uid",
}
AT = Ref("Job", "n", "a")


def thing(name: str = "a", revision: int = 1, kind: str = "Job", **labels: str) -> Manifest:
    metadata = {"name": name, "namespace": "n", "resourceVersion": str(revision), "uid": f"uid-{name}"}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata | {"labels": labels}}


def revision(store: Store, ref: Ref = AT) -> str | None:
    held = store.get(ref)
    return held["metadata"]["resourceVersion"] if held else None


@given(st.permutations(range(1, 6)))
def test_it_never_goes_back(order: list[int]) -> None:
    store = Store()
    for each in order:
        store.put(thing(revision=each))
    assert revision(store) == "5"


@pytest.mark.parametrize("again", [True, False])
@given(data=st.data())
def test_what_is_gone_does_not_come_back_by_old_news(again: bool, data: st.DataObject) -> None:
    news = [("put", 1), ("put", 2), ("gone", 3), *([("put", 4)] if again else [])]
    store = Store()
    for what, at in data.draw(st.permutations(news)):
        (store.put if what == "put" else store.remove)(thing(revision=at))
    assert revision(store) == ("4" if again else None)


def test_a_list_replaces_all_even_with_older_versions() -> None:
    told: list[tuple[str, bool]] = []
    store = Store(lambda ref, old, new: told.append((ref.name, new is not None)))
    store.put(thing("a", 9))
    store.put(thing("gone", 9))
    told.clear()
    with store.listing("Job") as touched:
        store.replace("Job", None, touched, [thing("a", 3, other="words"), thing("new", 2)])
    assert sorted(told) == [("a", True), ("gone", False), ("new", True)]
    assert revision(store) == "3"
    store.put(thing("a", 4))
    assert revision(store) == "4"


def test_news_that_no_plan_reads_are_held_and_not_told() -> None:
    told: list[Ref] = []
    store = Store(lambda ref, old, new: told.append(ref))
    counting = {"active": 1, "uncountedTerminatedPods": {}}
    complete = {"conditions": [{"type": "Complete", "status": "True"}], "completionTime": "now"}
    for number, status in enumerate(({}, counting, complete, complete | {"succeeded": 1})):
        store.put(thing(revision=number) | {"status": status})
    assert told == [AT, AT] and revision(store) == "3"
    store.put(thing("p", 1, kind="Pod") | {"metadata": thing("p", 1)["metadata"] | {"finalizers": ["f"]}})
    store.put(thing("p", 2, kind="Pod"))
    assert told == [AT, AT, Ref("Pod", "n", "p")] and revision(store, Ref("Pod", "n", "p")) == "2"


def test_a_list_that_is_newer_than_the_news_during_it_is_taken() -> None:
    """The answer to a write came while the list was under way, which somebody else's change was in already: no watch told of it."""
    store = Store()
    with store.listing("Job") as touched:
        store.put(thing("a", 2))
        store.put(thing("b", 2))
        store.remove(thing("b", 3))
        store.put(thing("c", 2))
        store.remove(thing("c", 3))
        store.replace("Job", None, touched, [thing("a", 3, other="words"), thing("b", 2), thing("c", 4)])
    assert [revision(store, Ref("Job", "n", name)) for name in "abc"] == ["3", None, "4"]


def test_news_during_a_list_are_newer_than_its_answer() -> None:
    store = Store()
    store.put(thing("deleted", 1))
    with store.listing("Job") as touched:
        store.put(thing("changed", 9))
        store.remove(thing("deleted", 8))
        store.replace("Job", None, touched, [thing("changed", 3), thing("deleted", 1)])
    assert [ref.name for ref in store.refs("Job")] == ["changed"]
    assert revision(store, Ref("Job", "n", "changed")) == "9"


def test_a_list_of_one_namespace_leaves_the_others() -> None:
    store = Store()
    store.put(thing())
    with store.listing("Job") as touched:
        store.replace("Job", "other", touched, [])
    assert store.get(AT)


def test_indexes_follow_changes_of_labels() -> None:
    store = Store()
    selector = Selector("Job", "n", "model", "m")
    assert store.select(selector) == ()
    store.put(thing("b", 1, model="m"))
    store.put(thing("a", 2, model="m", **OWNER))
    assert [each["metadata"]["name"] for each in store.select(selector)] == ["a", "b"]
    assert [each["metadata"]["name"] for each in store.children("uid", ["Job"])] == ["a"]
    assert store.children("uid", ["Pod"]) == ()
    store.put(thing("a", 3))
    assert [each["metadata"]["name"] for each in store.select(selector)] == ["b"]
    assert store.children("uid", ["Job"]) == ()
    store.remove(thing("b", 4))
    assert store.select(selector) == store.select(Selector("Job", "other")) == ()
    assert [each["metadata"]["name"] for each in store.select(Selector("Job", "n"))] == ["a"]


def test_runs_are_found_by_their_pipeline() -> None:
    store, selector = Store(), Selector("PipelineRun", "n", ".pipeline", "p")
    assert store.select(selector) == ()
    for number, (name, spec) in enumerate((("a", {"pipeline": "p"}), ("b", {"pipeline": "q"}), ("c", {"inline": {}}))):
        store.put(thing(name, number + 1, "PipelineRun") | {"spec": spec})
    store.put(thing("d", 4, "PipelineRun") | {"spec": {"rerunOf": "a"}, "status": {"pipeline": "p"}})
    assert [each["metadata"]["name"] for each in store.select(selector)] == ["a", "d"]
    known, pipeline = Interests(), Ref("Pipeline", "n", "p")
    known.remember(pipeline, Needs(selectors=(selector,)))
    run = store.select(selector)[0]
    assert known.in_change(ref_of(run), run, None) == {pipeline}
    assert known.in_change(ref_of(run), None, run | {"spec": {"pipeline": "q"}}) == set()


def test_the_newest_refusal_of_pods_belongs_to_the_jobs_owner() -> None:
    store = Store()
    store.put(thing("a", 1, **OWNER))
    for name, at in (("first", 2), ("last", 3)):
        event = thing(name, at, "Event")
        store.put(event | {"involvedObject": {"kind": "Job", "namespace": "n", "name": "a", "uid": "uid-a"}})
    assert [each["metadata"]["name"] for each in store.children("uid", ["Job", "Event"])] == ["last", "a"]
    held = store.get(Ref("Event", "n", "first"))
    assert held and store.owner(held) == Ref("TrainingJob", "n", "train")


def test_of_pods_and_jobs_only_what_plans_read_is_held() -> None:
    store = Store()
    annotations = {"batch.kubernetes.io/job-completion-index": "0", "other": "x"}
    metadata = thing()["metadata"] | {"managedFields": [{}], "annotations": annotations}
    ended = {"exitCode": 1, "finishedAt": "t", "message": "m"}
    container = {"name": "main", "imageID": "i", "state": {"terminated": ended}}
    conditions = [{"type": "PodScheduled", "status": "True"}]
    longer = container | {"ready": False, "state": {"terminated": ended | {"containerID": "c"}}}
    told = {"phase": "Failed", "podIPs": [], "containerStatuses": [longer]}
    told["conditions"] = [conditions[0] | {"observedGeneration": 1}, {"type": "Ready", "status": "False"}]
    store.put({"kind": "Pod", "metadata": metadata, "spec": {"containers": [{}]}, "status": told})
    pod = store.get(Ref("Pod", "n", "a"))
    assert pod and "managedFields" not in pod["metadata"] and "spec" not in pod
    assert pod["metadata"]["annotations"] == {"batch.kubernetes.io/job-completion-index": "0"}
    assert pod["status"] == {"phase": "Failed", "conditions": conditions, "containerStatuses": [container]}

    template = {"metadata": {"annotations": {"noria.dev/look": "x", "other": ""}}, "spec": {"containers": [{}]}}
    spec, status = {"completions": 2, "parallelism": 2, "template": template}, {"conditions": [], "active": 1}
    store.put({"kind": "Job", "metadata": metadata, "spec": spec, "status": status})
    job = store.get(AT)
    metadata["annotations"] = annotations | {"kubectl.kubernetes.io/last-applied-configuration": "{}"}
    store.put({"kind": "Endpoint", "metadata": metadata})
    endpoint = store.get(Ref("Endpoint", "n", "a"))
    assert endpoint and endpoint["metadata"] == thing()["metadata"] | {"annotations": annotations}
    assert job and job["metadata"]["annotations"] == annotations and "managedFields" not in job["metadata"]
    assert job["spec"] == {"completions": 2, "template": {"metadata": {"annotations": {"noria.dev/look": "x"}}}}
    assert job["status"] == {"conditions": []}


@pytest.fixture
def interests() -> Iterator[Any]:
    known = Interests()
    needs = Needs(refs=(Ref("ConfigMap", "n", "c"),), selectors=(Selector("Job", "n", "model", "m"),))
    known.remember(Ref("Endpoint", "n", "e"), needs)
    yield known
    known.forget(Ref("Endpoint", "n", "e"))
    assert not known._needed_by


def test_changes_find_those_that_need_to_see_them(interests: Interests) -> None:
    needing = {Ref("Endpoint", "n", "e")}
    assert interests.in_change(Ref("ConfigMap", "n", "c"), None, None) == needing
    assert interests.in_change(AT, None, thing(model="m")) == needing
    assert interests.in_change(AT, thing(model="m"), thing()) == needing, "it left the selection"
    assert interests.in_change(AT, None, thing(model="other")) == set()
    assert interests.in_change(ref_of(thing("c")), None, None) == set()
