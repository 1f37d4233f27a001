"""Certificates of the cluster: one authority, and a certificate for each part, by openssl."""

import base64
from pathlib import Path

import layout
from layout import MASTER, NODES, PKI
from process import run

COMPONENTS = {
    "admin": "/O=system:masters/CN=admin",
    "controller-manager": "/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
    "kube-proxy": "/CN=system:kube-proxy",
    "kubelet-client": "/O=system:masters/CN=kube-apiserver-kubelet-client",
    "network-policies": "/CN=system:kube-network-policies",
    **{f"kubelet-{node.number}": f"/O=system:nodes/CN=system:node:{node.name}" for node in NODES},
}
SERVER_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost")
DAYS = "3650"


def make() -> None:
    """Makes what is missing."""
    PKI.mkdir(parents=True, exist_ok=True)
    authority("ca")
    for name, subject in COMPONENTS.items():
        certificate("ca", name, subject)
    addresses = ("127.0.0.1", "10.96.0.1", MASTER.address)
    certificate("ca", "apiserver", "/CN=kube-apiserver", [*(f"DNS:{name}" for name in SERVER_NAMES), *(f"IP:{each}" for each in addresses)])
    if not (PKI / "sa.key").exists():
        run("openssl", "genrsa", "-out", PKI / "sa.key", "2048")
    layout.KUBECONFIG.write_text(kubeconfig("admin"))
    layout.KUBECONFIG.chmod(0o600)


def authority(name: str) -> None:
    """A self-signed authority `name`.crt, `name`.key."""
    if not (PKI / f"{name}.crt").exists():
        _key(name)
        extension = "keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign"
        run(
            *("openssl", "req", "-x509", "-new", "-key", PKI / f"{name}.key", "-out", PKI / f"{name}.crt"),
            *("-days", DAYS, "-subj", f"/CN=noria-{name}", "-addext", extension),
        )


def certificate(issuer: str, name: str, subject: str, names: list[str] | None = None) -> Path:
    """A certificate `name`.crt of `issuer` for `subject`; with `names` it is a server's."""
    target = PKI / f"{name}.crt"
    if target.exists():
        return target
    _key(name)
    usage = "serverAuth" if names else "clientAuth"
    extensions = PKI / f"{name}.ext"
    extensions.write_text(f"extendedKeyUsage={usage}\n" + (f"subjectAltName={','.join(names)}\n" if names else ""))
    request = run("openssl", "req", "-new", "-key", PKI / f"{name}.key", "-subj", subject)
    run(
        *("openssl", "x509", "-req", "-CA", PKI / f"{issuer}.crt", "-CAkey", PKI / f"{issuer}.key", "-CAcreateserial"),
        *("-days", DAYS, "-extfile", extensions, "-out", target),
        stdin=request,
    )
    return target


def _key(name: str) -> None:
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", PKI / f"{name}.key")


def encoded(file: str) -> str:
    """A file of the folder in base64, as kubeconfigs and Secrets hold it."""
    return base64.b64encode((PKI / file).read_bytes()).decode()


def kubeconfig(name: str) -> str:
    """The kubeconfig by which the component `name` reaches the API server."""
    return f"""apiVersion: v1
kind: Config
current-context: noria
contexts: [{{name: noria, context: {{cluster: noria, user: {name}}}}}]
clusters:
  - name: noria
    cluster: {{server: "{layout.SERVER}", certificate-authority-data: {encoded("ca.crt")}}}
users:
  - name: {name}
    user: {{client-certificate-data: {encoded(f"{name}.crt")}, client-key-data: {encoded(f"{name}.key")}}}
"""


def kubeconfig_file(name: str) -> Path:
    """That kubeconfig as a file."""
    path = PKI / f"{name}.kubeconfig"
    path.write_text(kubeconfig(name))
    path.chmod(0o600)
    return path
