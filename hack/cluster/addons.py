"""What is installed into the cluster: each part carries a hash, and a part that has not changed is left alone."""

import concurrent.futures
import hashlib
import json
import threading
from collections.abc import Callable

import gateway
import kserve
from controlplane import apply, kubectl
from progress import step, wait_until
from rendering import manifest
from settings import VOLUMES

import noria

MARKS = "noria-local-cluster"
"""ConfigMap in kube-system: part -> hash of what was installed of it."""
WAIT = "--timeout=240s"
LOCK = threading.Lock()


def platform() -> None:
    """DNS and storage first: the others need names. Then the rest side by side."""
    VOLUMES.mkdir(parents=True, exist_ok=True)
    basics()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        parts = [
            pool.submit(ensure, "prometheus", manifest("prometheus"), prometheus),
            pool.submit(ensure, "kserve", kserve.content(), kserve.install),
            pool.submit(ensure, "gateway", gateway.content(), gateway.install),
        ]
        for part in concurrent.futures.as_completed(parts):
            part.result()


def product() -> None:
    """Noria, when KServe, the gateway and its images are there."""
    # Noria brings a ClusterServingRuntime, which KServe's webhook judges; it may still be coming back.
    wait_until("KServe's webhook answers", kserve.judges, 240)
    if noria.exists():
        ensure("noria", noria.content(), noria.install)


def basics() -> None:
    ensure("policy", manifest("policy"), lambda: apply(manifest("policy")))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        parts = [
            pool.submit(ensure, "coredns", manifest("coredns"), coredns),
            pool.submit(ensure, "storage", manifest("storage"), storage),
        ]
        for part in parts:
            part.result()


def ensure(name: str, content: str, install: Callable[[], object]) -> None:
    mark = hashlib.sha256(content.encode()).hexdigest()[:16]
    if marks().get(name) == mark:
        return
    with step(f"install {name}"):
        install()
    with LOCK:
        kubectl(
            "apply",
            "--server-side",
            "--field-manager",
            f"noria-local-{name}",
            "-f",
            "-",
            input=json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {"name": MARKS, "namespace": "kube-system"},
                    "data": {name: mark},
                }
            ),
        )


def marks() -> dict[str, str]:
    text = kubectl("get", "configmap", MARKS, "-n", "kube-system", "--ignore-not-found", "-o", "json")
    return json.loads(text).get("data", {}) if text.strip() else {}


def coredns() -> None:
    apply(manifest("coredns"))
    kubectl("rollout", "status", "deployment/coredns", "-n", "kube-system", WAIT)


def storage() -> None:
    apply(manifest("storage"))
    kubectl("rollout", "status", "deployment/local-path-provisioner", "-n", "local-path-storage", WAIT)


def prometheus() -> None:
    apply(manifest("prometheus"))
    kubectl("rollout", "status", "deployment/prometheus", "-n", "monitoring", WAIT)
