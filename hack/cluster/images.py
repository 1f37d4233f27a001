"""Which images there are, what each is made of, and the hash that says whether it must be built again."""

import hashlib
import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tools
from settings import HERE, REPOSITORY

DEBIAN_SUITE = "trixie"
DEBIAN_NAME = "docker.io/library/debian:trixie-slim"
DEBIAN_INCLUDE = ("ca-certificates",)
IGNORED = ("__pycache__", "*.pyc", "*.egg-info", ".*_cache", ".hypothesis", ".venv", ".git", ".cluster")


@dataclass(frozen=True)
class Image:
    """An image of the cluster (Dockerfile below hack/cluster/images, a context of single files) or, with
    `project`, of Noria (Dockerfile below images/, the repository as context)."""

    name: str
    base: str = ""
    project: bool = False
    program: str = ""  # a Go tool that goes into the context
    load: bool = True  # whether pods use it by itself

    @property
    def folder(self) -> Path:
        return (REPOSITORY if self.project else HERE) / "images" / self.name

    @property
    def dockerfile(self) -> Path:
        return self.folder / "Dockerfile"

    @property
    def development_tag(self) -> str:
        return DEBIAN_NAME if self.name == "debian" else f"noria.dev/{self.name}:dev"

    @property
    def reference(self) -> str:
        """The tag by content: a Deployment that names it rolls when the content changes."""
        return f"noria.dev/{self.name}:{key(self.name)}"


CLUSTER_IMAGES = (
    Image("debian"),
    Image("pause", program="pause"),
    Image("coredns", program="coredns"),
    Image("local-path-provisioner", program="local-path-provisioner"),
    Image("kserve-controller", program="kserve-manager"),
    Image("envoy-gateway", program="envoy-gateway"),
    Image("envoy", base="debian"),
    Image("prometheus", program="prometheus"),
)
PROJECT_IMAGES = (
    Image("agent", base="debian", project=True),
    Image("operator", base="debian", project=True),
    Image("torch", base="debian", project=True, load=False),
    Image("trainer", base="torch", project=True),
    Image("server", base="torch", project=True),
)
ALL = {image.name: image for image in (*CLUSTER_IMAGES, *PROJECT_IMAGES)}


def present() -> list[Image]:
    """In an order in which bases come first; a project image whose Dockerfile is not written yet is left out."""
    return [
        image
        for image in ALL.values()
        if image.dockerfile.exists() and (not image.base or ALL[image.base].dockerfile.exists())
    ]


def sources(image: Image) -> list[Path]:
    """What of the repository an image is made of: its folder, and what its Dockerfile copies."""
    paths = [image.folder]
    if image.project:
        text = image.dockerfile.read_text().replace("\\\n", " ")
        for line in text.splitlines():
            words = shlex.split(line) if re.match(r"\s*(COPY|ADD)\s", line) else []
            if words and not any(word.startswith("--from") for word in words):
                paths += [REPOSITORY / word for word in words[1:-1] if not word.startswith("--")]
    return paths


def files_below(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = []
    for child in sorted(path.iterdir()) if path.is_dir() else []:
        if not any(child.match(pattern) for pattern in IGNORED):
            found += files_below(child)
    return found


def extra(image: Image) -> list[str]:
    """What decides the content and is no file of the repository."""
    if image.name == "debian":
        return [DEBIAN_SUITE, *DEBIAN_INCLUDE]
    if image.program:
        return [tools.key(tools.BY_PROGRAM[image.program])]
    return []


@cache
def key(name: str) -> str:
    image = ALL[name]
    digest = hashlib.sha256(repr((name, extra(image), key(image.base) if image.base else "")).encode())
    for file in sorted({file for path in sources(image) for file in files_below(path)}):
        digest.update(str(file.relative_to(REPOSITORY)).encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:12]
