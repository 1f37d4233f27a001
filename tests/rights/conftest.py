"""A control plane on which the operator is nobody but the chart's ServiceAccount, with the chart's roles and policies."""

import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from ..apiserver.conftest import REPOSITORY, ControlPlane, kubectl_of, serving, tool, wait_for
from ..faults.stage import HOME
from .rights import Manifest, bound

OPERATOR = f"system:serviceaccount:{HOME}:noria"
DEFINITIONS = REPOSITORY / "tests/faults/definitions.yaml"
Install = Callable[..., list[Manifest]]


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """It serves all kinds that the operator knows, those of the Prometheus operator too."""
    with serving(tmp_path_factory.mktemp("rights")) as running:
        kubectl = kubectl_of(running)
        served = [
            *yaml.safe_load_all(DEFINITIONS.read_text()),
            _definition("PrometheusRule"),
            _definition("PodMonitor"),
        ]
        assert kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(served)).returncode == 0
        established = kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        assert established.returncode == 0, established.stderr
        yield running


@pytest.fixture
def install(plane: ControlPlane) -> Iterator[Install]:
    """Puts the chart's roles and policies in force, as with `helm install --set`, and tells the roles that the operator
    has by them; with the test they go."""
    kubectl, applied = kubectl_of(plane), []

    def run(*values: str) -> list[Manifest]:
        given = [word for each in values for word in ("--set", each)]
        command = [tool("helm"), "template", "noria", REPOSITORY / "charts/noria", "--namespace", HOME, *given]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        wanted = ("Role", "ClusterRole", "ValidatingAdmission")
        chart = [each for each in yaml.safe_load_all(ran.stdout) if each and each["kind"].startswith(wanted)]
        applied.append(yaml.safe_dump_all(chart))
        made = kubectl("apply", "-f", "-", stdin=applied[-1])
        assert made.returncode == 0, made.stderr
        known = ("auth", "can-i", "update", "trainingjobs.noria.dev", "--subresource=status", f"--as={OPERATOR}")
        places = [each["metadata"]["namespace"] for each in chart if each["kind"] == "RoleBinding"]
        place = places[-1:] if values else []
        wait_for(lambda: kubectl(*known, *(["-n", *place] if place else ["-A"])).stdout.startswith("yes"))
        return bound(chart, HOME)

    yield run
    for each in applied:
        gone = kubectl("delete", "--ignore-not-found", "-f", "-", stdin=each)
        assert gone.returncode == 0, gone.stderr


def _definition(kind: str) -> Manifest:
    """Any fields."""
    group, plural = "monitoring.coreos.com", f"{kind.lower()}s"
    schema: Any = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
