"""The real cluster that `make up` left, and a way to wait for what its objects say."""

import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
KUBECONFIG = Path(os.environ.get("NORIA_KUBECONFIG", ROOT / ".cluster" / "kubeconfig"))
AUDIT_LOG = ROOT / ".cluster" / "audit.log"
"""What the operator asked the API server of the local cluster."""
REPLACED = ROOT / ".cluster" / "replaced"
"""Names of the operator's pods whose rights went while they ran, a line each."""
OPERATOR = "app.kubernetes.io/name=noria"
Manifest = dict[str, Any]


class Kubectl:
    """kubectl against the cluster, for objects as JSON."""

    def run(self, *arguments: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        binary = ROOT / ".cluster" / "bin" / "kubectl"
        command = [str(binary if binary.exists() else "kubectl"), "--kubeconfig", str(KUBECONFIG), *arguments]
        ran = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=120)
        assert not check or ran.returncode == 0, f"{' '.join(arguments)}: {ran.stderr}"
        return ran

    def apply(self, *manifests: Manifest) -> None:
        self.run("apply", "-f", "-", stdin=yaml.safe_dump_all(manifests))

    def get(self, kind: str, name: str, namespace: str | None = None) -> Manifest:
        """The object; empty while it does not exist."""
        scope = ["-n", namespace] if namespace else []
        text = self.run("get", kind, name, *scope, "-o", "json", "--ignore-not-found").stdout
        return dict(json.loads(text)) if text.strip() else {}

    def list(self, kind: str, namespace: str | None = None, labels: str = "") -> list[Manifest]:
        scope = ["-n", namespace] if namespace else ["-A"]
        return list(json.loads(self.run("get", kind, *scope, "-l", labels, "-o", "json").stdout)["items"])


def condition(manifest: Manifest, type: str) -> dict[str, str]:
    """The condition of that type; empty while there is none."""
    return next((each for each in manifest.get("status", {}).get("conditions", []) if each["type"] == type), {})


def until(look: Callable[[], Any], what: str, seconds: float = 180) -> Any:
    """What `look` gives once it is true; fails with its last answer's story after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.5)


def helm(*arguments: str) -> None:
    """Changes the installation, and waits until its pods are ready."""
    binary, where = str(ROOT / ".cluster/bin/helm"), ["--namespace", "noria-system", "--kubeconfig", str(KUBECONFIG)]
    command = [binary, *arguments, "--wait", *where]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
    assert ran.returncode == 0, f"{' '.join(arguments)}: {ran.stderr}"


def tell(kubectl: Kubectl, *namespaces: str) -> str:
    """Tells the operator of these namespaces, or of all; name of its pod, when it is the only one."""
    lose(kubectl)
    listed = f"namespaces={json.dumps(namespaces)}"
    helm("upgrade", "noria", str(ROOT / "charts/noria"), "--reuse-values", "--set-json", listed)
    return alone(kubectl)


def untell(kubectl: Kubectl) -> None:
    """Takes the last `tell` back."""
    lose(kubectl)
    helm("rollback", "noria")
    alone(kubectl)


def lose(kubectl: Kubectl) -> None:
    """Notes that the rights of the operator's pods go from here on: what they ask for is refused."""
    with REPLACED.open("a") as names:
        names.writelines(f"{each['metadata']['name']}\n" for each in kubectl.list("pods", "noria-system", OPERATOR))


