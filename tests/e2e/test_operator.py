"""The operator itself on the real cluster: deletion while it is down, isolation, foreign objects, what Prometheus sees."""

import json
import urllib.parse
import urllib.request

import pytest

from .conftest import Kubectl, condition, says, training, until


def scale(kubectl: Kubectl, replicas: int) -> None:
    kubectl.run("scale", "deployment", "noria", "-n", "noria-system", f"--replicas={replicas}")
    until(
        lambda: kubectl.get("deployment", "noria", "noria-system")["status"].get("readyReplicas", 0) == replicas,
        f"{replicas} replicas",
    )


def test_deleted_while_the_operator_is_down(kubectl: Kubectl, workspace: str, images: dict[str, str]) -> None:
    spec = {
        "image": images["trainer"],
        "command": ["python3", "-c", "import time; time.sleep(600)"],
        "resources": {"cpu": "100m", "memory": "128Mi"},
        "terminationGracePeriodSeconds": 1,
    }
    kubectl.apply(training("orphan", workspace, **spec))
    says(kubectl, "trainingjob", "orphan", workspace, "Succeeded", "Running")
    scale(kubectl, 0)
    try:
        kubectl.run("delete", "trainingjob", "orphan", "-n", workspace)
        for kind in ("jobs", "pods"):
            until(
                lambda each=kind: not kubectl.list(each, workspace, "noria.dev/owner-name=orphan"),
                f"its {kind} are gone",
            )
    finally:
        scale(kubectl, 1)


@pytest.mark.workspaces
def test_a_namespace_that_exists_is_not_taken(kubectl: Kubectl) -> None:
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "foreign"}})
    kubectl.apply(
        {"apiVersion": "noria.dev/v1alpha1", "kind": "Workspace", "metadata": {"name": "foreign"}, "spec": {}}
    )
    try:
        until(
            lambda: condition(kubectl.get("workspace", "foreign"), "Ready").get("reason") == "NameTaken", "it says so"
        )
        assert "noria.dev/workspace" not in kubectl.get("namespace", "foreign")["metadata"].get("labels", {})
    finally:
        kubectl.run("delete", "workspace", "foreign")
        kubectl.run("delete", "namespace", "foreign", "--wait=false")


@pytest.mark.workspaces
def test_a_workspace_that_retains_keeps_its_namespace(kubectl: Kubectl) -> None:
    kubectl.apply(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Workspace",
            "metadata": {"name": "kept"},
            "spec": {"members": [{"name": "ada"}]},
        }
    )
    until(lambda: condition(kubectl.get("workspace", "kept"), "Ready").get("status") == "True", "it is ready")
    try:
        kubectl.run("delete", "workspace", "kept")
        until(lambda: not kubectl.list("rolebindings", "kept", "app.kubernetes.io/managed-by=noria"), "grants go")
        assert kubectl.get("persistentvolumeclaim", "noria-artifacts", "kept")
        kubectl.apply(
            {
                "apiVersion": "noria.dev/v1alpha1",
                "kind": "Workspace",
                "metadata": {"name": "kept"},
                "spec": {"deletionPolicy": "Delete"},
            }
        )
        until(
            lambda: condition(kubectl.get("workspace", "kept"), "Ready").get("status") == "True",
            "it takes its namespace back",
        )
    finally:
        kubectl.run("delete", "workspace", "kept", "--ignore-not-found")
    until(lambda: not kubectl.get("namespace", "kept"), "the namespace goes")


@pytest.mark.workspaces
def test_what_a_workspace_no_longer_gives_goes(kubectl: Kubectl) -> None:
    team = {"apiVersion": "noria.dev/v1alpha1", "kind": "Workspace", "metadata": {"name": "shrinking"}}
    spec = {"members": [{"name": "ada"}], "quota": {"pods": 5}}
    kubectl.apply(team | {"spec": spec | {"deletionPolicy": "Delete"}})
    try:
        for kind in ("rolebindings", "resourcequotas", "networkpolicies"):
            until(
                lambda each=kind: kubectl.list(each, "shrinking", "app.kubernetes.io/managed-by=noria"), f"its {kind}"
            )
        kubectl.apply(team | {"spec": {"deletionPolicy": "Delete", "isolation": "None"}})
        for kind in ("rolebindings", "resourcequotas", "networkpolicies"):
            until(
                lambda each=kind: not kubectl.list(each, "shrinking", "app.kubernetes.io/managed-by=noria"),
                f"its {kind} go",
            )
    finally:
        kubectl.run("delete", "workspace", "shrinking", "--wait=false")


def test_pods_are_refused_what_restricted_forbids(kubectl: Kubectl, workspace: str, images: dict[str, str]) -> None:
    spec = {"containers": [{"name": "x", "image": images["agent"], "securityContext": {"privileged": True}}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root", "namespace": workspace}, "spec": spec}
    refused = kubectl.run("apply", "-f", "-", stdin=json.dumps(pod), check=False)
    assert "violates PodSecurity" in refused.stderr


def test_prometheus_scrapes_the_operator(kubectl: Kubectl) -> None:
    address = kubectl.get("service", "prometheus", "monitoring")["spec"]["clusterIP"]
    query = urllib.parse.urlencode({"query": "noria_leader == 1"})

    def look() -> list[object]:
        with urllib.request.urlopen(f"http://{address}:9090/api/v1/query?{query}", timeout=5) as answer:
            return list(json.load(answer)["data"]["result"])

    until(look, "noria_leader in Prometheus")


def test_who_may_not_make_pods_may_not_ask_noria_for_them(
    kubectl: Kubectl, workspace: str, images: dict[str, str]
) -> None:
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {"name": "only-trainings", "namespace": workspace},
    }
    rule = {"apiGroups": ["noria.dev"], "resources": ["trainingjobs"], "verbs": ["create", "get", "patch"]}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "only-trainings"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "mallory"}
    kubectl.apply(
        role | {"kind": "Role", "rules": [rule]},
        role | {"kind": "RoleBinding", "roleRef": reference, "subjects": [subject]},
    )
    asked = training("sly", workspace, image=images["trainer"], command=["python3", "-V"])
    refused = kubectl.run("create", "-f", "-", "--as=mallory", stdin=json.dumps(asked), check=False)
    assert "may not create pods" in refused.stderr


def test_an_editor_may_train_and_name_only_secrets_that_exist_for_them(
    kubectl: Kubectl, workspace: str, images: dict[str, str]
) -> None:
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "grace"}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "grace", "namespace": workspace},
    }
    kubectl.apply(binding | {"roleRef": reference, "subjects": [subject]})
    asked = training("honest", workspace, image=images["trainer"], command=["python3", "-V"])
    accepted = kubectl.run("create", "-f", "-", "--as=grace", "--dry-run=server", stdin=json.dumps(asked), check=False)
    assert accepted.returncode == 0, accepted.stderr
