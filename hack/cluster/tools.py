"""The Go programs of the cluster: pinned by tools/<name>/go.mod and go.sum, built once, kept in the user's cache."""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from commands import run
from progress import ClusterError, step
from settings import BIN, CACHE, HERE, KUBERNETES_VERSION

VERSION = "k8s.io/component-base/version"
MAJOR, MINOR = KUBERNETES_VERSION.removeprefix("v").split(".")[:2]
STAMP = (
    f"-X {VERSION}.gitVersion={KUBERNETES_VERSION} -X {VERSION}.gitMajor={MAJOR} "
    f"-X {VERSION}.gitMinor={MINOR} -X {VERSION}.gitTreeState=clean"
)


@dataclass(frozen=True, eq=False)
class Tool:
    """One Go module of ours and the programs that are built in it: program name -> package."""

    name: str
    programs: dict[str, str]
    ldflags: str = ""
    tags: tuple[str, ...] = ()

    @property
    def source(self) -> Path:
        return HERE / "tools" / self.name


KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
TOOLS = (
    Tool("kubernetes", {name: f"k8s.io/kubernetes/cmd/{name}" for name in KUBERNETES}, STAMP),
    Tool("etcd", {"etcd": "."}),
    Tool("pause", {"pause": "."}),
    Tool("helm", {"helm": "helm.sh/helm/v4/cmd/helm"}, "-X helm.sh/helm/v4/internal/version.version=v4.3.1"),
    # One module, since each of them compiles Kubernetes' client, and in one they agree on its version.
    Tool(
        "addons",
        {
            "coredns": "github.com/coredns/coredns",
            "local-path-provisioner": "github.com/rancher/local-path-provisioner",
            "kube-network-policies": "./kube-network-policies",
            **{name: f"github.com/prometheus/prometheus/cmd/{name}" for name in ("prometheus", "promtool")},
            "envoy-gateway": "github.com/envoyproxy/gateway/cmd/envoy-gateway",
        },
        "-X github.com/prometheus/common/version.Version=3.11.3",
        ("remove_all_sd", "enable_kubernetes_sd"),  # of Prometheus: it finds its targets by Kubernetes alone
    ),
    Tool("kserve", {"kserve-manager": "github.com/kserve/kserve/cmd/manager"}),
)
BY_PROGRAM = {program: tool for tool in TOOLS for program in tool.programs}


@cache
def go() -> str:
    """The Go command's path; Go's own installer puts it where a plain PATH does not look."""
    found = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if not found:
        raise ClusterError("Go is not installed (1.25 or newer is needed): see https://go.dev/dl")
    return found


@cache
def go_version() -> str:
    return run([go(), "env", "GOVERSION"]).strip()


@cache
def key(tool: Tool) -> str:
    digest = hashlib.sha256(json.dumps([go_version(), tool.ldflags, tool.programs, *tool.tags]).encode())
    for file in sorted(path for path in tool.source.rglob("*") if path.is_file()):
        digest.update(str(file.relative_to(tool.source)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def folder(tool: Tool) -> Path:
    return CACHE / "tools" / f"{tool.name}-{key(tool)}"


def path(program: str) -> Path:
    """Where a program lies once it is built."""
    return folder(BY_PROGRAM[program]) / program


def build_all() -> None:
    for tool in TOOLS:
        if not folder(tool).is_dir():
            build(tool)
    BIN.mkdir(parents=True, exist_ok=True)
    for program in BY_PROGRAM:
        name = BIN / program
        if not name.is_symlink() or name.readlink() != path(program):
            name.unlink(missing_ok=True)
            name.symlink_to(path(program))


def build(tool: Tool) -> None:
    target = folder(tool)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    environment = {
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly",
        # A Go that is older than what a module asks for fetches the newer one from the module proxy.
        "GOTOOLCHAIN": os.environ.get("GOTOOLCHAIN", "auto"),
    }
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        for program, package in tool.programs.items():
            with step(f"build {program}"):
                # What debuggers read is left out by the linker (-s -w); not made at all it saves a tenth of the compilation.
                words = [go(), "build", "-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false"]
                words += ["-ldflags", f"-s -w {tool.ldflags}".strip(), "-tags", ",".join(tool.tags)]
                run(
                    [*words, "-o", temporary / program, package],
                    cwd=tool.source,
                    env=environment,
                )
        for old in target.parent.glob(f"{tool.name}-*"):
            if old.name.removeprefix(f"{tool.name}-") != key(tool) and len(old.name) == len(target.name):
                shutil.rmtree(old, ignore_errors=True)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@cache
def module(name: str, path: str) -> Path:
    """The folder of a Go module that a tool pins: charts and CRDs are taken from there, never copied into the repository."""
    source = HERE / "tools" / name
    answer = json.loads(run([go(), "mod", "download", "-json", path], cwd=source, env={"GOFLAGS": "-mod=readonly"}))
    return Path(answer["Dir"])
