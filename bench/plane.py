"""A control plane of the bench's own whose nodes and pods kwok plays: etcd, API server, Job controller and scheduler are real.

Every write is in the audit log under the name of who made it (reads too where a bench asks for them); the log has one clock for all.
"""

import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from local import ROOT, until

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
USERS = ("bench", "engine", "executor", "trainer", "jobset", "jobs", "scheduler", "kwok")
"""Those who run the cluster; the API server never lets them wait behind others."""
TENANTS = ("calm", "flood")
"""Those who use it. They may do as much, but the API server lets them wait, each user behind its own requests."""
NODES, POD_SECONDS = 10, 1
QPS = {"kube-api-qps": 500, "kube-api-burst": 1000}
AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "verbs": ["get", "list", "watch"]},
        {"level": "RequestResponse", "verbs": ["create"], "resources": [{"group": "", "resources": ["pods"]}]},
        {"level": "Request", "users": ["kwok"], "resources": [{"group": "", "resources": ["pods/status"]}]},
        {"level": "Metadata"},
    ],
}
ENDED = """
containerStatuses:
{{ range $index, $item := .spec.containers }}
- image: {{ $item.image | Quote }}
  name: {{ $item.name | Quote }}
  ready: false
  restartCount: 0
  started: false
  state: {terminated: {exitCode: 0, reason: Completed, startedAt: {{ Now | Quote }}, finishedAt: {{ Now | Quote }}}}
{{ end }}
{{ with .spec.initContainers }}
{{ if eq (index . 0).name "agent" }}
initContainerStatuses:
- image: {{ (index . 0).image | Quote }}
  name: agent
  ready: false
  restartCount: 0
  started: false
  state:
    terminated:
      exitCode: 0
      finishedAt: {{ Now | Quote }}
      message: '{"digest": "sha256:0000000000000000000000000000000000000000000000000000000000000000", "format": "files"}'
      reason: Completed
      startedAt: {{ Now | Quote }}
{{ end }}
{{ end }}
phase: Succeeded
"""
"""A pod's end; where Noria's agent is in it, also what the agent tells, since no container runs."""


def built(name: str, package: str) -> Path:
    """A peer's program, built from the Go module that bench/<name> pins: minutes the first time."""
    source = ROOT / "bench" / name
    folder = CACHE / "noria-bench" / f"{name}-{hashlib.sha256((source / 'go.sum').read_bytes()).hexdigest()[:16]}"
    words = ["go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", f"{folder}/"]
    if not (program := folder / Path(package).name).exists():
        subprocess.run([*words, package], cwd=source, env=os.environ | {"CGO_ENABLED": "0"}, check=True)
    return program


def module(name: str, path: str) -> Path:
    """Folder of the Go module that bench/<name> pins; it is fetched first, for Go knows no folder of what is not there."""
    source = ROOT / "bench" / name
    subprocess.run(["go", "mod", "download", path], cwd=source, check=True)
    command = ["go", "list", "-m", "-f", "{{.Dir}}", path]
    return Path(subprocess.run(command, cwd=source, capture_output=True, text=True, check=True).stdout.strip())


def tool(name: str) -> Path:
    """A program of Kubernetes as `python hack/cluster tools` builds it."""
    if not (found := sorted((CACHE / "noria/tools").glob(f"[!.]*/{name}"))):
        sys.exit(f"{name} is not built; python hack/cluster tools builds it")
    return found[-1]


def flags(**values: object) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@dataclass
class Process:
    """A process that was started, and what it has used."""

    process: subprocess.Popen[bytes]
    log: Path

    def alive(self) -> None:
        """Raises when it has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.process.args!r} ended:\n{self.log.read_text()[-3000:]}")

    def cpu(self) -> float:
        """CPU seconds so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def held(self) -> float:
        """The memory that it holds, in MiB."""
        return self._memory("VmRSS")

    def peak(self) -> float:
        """The most memory that it held, in MiB."""
        return self._memory("VmHWM")

    def _memory(self, name: str) -> float:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


