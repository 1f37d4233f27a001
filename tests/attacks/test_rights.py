"""What the chart grants, and that its policies leave honest requests alone."""

import json
from typing import Any

import yaml

from noria.plan.contract import Manifest

from ..apiserver.conftest import REPOSITORY
from . import oracle
from .conftest import NAMESPACE, OPERATOR, Api, noria

GOLDEN = REPOSITORY / "tests/golden"
USER = f"system:serviceaccount:{OPERATOR.namespace}:{OPERATOR.name}"
MARKS = {"noria.dev/owner-kind": "PipelineRun", "noria.dev/owner-name": "r", "noria.dev/owner-uid": "u"}
VERSION = {"model": "restored", "version": 1, "uri": "pvc://c/x", "format": "onnx"}


def test_the_operator_has_no_verb_on_secrets_and_none_on_everything(chart: list[Manifest]) -> None:
    roles = [each for each in chart if each["kind"] in ("Role", "ClusterRole")]
    rules = [rule for each in roles for rule in each["rules"]]
    assert len(rules) > 20
    for rule in rules:
        assert not {"secrets", "*", "pods/exec", "pods/attach", "serviceaccounts/token"} & set(rule["resources"])
        assert not {"*", "impersonate", "escalate"} & set(rule["verbs"]) and "*" not in rule["apiGroups"]
        assert "bind" not in rule["verbs"] or rule["resourceNames"] == ["admin", "edit", "view"]


def test_no_role_of_the_chart_lets_an_editor_write_status_or_adopt(chart: list[Manifest]) -> None:
    editors = [each for each in chart if each["kind"] == "ClusterRole" and each["metadata"]["name"].endswith("-editor")]
    assert len(editors) == 7
    for rule in (rule for each in editors for rule in each["rules"]):
        assert not [each for each in rule["resources"] if "/" in each]
        assert not {"adopt", "approve"} & set(rule["verbs"])


def test_the_operators_pod_is_restricted(api: Api, chart: list[Manifest]) -> None:
    (deployment,) = (each for each in chart if each["kind"] == "Deployment")
    spec = deployment["spec"]["template"]["spec"] | {"serviceAccountName": "default"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "operator", "namespace": NAMESPACE}, "spec": spec}
    assert api.create(pod).refusal == ""


def test_every_pod_of_every_golden_plan_is_restricted(api: Api, runtime: Manifest) -> None:
    """Trainings and their publishers, steps, looks, scorers, probes, sweeps and servers."""
    plans = (yaml.safe_load(path.read_text()) for path in sorted(GOLDEN.glob("*/*/plan.yaml")))
    planned = [
        each for plan in plans for each in (*plan.get("children", ()), *plan.get("creates", ())) if "spec" in each
    ]
    planned = [each | {"metadata": each["metadata"] | {"namespace": NAMESPACE}} for each in planned]
    pods = {json.dumps(pod["spec"], sort_keys=True): pod for each in planned for pod in oracle.pods(each, runtime)}
    assert {pod["metadata"]["labels"]["noria.dev/role"] for pod in pods.values() if "labels" in pod["metadata"]} == {
        "training",
        "publish",
        "step",
        "look",
        "score",
        "probe",
        "sweep",
    }
    assert [told for pod in pods.values() if (told := api.create(pod).refusal)] == []


def test_what_noria_and_who_restores_a_backup_write_is_marked(api: Api) -> None:
    reference = {"apiVersion": "noria.dev/v1alpha1", "kind": "PipelineRun", "name": "r", "uid": "u"}
    metadata: Manifest = {"labels": MARKS, "ownerReferences": [reference]}
    for manifest in (
        noria("TrainingJob", "marked", {"image": "i"}, **metadata),
        noria("ModelVersion", "restored-1", VERSION, labels=MARKS),
    ):
        for user in (USER, ""):
            assert api.create(manifest, user).refusal == ""


def test_what_bears_marks_may_be_edited_beside_them(api: Api) -> None:
    child = noria("TrainingJob", "child", {"image": "i"}, labels=MARKS | {"team": "vision"})
    assert api.create(child, dry=False).refusal == ""
    changes: list[Manifest] = [
        {"metadata": {"labels": {"team": "speech"}, "annotations": {"note": "x"}}},
        {"metadata": {"labels": {"noria.dev/owner-uid": None}}},
        {"spec": {"suspend": True}},
    ]
    for change in changes:
        assert api.change(child, change, "builder").refusal == ""
    assert api.create(noria("Component", "own", {"run": {"image": "i"}}, labels={"team": "x"}), "builder").refusal == ""


def test_many_keys_of_few_secrets_may_be_named(api: Api) -> None:
    """One check of the authorizer costs a third of what an expression may: names that repeat are asked for once."""

    def keys(count: int, secrets: int) -> list[Any]:
        named = ({"name": f"s{n % secrets}", "key": f"k{n}"} for n in range(count))
        return [{"name": f"K{n}", "valueFrom": {"secretKeyRef": each}} for n, each in enumerate(named)]

    env = keys(100, 12)
    steps = [{"name": f"s{n}", "run": {"image": "i", "env": keys(2, 2)}} for n in range(400)]
    deploys = [
        {"name": f"d{n}", "deploy": {"endpoint": f"e{n % 12}"}, "inputs": [{"name": "version", "value": "m-1"}]}
        for n in range(50)
    ]
    for manifest in (
        noria("TrainingJob", "many", {"image": "i", "env": env}),
        noria("Component", "many", {"run": {"image": "i", "env": env}}),
        noria("Pipeline", "many", {"steps": [*steps, *deploys]}),
    ):
        assert api.create(manifest).refusal == ""


def test_who_may_change_an_endpoint_may_deploy_to_it(api: Api) -> None:
    step = {"name": "d", "deploy": {"endpoint": "prod"}, "inputs": [{"name": "version", "value": "m-1"}]}
    assert api.create(noria("PipelineRun", "run", {"inline": {"steps": [step]}}), "builder").refusal == ""
