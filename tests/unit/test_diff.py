"""When an apply is needed and when it is not."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria.runtime.diff import APPLIED, contains, stamped

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)
objects = st.dictionaries(st.text(max_size=3), values, max_size=4)


@pytest.mark.parametrize(
    ("live", "desired", "same"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({"a": [{"x": 1, "defaulted": 2}]}, {"a": [{"x": 1}]}, True),
        ({"cpu": "2"}, {"cpu": "2000m"}, True),
        ({"cpu": "2"}, {"cpu": 2}, True),
        ({"cpu": "1500m"}, {"cpu": "1.5"}, True),
        ({"memory": "1Gi"}, {"memory": "1024Mi"}, True),
        ({"memory": "1Gi"}, {"memory": "1G"}, False),
        ({"memory": "1e3"}, {"memory": "1k"}, True),
        ({"x": "2"}, {"x": "two"}, False),
        ({"x": True}, {"x": 1}, True),
        ({}, {"empty": {}, "none": None, "list": []}, True),
        ({}, {"x": {"y": 1}}, False),
        ({"x": None}, {"x": {"y": 1}}, False),
    ],
)
def test_contains(live: Any, desired: Any, same: bool) -> None:
    assert contains(live, desired) is same


@given(objects, objects)
def test_what_was_added_by_others_does_not_matter(desired: dict[str, Any], others: dict[str, Any]) -> None:
    assert contains(others | desired, desired)


@given(objects, st.text(max_size=3))
def test_a_wish_that_is_not_met_is_noticed(desired: dict[str, Any], key: str) -> None:
    assert not contains(desired, desired | {key: "a wish of its own"})


@given(objects)
def test_a_field_no_longer_wished_changes_the_stamp(body: dict[str, Any]) -> None:
    wish = {"metadata": {"name": "a", "annotations": {"x": "y"}}, "body": body, "extra": 1}
    before = copy.deepcopy(wish)
    first = stamped(wish, None)
    del wish["extra"]
    second = stamped(wish, first)
    assert first["metadata"]["annotations"] != second["metadata"]["annotations"]
    assert not contains(first, second)
    assert wish["metadata"] == before["metadata"], "the wish itself stays as it was"


def test_a_live_object_as_a_wish_needs_no_write() -> None:
    live = stamped({"metadata": {"name": "a"}, "spec": {"x": 1}}, None)
    live["spec"]["defaulted"] = 2
    assert contains(live, stamped(live, live))
    assert stamped(live, live)["metadata"]["annotations"] == {APPLIED: live["metadata"]["annotations"][APPLIED]}


def test_a_field_left_out_of_a_live_object_is_noticed() -> None:
    live = stamped({"metadata": {"name": "a"}, "spec": {"x": 1, "y": {"z": 2}}}, None)
    wish = live | {"spec": {"x": 1}}
    assert not contains(live, stamped(wish, live))
    applied = stamped(wish, live)
    assert contains(applied, stamped(applied, applied))
