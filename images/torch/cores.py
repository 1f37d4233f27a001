"""How many cores this container may really use: its CPU limit, which os.cpu_count() does not know of."""

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def cores(cgroup: Path = CGROUP) -> int:
    """Whole cores, at least 1: the least of the CPU limit (cgroup v2 or v1, rounded up) and the affinity."""
    available = len(os.sched_getaffinity(0))
    limit = _limit(cgroup)
    return available if limit is None else max(1, min(available, math.ceil(limit)))


def _limit(cgroup: Path) -> float | None:
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        quota_us = int((cgroup / "cpu/cpu.cfs_quota_us").read_text())
        return None if quota_us <= 0 else quota_us / int((cgroup / "cpu/cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
