"""A behaviour is a folder: what was written and observed, and what must be planned. `pytest tests/golden --rewrite` renews plan.yaml."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from noria.plan.contract import Answer, Observed, Plan, Query, Ref, Row, Selector, Settings
from noria.plan.controllers import CONTROLLERS
from noria.plan.wheel import promql

HERE = Path(__file__).parent
CASES = sorted(path.parent for path in HERE.glob("*/*/resource.yaml"))
BY_KIND = {controller.resource.kind(): controller for controller in CONTROLLERS}
SETTINGS = Settings.model_validate(yaml.safe_load((HERE / "settings.yaml").read_text()))


class Plain(yaml.CSafeDumper):
    """YAML without anchors: reviewers read each object as it is applied."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def load(path: Path) -> Any:
    return yaml.load(path.read_text(), yaml.CSafeLoader)


def read_observed(document: dict[str, Any]) -> Observed:
    related: dict[Ref | Selector, tuple[dict[str, Any], ...]] = {}
    for each in document.get("related", []):
        key = Ref(**each["ref"]) if "ref" in each else Selector(**each["selector"])
        related[key] = tuple(each["objects"])
    return Observed(
        settings=SETTINGS.model_copy(update=document.get("settings", {})),
        now=document["now"],
        children=tuple(document.get("children", [])),
        related=related,
        answers={read_query(each): read_answer(each) for each in document.get("answers", [])},
        absent=frozenset(document.get("absent", ["PodMonitor", "PrometheusRule"])),
    )


def read_query(answer: dict[str, Any]) -> Query:
    """A query by its builders and their arguments, as `feature_psi(3600)`, or in PromQL for one of the user's own."""
    if "promql" in answer:
        return Query(answer["promql"], answer.get("label", ""))
    text = " or ".join(getattr(promql, name)(**arguments) for name, arguments in answer["ask"].items())
    by_feature = answer["ask"].keys() & {"feature_psi", "quality", "schema_errors"}
    return Query(promql.worst(text) if by_feature and not answer.get("every") else text, "modelendpoint")


def read_answer(answer: dict[str, Any]) -> Answer:
    """Rows as lists of labels and value, or an error."""
    rows = tuple(
        Row({k: str(v) for k, v in each.items() if k != "value"}, float(each["value"]))
        for each in answer.get("rows", [])
    )
    return Answer(rows, answer.get("error"), answer.get("at"))


def render(plan: Plan) -> str:
    """A plan as YAML for reviewers: what is empty is left out, what stays as it is is named and not repeated."""
    document = {
        "status": plan.status.manifest(),
        "children": list(plan.children),
        "creates": list(plan.creates),
        "deletes": [each["metadata"]["name"] for each in plan.deletes],
        "events": [" ".join((event.type, event.reason, f"[{event.cycle}]", event.message)) for event in plan.events],
        "requeueAfter": plan.requeue_after,
        "clearAnnotations": list(plan.clear_annotations),
        "passing": plan.passing or None,
        "deleteSelf": plan.delete_self or None,
    }
    filled = {key: value for key, value in document.items() if value not in ([], None)}
    return yaml.dump(filled, Dumper=Plain, sort_keys=False, width=140)


def shorten(plan: Plan, observed: Observed) -> Plan:
    """`plan` with children that stay exactly as observed cut down to their names."""
    live = {(each["kind"], each["metadata"]["name"]): each for each in observed.children}

    def short(child: dict[str, Any]) -> dict[str, Any]:
        same = live.get((child["kind"], child["metadata"]["name"]))
        if same and {key: value for key, value in same.items() if key not in ("status", "metadata")} == {
            key: value for key, value in child.items() if key != "metadata"
        }:
            return {"kind": child["kind"], "metadata": {"name": child["metadata"]["name"]}, "unchanged": True}
        return child

    return dataclasses.replace(plan, children=tuple(short(each) for each in plan.children))


@pytest.mark.parametrize("case", CASES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_plan(case: Path, request: pytest.FixtureRequest) -> None:
    written = load(case / "resource.yaml")
    controller = BY_KIND[written["kind"]]
    resource, observed = controller.resource.model_validate(written), read_observed(load(case / "observed.yaml"))
    needs = controller.needs(resource, observed.settings)
    asked = {*needs.selectors, *needs.refs, *needs.queries}
    assert asked >= observed.related.keys() | observed.answers.keys(), "observed.yaml answers what was not asked"
    rendered = render(shorten(controller.plan(resource, observed), observed))
    expected = case / "plan.yaml"
    if request.config.getoption("--rewrite"):
        expected.write_text(rendered)
    assert rendered == expected.read_text()


def test_cases_are_found() -> None:
    assert {path.parent.name for path in CASES} == {"workspace", "trainingjob", "endpoint", "pipeline", "pipelinerun"}
