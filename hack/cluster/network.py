"""The bridge, the two network namespaces, their routes and their private mount namespaces."""

from pathlib import Path

from commands import run, succeeds
from settings import BRIDGE, HOST_ADDRESS, NODES, POD_RANGE, RUN, SERVICE_RANGE, STATE, Node

# Paths that containerd, the CNI plugins and the kubelet have built in: each node gets its own behind them.
BUILT_IN = ("/run/containerd", "/run/netns", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers")


def is_up() -> bool:
    return (
        all(node.mount_pin.exists() and Path(f"/run/netns/{node.netns}").exists() for node in NODES)
        and Path(f"/sys/class/net/{BRIDGE}").exists()
    )


def up() -> None:
    run(["ip", "link", "add", BRIDGE, "type", "bridge"])
    run(["ip", "address", "add", f"{HOST_ADDRESS}/24", "dev", BRIDGE])
    run(["ip", "link", "set", BRIDGE, "up"])
    RUN.mkdir(parents=True, exist_ok=True)
    run(["mount", "--bind", RUN, RUN])
    run(["mount", "--make-private", RUN])  # the kernel pins mount namespaces only on a private mount
    for node in NODES:
        network_of(node)
    for node in NODES:
        for other in NODES:
            if other != node:
                run([*node.enter_network, "ip", "route", "add", other.pods, "via", other.address])
        run(["ip", "route", "add", node.pods, "via", node.address, "dev", BRIDGE])
    run(["ip", "route", "add", SERVICE_RANGE, "via", NODES[0].address, "dev", BRIDGE])
    for node in NODES:
        mounts_of(node)


def network_of(node: Node) -> None:
    run(["ip", "netns", "add", node.netns])
    run(["ip", "link", "add", node.link, "type", "veth", "peer", "name", "eth0", "netns", node.netns])
    run(["ip", "link", "set", node.link, "master", BRIDGE, "up"])
    for words in (
        "ip link set lo up",
        f"ip address add {node.address}/24 dev eth0",
        "ip link set eth0 up",
        # No default route: nothing leaves the machine. Services are routed to a bridge without ports, so that a
        # node's own packets reach netfilter (which rewrites them) and what it does not rewrite goes nowhere.
        "ip link add noria-services type bridge",
        "ip link set noria-services up",
        f"ip route add {SERVICE_RANGE} dev noria-services src {node.address}",
        "sysctl -q -w net.ipv4.ip_forward=1",
        # One rule set decides what the NetworkPolicy evaluator is asked about: the first packet of a connection.
        "iptables -t mangle -N NORIA-POLICY",
        "iptables -t mangle -A NORIA-POLICY -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN",
        "iptables -t mangle -A NORIA-POLICY -m owner --uid-owner 0 -j RETURN",
        f"iptables -t mangle -A NORIA-POLICY -s {POD_RANGE} -j NFQUEUE --queue-num 100",
        f"iptables -t mangle -A NORIA-POLICY -d {POD_RANGE} -j NFQUEUE --queue-num 100",
        "iptables -t mangle -A POSTROUTING -j NORIA-POLICY",
    ):
        run([*node.enter_network, *words.split()])


def mounts_of(node: Node) -> None:
    node.run.mkdir(parents=True, exist_ok=True)
    node.mount_pin.touch()
    run(["unshare", f"--mount={node.mount_pin}", "--propagation", "private", "true"])
    for place in BUILT_IN:
        own = node.folder / "built-in" / place.strip("/").replace("/", "-")
        own.mkdir(parents=True, exist_ok=True)
        Path(place).mkdir(parents=True, exist_ok=True)
        run([*node.enter, "mount", "--bind", own, place])
    run([*node.enter, "mount", "--make-rshared", "/"])  # some pods want propagation; it ends at this namespace


def down(state: Path = STATE) -> None:
    """Remove what carries our names, whichever part of it is there."""
    for node in NODES:
        unmount(node.mount_pin)
        node.mount_pin.unlink(missing_ok=True)
        if Path(f"/run/netns/{node.netns}").exists():
            run(["ip", "netns", "delete", node.netns])
        if Path(f"/sys/class/net/{node.link}").exists():
            run(["ip", "link", "delete", node.link])
    if Path(f"/sys/class/net/{BRIDGE}").exists():
        run(["ip", "link", "delete", BRIDGE])
    for point in mount_points():
        if point.startswith((f"{RUN}/", f"{state}/")) or point == str(RUN):
            unmount(Path(point))
    netns = Path("/run/netns")
    if netns.is_dir() and not any(netns.iterdir()):
        unmount(netns)  # iproute2 leaves it mounted on itself
    for place in BUILT_IN:
        folder = Path(place)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def mount_points() -> list[str]:
    """All of this mount namespace, the deepest first."""
    points = [
        line.split()[1].encode().decode("unicode_escape") for line in Path("/proc/mounts").read_text().splitlines()
    ]
    return sorted(points, key=len, reverse=True)


def unmount(path: Path) -> None:
    while str(path) in mount_points():
        if not succeeds(["umount", path]):
            run(["umount", "--lazy", path])
