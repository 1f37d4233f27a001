"""What has just been made has no status yet, and what others make may say less than most: no plan fails at it."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from test_golden import CASES
from variants import Variant

from noria.plan.contract import KINDS as KNOWN
from noria.plan.contract import Manifest

OWNERS = sorted({case.parent.name for case in CASES})


def live(variant: Variant) -> list[Manifest]:
    found = [*variant.observed.get("children", [])]
    return found + [one for each in variant.observed.get("related", []) for one in each["objects"]]


def silent(kept: Any) -> Any:
    """Conditions without reasons and messages, and ends of containers without words."""
    if isinstance(kept, dict):
        return {key: silent(value) for key, value in kept.items() if key not in ("reason", "message")}
    return [silent(each) for each in kept] if isinstance(kept, list) else kept


def changed(case: str) -> Iterator[tuple[str, Variant]]:
    """The case with one kind of objects that say nothing yet, of foreign kinds also with those that say little, or with none."""
    for kind in sorted({each["kind"] for each in live(Variant(case))}):
        for what in ("no status", "an empty one", "no words"):
            variant = Variant(case)
            for each in (each for each in live(variant) if each["kind"] == kind and "status" in each):
                if what == "no status":
                    del each["status"]
                elif what == "an empty one":
                    each["status"] = {}
                elif not KNOWN[each["kind"]].api_version.startswith("noria.dev/"):
                    each["status"] = silent(deepcopy(each["status"]))
            yield f"{case}: {kind} with {what}", variant
    variant = Variant(case)
    variant.observed["related"] = []
    yield f"{case}: nothing beside it", variant
    variant = Variant(case)
    variant.observed["children"] = []
    yield f"{case}: nothing of its own", variant


@pytest.mark.parametrize("kind", OWNERS)
def test_no_plan_fails_at_what_says_nothing(kind: str) -> None:
    for case in (f"{kind}/{each.name}" for each in CASES if each.parent.name == kind):
        for what, variant in changed(case):
            try:
                variant.plan()
            except Exception as error:
                raise AssertionError(f"{what}: {error!r}") from error
