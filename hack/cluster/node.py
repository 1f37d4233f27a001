"""A node: containerd, kubelet, kube-proxy and the NetworkPolicy agent in its network namespace and cgroup."""

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import layout
import pki
from controlplane import kubectl
from layout import BIN, DNS_ADDRESS, POD_RANGE, Node
from process import progress, run, spawn, until

GPUS = "8"
CGROUPS = Path("/sys/fs/cgroup")
PAUSE = "noria.dev/pause:dev"


def daemons(node: Node) -> tuple[str, ...]:
    """The node's daemons in the order in which they end."""
    return tuple(f"{part}-{node.number}" for part in ("network-policies", "kube-proxy", "kubelet", "containerd"))


def start_containerd(node: Node) -> None:
    """containerd alone: images are loaded before the kubelet asks for them."""
    node.folder.mkdir(parents=True, exist_ok=True)
    _cni(node)
    config = node.folder / "containerd.toml"
    config.write_text(f"""version = 2
root = "{node.folder}/containerd"
state = "/run/{node.namespace}/containerd"
[grpc]
  address = "{node.containerd}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{node.folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
""")
    spawn(f"containerd-{node.number}", "containerd", "--config", config, namespace=node.namespace)
    until(lambda: run("ctr", "--address", node.containerd, "version"), f"containerd of {node.name} answers")


def _cni(node: Node) -> None:
    """Each pod is routed through the node (ptp), so that NetworkPolicy sees traffic between pods of one node too."""
    folder = node.folder / "cni"
    folder.mkdir(exist_ok=True)
    ipam = {"type": "host-local", "dataDir": f"{node.folder}/ipam", "ranges": [[{"subnet": node.pods}]], "routes": [{"dst": "0.0.0.0/0"}]}
    plugins = [{"type": "ptp", "ipMasq": False, "ipam": ipam}, {"type": "portmap", "capabilities": {"portMappings": True}}]
    (folder / "10-noria.conflist").write_text(json.dumps({"cniVersion": "0.4.0", "name": "noria", "plugins": plugins}))


def up(node: Node) -> None:
    """kubelet, kube-proxy and the NetworkPolicy agent."""
    _cgroup(node)
    started = spawn(
        *(f"kubelet-{node.number}", BIN / "kubelet", f"--config={_kubelet_config(node)}"),
        *(f"--kubeconfig={pki.kubeconfig_file(f'kubelet-{node.number}')}", f"--hostname-override={node.name}"),
        *(f"--node-ip={node.address}", f"--root-dir={node.folder}/kubelet"),
        namespace=node.namespace,
    )
    spawn(f"kube-proxy-{node.number}", BIN / "kube-proxy", f"--config={_proxy_config(node)}", namespace=node.namespace)
    if started:
        with progress(f"starting node {node.name}"):
            until(lambda: "True" in _ready(node), f"node {node.name} is Ready")
        patch = [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": GPUS}]
        kubectl("patch", "node", node.name, "--subresource=status", "--type=json", "-p", json.dumps(patch))


def _ready(node: Node) -> str:
    return kubectl("get", "node", node.name, "-o", 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')


def _kubelet_config(node: Node) -> Path:
    path = node.folder / "kubelet.json"
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address,
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True}, "x509": {"clientCAFile": f"{layout.PKI}/ca.crt"}},
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{node.namespace}",
        "failCgroupV1": False,
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{node.containerd}",
        "evictionHard": {"memory.available": "200Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "failSwapOn": False,
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "nodeStatusUpdateFrequency": "5s",
        "podLogsDir": f"{node.folder}/pod-logs",
        "registerNode": True,
        "resolvConf": "",
        "rotateCertificates": False,
        "shutdownGracePeriod": "0s",
        "volumePluginDir": f"{node.folder}/plugins",
    }
    path.write_text(json.dumps(config))
    return path


def _proxy_config(node: Node) -> Path:
    path = node.folder / "kube-proxy.json"
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(pki.kubeconfig_file("kube-proxy"))},
        "clusterCIDR": POD_RANGE,
        "conntrack": {"maxPerCore": 0},
        "hostnameOverride": node.name,
        "mode": "iptables",
        "iptables": {"syncPeriod": "5s", "minSyncPeriod": "0s"},
        "healthzBindAddress": f"{node.address}:10256",
        "metricsBindAddress": "127.0.0.1:10249",
    }
    path.write_text(json.dumps(config))
    return path


def _cgroup(node: Node) -> None:
    """The node's cgroup in each v1 controller; cpusets begin empty and would admit nothing."""
    for controller in CGROUPS.iterdir():
        if controller.is_symlink() or controller.name == "unified":
            continue
        folder = controller / node.namespace
        folder.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (folder / name).exists() and not (folder / name).read_text().strip():
                (folder / name).write_text((controller / name).read_text())


def processes(node: Node) -> set[int]:
    """All processes in the node's cgroups, and the shims that watch over them."""
    found: set[int] = set()
    for procs in CGROUPS.glob(f"*/{node.namespace}/**/cgroup.procs"):
        with contextlib.suppress(OSError):
            found |= {int(line) for line in procs.read_text().split()}
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = command.read_bytes().decode(errors="replace").split("\0")
            if words[0].endswith("containerd-shim-runc-v2") and any(word.endswith(f"/{node.namespace}/containerd.sock") for word in words):
                found.add(int(command.parent.name))
    return found


def clear(node: Node) -> None:
    """Ends all containers of the node and takes away its cgroups. Its daemons have ended before."""
    deadline = time.monotonic() + 20
    while (left := processes(node)) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    for controller in CGROUPS.iterdir():
        folders = sorted((controller / node.namespace).glob("**/"), key=lambda each: -len(each.parts))
        for folder in folders:
            with contextlib.suppress(OSError):
                folder.rmdir()
