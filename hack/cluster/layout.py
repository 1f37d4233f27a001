"""Where everything of the local cluster lies and how it is addressed: the one place for names, paths and numbers."""

import os
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
STATE = ROOT / ".cluster"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "noria"
RECORD = Path("/run/noria-cluster.json")
"""What was started and from which checkout; outside the checkout, so that a later one finds it."""

KUBECONFIG = STATE / "kubeconfig"
IMAGES_JSON = STATE / "images.json"
BIN = STATE / "bin"
LOGS = STATE / "logs"
PKI = STATE / "pki"
VOLUMES = STATE / "volumes"

BRIDGE = "noria0"
HOST_ADDRESS = "10.243.0.1"
SERVICE_RANGE, POD_RANGE = "10.96.0.0/16", "10.244.0.0/16"
DNS_ADDRESS = "10.96.0.10"


class Node(NamedTuple):
    """One node: a network namespace of its own on the bridge, with kubelet, containerd and kube-proxy in it."""

    number: int

    @property
    def name(self) -> str:
        """The node's name in Kubernetes."""
        return f"noria-{self.number}"

    @property
    def namespace(self) -> str:
        """The network namespace."""
        return f"noria-n{self.number}"

    @property
    def address(self) -> str:
        """The address on the bridge."""
        return f"10.243.0.{10 + self.number}"

    @property
    def pods(self) -> str:
        """The range of the pods' addresses."""
        return f"10.244.{self.number}.0/24"

    @property
    def folder(self) -> Path:
        """The node's state."""
        return STATE / self.namespace

    @property
    def containerd(self) -> Path:
        """containerd's socket."""
        return self.folder / "containerd.sock"


NODES = (Node(1), Node(2))
MASTER = NODES[0]
SERVER = f"https://{MASTER.address}:6443"
