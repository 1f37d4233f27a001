"""Starts the long-lived processes: detached, in their node's namespaces, in a cgroup of ours, with a log file."""

import os
import subprocess
from pathlib import Path

import record
from commands import write_atomically
from progress import ClusterError
from settings import DAEMONS_CGROUP, LOGS, Node

CONTROLLERS = ("pids", "cpu", "cpuacct", "memory")
SHARES = "8192"  # eight times a plain process: a busy training must not starve etcd or a kubelet


def cgroup(place: str) -> list[Path]:
    folders = []
    for controller in CONTROLLERS:
        folder = record.CGROUPS / controller / DAEMONS_CGROUP / place
        folder.mkdir(parents=True, exist_ok=True)
        folders.append(folder)
    (record.CGROUPS / "cpu" / DAEMONS_CGROUP / "cpu.shares").write_text(SHARES)
    return folders


def start(
    name: str, node: Node, argv: list[str | Path], *, mounts: bool = False, env: dict[str, str] | None = None
) -> None:
    """Start a process if it is not running. `mounts` puts it into the node's mount namespace too."""
    if record.alive(name):
        return
    LOGS.mkdir(parents=True, exist_ok=True)
    groups = [folder / "cgroup.procs" for folder in cgroup(node.name)]
    prefix = node.enter if mounts else node.enter_network

    def join() -> None:
        for group in groups:
            group.write_text("0")

    with (LOGS / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [*prefix, *map(str, argv)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=join,
            env=os.environ | (env or {}),
            cwd="/",
        )
    record.add(name, process.pid)


def require_alive(name: str) -> None:
    """Fail at once, with the log's end, when a process that was started has gone."""
    if not record.alive(name):
        log = LOGS / f"{name}.log"
        tail = log.read_text(errors="replace")[-1500:] if log.exists() else ""
        raise ClusterError(f"{name} ended; the last lines of {log}:\n{tail}")


def write_config(path: Path, text: str) -> Path:
    write_atomically(path, text)
    return path
