"""The pinned Go tools: built once for each go.mod, go.sum, Go version and set of flags, and kept in the user's cache."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import NamedTuple

import layout
from process import Failed, progress, run

KUBERNETES = "v1.34.4"
VERSION = f"-X k8s.io/component-base/version.gitVersion={KUBERNETES} -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34"


class Tool(NamedTuple):
    """A binary: its name, the module folder under tools/, the package in it, more linker flags."""

    name: str
    module: str
    package: str
    flags: str = ""


TOOLS = (
    *(
        Tool(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", VERSION)
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
    ),
    Tool("etcd", "etcd", "."),
    Tool("helm", "helm", "helm.sh/helm/v4/cmd/helm", "-X helm.sh/helm/v4/internal/version.version=v4.3.1"),
    Tool("coredns", "coredns", "github.com/coredns/coredns"),
    Tool("local-path-provisioner", "local-path-provisioner", "github.com/rancher/local-path-provisioner"),
    Tool("kube-network-policies", "kube-network-policies", "sigs.k8s.io/kube-network-policies/cmd"),
    Tool("kserve-manager", "kserve", "github.com/kserve/kserve/cmd/manager"),
    Tool("envoy-gateway", "envoy-gateway", "github.com/envoyproxy/gateway/cmd/envoy-gateway"),
)
ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -trimpath", "GOWORK": "off"}


def build() -> dict[str, Path]:
    """Every tool's binary, built where the cache lacks it, and a link to it in .cluster/bin."""
    go = run("go", "env", "GOVERSION").strip()
    found = {tool.name: _binary(tool, go) for tool in TOOLS}
    layout.BIN.mkdir(parents=True, exist_ok=True)
    for name, binary in found.items():
        link = layout.BIN / name
        if not link.is_symlink() or link.readlink() != binary:
            link.unlink(missing_ok=True)
            link.symlink_to(binary)
    return found


def _binary(tool: Tool, go: str) -> Path:
    module = layout.HERE / "tools" / tool.module
    pinned = hashlib.sha256()
    for part in (go, tool.package, tool.flags, json.dumps(ENVIRONMENT), *(path.read_text() for path in sorted(module.iterdir()))):
        pinned.update(part.encode() + b"\0")
    target = layout.CACHE / "tools" / f"{tool.name}-{pinned.hexdigest()[:16]}" / tool.name
    if target.exists():
        return target
    partial = target.parent.with_name(f"{target.parent.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with progress(f"building {tool.name}"):
        run("go", "build", "-ldflags", f"-s -w {tool.flags}", "-o", partial / tool.name, tool.package, cwd=module, env=ENVIRONMENT)
    partial.rename(target.parent)
    return target


def source(module: str, folder: str) -> Path:
    """The folder of a Go module in Go's own cache: charts and definitions are read from there."""
    answer = json.loads(run("go", "mod", "download", "-json", module, cwd=layout.HERE / "tools" / folder, env={"GOWORK": "off"}))
    if "Dir" not in answer:
        raise Failed(f"{module}: {answer.get('Error')}")
    return Path(answer["Dir"])
