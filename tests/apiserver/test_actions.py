"""Who may act by hand: the chart's admission policy on a real API server, as three users with different rights see it."""

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

RIGHTS = {
    "ada": ["approve", "retrain", "rollback"],
    "grace": ["retrain"],
    "eve": [],
    "mallory": ["retrain", "rollback"],
}
"""Of modelendpoints; all but mallory may create pods."""
Act = Callable[..., str]


@pytest.fixture(scope="module")
def policy(kubectl: Any, repository: Any, helm: str) -> Iterator[None]:
    """The policy of actions, which is the whole cluster's, for these tests alone."""
    template = ["template", "noria", repository / "charts/noria", "-s", "templates/admission.yaml"]
    ran = subprocess.run([helm, *template], capture_output=True, text=True, check=True)
    documents = [each for each in yaml.safe_load_all(ran.stdout) if each["metadata"]["name"] == "noria-actions"]
    manifests = yaml.safe_dump_all(documents)
    assert len(documents) == 2 and kubectl("apply", "-f", "-", stdin=manifests).returncode == 0
    yield
    kubectl("delete", "-f", "-", stdin=manifests)


@pytest.fixture
def act(kubectl: Any, namespace: str, policy: None, eventually: Any) -> Act:
    """Patches the Endpoint as a user; gives what the API server refused it with, or nothing."""
    pods = {"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}
    for user, verbs in RIGHTS.items():
        rule = {
            "apiGroups": ["noria.dev"],
            "resources": ["modelendpoints"],
            "verbs": ["get", "patch", "update", *verbs],
        }
        role = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": user},
            "rules": [rule, *([] if user == "mallory" else [pods])],
        }
        assert kubectl("apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump(role)).returncode == 0
        bound = kubectl("create", "rolebinding", user, "-n", namespace, f"--role={user}", f"--user={user}")
        assert bound.returncode == 0, bound.stderr
    spec = {"model": {"name": "m", "track": "Latest"}, "rollout": {"approval": "Manual"}}
    made = {"apiVersion": "noria.dev/v1alpha1", "kind": "Endpoint", "metadata": {"name": "a"}, "spec": spec}
    assert kubectl("apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump(made)).returncode == 0

    def patch(user: str, spec: dict[str, Any] | None = None, dry: bool = False, **wishes: str | None) -> str:
        annotations = {f"noria.dev/{name.replace('_', '-')}": value for name, value in wishes.items()}
        change = {"metadata": {"annotations": annotations}} | ({"spec": spec} if spec else {})
        told = ["modelendpoints.noria.dev", "a", "-n", namespace, f"--as={user}", "--type=merge"]
        ran = kubectl("patch", *told, "-p", json.dumps(change), *(["--dry-run=server"] if dry else []))
        assert ran.returncode == 0 or ran.stderr, ran
        return "" if ran.returncode == 0 else str(ran.stderr)

    eventually(lambda: "noria.dev/by=eve" in patch("eve", dry=True, retrain="x"))
    eventually(lambda: patch("ada", dry=True, by="ada", approve="m-1", retrain="x", rollback_to="m-1") == "")
    eventually(lambda: "may not approve" in patch("grace", dry=True, by="grace", approve="m-1"))
    return patch


@pytest.mark.parametrize("rollout", [{"approval": "Automatic"}, {"approval": None}, None])
def test_who_takes_the_approval_away_approves(act: Act, rollout: Any) -> None:
    assert "user grace may not approve" in act("grace", {"rollout": rollout})
    assert act("grace", {"rollout": {"drainSeconds": 20}}) == "", "another field of rollout is free"
    assert act("ada", {"rollout": rollout}) == ""
    assert act("grace", {"rollout": {"approval": "Manual"}}) == "", "asking for approval needs no right"


def test_nobody_takes_over_what_another_asked_for(act: Act) -> None:
    assert act("ada", by="ada", approve="m-1") == ""
    refusal = "ada asked for noria.dev/approve, which is not done with yet: wait until the annotation is gone"
    assert refusal in act("grace", by="grace")
    assert refusal in act("grace", by="grace", retrain="x"), "the approval would be told as grace's"
    assert refusal in act("grace", by="grace", approve="m-1")
    assert refusal in act("eve", by=None)
    assert act("ada", retrain="x") == "", "ada may ask for more"


def test_a_wish_that_is_replaced_or_removed_is_nobodys(act: Act) -> None:
    assert act("ada", by="ada", retrain="x") == ""
    assert act("grace", by="grace", retrain="y") == "", "grace may retrain"
    assert act("ada", by="ada", approve="m-1", retrain=None) == "", "ada may, and grace's wish is gone"


def test_who_removes_a_wish_may_make_it(act: Act) -> None:
    assert act("ada", by="ada", approve="m-1", rollback_to="m-1") == ""
    assert "may not approve" in act("grace", approve=None)
    assert "may not rollback" in act("grace", rollback_to=None)
    assert act("ada", approve=None, rollback_to=None, by=None) == ""
    assert act("grace", by="grace", retry="m-2") == ""
    assert "may not retrain" in act("eve", retry=None, by=None)
    assert act("ada", retry=None, by=None) == ""


@pytest.mark.parametrize("wish", ["retrain", "retry", "rollback_to"])
def test_who_may_make_no_pods_may_not_have_them_made(act: Act, wish: str) -> None:
    assert "user mallory may not create pods in namespace" in act("mallory", by="mallory", **{wish: "m-1"})
