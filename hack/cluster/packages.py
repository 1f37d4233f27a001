"""Debian packages that the cluster needs are installed here, without starting the daemons that they bring."""

import os
import shutil
import subprocess
from pathlib import Path

from commands import run
from progress import ClusterError, step
from settings import LOGS

PACKAGES = (
    "buildah", "ca-certificates", "conntrack", "containerd", "containernetworking-plugins", "iproute2", "iptables",
    "kmod", "mmdebstrap", "nftables", "openssl", "python3-pip", "runc", "util-linux",
)  # fmt: skip
POLICY = Path("/usr/sbin/policy-rc.d")  # Debian asks this program before it starts a daemon; 101 forbids it


def missing() -> list[str]:
    lines = subprocess.run(
        ["dpkg-query", "-W", "-f=${Package} ${db:Status-Abbrev}\n", *PACKAGES],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.splitlines()
    present = {line.split()[0] for line in lines if line.split()[1:2] == ["ii"]}
    if shutil.which("pip3") or shutil.which("pip"):
        present.add("python3-pip")
    return [name for name in PACKAGES if name not in present]


def ensure() -> None:
    if os.geteuid() != 0:
        raise ClusterError("the local cluster needs root: it makes namespaces, mounts and cgroups")
    if not shutil.which("dpkg-query"):
        raise ClusterError("the local cluster needs Debian (apt); elsewhere use kind or CLUSTER=existing")
    names = missing()
    if not names:
        return
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    had_policy = POLICY.exists()
    with step(f"Debian packages: {' '.join(names)}"):
        if not had_policy:
            POLICY.write_text("#!/bin/sh\nexit 101\n")
            POLICY.chmod(0o755)
        try:
            run(["apt-get", "update", "-q"], env=quiet, log=LOGS / "apt-update.log")
            run(
                ["apt-get", "install", "-y", "-q", "--no-install-recommends", *names],
                env=quiet,
                log=LOGS / "apt-install.log",
            )
        finally:
            if not had_policy:
                POLICY.unlink()
