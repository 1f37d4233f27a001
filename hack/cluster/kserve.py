"""KServe's controller from its own charts, in Standard mode, with a certificate of this cluster's authority."""

import base64
import json
import re

import certificates
import images
import tools
from commands import run, succeeds
from controlplane import apply, kubectl
from progress import ClusterError
from settings import CERTIFICATES, KUBECONFIG

MODULE = "github.com/kserve/kserve"
NAMESPACE = "kserve"
HOST = f"kserve-webhook-server-service.{NAMESPACE}.svc"
VALUES = {
    "kserve.controller.deploymentMode": "Standard",
    "kserve.controller.imagePullPolicy": "IfNotPresent",
    "kserve.controller.resources.limits.cpu": "1",
    "kserve.controller.gateway.disableIstioVirtualHost": "true",
    "kserve.controller.gateway.disableIngressCreation": "true",
    "kserve.controller.gateway.ingressGateway.enableGatewayApi": "true",
    "kserve.controller.gateway.ingressGateway.kserveGateway": "noria-gateway/noria",
}
UNMADE = {
    "apiVersion": "serving.kserve.io/v1alpha1",
    "kind": "ClusterServingRuntime",
    "metadata": {"name": "noria-unmade"},
    "spec": {"containers": [{"name": "kserve-container", "image": "unmade"}]},
}
"""What KServe's webhook is asked about, and nobody makes."""


def content() -> str:
    return repr(
        (
            MODULE,
            images.ALL["kserve-controller"].reference,
            sorted(VALUES.items()),
            (CERTIFICATES / "ca.crt").read_text(),
        )
    )


def install() -> None:
    charts = tools.module("kserve", MODULE) / "charts"
    repository, _, tag = images.ALL["kserve-controller"].reference.rpartition(":")
    values = VALUES | {"kserve.controller.image": repository, "kserve.controller.tag": tag}
    certificate, key = certificates.issue("kserve-webhook", HOST, names=(f"DNS:{HOST}", f"DNS:{HOST}.cluster.local"))
    apply(json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}))
    apply(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "kubernetes.io/tls",
                "metadata": {"name": "kserve-webhook-server-cert", "namespace": NAMESPACE},
                "data": {"tls.crt": certificates.encoded(certificate), "tls.key": certificates.encoded(key)},
            }
        )
    )
    apply(render(charts / "kserve-crd"))
    documents = re.split(r"^---\s*$", render(charts / "kserve-resources", values), flags=re.MULTILINE)
    # cert-manager's kinds are not here, and the chart's own webhook secret is empty.
    unwanted = re.compile(r"^kind: (Certificate|Issuer|Secret|ClusterStorageContainer)$", re.MULTILINE)
    first = [text for text in documents if text.strip() and not unwanted.search(text)]
    apply("---\n".join(map(trusting, first)))
    kubectl("rollout", "status", "deployment/kserve-controller-manager", "-n", NAMESPACE, "--timeout=240s")


def judges() -> bool:
    """Whether KServe's webhook answers. Its Deployment is not asked: a controller that has just lost its lease, as while images
    are loaded, is called ready for some seconds more."""
    ask = ["create", "--dry-run=server", "-f", "-"]
    return succeeds([tools.path("kubectl"), "--kubeconfig", KUBECONFIG, *ask], input=json.dumps(UNMADE))


def render(chart: object, values: dict[str, str] | None = None) -> str:
    words = [
        word
        for name, value in (values or {}).items()
        for word in ("--set-string" if value == "1" else "--set", f"{name}={value}")
    ]
    return run([tools.path("helm"), "template", "kserve", str(chart), "--namespace", NAMESPACE, *words])


def trusting(text: str) -> str:
    """Webhook configurations get our authority; the Deployment loses the proxy container, whose image is not ours."""
    if re.search(r"^kind: (Mutating|Validating)WebhookConfiguration$", text, re.MULTILINE):
        authority = base64.b64encode(certificates.authority()[0].read_bytes()).decode()
        text = re.sub(r"^\s*caBundle:.*\n", "", text, flags=re.MULTILINE)
        return re.sub(
            r"^(\s*)(- )?clientConfig:\n",
            lambda m: m[0] + " " * (len(m[1]) + len(m[2] or "") + 2) + f"caBundle: {authority}\n",
            text,
            flags=re.MULTILINE,
        )
    if re.search(r"^kind: Deployment$", text, re.MULTILINE):
        return without_container(text, "kube-rbac-proxy")
    return text


def without_container(text: str, name: str) -> str:
    """Cut one item out of `containers:`; it is known by its name line, and reaches to the next item or an outdent."""
    lines = text.splitlines()
    named = next((i for i, line in enumerate(lines) if line.strip().removeprefix("- ") == f"name: {name}"), None)
    if named is None:
        raise ClusterError(f"KServe's chart has no container {name} any more: see kserve.py")
    begin = max(i for i in range(named + 1) if lines[i].startswith("      - "))
    end = next(
        i for i in range(begin + 1, len(lines)) if len(lines[i]) - len(lines[i].lstrip()) <= 6 and lines[i].strip()
    )
    return "\n".join([*lines[:begin], *lines[end:]]) + "\n"
