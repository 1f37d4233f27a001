"""The cluster's certificate authority, certificates and kubeconfigs, made by the openssl program."""

import json
from pathlib import Path

from commands import run, write_atomically
from settings import API_ADDRESS, API_SERVER, API_SERVICE, CERTIFICATES, KUBECONFIG, NODES

DAYS = "3650"
USERS = {  # file name: (common name, organization)
    "admin": ("noria-admin", "system:masters"),
    "apiserver-kubelet-client": ("kube-apiserver-kubelet-client", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "proxy": ("system:kube-proxy", ""),
    "network-policies": ("noria:kube-network-policies", ""),
    **{node.name: (f"system:node:{node.name}", "system:nodes") for node in NODES},
}


def authority() -> tuple[Path, Path]:
    return CERTIFICATES / "ca.crt", CERTIFICATES / "ca.key"


def issue(
    name: str, common_name: str, organization: str = "", names: tuple[str, ...] = (), folder: Path = CERTIFICATES
) -> tuple[Path, Path]:
    """A certificate for a client and, with `names` (DNS: or IP:), for a server; kept if it is there."""
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    if certificate.exists() and key.exists():
        return certificate, key
    ca, ca_key = authority()
    subject = (f"/O={organization}" if organization else "") + f"/CN={common_name}"
    extensions = folder / f"{name}.ext"
    extensions.write_text(
        "extendedKeyUsage = clientAuth, serverAuth\nkeyUsage = digitalSignature, keyEncipherment\n"
        + (f"subjectAltName = {','.join(names)}\n" if names else "")
    )
    request = run(["openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-subj", subject])
    run(
        [
            "openssl",
            "x509",
            "-req",
            "-CA",
            ca,
            "-CAkey",
            ca_key,
            "-CAcreateserial",
            "-days",
            DAYS,
            "-sha256",
            "-extfile",
            extensions,
            "-out",
            certificate,
        ],
        input=request,
    )
    extensions.unlink()
    return certificate, key


def make() -> None:
    CERTIFICATES.mkdir(parents=True, exist_ok=True)
    CERTIFICATES.chmod(0o700)
    ca, ca_key = authority()
    if not ca.exists():
        run(
            [
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                DAYS,
                "-sha256",
                "-subj",
                "/CN=noria-ca",
                "-addext",
                "keyUsage=critical,keyCertSign,cRLSign,digitalSignature",
                "-keyout",
                ca_key,
                "-out",
                ca,
            ]
        )
    issue(
        "apiserver",
        "kube-apiserver",
        names=(
            "DNS:kubernetes",
            "DNS:kubernetes.default",
            "DNS:kubernetes.default.svc",
            "DNS:kubernetes.default.svc.cluster.local",
            "DNS:localhost",
            "IP:127.0.0.1",
            f"IP:{API_SERVICE}",
            f"IP:{API_ADDRESS}",
        ),
    )
    issue("service-accounts", "service-accounts")
    for name, (common_name, organization) in USERS.items():
        names = tuple(
            f"{kind}:{value}"
            for node in NODES
            if node.name == name
            for kind, value in (("DNS", node.name), ("IP", node.address))
        )
        issue(name, common_name, organization, names)
        write_kubeconfig(kubeconfig(name), name)
    write_kubeconfig(KUBECONFIG, "admin")


def kubeconfig(user: str) -> Path:
    return CERTIFICATES / f"{user}.kubeconfig"


def write_kubeconfig(path: Path, user: str) -> None:
    certificate, key = CERTIFICATES / f"{user}.crt", CERTIFICATES / f"{user}.key"
    text = json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "noria",
            "clusters": [
                {
                    "name": "noria",
                    "cluster": {"server": API_SERVER, "certificate-authority-data": encoded(authority()[0])},
                }
            ],
            "users": [
                {
                    "name": user,
                    "user": {"client-certificate-data": encoded(certificate), "client-key-data": encoded(key)},
                }
            ],
            "contexts": [{"name": "noria", "context": {"cluster": "noria", "user": user}}],
        },
        indent=1,
    )
    if not path.exists() or path.read_text() != text:
        write_atomically(path, text, mode=0o600)


def encoded(path: Path) -> str:
    import base64

    return base64.b64encode(path.read_bytes()).decode()
