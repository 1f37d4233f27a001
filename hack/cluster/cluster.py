"""What `up`, `down`, `lose` and `status` do, in order."""

import concurrent.futures
import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import addons
import builder
import certificates
import controlplane
import images
import loader
import network
import node
import packages
import record
import tools
from progress import ClusterError, say, step
from settings import CACHE, DAEMONS_CGROUP, IMAGES_JSON, KUBECONFIG, NODES, RECORD, RUN, STATE, Node

EVERYTHING = (*controlplane.NAMES, *(name for each in NODES for name in node.names(each)))
TEMPORARY = (
    "etcd",
    "audit.log",
    "audit-policy.yaml",
    "certificates",
    "charts",
    "volumes",
    "bin",
    "kubeconfig",
    "images.json",
    "STATE",
    *(each.name for each in NODES),
)


@contextmanager
def alone() -> Iterator[None]:
    """One command at a time changes the cluster; another waits."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step("wait for another hack/cluster to end"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def up() -> None:
    claim()
    packages.ensure()
    tools.build_all()
    machines()
    builder.build(images.CLUSTER_IMAGES)
    loader.load(images.CLUSTER_IMAGES)
    # The parts of the platform wait for each other more than they compute: Noria's images are built meanwhile.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        platform = pool.submit(addons.platform)
        builder.build(images.present())
        loader.load_all()
        platform.result()
    addons.product()
    builder.prune()
    say(f"cluster ready: export KUBECONFIG={KUBECONFIG}")


def machines() -> None:
    """The nodes and what names and storage need, so that the cluster can be used before the big images are built."""
    if not network.is_up():
        network.up()
    certificates.make()
    controlplane.start()
    for each in NODES:
        node.start_containerd(each)
    for each in NODES:
        node.wait_containerd(each)
    first = [images.ALL[name] for name in ("debian", "pause", "coredns", "local-path-provisioner")]
    builder.build(first)
    loader.load(first)
    for each in NODES:
        node.start_kubelet(each)
    node.wait_ready()
    node.give_gpus()
    addons.VOLUMES.mkdir(parents=True, exist_ok=True)
    addons.basics()
    (STATE / "STATE").write_text(f"Nodes, DNS and storage are up: KUBECONFIG={KUBECONFIG}\n")


def claim() -> None:
    """Refuse where another folder's cluster lives; clear away what a dead one left."""
    folder = Path(record.read().get("folder", STATE))
    living = record.living()
    if living and folder != STATE:
        raise ClusterError(
            f"a cluster of {folder.parent} runs on this machine ({len(living)} processes): "
            f"end it there with `python3 hack/cluster down`"
        )
    leftover = record.read() or record.cgroup_members() or RUN.exists() or Path("/run/netns/noria-n1").exists()
    if leftover and (folder != STATE or not network.is_up() or not any(name in living for name in controlplane.NAMES)):
        with step("clear away what a cluster left that was not ended properly"):
            clear(folder)
    STATE.mkdir(parents=True, exist_ok=True)


def down() -> None:
    with step("end the cluster"):
        clear(Path(record.read().get("folder", STATE)))


def clear(folder: Path) -> None:
    """End every process that was started and remove every trace but the cache and the logs; also of a cluster in pieces."""
    living = record.living()
    record.end({name: pid for name, pid in living.items() if name.startswith("kubelet")})  # it would start pods again
    record.end_cgroups(tuple(each.cgroup for each in NODES))
    record.end(record.living())
    record.end_cgroups(record.GROUP_NAMES)
    network.down(folder)
    node.remove_cgroups()
    shutil.rmtree(RUN, ignore_errors=True)
    for name in TEMPORARY:
        target = folder / name
        shutil.rmtree(target) if target.is_dir() and not target.is_symlink() else target.unlink(missing_ok=True)
    RECORD.unlink(missing_ok=True)


def lose(name: str) -> None:
    """A node dies at once, as when its power is cut: its daemons, its pods. `up` brings it back."""
    each = by_name(name)
    with step(f"cut the power of {name}"):
        for daemon in node.names(each):
            if record.alive(daemon):
                record.end({daemon: record.living()[daemon]})
        record.end_cgroups((each.cgroup, f"{DAEMONS_CGROUP}/{each.name}") if each.index != 1 else (each.cgroup,))


def by_name(name: str) -> Node:
    for each in NODES:
        if each.name == name:
            return each
    raise ClusterError(f"no node {name}: there are {', '.join(each.name for each in NODES)}")


def rebuild_images() -> None:
    packages.ensure()
    tools.build_all()
    builder.build(images.present())
    builder.prune()
    if all(record.alive(f"containerd-{each.index}") for each in NODES):
        loader.load_all()
        addons.platform()
        addons.product()
    else:
        loader.write_references()


def status() -> None:
    living = record.living()
    for name in EVERYTHING:
        say(f"{name:26} {f'runs, pid {living[name]}' if name in living else 'does not run'}")
    if "kube-apiserver" in living:
        print(controlplane.kubectl("get", "nodes", "-o", "wide"))
        print(json.dumps(addons.marks(), indent=1))
    if IMAGES_JSON.exists():
        print(IMAGES_JSON.read_text())
