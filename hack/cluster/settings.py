"""Every address, folder and name of the local cluster, so that no other module invents one."""

import os
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
STATE = REPOSITORY / ".cluster"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "noria"
RUN = Path("/run/noria-cluster")  # sockets (their paths must be short) and the pins of mount namespaces
RECORD = Path("/run/noria-cluster.json")  # survives the folder of a clone that is gone

KUBECONFIG = STATE / "kubeconfig"
LOGS = STATE / "logs"
AUDIT_LOG = STATE / "audit.log"  # what Noria's operator asked the API server, since this cluster began
BIN = STATE / "bin"  # names of the built tools, for people and tests
CERTIFICATES = STATE / "certificates"
VOLUMES = STATE / "volumes"
IMAGES_JSON = STATE / "images.json"

BRIDGE = "noria0"
HOST_ADDRESS = "10.243.0.1"
API_ADDRESS = "10.243.0.11"
API_SERVER = f"https://{API_ADDRESS}:6443"
SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"
POD_RANGE = "10.244.0.0/16"
DAEMONS_CGROUP = "noria-daemons"
GPUS_PER_NODE = 8
KUBERNETES_VERSION = "v1.34.4"


@dataclass(frozen=True)
class Node:
    """One machine of the cluster: a network namespace, a mount namespace and a cgroup of its own."""

    index: int

    @property
    def name(self) -> str:
        return f"noria-{self.index}"

    @property
    def netns(self) -> str:
        return f"noria-n{self.index}"

    @property
    def cgroup(self) -> str:
        return f"noria-n{self.index}"

    @property
    def link(self) -> str:
        return f"noria-v{self.index}"

    @property
    def address(self) -> str:
        return f"10.243.0.{10 + self.index}"

    @property
    def pods(self) -> str:
        return f"10.244.{self.index}.0/24"

    @property
    def folder(self) -> Path:
        return STATE / self.name

    @property
    def run(self) -> Path:
        return RUN / self.name

    @property
    def mount_pin(self) -> Path:
        return RUN / f"{self.name}.mnt"

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def enter(self) -> list[str]:
        """The words before a command that runs it on this node."""
        return ["nsenter", f"--net=/run/netns/{self.netns}", f"--mount={self.mount_pin}", "--"]

    @property
    def enter_network(self) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.netns}", "--"]


NODES = (Node(1), Node(2))
