"""What an Endpoint makes for the Prometheus operator is valid by its definitions, and its rules are valid for Prometheus."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import REPOSITORY, Kubectl, tool

MODULE = "github.com/prometheus-operator/prometheus-operator"
PINNED = REPOSITORY / "hack/cluster/tools/prometheus-operator"
CASES = REPOSITORY / "tests/golden/endpoint"


@pytest.fixture
def definitions(kubectl: Kubectl) -> Iterator[None]:
    """The definitions of PodMonitor and PrometheusRule, as they are released."""
    go = shutil.which("go") or "/usr/local/go/bin/go"
    answer = subprocess.run([go, "mod", "download", "-json", MODULE], cwd=PINNED, capture_output=True, check=True)
    folder = Path(json.loads(answer.stdout)["Dir"]) / "example/prometheus-operator-crd"
    files = [
        word
        for kind in ("podmonitors", "prometheusrules")
        for word in ("-f", str(folder / f"monitoring.coreos.com_{kind}.yaml"))
    ]
    assert kubectl("apply", "--server-side", *files).returncode == 0
    waited = kubectl("wait", "--for=condition=Established", *files, "--timeout=30s")
    assert waited.returncode == 0, waited.stderr
    yield
    assert kubectl("delete", *files, "--wait=true").returncode == 0


def planned(kind: str) -> dict[str, Any]:
    children = yaml.safe_load((CASES / "monitors-where-their-kinds-are/plan.yaml").read_text())["children"]
    return next(dict(each) for each in children if each["kind"] == kind)


def _applied(kubectl: Kubectl, words: list[str], text: str) -> Any:
    """What kubectl said; None while the API server does not serve the kind yet."""
    ran = kubectl(*words, stdin=text)
    return None if "no matches for kind" in ran.stderr else ran


@pytest.mark.usefixtures("definitions")
def test_the_api_server_takes_them(kubectl: Kubectl, namespace: str, eventually: Any) -> None:
    for kind in ("PodMonitor", "PrometheusRule"):
        manifest = planned(kind)
        manifest["metadata"] = {"name": "digits", "namespace": namespace, "labels": manifest["metadata"]["labels"]}
        text, words = json.dumps(manifest), ["apply", "--server-side", "--validate=strict", "-f", "-"]
        made = eventually(lambda text=text, words=words: _applied(kubectl, words, text))
        assert "serverside-applied" in made.stdout, made.stderr
        live = json.loads(kubectl("get", kind.lower(), "digits", "-n", namespace, "-o", "json").stdout)
        assert live["spec"] == manifest["spec"], "no field is dropped"


def test_prometheus_takes_the_rules(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": planned("PrometheusRule")["spec"]["groups"]}))
    checked = subprocess.run(
        [tool("promtool"), "check", "rules", tmp_path / "rules.yaml"], capture_output=True, text=True
    )
    assert checked.returncode == 0 and "SUCCESS" in checked.stdout, checked.stdout + checked.stderr