@dataclass
class Plane:
    """Where it listens, and what runs."""

    folder: Path
    server: str = ""
    processes: dict[str, Process] = field(default_factory=dict)

    def start(self, name: str, *words: str | Path, env: dict[str, str] | None = None) -> Process:
        """A process that ends with the plane."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(each) for each in words],
                cwd=self.folder,
                stdout=output,
                stderr=output,
                env=os.environ | (env or {}),
            )
        self.processes[name] = Process(process, log)
        return self.processes[name]

    def kubeconfig(self, user: str) -> Path:
        """A kubeconfig with the token of one of USERS."""
        path = self.folder / f"{user}.kubeconfig"
        cluster = {"server": self.server, "certificate-authority": str(self.folder / "server.crt")}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "bench",
            "clusters": [{"name": "bench", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": f"token-{user}"}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": user, "namespace": "bench"}}],
        }
        path.write_text(yaml.safe_dump(document))
        return path

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        command = [tool("kubectl"), "--kubeconfig", self.kubeconfig("bench"), f"--cache-dir={self.folder}/k", *words]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise RuntimeError(f"kubectl {' '.join(words)}: {done.stderr}")
        return done.stdout

    def apply(self, *manifests: dict[str, Any]) -> None:
        text = "\n---\n".join(json.dumps(each) for each in manifests)
        self.kubectl("apply", "--server-side", "-f", "-", stdin=text)

    def define(self, *files: Path) -> None:
        """Custom resource definitions, served when it returns."""
        self.kubectl("apply", "--server-side", *(word for each in files for word in ("-f", str(each))))
        until(self._defined, "the definitions are served", 60)

    def _defined(self) -> bool:
        items = json.loads(self.kubectl("get", "crd", "-o", "json"))["items"]
        told = [each.get("status", {}).get("conditions") or [] for each in items]
        return all(any(one["type"] == "Established" and one["status"] == "True" for one in each) for each in told)

    def session(self, user: str) -> aiohttp.ClientSession:
        """Requests of one of USERS or TENANTS."""
        connector = aiohttp.TCPConnector(ssl=False, limit=32)
        return aiohttp.ClientSession(
            self.server, headers={"Authorization": f"Bearer token-{user}"}, connector=connector, raise_for_status=True
        )

    def audit(self) -> list[dict[str, Any]]:
        """All that is logged so far, in order."""
        lines = (self.folder / "audit.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]


@contextmanager
def running(folder: Path, audit: dict[str, Any] = AUDIT) -> Iterator[Plane]:
    """All of it, from an empty store to nodes that are ready; ends what it started. `audit`: the policy of what is logged."""
    plane = Plane(folder)
    (folder / "audit.yaml").write_text(json.dumps(audit))
    try:
        _start(plane)
        yield plane
    finally:
        for each in reversed(plane.processes.values()):
            each.process.kill()
            each.process.wait()


def _start(plane: Plane) -> None:
    folder = plane.folder
    client, peer, secure = free_ports(3)
    etcd, plane.server = f"http://127.0.0.1:{client}", f"https://127.0.0.1:{secure}"
    key, certificate = folder / "server.key", folder / "server.crt"
    subject = ["-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1"]
    usage = ["-addext", "keyUsage=digitalSignature,keyCertSign"]
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-keyout",
        key,
        "-out",
        certificate,
    ]
    subprocess.run([*made, *subject, *usage], check=True, capture_output=True)
    groups = dict.fromkeys(USERS, "system:masters") | dict.fromkeys(TENANTS, "tenants")
    lines = (f'token-{user},{user},{user},"{group}"\n' for user, group in groups.items())
    (folder / "tokens.csv").write_text("".join(lines))
    plane.start(
        "etcd",
        tool("etcd"),
        *flags(
            data_dir=folder / "etcd",
            log_level="error",
            unsafe_no_fsync="true",
            listen_client_urls=etcd,
            advertise_client_urls=etcd,
            listen_peer_urls=f"http://127.0.0.1:{peer}",
        ),
    )
    plane.start(
        "kube-apiserver",
        tool("kube-apiserver"),
        *flags(
            etcd_servers=etcd,
            bind_address="127.0.0.1",
            secure_port=secure,
            cert_dir=folder,
            tls_cert_file=certificate,
            tls_private_key_file=key,
            token_auth_file=folder / "tokens.csv",
            authorization_mode="RBAC",
            # Nodes are ready when kwok says so; nothing here takes taints away.
            disable_admission_plugins="TaintNodesByCondition",
            service_account_issuer="https://bench",
            service_account_key_file=key,
            service_account_signing_key_file=key,
            service_cluster_ip_range="10.0.0.0/24",
            endpoint_reconciler_type="none",
            audit_policy_file=folder / "audit.yaml",
            audit_log_path=folder / "audit.log",
        ),
    )
    until(lambda: _ready(plane), "the API server is ready", 120)
    for name, user, more in (
        ("kube-controller-manager", "jobs", {"controllers": "job-controller", "concurrent_job_syncs": 25}),
        ("kube-scheduler", "scheduler", {}),
    ):
        rates = {key.replace("-", "_"): value for key, value in QPS.items()}
        plane.start(
            name,
            tool(name),
            *flags(kubeconfig=plane.kubeconfig(user), leader_elect="false", secure_port=0, **rates, **more),
        )
    _start_kwok(plane)
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench"}}
    accounts = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "bench"}}
        for name in ("default", "noria-runner")
    ]
    nodes = [{"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"node-{n}"}} for n in range(NODES)]
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "tenants"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "tenants"}],
    }
    plane.apply(space, *accounts, *nodes, binding)
    plane.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s")


def _start_kwok(plane: Plane) -> None:
    """Nodes as kwok has them; pods run at once, and end well after POD_SECONDS, whoever owns them."""
    fast = module("kwok", "sigs.k8s.io/kwok") / "kustomize/stage"
    stages = [
        yaml.safe_load((fast / each).read_text())
        for each in ("node/fast/node-initialize.yaml", "pod/fast/pod-ready.yaml")
    ]
    living = {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}
    runs = {"key": ".status.phase", "operator": "In", "values": ["Running"]}
    spec = {
        "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
        "selector": {"matchExpressions": [living, runs]},
        "delay": {"durationMilliseconds": POD_SECONDS * 1000},
        "next": {"statusTemplate": ENDED},
    }
    stages.append({"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": {"name": "end"}, "spec": spec})
    options = {"manageAllNodes": True, "podPlayStageParallelism": 32, "nodeLeaseDurationSeconds": 0}
    stages.append({"apiVersion": "config.kwok.x-k8s.io/v1alpha1", "kind": "KwokConfiguration", "options": options})
    (plane.folder / "kwok.yaml").write_text(yaml.safe_dump_all(stages))
    program = built("kwok", "sigs.k8s.io/kwok/cmd/kwok")
    plane.start("kwok", program, *flags(kubeconfig=plane.kubeconfig("kwok"), config=plane.folder / "kwok.yaml"))


def _ready(plane: Plane) -> bool:
    for each in plane.processes.values():
        each.alive()
    try:
        return plane.kubectl("get", "--raw=/readyz") == "ok"
    except (RuntimeError, subprocess.TimeoutExpired):
        return False
