"""A real etcd and kube-apiserver for the session: no kubelet, no controllers, every request of every user audited."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

T = TypeVar("T")
REPOSITORY = Path(__file__).parents[2]
TOOLS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "noria" / "tools"
USERS = {
    "admin": "system:masters",
    "first": "system:masters",
    "second": "system:masters",
    "nobody": "",
    "system:serviceaccount:default:noria": "system:serviceaccounts",  # what the chart's roles allow, and nothing else
}
AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


def tool(name: str) -> str:
    """A binary: named by NORIA_<NAME>, among the tools that `make up` built, or on the PATH. CI must have it."""
    variable = f"NORIA_{name.upper().replace('-', '_')}"
    found = [
        os.environ.get(variable),
        *sorted(TOOLS.glob(f"**/{name}")),
        shutil.which(name),
    ]
    for each in found:
        if each and Path(each).is_file() and os.access(each, os.X_OK):
            return str(each)
    missing = f"{name} is not built; `make test-apiserver` builds it, or set {variable}"
    pytest.fail(missing)


def wait_for(check: Callable[[], T], seconds: float = 30, every: float = 0.05) -> T:
    """The first true answer of `check`; fails at the deadline with the last answer."""
    deadline = time.monotonic() + seconds
    while not (answer := check()):
        assert time.monotonic() < deadline, f"not within {seconds} s; last: {answer!r}"
        time.sleep(every)
    return answer


@dataclass
class ControlPlane:
    """Where it listens and what it was asked."""

    folder: Path
    etcd: str
    server: str
    commands: dict[str, list[str]] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def launch(self, name: str) -> None:
        """Start etcd or kube-apiserver, at first or again."""
        with (self.folder / f"{name}.log").open("ab") as log:
            command = self.commands[name]
            self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)

    def kill(self, name: str) -> None:
        """End it at once."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def wait_until_ready(self) -> None:
        """Until the API server answers."""
        kubectl = kubectl_of(self)
        wait_for(lambda: _alive(self) and kubectl("get", "--raw=/readyz").stdout == "ok", 180)

    def kubeconfig(self, user: str, server: str | None = None) -> Path:
        """A kubeconfig with the token of `user`; `server` stands between, under the API server's own certificate."""
        # A colon would part two files in KUBECONFIG.
        path = self.folder / f"{user.replace(':', '-')}{'-elsewhere' if server else ''}.kubeconfig"
        cluster = {"server": server or self.server, "certificate-authority": str(self.folder / "server.crt")}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": f"token-{user}"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
        }
        path.write_text(yaml.safe_dump(document))
        return path

    def requests(self, user: str) -> list[dict[str, Any]]:
        """What `user` asked for of objects so far, as the audit log has it."""
        lines = (self.folder / "audit.log").read_text().splitlines()
        events = [json.loads(line) for line in lines if line.endswith("}")]
        return [each for each in events if each["user"]["username"] == user and "objectRef" in each]

    def writes(self, user: str) -> list[str]:
        """What `user` wrote, leases left out."""
        verbs = ("create", "update", "patch", "delete")
        return [
            f"{each['verb']} {each['requestURI'].partition('?')[0]}"
            for each in self.requests(user)
            if each["verb"] in verbs and each["objectRef"]["resource"] not in ("leases", "selfsubjectaccessreviews")
        ]

    def compact(self) -> None:
        """Make etcd forget all old revisions, so that watches from them are Gone."""
        head = self._etcd("kv/range", {"key": "AA=="})
        self._etcd("kv/compaction", {"revision": head["header"]["revision"], "physical": True})

    def _etcd(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(f"{self.etcd}/v3/{path}", json.dumps(body).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())


def _flags(**values: object) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def serving(folder: Path) -> Iterator[ControlPlane]:
    """etcd and kube-apiserver with Noria's definitions; they end with the block."""
    etcd, apiserver, openssl = tool("etcd"), tool("kube-apiserver"), tool("openssl")
    client, peer, secure = _free_ports(3)
    plane = ControlPlane(folder, f"http://127.0.0.1:{client}", f"https://127.0.0.1:{secure}")
    key, certificate = folder / "server.key", folder / "server.crt"
    certified = [
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        key,
        "-out",
        certificate,
        "-days",
        "2",
        "-subj",
        "/CN=test",
    ]
    extensions = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "keyUsage=digitalSignature,keyCertSign"]
    subprocess.run([openssl, "req", "-x509", *certified, *extensions], check=True, capture_output=True)
    (folder / "tokens.csv").write_text("".join(f'token-{user},{user},{user},"{of}"\n' for user, of in USERS.items()))
    (folder / "audit.yaml").write_text(yaml.safe_dump(AUDIT))
    storage = _flags(
        data_dir=folder / "etcd",
        log_level="error",
        unsafe_no_fsync="true",
        listen_client_urls=plane.etcd,
        advertise_client_urls=plane.etcd,
        listen_peer_urls=f"http://127.0.0.1:{peer}",
    )
    api = _flags(
        etcd_servers=plane.etcd,
        bind_address="127.0.0.1",
        secure_port=secure,
        cert_dir=folder,
        tls_cert_file=certificate,
        tls_private_key_file=key,
        token_auth_file=folder / "tokens.csv",
        authorization_mode="RBAC",
        service_account_issuer="https://test",
        service_account_key_file=key,
        service_account_signing_key_file=key,
        service_cluster_ip_range="10.0.0.0/24",
        endpoint_reconciler_type="none",
        audit_policy_file=folder / "audit.yaml",
        audit_log_path=folder / "audit.log",
        watch_cache_sizes="configmaps#0",  # so that a watch of ConfigMaps ends with 410 after a compaction
    )
    plane.commands = {"etcd": [etcd, *storage], "kube-apiserver": [apiserver, *api]}
    try:
        for name in plane.commands:
            plane.launch(name)
        plane.wait_until_ready()
        kubectl = kubectl_of(plane)
        assert kubectl("apply", "-f", str(REPOSITORY / "crds")).returncode == 0
        established = kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        assert established.returncode == 0, established.stderr
        yield plane
    finally:
        for name in reversed(list(plane.processes)):
            plane.kill(name)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with serving(tmp_path_factory.mktemp("control-plane")) as plane:
        yield plane


