"""Golden cases with something changed: what differs from one in a word or a second needs no folder of its own."""

from copy import deepcopy
from datetime import timedelta
from functools import cache
from typing import Any

from test_golden import BY_KIND, HERE, load, read_observed

from noria.plan.contract import Manifest, Needs, Plan


class Variant:
    """A golden case; `resource`, `observed` and what lies in them may be changed before it is planned."""

    def __init__(self, case: str) -> None:
        self.resource, self.observed = deepcopy(_documents(case))

    @property
    def spec(self) -> Manifest:
        found: Manifest = self.resource["spec"]
        return found

    @property
    def status(self) -> Manifest:
        found: Manifest = self.resource["status"]
        return found

    def asks(self, **annotations: str) -> "Variant":
        """What somebody asks for by hand; `_` stands for `-`."""
        known = self.resource["metadata"].setdefault("annotations", {})
        known |= {f"noria.dev/{name.replace('_', '-')}": value for name, value in annotations.items()}
        return self

    def related(self, kind: str) -> list[Manifest]:
        """The objects of a kind beside it."""
        found: list[Manifest] = next(
            each["objects"]
            for each in self.observed["related"]
            if (each.get("selector") or each["ref"])["kind"] == kind
        )
        return found

    def child(self, kind: str, name: str = "") -> Manifest:
        """The live child of a kind, of which there may be several."""
        found: Manifest = next(
            each
            for each in self.observed["children"]
            if each["kind"] == kind and name in ("", each["metadata"]["name"])
        )
        return found

    def without(self, kind: str, name: str = "") -> "Variant":
        """A child, or an object beside it, is gone."""
        lists = (self.observed.get("children", []), *(each["objects"] for each in self.observed.get("related", [])))
        for each in lists:
            each[:] = [one for one in each if one["kind"] != kind or name not in ("", one["metadata"]["name"])]
        return self

    def later(self, seconds: float) -> "Variant":
        self.observed["now"] = self.observed["now"] + timedelta(seconds=seconds)
        return self

    def plan(self) -> Plan:
        controller = BY_KIND[self.resource["kind"]]
        planned: Plan = controller.plan(controller.resource.model_validate(self.resource), read_observed(self.observed))
        return planned

    def needs(self) -> Needs:
        controller = BY_KIND[self.resource["kind"]]
        settings = read_observed(self.observed).settings
        found: Needs = controller.needs(controller.resource.model_validate(self.resource), settings)
        return found

    def told(self, type: str) -> str:
        """A condition of the plan, in one line."""
        said = next(each for each in self.plan().status.manifest()["conditions"] if each["type"] == type)
        return f"{said['status']} {said['reason']}: {said['message']}"

    def events(self) -> list[str]:
        return [f"{each.type} {each.reason}: {each.message}" for each in self.plan().events]


@cache
def _documents(case: str) -> tuple[Any, Any]:
    return load(HERE / case / "resource.yaml"), load(HERE / case / "observed.yaml")
