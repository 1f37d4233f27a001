"""A control plane with the chart's policies and roles in force, a namespace that holds pods to `restricted`, and three users in it."""

import json
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import yaml

from noria.plan.contract import KINDS, Manifest, Ref

from ..apiserver.conftest import REPOSITORY, ControlPlane, kubectl_of, serving, tool, wait_for

NAMESPACE = "team"
OPERATOR = Ref("ServiceAccount", "noria-system", "noria")
EDITED = ("trainingjobs", "modelversions", "modelendpoints", "components", "pipelines", "pipelineruns")
QUEUE = "X-Kubernetes-PF-FlowSchema-UID"
POD = {"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}
RUNS = {"apiGroups": ["noria.dev"], "resources": ["pipelineruns", "pipelines"], "verbs": ["create", "update", "patch"]}
USERS: dict[str, list[Manifest]] = {"tenant": [], "builder": [POD], "runner": [POD, RUNS]}
"""Rights beside the chart's editor roles. `tenant`: those roles alone; `builder`: pods too, as who has the cluster's role
edit, but no Secret; `runner`: pods and pipelines, and none of the chart's roles."""


class Reply(NamedTuple):
    """What the API server said."""

    status: int
    body: Manifest
    queue: str
    """The uid of the FlowSchema by whose rule it waited."""

    @property
    def refusal(self) -> str:
        """Why it refused; empty if it did not."""
        return "" if self.status < 300 else str(self.body.get("message", self.body))


class Api:
    """Requests as any user, without a process for each."""

    def __init__(self, plane: ControlPlane) -> None:
        self.server, self.context = plane.server, ssl.create_default_context(cafile=str(plane.folder / "server.crt"))

    def ask(self, method: str, path: str, body: Any = None, user: str = "", **query: str) -> Reply:
        """One request, by the administrator on behalf of `user`."""
        told = "&".join(f"{key}={value}" for key, value in {"fieldValidation": "Strict", **query}.items())
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Authorization": "Bearer token-admin", "Content-Type": kind}
        if user:
            headers |= {"Impersonate-User": user, "Impersonate-Group": "system:authenticated"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.server}{path}?{told}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30, context=self.context) as answer:
                return Reply(answer.status, json.load(answer), answer.headers[QUEUE])
        except urllib.error.HTTPError as error:
            return Reply(error.code, json.load(error), error.headers[QUEUE])

    def create(self, manifest: Manifest, user: str = "", dry: bool = True) -> Reply:
        """POST, by default without an effect."""
        query = {"dryRun": "All"} if dry else {}
        return self.ask("POST", path_of(manifest), manifest, user, **query)

    def change(self, manifest: Manifest, change: Manifest, user: str) -> Reply:
        """A merge patch without an effect."""
        return self.ask("PATCH", f"{path_of(manifest)}/{manifest['metadata']['name']}", change, user, dryRun="All")


def path_of(manifest: Manifest) -> str:
    """Where objects of the kind are made."""
    kind = KINDS[manifest["kind"]]
    group = f"/apis/{kind.api_version}" if "/" in kind.api_version else f"/api/{kind.api_version}"
    place = f"/namespaces/{manifest['metadata']['namespace']}" if kind.namespaced else ""
    return f"{group}{place}/{kind.plural}"


@pytest.fixture(scope="session")
def chart() -> list[Manifest]:
    """What the chart renders, with its defaults."""
    named = ["noria", REPOSITORY / "charts/noria", "--namespace", OPERATOR.namespace]
    command = [tool("helm"), "template", *named, "--api-versions", "serving.kserve.io/v1alpha1"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    return [each for each in yaml.safe_load_all(ran.stdout) if each]


@pytest.fixture(scope="session")
def runtime(chart: list[Manifest]) -> Manifest:
    """The chart's own ServingRuntime."""
    return next(each for each in chart if each["kind"] == "ClusterServingRuntime")


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory, chart: list[Manifest]) -> Iterator[Api]:
    """The control plane; its policies are in force."""
    with serving(tmp_path_factory.mktemp("attacks")) as plane:
        kubectl = kubectl_of(plane)
        kinds = ("ValidatingAdmission", "ClusterRole", "PriorityLevel", "FlowSchema")
        wanted = [each for each in chart if each["kind"].startswith(kinds)]
        made = kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all([*wanted, *_team()]))
        assert made.returncode == 0, made.stderr
        running = Api(plane)
        for policy in PROBES:
            wait_for(lambda policy=policy: f"noria-{policy}" in running.create(*PROBES[policy]).refusal)
        yield running


def _team() -> Iterator[Manifest]:
    enforce = {f"pod-security.kubernetes.io/{each}": "restricted" for each in ("enforce", "warn")}
    for place in (NAMESPACE, "victim"):
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": place, "labels": enforce}}
        for account in ("noria-runner", "default"):
            yield {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": place}}
    for user, rules in USERS.items():
        metadata = {"name": user, "namespace": NAMESPACE}
        yield {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": rules}
        yield _binding(user, "Role", user)
        if user != "runner":
            for plural in EDITED:
                yield _binding(user, "ClusterRole", f"noria-{plural}-editor")


def _binding(user: str, kind: str, role: str) -> Manifest:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": f"{user}-{role}", "namespace": NAMESPACE},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"kind": "User", "name": user}],
    }


def noria(kind: str, name: str, spec: Manifest, **metadata: Any) -> Manifest:
    """An object of Noria's in the team's namespace."""
    place = {"namespace": NAMESPACE} if KINDS[kind].namespaced else {}
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, **place, **metadata},
        "spec": spec,
    }


ENDPOINT = {"model": {"name": "m", "track": "Latest"}}
RUN = {"pipeline": "p"}
PROBES: dict[str, tuple[Manifest, str]] = {
    "requester": (noria("TrainingJob", "probe", {"image": "i"}), "tenant"),
    "actions": (noria("Endpoint", "probe", ENDPOINT, annotations={"noria.dev/retrain": "now"}), "builder"),
    "pipelines": (noria("PipelineRun", "probe", RUN), "tenant"),
    "approvals": (noria("PipelineRun", "probe", RUN, annotations={"noria.dev/approve": "s"}), "builder"),
    "marks": (noria("Component", "probe", {"run": {"image": "i"}}, labels={"noria.dev/owner-uid": "x"}), "builder"),
}
"""What each policy refuses, and whom, to know when it is in force."""
