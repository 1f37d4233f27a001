"""One who floods waits behind itself: whose requests stand in which queue of the API server."""

from typing import Any

import pytest

from ..apiserver.conftest import wait_for
from .conftest import NAMESPACE, OPERATOR, Api, noria

SCHEMAS = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
ACCOUNT = f"system:serviceaccount:{OPERATOR.namespace}:{OPERATOR.name}"
TRAINING = noria("TrainingJob", "flood", {"image": "i"})


@pytest.fixture(scope="module")
def schemas(api: Api) -> dict[str, str]:
    """The chart's FlowSchemas by uid, in force."""
    names = {each["metadata"]["uid"]: each["metadata"]["name"] for each in api.ask("GET", SCHEMAS).body["items"]}
    wait_for(lambda: names.get(api.create(TRAINING, "builder").queue) == "noria-tenants")
    wait_for(lambda: names.get(api.create(TRAINING, ACCOUNT).queue) == "noria-operator")
    return names


@pytest.mark.parametrize(
    ("method", "path", "user", "queue"),
    [
        ("POST", f"/apis/noria.dev/v1alpha1/namespaces/{NAMESPACE}/trainingjobs", "builder", "noria-tenants"),
        ("DELETE", f"/apis/noria.dev/v1alpha1/namespaces/{NAMESPACE}/pipelines/none", "builder", "noria-tenants"),
        ("GET", f"/apis/noria.dev/v1alpha1/namespaces/{NAMESPACE}/trainingjobs", "builder", "global-default"),
        ("POST", f"/api/v1/namespaces/{NAMESPACE}/pods", "builder", "global-default"),
        ("POST", f"/apis/noria.dev/v1alpha1/namespaces/{NAMESPACE}/trainingjobs", ACCOUNT, "noria-operator"),
        ("GET", "/api/v1/pods", ACCOUNT, "noria-operator"),
    ],
)
def test_writes_of_norias_objects_take_turns_and_the_operator_does_not_wait_behind_them(
    method: str, path: str, user: str, queue: str, api: Api, schemas: dict[str, str]
) -> None:
    body: Any = TRAINING if method == "POST" else None
    assert schemas[api.ask(method, path, body, user, dryRun="All").queue] == queue


def test_the_tenants_queue_exists(api: Api) -> None:
    """The schema names a level that is there."""
    conditions = api.ask("GET", f"{SCHEMAS}/noria-tenants").body["status"]["conditions"]
    assert {each["type"]: each["status"] for each in conditions}["Dangling"] == "False"
