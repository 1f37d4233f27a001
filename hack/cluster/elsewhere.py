"""Clusters that are not made here: kind where Docker is, and one that KUBECONFIG names (CLUSTER=existing)."""

import os
import shutil

import images
from commands import run, succeeds
from progress import ClusterError, step
from settings import KUBECONFIG, REPOSITORY

import noria

KIND_CLUSTER = "noria"


def chosen() -> str:
    """'existing', 'kind' or '' for the cluster of this folder; CLUSTER=local insists on the last."""
    asked = os.environ.get("CLUSTER", "")
    if asked in ("existing", "kind"):
        return asked
    if asked not in ("", "local"):
        raise ClusterError(f"CLUSTER={asked}: it may be existing, kind or local")
    has_kind = shutil.which("kind") and shutil.which("docker")
    return "kind" if not asked and has_kind and succeeds(["docker", "info"]) else ""


def existing_up() -> None:
    kubeconfig = os.environ.get("KUBECONFIG")
    if not kubeconfig:
        raise ClusterError("CLUSTER=existing needs KUBECONFIG, the file that names the cluster")
    with step("install Noria into the cluster of KUBECONFIG"):
        noria.install(kubeconfig)


def existing_down() -> None:
    raise ClusterError(
        "CLUSTER=existing: this cluster was not started here; `helm uninstall noria -n noria-system` removes Noria"
    )


def kind_up() -> None:
    """kind brings nodes, DNS and a network; images come from Docker's own builds."""
    if KIND_CLUSTER not in run(["kind", "get", "clusters"]).split():
        with step("kind create cluster"):
            run(
                [
                    "kind",
                    "create",
                    "cluster",
                    "--name",
                    KIND_CLUSTER,
                    "--config",
                    REPOSITORY / "kind-config.yaml",
                    "--wait",
                    "180s",
                ]
            )
    KUBECONFIG.parent.mkdir(parents=True, exist_ok=True)
    run(["kind", "export", "kubeconfig", "--name", KIND_CLUSTER, "--kubeconfig", KUBECONFIG])
    for image in images.PROJECT_IMAGES:
        with step(f"image {image.name}"):
            run(
                [
                    "docker",
                    "build",
                    "-f",
                    image.dockerfile,
                    "-t",
                    image.development_tag,
                    "-t",
                    image.reference,
                    REPOSITORY,
                ]
            )
            if image.load:
                run(["kind", "load", "docker-image", "--name", KIND_CLUSTER, image.reference, image.development_tag])
    with step("install Noria"):
        noria.install()


def kind_down() -> None:
    with step("kind delete cluster"):
        run(["kind", "delete", "cluster", "--name", KIND_CLUSTER])
