"""One node: its cgroups, containerd, kubelet, kube-proxy and NetworkPolicy evaluator."""

import json
import shutil

import certificates
import daemons
import record
import tools
from commands import read_json, succeeds
from controlplane import kubectl
from progress import step, wait_until
from settings import CERTIFICATES, DNS_SERVICE, GPUS_PER_NODE, KUBECONFIG, NODES, POD_RANGE, Node

PAUSE = "noria.dev/pause:dev"
"""The image of a pod's first process."""
DAEMONS = ("containerd", "kubelet", "kube-proxy", "network-policies")


def names(node: Node) -> list[str]:
    return [f"{daemon}-{node.index}" for daemon in DAEMONS]


def is_up(node: Node) -> bool:
    return all(record.alive(name) for name in names(node))


def start_containerd(node: Node) -> None:
    name = f"containerd-{node.index}"
    make_cgroups(node)
    if record.alive(name):
        return
    config = daemons.write_config(
        node.folder / "containerd.toml",
        CONTAINERD.format(
            root=node.folder / "containerd",
            state=node.run / "containerd",
            socket=node.containerd_socket,
            pause=PAUSE,
            cni=node.folder / "cni",
        ),
    )
    daemons.write_config(node.folder / "cni" / "10-noria.conflist", json.dumps(cni(node), indent=1))
    daemons.start(name, node, [shutil.which("containerd") or "containerd", "--config", config], mounts=True)


def wait_containerd(node: Node) -> None:
    def ready() -> bool:
        daemons.require_alive(f"containerd-{node.index}")
        return succeeds(["ctr", "--address", node.containerd_socket, "version"])

    wait_until(f"containerd of {node.name} answers", ready, 60)


def start_kubelet(node: Node) -> None:
    """The kubelet and what runs beside it; containerd must answer and hold the pause image."""
    kubelet = daemons.write_config(node.folder / "kubelet.json", json.dumps(kubelet_config(node), indent=1))
    daemons.start(
        f"kubelet-{node.index}",
        node,
        [
            tools.path("kubelet"),
            f"--config={kubelet}",
            f"--kubeconfig={certificates.kubeconfig(node.name)}",
            f"--root-dir={node.folder / 'kubelet'}",
            f"--hostname-override={node.name}",
            f"--node-ip={node.address}",
            f"--node-labels=noria.dev/index={node.index}",
        ],
        mounts=True,
    )
    proxy = daemons.write_config(
        node.folder / "kube-proxy.json",
        json.dumps(
            {
                "kind": "KubeProxyConfiguration",
                "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
                "mode": "iptables",
                "clientConnection": {"kubeconfig": str(certificates.kubeconfig("proxy"))},
                "clusterCIDR": POD_RANGE,
                "hostnameOverride": node.name,
                "bindAddress": node.address,
                "healthzBindAddress": f"{node.address}:10256",
                "metricsBindAddress": "127.0.0.1:10249",
                "conntrack": {"maxPerCore": 0},
                "iptables": {"minSyncPeriod": "200ms"},
            },
            indent=1,
        ),
    )
    daemons.start(f"kube-proxy-{node.index}", node, [tools.path("kube-proxy"), f"--config={proxy}"])
    daemons.start(
        f"network-policies-{node.index}",
        node,
        [
            tools.path("kube-network-policies"),
            f"--kubeconfig={certificates.kubeconfig('network-policies')}",
            f"--node={node.name}",
        ],
    )


def make_cgroups(node: Node) -> None:
    """The kubelet wants its root in every v1 controller, and the empty cpuset of a new cgroup refuses processes."""
    for controller in sorted(record.CGROUPS.iterdir()):
        if controller.name == "unified" or controller.is_symlink() or not controller.is_dir():
            continue
        group = controller / node.cgroup
        group.mkdir(exist_ok=True)
        if controller.name == "cpuset":
            for file in ("cpuset.cpus", "cpuset.mems"):
                (group / file).write_text((controller / file).read_text())


def remove_cgroups() -> None:
    for group in record.GROUP_NAMES:
        for top in record.CGROUPS.glob(f"*/{group}"):
            for folder in sorted((path for path in top.rglob("*") if path.is_dir()), key=lambda p: -len(p.parts)):
                folder.rmdir()
            top.rmdir()


def nodes() -> list[dict]:
    return read_json([tools.path("kubectl"), "--kubeconfig", KUBECONFIG, "get", "nodes", "-o", "json"])["items"]


def is_ready(item: dict) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in item["status"].get("conditions", []))


def wait_ready() -> None:
    def ready() -> bool:
        for node in NODES:
            for name in names(node):
                daemons.require_alive(name)
        items = nodes()
        return len(items) == len(NODES) and all(is_ready(item) for item in items)

    if not ready():
        with step("nodes ready"):
            wait_until("both nodes Ready", ready, 180)


def give_gpus() -> None:
    """Devices that are not there, for the scheduler and for quota: a starting kubelet sets them to nothing."""
    wanted = str(GPUS_PER_NODE)
    patch = json.dumps(
        [
            {"op": "add", "path": f"/status/{part}/nvidia.com~1gpu", "value": wanted}
            for part in ("capacity", "allocatable")
        ]
    )
    for item in nodes():
        if any(item["status"][part].get("nvidia.com/gpu") != wanted for part in ("capacity", "allocatable")):
            kubectl(
                "patch", "node", item["metadata"]["name"], "--subresource=status", "--type=json", f"--patch={patch}"
            )


def cni(node: Node) -> dict:
    """ptp, not bridge: every packet of a pod is routed, so that netfilter sees it, a neighbour's packets too."""
    return {
        "cniVersion": "0.4.0",
        "name": "noria",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": False,
                "mtu": 1500,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": node.pods}]], "routes": [{"dst": "0.0.0.0/0"}]},
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def kubelet_config(node: Node) -> dict:
    disk = {"nodefs.available": "1%", "nodefs.inodesFree": "1%", "imagefs.available": "1%", "memory.available": "100Mi"}
    return {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "address": node.address,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(CERTIFICATES / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(CERTIFICATES / f"{node.name}.crt"),
        "tlsPrivateKeyFile": str(CERTIFICATES / f"{node.name}.key"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{node.cgroup}",
        "containerRuntimeEndpoint": f"unix://{node.containerd_socket}",
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "failSwapOn": False,
        "failCgroupV1": False,
        "imageGCHighThresholdPercent": 100,
        "evictionHard": disk,
        "nodeStatusUpdateFrequency": "5s",
        "nodeLeaseDurationSeconds": 12,
        "maxPods": 200,
        "serializeImagePulls": False,
        "podLogsDir": str(node.folder / "pod-logs"),
        "volumePluginDir": str(node.folder / "volume-plugins"),
        "healthzBindAddress": "127.0.0.1",
        "localStorageCapacityIsolation": True,
    }


CONTAINERD = """\
version = 2
root = "{root}"
state = "{state}"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_tcp_service = true
  max_concurrent_downloads = 3
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    discard_unpacked_layers = false
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""
