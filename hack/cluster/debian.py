"""Debian packages that the cluster needs: installed where missing, without starting what they bring."""

import os
import shutil
import tempfile
from pathlib import Path

from process import progress, run

PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "iptables": "iptables",
    "nft": "nftables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "prometheus": "prometheus",
    "openssl": "openssl",
    "gcc": "gcc",
}
"""What must be there (a command, or a file) -> the package that brings it."""


def install() -> None:
    """Installs what is missing. Only root can; the sentence of apt says so otherwise."""
    missing = sorted({package for what, package in PACKAGES.items() if not _there(what)})
    if not missing:
        return
    with progress(f"installing {' '.join(missing)}"), _nothing_starts():
        environment = {"DEBIAN_FRONTEND": "noninteractive"}
        run("apt-get", "update", env=environment)
        run("apt-get", "install", "-y", "--no-install-recommends", *missing, env=environment)


def _there(what: str) -> bool:
    return os.path.exists(what) if what.startswith("/") else bool(shutil.which(what, path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin"))


class _nothing_starts:
    """While packages are installed, Debian asks policy-rc.d whether a daemon may start: no."""

    policy = Path("/usr/sbin/policy-rc.d")

    def __enter__(self) -> None:
        self.made = not self.policy.exists()
        if self.made:
            with tempfile.NamedTemporaryFile("w", dir=self.policy.parent, delete=False) as file:
                file.write("#!/bin/sh\nexit 101\n")
            Path(file.name).chmod(0o755)
            Path(file.name).rename(self.policy)

    def __exit__(self, *_: object) -> None:
        if self.made:
            self.policy.unlink()