def _alive(plane: ControlPlane) -> bool:
    for process in plane.processes.values():
        assert process.poll() is None, f"{process.args!r} ended; its log is in {plane.folder}"
    return True


Kubectl = Callable[..., subprocess.CompletedProcess[str]]


def kubectl_of(plane: ControlPlane) -> Kubectl:
    """kubectl as admin."""
    binary, config = tool("kubectl"), str(plane.kubeconfig("admin"))

    def run(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [binary, "--kubeconfig", config, f"--cache-dir={plane.folder / 'discovery'}", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)

    return run


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    return wait_for


@pytest.fixture(scope="session")
def built() -> Callable[[str], str]:
    """The path of a built binary by its name."""
    return tool


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def helm() -> str:
    return tool("helm")


@pytest.fixture(scope="session")
def kubectl(control_plane: ControlPlane) -> Kubectl:
    return kubectl_of(control_plane)


@pytest.fixture
def namespace(kubectl: Kubectl) -> str:
    """A namespace of the test's own; without controllers none can be deleted."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    assert kubectl("create", "namespace", name).returncode == 0
    return name


@pytest.fixture
async def cluster(control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """The operator's own client, as admin."""
    from noria.runtime.cluster import Cluster

    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig("admin")))
    connected = await Cluster.connect()
    yield connected
    await connected.close()


@dataclass
class Running:
    """An operator as a process of its own."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def get(self, path: str) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    def leads(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-4000:]
        return "noria_leader 1.0" in self.get("/metrics")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


@pytest.fixture
def start(control_plane: ControlPlane, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts operators as `user`, with settings beside the fixed ones; all end with the test."""
    started: list[Running] = []

    def operator(user: str = "first", lease_namespace: str = "default", **settings: Any) -> Running:
        name = f"{user}-{len(started)}"
        fixed = {
            "agentImage": "agent:1",
            "trainerImage": "trainer:1",
            "servingRuntime": "noria-server",
            "serverImage": "server:1",
        }
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(fixed | settings))
        port = _free_ports(1)[0]
        environment = os.environ | {
            "KUBECONFIG": str(control_plane.kubeconfig(user)),
            "POD_NAME": name,
            "POD_NAMESPACE": lease_namespace,
            "PYTHONPATH": str(REPOSITORY / "operator"),
        }
        command = [sys.executable, "-m", "noria", "run", f"--config={tmp_path / name}.yaml", f"--port={port}"]
        with (log := tmp_path / f"{name}.log").open("wb") as stderr:
            process = subprocess.Popen(command, env=environment, stderr=stderr)
        started.append(Running(process, port, log))
        return started[-1]

    yield operator
    for each in started:
        each.process.kill()
        each.process.wait()
