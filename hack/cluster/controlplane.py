"""etcd, the API server, the controller manager and the scheduler: processes in the first node's network namespace."""

import json
from functools import partial

import certificates
import daemons
import record
import tools
from commands import run, succeeds
from progress import step, wait_until
from settings import API_ADDRESS, AUDIT_LOG, CERTIFICATES, KUBECONFIG, NODES, POD_RANGE, SERVICE_RANGE, STATE

NODE = NODES[0]
ETCD = "http://127.0.0.1:2379"  # inside the node's namespace only
NAMES = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
READY_SECONDS = 120
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "users": ["system:serviceaccount:noria-system:noria"]}, {"level": "None"}],
}
"""Who asked for which object and how, without contents, of the operator alone: `make test-e2e` holds the chart's rights to it."""


def kubectl(*words: str, input: str | None = None) -> str:
    return run([tools.path("kubectl"), "--kubeconfig", KUBECONFIG, *words], input=input)


def apply(text: str) -> None:
    kubectl("apply", "--server-side", "--force-conflicts", "--field-manager", "noria-local", "-f", "-", input=text)


def start() -> None:
    if all(record.alive(name) for name in NAMES):
        return
    with step("control plane"):
        daemons.start(
            "etcd",
            NODE,
            [
                tools.path("etcd"),
                f"--data-dir={STATE / 'etcd'}",
                "--name=noria",
                f"--listen-client-urls={ETCD}",
                f"--advertise-client-urls={ETCD}",
                "--listen-peer-urls=http://127.0.0.1:2380",
                "--initial-advertise-peer-urls=http://127.0.0.1:2380",
                "--initial-cluster=noria=http://127.0.0.1:2380",
                "--auto-compaction-retention=5m",
                "--quota-backend-bytes=4294967296",
            ],
        )
        certificate = CERTIFICATES
        audit_policy = daemons.write_config(STATE / "audit-policy.yaml", json.dumps(AUDIT_POLICY))
        daemons.start(
            "kube-apiserver",
            NODE,
            [
                tools.path("kube-apiserver"),
                f"--etcd-servers={ETCD}",
                f"--advertise-address={API_ADDRESS}",
                "--bind-address=0.0.0.0",
                "--secure-port=6443",
                f"--service-cluster-ip-range={SERVICE_RANGE}",
                "--allow-privileged=true",
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                "--endpoint-reconciler-type=lease",
                f"--client-ca-file={certificate / 'ca.crt'}",
                f"--tls-cert-file={certificate / 'apiserver.crt'}",
                f"--tls-private-key-file={certificate / 'apiserver.key'}",
                f"--kubelet-certificate-authority={certificate / 'ca.crt'}",
                f"--kubelet-client-certificate={certificate / 'apiserver-kubelet-client.crt'}",
                f"--kubelet-client-key={certificate / 'apiserver-kubelet-client.key'}",
                "--kubelet-preferred-address-types=InternalIP",
                "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
                f"--service-account-key-file={certificate / 'service-accounts.key'}",
                f"--service-account-signing-key-file={certificate / 'service-accounts.key'}",
                "--profiling=false",
                f"--audit-policy-file={audit_policy}",
                f"--audit-log-path={AUDIT_LOG}",
            ],
        )
        # The other two end at once where the API server has not made its own roles and ConfigMaps yet.
        wait_until("API server ready", ready, READY_SECONDS)
        daemons.start(
            "kube-controller-manager",
            NODE,
            [
                tools.path("kube-controller-manager"),
                f"--kubeconfig={certificates.kubeconfig('controller-manager')}",
                f"--authentication-kubeconfig={certificates.kubeconfig('controller-manager')}",
                f"--authorization-kubeconfig={certificates.kubeconfig('controller-manager')}",
                "--bind-address=127.0.0.1",
                "--use-service-account-credentials=true",
                f"--root-ca-file={certificate / 'ca.crt'}",
                f"--service-account-private-key-file={certificate / 'service-accounts.key'}",
                f"--cluster-signing-cert-file={certificate / 'ca.crt'}",
                f"--cluster-signing-key-file={certificate / 'ca.key'}",
                f"--cluster-cidr={POD_RANGE}",
                f"--service-cluster-ip-range={SERVICE_RANGE}",
                "--allocate-node-cidrs=false",
                "--leader-elect=false",
                "--kube-api-qps=500",
                "--kube-api-burst=1000",
                "--concurrent-job-syncs=25",
                "--node-monitor-period=2s",
                "--node-monitor-grace-period=30s",
            ],
        )
        daemons.start(
            "kube-scheduler",
            NODE,
            [
                tools.path("kube-scheduler"),
                f"--kubeconfig={certificates.kubeconfig('scheduler')}",
                f"--authentication-kubeconfig={certificates.kubeconfig('scheduler')}",
                f"--authorization-kubeconfig={certificates.kubeconfig('scheduler')}",
                "--bind-address=127.0.0.1",
                "--leader-elect=false",
                "--kube-api-qps=500",
                "--kube-api-burst=1000",
            ],
        )
        for name, port in (("kube-controller-manager", 10257), ("kube-scheduler", 10259)):
            wait_until(f"{name} healthy", partial(healthy, name, port), READY_SECONDS)


def ready() -> bool:
    for name in NAMES[:2]:
        daemons.require_alive(name)
    return succeeds([tools.path("kubectl"), "--kubeconfig", KUBECONFIG, "get", "--raw", "/readyz"])


def healthy(name: str, port: int) -> bool:
    daemons.require_alive(name)
    return succeeds([*NODE.enter_network, "curl", "-skf", "-m", "2", f"https://127.0.0.1:{port}/healthz"])
