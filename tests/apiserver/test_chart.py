"""What an administrator sets in the chart: where it arrives, and what is refused."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from noria.plan.contract import Settings

CHART = "charts/noria"


@pytest.fixture
def template(helm: str, repository: Path) -> Any:
    """`helm template` with these values, as --set has them."""

    def run(*values: str) -> subprocess.CompletedProcess[str]:
        given = [word for each in values for word in ("--set", each)]
        command = [helm, "template", "noria", str(repository / CHART), *given]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


def test_what_a_prometheus_selects_has_its_labels(template: Any) -> None:
    """kube-prometheus-stack takes only what has its release's label."""
    ran = template("monitorLabels.release=prom", "serviceMonitor.enabled=true", "prometheusRule.enabled=true")
    made = [each for each in yaml.safe_load_all(ran.stdout) if each]
    labelled = [each["kind"] for each in made if each["metadata"].get("labels", {}).get("release") == "prom"]
    assert sorted(labelled) == ["PrometheusRule", "ServiceMonitor"]
    (settings,) = (each["data"]["settings.yaml"] for each in made if each["kind"] == "ConfigMap")
    assert Settings.model_validate(yaml.safe_load(settings)).monitor_labels == {"release": "prom"}


def test_the_operators_image_is_pulled_with_the_secret_that_is_named(template: Any) -> None:
    made = yaml.safe_load_all(template("imagePullSecrets[0].name=registry").stdout)
    (deployment,) = (each for each in made if each and each["kind"] == "Deployment")
    assert deployment["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "registry"}]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (r"monitorLabels.app\.kubernetes\.io/managed-by=me", "invalid propertyName 'app.kubernetes.io/managed-by'"),
        ("monitorLabels.release=1", "at '/monitorLabels/release': got number, want string"),
        ("gateway.name=g", "at '/gateway/namespace': '' does not match pattern"),
        ("server.maxRequestBytes=1", "at '/server/maxRequestBytes': minimum: got 1, want 1,024"),
        ("replica=2", "additional properties 'replica' not allowed"),
    ],
)
def test_what_cannot_be_is_refused(template: Any, value: str, sentence: str) -> None:
    ran = template(value)
    assert ran.returncode != 0 and sentence in ran.stderr, ran.stderr
