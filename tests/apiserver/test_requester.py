"""Whose pods and Secrets an Endpoint may use: the chart's policy on a real API server, for both ways to retrain."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

Manifest = dict[str, Any]
SECRET = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
TEMPLATE = {"recipe": {"name": "classifier"}}


def endpoint(name: str, **retrain: Any) -> Manifest:
    drift = {"name": "drift", "type": "DataDrift", "threshold": 0.2}
    spec = {
        "model": {"name": "m", "track": "Deployed"},
        "monitoring": {"signals": [drift]},
        "retrain": {"signals": ["drift"], **retrain},
    }
    return {"apiVersion": "noria.dev/v1alpha1", "kind": "Endpoint", "metadata": {"name": name}, "spec": spec}


@pytest.fixture(scope="module")
def policy(kubectl: Any, repository: Any, helm: str) -> Iterator[None]:
    """The policy of requesters, which is the whole cluster's, for these tests alone."""
    template = ["template", "noria", repository / "charts/noria", "-s", "templates/admission.yaml"]
    ran = subprocess.run([helm, *template], capture_output=True, text=True, check=True)
    documents = [each for each in yaml.safe_load_all(ran.stdout) if each["metadata"]["name"] == "noria-requester"]
    manifests = yaml.safe_dump_all(documents)
    assert len(documents) == 2 and kubectl("apply", "-f", "-", stdin=manifests).returncode == 0
    yield
    kubectl("delete", "-f", "-", stdin=manifests)


def test_a_template_may_name_what_its_author_may_read_and_a_pipeline_needs_the_right_to_make_pods(
    kubectl: Any, namespace: str, policy: None, eventually: Any
) -> None:
    rights = {"ada": [("create,get", "modelendpoints.noria.dev"), ("create", "pods")], "eve": [("create,get", "modelendpoints.noria.dev")]}  # fmt: skip
    for user, rules in rights.items():
        for number, (verbs, resource) in enumerate(rules):
            role = f"{user}-{number}"
            kubectl("create", "role", role, f"--verb={verbs}", f"--resource={resource}", "-n", namespace)
            kubectl("create", "rolebinding", role, f"--role={role}", f"--user={user}", "-n", namespace)

    def create(user: str, manifest: Manifest) -> Any:
        told = ["-n", namespace, f"--as={user}", "--dry-run=server", "-f", "-"]
        return kubectl("create", *told, stdin=json.dumps(manifest))

    eventually(lambda: "may not create pods" in create("eve", endpoint("a", pipeline={"name": "p"})).stderr)
    assert "may not create pods" in create("eve", endpoint("a", template=TEMPLATE)).stderr
    made = create("ada", endpoint("a", pipeline={"name": "p", "parameters": [{"name": "x", "value": 1}]}))
    assert made.returncode == 0, made.stderr
    assert create("ada", endpoint("a", template=TEMPLATE)).returncode == 0
    refused = create("ada", endpoint("a", template=TEMPLATE | {"env": SECRET}))
    assert "may not read every Secret that this object names: s" in refused.stderr
