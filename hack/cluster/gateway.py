"""The Gateway API's definitions, Envoy Gateway from its own chart, and one Gateway for every Endpoint."""

import shutil
from pathlib import Path

import images
import tools
from commands import run
from controlplane import apply, kubectl
from rendering import files, manifest
from settings import KUBECONFIG, STATE

VERSION = "v1.7.0"
NAMESPACE = "envoy-gateway-system"


def content() -> str:
    return "\0".join(
        (
            VERSION,
            images.ALL["envoy-gateway"].reference,
            manifest("gateway"),
            files(tools.HERE / "tools" / "gateway-api"),
        )
    )


def install() -> None:
    apply_folder(tools.module("gateway-api", "sigs.k8s.io/gateway-api") / "config" / "crd" / "standard")
    source = tools.module("addons", "github.com/envoyproxy/gateway") / "charts" / "gateway-helm"
    apply_folder(source / "crds" / "generated")
    chart = complete(source)
    image = images.ALL["envoy-gateway"].reference
    run(
        [
            tools.path("helm"),
            "upgrade",
            "--install",
            "eg",
            chart,
            "--namespace",
            NAMESPACE,
            "--create-namespace",
            "--wait",
            "--kubeconfig",
            KUBECONFIG,
            "--timeout",
            "4m",
            "--set",
            "topologyInjector.enabled=false",
            "--set",
            f"config.envoyGateway.provider.kubernetes.shutdownManager.image={image}",
        ]
    )
    apply(manifest("gateway"))
    kubectl("wait", "gateway/noria", "-n", "noria-gateway", "--for=condition=Programmed", "--timeout=240s")


def complete(source: Path) -> Path:
    """The chart in the module is a template of a chart: its version and its values are filled in at a release."""
    chart = STATE / "charts" / source.name
    shutil.rmtree(chart, ignore_errors=True)
    shutil.copytree(source, chart, ignore=shutil.ignore_patterns("crds"), copy_function=shutil.copyfile)
    chart.chmod(0o755)
    for folder in chart.rglob("*/"):
        folder.chmod(0o755)
    values = (source / "values.tmpl.yaml").read_text()
    for name, value in (
        ("GatewayImage", images.ALL["envoy-gateway"].reference),
        ("GatewayImagePullPolicy", "IfNotPresent"),
    ):
        values = values.replace(f"${{{name}}}", value)
    (chart / "values.yaml").write_text(values)
    about = (source / "Chart.yaml").read_text()
    (chart / "Chart.yaml").write_text(about.replace("v0.0.0-latest", VERSION).replace('"latest"', f'"{VERSION}"'))
    return chart


def apply_folder(folder: Path) -> None:
    files = [
        word
        for file in sorted(folder.glob("*.yaml"))
        if file.name != "kustomization.yaml"
        for word in ("-f", str(file))
    ]
    kubectl("apply", "--server-side", "--force-conflicts", "--field-manager", "noria-local", *files)
