"""Noria itself, from charts/noria, as an administrator would install it."""

import os

import images
import tools
from commands import run
from rendering import files
from settings import HERE, KUBECONFIG, REPOSITORY

CHART = REPOSITORY / "charts" / "noria"
CUSTOM_RESOURCES = REPOSITORY / "crds"
VALUES = HERE / "noria-values.yaml"
PARTS = ("operator", "agent", "trainer", "server")


def exists() -> bool:
    return (CHART / "Chart.yaml").exists() and all(images.ALL[name].dockerfile.exists() for name in PARTS)


def content() -> str:
    return files(CHART, CUSTOM_RESOURCES, VALUES) + repr(settings())


def settings() -> list[str]:
    return [word for name in PARTS for word in ("--set", f"images.{name}={images.ALL[name].reference}")]


def install(kubeconfig: str = str(KUBECONFIG)) -> None:
    helm = str(tools.path("helm")) if tools.path("helm").exists() else "helm"
    where = ["--namespace", "noria-system", "--kubeconfig", kubeconfig]
    listed = run([helm, "list", "--pending", "--short", *where])
    if "noria" in listed.split():  # an installation that was cut off would refuse every later one
        run([helm, "uninstall", "noria", "--wait", *where])
    run(
        [
            helm,
            "upgrade",
            "--install",
            "noria",
            CHART,
            *where,
            "--create-namespace",
            "--wait",
            "--timeout",
            os.environ.get("NORIA_INSTALL_TIMEOUT", "5m"),
            "--values",
            VALUES,
            *settings(),
        ]
    )