def alone(kubectl: Kubectl) -> str:
    """Name of the operator's pod, when it is the only one."""

    def look() -> str | None:
        pods = kubectl.list("pods", "noria-system", OPERATOR)
        return str(pods[0]["metadata"]["name"]) if len(pods) == 1 else None

    return str(until(look, "one pod of the operator"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "workspaces: the operator must see the whole cluster, as Workspaces need it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --listed what is of Workspaces is left out."""
    if not config.getoption("--listed"):
        return
    left = [each for each in items if each.get_closest_marker("workspaces")]
    config.hook.pytest_deselected(items=left)
    items[:] = [each for each in items if each not in left]


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    assert KUBECONFIG.exists(), f"{KUBECONFIG} is not there: run `make up`"
    return Kubectl()


@pytest.fixture(scope="session")
def images() -> dict[str, str]:
    """References of the project's images on the cluster."""
    return dict(json.loads((ROOT / ".cluster" / "images.json").read_text()))


@pytest.fixture(scope="session")
def workspace(kubectl: Kubectl, images: dict[str, str], pytestconfig: pytest.Config) -> Iterator[str]:
    """A Workspace of the test run's own, with data in its claim; gone afterwards with all that is in it. With --listed the
    operator is told of its namespace alone then, and both stay, for tests/evidence."""
    listed = pytestconfig.getoption("--listed")
    if listed:
        tell(kubectl)  # of an earlier run it may know another namespace alone
    name = f"e2e-{uuid.uuid4().hex[:6]}"
    kubectl.apply(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Workspace",
            "metadata": {"name": name},
            "spec": {"deletionPolicy": "Delete", "storage": {"size": "2Gi"}},
        }
    )
    until(lambda: condition(kubectl.get("workspace", name), "Ready").get("status") == "True", f"Workspace {name} Ready")
    data = yaml.safe_load((ROOT / "examples/quickstart/10-data.yaml").read_text())
    data["metadata"]["namespace"] = name
    data["spec"]["template"]["spec"]["containers"][0]["image"] = images["trainer"]
    for dataset in ("digits", "iris", "docstrings"):
        job = json.loads(json.dumps(data))
        job["metadata"]["name"] = f"data-{dataset}"
        job["spec"]["template"]["spec"]["containers"][0]["command"][-2:] = [dataset, f"/data/{dataset}"]
        kubectl.apply(job)
    for dataset in ("digits", "iris", "docstrings"):
        until(
            lambda each=dataset: kubectl.get("job", f"data-{each}", name).get("status", {}).get("succeeded"),
            f"data {dataset}",
        )
    if listed:
        tell(kubectl, name)
    yield name
    if not listed:
        kubectl.run("delete", "workspace", name, "--wait=false")


@pytest.fixture(autouse=True)
def own_endpoints(kubectl: Kubectl, workspace: str) -> Iterator[None]:
    """Those that a test makes go with it, however it ends: their pods stand where the next test's should."""
    before = kubectl.run("get", "modelendpoints", "-n", workspace, "-o", "name").stdout.split()
    yield
    after = kubectl.run("get", "modelendpoints", "-n", workspace, "-o", "name").stdout.split()
    if made := sorted(set(after) - set(before)):
        kubectl.run("delete", *made, "-n", workspace)


def training(name: str, namespace: str, **spec: Any) -> Manifest:
    """A TrainingJob."""
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def endpoint(name: str, namespace: str, **spec: Any) -> Manifest:
    """An Endpoint."""
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "Endpoint",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def finished(kubectl: Kubectl, name: str, namespace: str, seconds: float = 300) -> Manifest:
    """The TrainingJob once it has ended, in success or failure."""

    def look() -> Manifest | None:
        job = kubectl.get("trainingjob", name, namespace)
        return job if condition(job, "Succeeded").get("status") in ("True", "False") else None

    return dict(until(look, f"TrainingJob {name} ended", seconds))


def says(
    kubectl: Kubectl, kind: str, name: str, namespace: str, type: str, reason: str, seconds: float = 120
) -> dict[str, str]:
    """The condition once it gives that reason."""

    def look() -> dict[str, str] | None:
        found = condition(kubectl.get(kind, name, namespace), type)
        return found if found.get("reason") == reason else None

    return dict(until(look, f"{kind} {name}: {type} for {reason}", seconds))


@pytest.fixture(scope="session")
def gateway(kubectl: Kubectl) -> str:
    """Address of the gateway's Service, reachable from this host."""
    services = kubectl.list("services", labels="gateway.envoyproxy.io/owning-gateway-name=noria")
    return str(services[0]["spec"]["clusterIP"])
