"""What is laid aside comes back as it was, however odd it is."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from noria.plan.contract import Manifest, Ref
from noria.runtime.shelf import OPEN, Shelf

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def at(number: int) -> Ref:
    return Ref("Job", "n", str(number))


def laid_aside(manifest: Manifest) -> tuple[Shelf, Any]:
    """A shelf on which others were put since, and what it holds of the manifest."""
    shelf = Shelf()
    shelf[at(0)] = manifest
    for number in range(1, OPEN + 1):
        shelf[at(number)] = {}
    return shelf, shelf._held[at(0)]


@given(st.dictionaries(st.text(), VALUES))
def test_it_comes_back_as_it_was(manifest: Manifest) -> None:
    shelf, held = laid_aside(manifest)
    assert isinstance(held, bytes) and shelf[at(0)] == manifest


def test_what_cannot_be_written_stays_as_it_is() -> None:
    """Half a surrogate pair is JSON, and no text; and the API server takes 10,000 levels."""
    deep: Manifest = {}
    for _ in range(300):
        deep = {"a": deep}
    for manifest in ({"a": "\ud800"}, deep):
        shelf, held = laid_aside(manifest)
        assert held is manifest is shelf[at(0)]


def test_what_is_nested_deeper_than_it_is_read_comes_back() -> None:
    deep: Manifest = {}
    for _ in range(230):
        deep = {"a": deep}
    shelf, held = laid_aside(deep)
    assert isinstance(held, bytes) and shelf[at(0)] == deep


@given(st.lists(st.tuples(st.sampled_from(["set", "get", "del"]), st.integers(0, 2 * OPEN)), max_size=300))
def test_it_is_a_mapping_and_few_of_it_are_open(steps: list[tuple[str, int]]) -> None:
    shelf, model = Shelf(), dict[Ref, Manifest]()
    for turn, (step, number) in enumerate(steps):
        if step == "set":
            shelf[at(number)] = model[at(number)] = {"turn": turn}
        elif step == "get":
            assert shelf.get(at(number)) == model.get(at(number))
        else:
            assert shelf.pop(at(number), None) == model.pop(at(number), None)
        assert len(shelf) == len(model) and set(shelf) == set(model)
        assert sum(isinstance(each, dict) for each in shelf._held.values()) <= OPEN
    assert dict(shelf) == model


def test_what_is_used_stays_open() -> None:
    """Its model is known by its identity."""
    shelf = Shelf()
    shelf[at(0)] = kept = {"a": "b"}
    for number in range(1, 3 * OPEN):
        shelf[at(number)] = {}
        assert shelf[at(0)] is kept
