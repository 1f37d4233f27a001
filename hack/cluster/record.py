"""What was started is written down in /run, so that `down` ends that and nothing else, from any folder."""

import json
import os
import signal
import time
from pathlib import Path

from commands import write_atomically
from settings import DAEMONS_CGROUP, NODES, RECORD, STATE

CGROUPS = Path("/sys/fs/cgroup")
GROUP_NAMES = (*(node.cgroup for node in NODES), DAEMONS_CGROUP)


def read() -> dict:
    """{"folder": the clone's state folder, "processes": {name: {"pid", "start"}}}; empty when nothing was started."""
    try:
        return json.loads(RECORD.read_text())
    except (FileNotFoundError, ValueError):
        return {}


def start_time(pid: int) -> int | None:
    """The kernel's start time of a living process, None for none and for a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def add(name: str, pid: int) -> None:
    record = read()
    record["folder"] = str(STATE)
    record.setdefault("processes", {})[name] = {"pid": pid, "start": start_time(pid)}
    write_atomically(RECORD, json.dumps(record, indent=1))


def alive(name: str) -> bool:
    entry = read().get("processes", {}).get(name)
    return bool(entry) and entry["start"] is not None and start_time(entry["pid"]) == entry["start"]


def living() -> dict[str, int]:
    return {name: entry["pid"] for name, entry in read().get("processes", {}).items() if alive(name)}


def cgroup_members(groups: tuple[str, ...] = GROUP_NAMES) -> set[int]:
    """Processes in cgroups of our names: containers and their shims, which nobody could write down."""
    pids: set[int] = set()
    for group in groups:
        for folder, _, _ in os.walk(CGROUPS / "pids" / group):  # walk, unlike glob, lets folders vanish meanwhile
            try:
                pids.update(int(line) for line in (Path(folder) / "cgroup.procs").read_text().split())
            except OSError:
                continue
    return pids


def end(pids: dict[str, int], seconds: float = 5) -> None:
    """Kill processes; each is looked at again before. No grace: what they would tidy up is deleted anyway."""
    for name, pid in pids.items():
        if alive(name):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + seconds
    while any(alive(name) for name in pids) and time.monotonic() < deadline:
        time.sleep(0.05)


def end_cgroups(groups: tuple[str, ...]) -> None:
    """Kill what is left in our cgroups, again until nobody is (a shim may start a process meanwhile)."""
    deadline = time.monotonic() + 20
    while (pids := cgroup_members(groups)) and time.monotonic() < deadline:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.1)
