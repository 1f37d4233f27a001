"""Images without a registry: built by buildah, kept in an OCI layout in the user's cache, loaded into each node's containerd."""

import concurrent.futures
import hashlib
import json
import subprocess
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import layout
from layout import BIN, HERE, NODES, ROOT, Node
from process import Failed, inside, progress, run

BASE = "docker.io/library/debian:trixie-slim"
STORE = layout.CACHE / "images"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
COMPRESSION = ("--compression-format", "zstd", "--compression-level", "1")
BUILDAH = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "overlay"}


class Image(NamedTuple):
    """An image: its name, its Dockerfile, the files that decide over its content, and the images that it is built from."""

    name: str
    dockerfile: Path
    context: Path
    sources: tuple[Path, ...]
    bases: tuple[str, ...] = ()
    shipped: bool = True
    """Whether pods use it; a base is part of others only."""


def _tool(name: str) -> Image:
    """An image of one static binary."""
    return Image(name, HERE / "images" / "binary.Dockerfile", BIN / name, (BIN / name,))


def _part(name: str, *sources: Path) -> Image:
    """An image of a part of the cluster that is more than a binary."""
    return Image(name, HERE / "images" / f"{name}.Dockerfile", HERE / "images", (HERE / "images", *sources))


def _own(name: str, *sources: str, bases: tuple[str, ...] = (), shipped: bool = True) -> Image:
    """An image of the project."""
    folder = ROOT / "images" / name
    return Image(name, folder / "Dockerfile", ROOT, (folder, *(ROOT / each for each in sources)), bases, shipped)


IMAGES = (
    _part("pause"),
    *(_tool(name) for name in ("coredns", "local-path-provisioner", "kserve-manager", "envoy-gateway")),
    _part("envoy"),
    _part("prometheus"),
    _part("shell"),
    _own("agent"),
    _own("operator", "operator/noria"),
    _own("torch", shipped=False),
    _own("trainer", "images/torch", bases=("torch",)),
    _own("server", "images/torch", bases=("torch",)),
)
OWN = ("agent", "operator", "trainer", "server")


def build() -> dict[str, str]:
    """Name -> tag of every image, built where the cache lacks it."""
    STORE.mkdir(parents=True, exist_ok=True)
    tags: dict[str, str] = {}
    for image in IMAGES:
        tags[image.name] = _tag(image, tags)
        if image.shipped and not _manifest(image.name, tags[image.name]):
            _build(image, tags)
            target = f"oci:{STORE}:{reference(image.name, tags[image.name])}"
            with progress(f"keeping image {image.name}"):
                run("buildah", "push", *COMPRESSION, reference(image.name, tags[image.name]), target, env=BUILDAH)
    _sweep(tags)
    layout.STATE.mkdir(exist_ok=True)
    layout.IMAGES_JSON.write_text(json.dumps(references(tags), indent=1))
    return tags


def references(tags: dict[str, str]) -> dict[str, str]:
    """Name -> reference of the project's own images, as the chart wants them."""
    return {name: reference(name, tags[name]) for name in OWN}


def reference(name: str, tag: str) -> str:
    """The full reference of an image."""
    return f"noria.dev/{name}:{tag}"


def _tag(image: Image, tags: dict[str, str]) -> str:
    content = hashlib.sha256(image.dockerfile.read_bytes())
    for base in image.bases:
        content.update(tags[base].encode())
    for source in image.sources:
        if source.is_symlink():  # a tool: its path in the cache names its content
            content.update(str(source.readlink()).encode())
            continue
        for file in sorted(each for each in source.rglob("*") if each.is_file() and "__pycache__" not in each.parts):
            content.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return content.hexdigest()[:12]


def _build(image: Image, tags: dict[str, str]) -> None:
    """Builds the image with buildah, and before it the images that it is built from, unless buildah holds them."""
    built = reference(image.name, tags[image.name])
    if run("buildah", "images", "--quiet", built, env=BUILDAH, check=False).strip():
        return
    _base()
    for base in image.bases:
        _build(next(each for each in IMAGES if each.name == base), tags)
        run("buildah", "tag", reference(base, tags[base]), reference(base, "dev"), env=BUILDAH)
    arguments = ["--build-arg", f"NAME={image.name}"]
    if CERTIFICATES.exists():  # behind a proxy that signs with an authority of its own, pip needs it too
        arguments += ["--volume", f"{CERTIFICATES}:/run/ca.crt:ro", "--build-arg", "PIP_CERT=/run/ca.crt"]
    context = image.context.resolve()
    if context.is_file():
        context = context.parent
    with progress(f"building image {image.name}"):
        run("buildah", "bud", "--pull-never", "--layers", "-f", image.dockerfile, "-t", built, *arguments, context, env=BUILDAH)


def _base() -> None:
    """Debian, from its package archive, under the name by which registries know it."""
    if run("buildah", "images", "--quiet", BASE, env=BUILDAH, check=False).strip():
        return
    archive = STORE / "base.tar"
    with progress("making the Debian base image"):
        run("mmdebstrap", "--variant=minbase", "--include=ca-certificates", "trixie", archive)
        container = run("buildah", "from", "scratch", env=BUILDAH).strip()
        run("buildah", "add", container, archive, "/", env=BUILDAH)
        run("buildah", "config", "--cmd", "/bin/bash", container, env=BUILDAH)
        run("buildah", "commit", "--rm", container, BASE, env=BUILDAH)
        archive.unlink()


def _index() -> list[dict[str, Any]]:
    path = STORE / "index.json"
    return list(json.loads(path.read_text())["manifests"]) if path.exists() else []


def _manifest(name: str, tag: str) -> dict[str, Any] | None:
    """The image's entry in the layout."""
    wanted = reference(name, tag)
    return next((each for each in _index() if each.get("annotations", {}).get("org.opencontainers.image.ref.name") == wanted), None)


def _sweep(tags: dict[str, str]) -> None:
    """Drops from the cache what no image of today needs."""
    keep = [found for name, tag in tags.items() if (found := _manifest(name, tag))]
    index = STORE / "index.json"
    document = json.loads(index.read_text())
    if len(document["manifests"]) == len(keep):
        return
    needed = {blob.name for manifest in keep for blob in _blobs(manifest)}
    index.write_text(json.dumps(document | {"manifests": keep}))
    for blob in (STORE / "blobs" / "sha256").iterdir():
        if blob.name not in needed:
            blob.unlink()


def _blob(digest: str) -> Path:
    return STORE / "blobs" / "sha256" / digest.removeprefix("sha256:")


def _blobs(descriptor: dict[str, Any]) -> Iterator[Path]:
    """The manifest, its configuration and its layers."""
    manifest = json.loads(_blob(descriptor["digest"]).read_text())
    for part in (descriptor, manifest["config"], *manifest["layers"]):
        yield _blob(part["digest"])


def load(tags: dict[str, str]) -> None:
    """Loads into each node what it lacks, all nodes at once."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for done in [pool.submit(_load, node, tags) for node in NODES]:
            done.result()


def _load(node: Node, tags: dict[str, str]) -> None:
    held = set(run("ctr", "--address", node.containerd, "-n", "k8s.io", "images", "ls", "-q").split())
    shipped = {image.name for image in IMAGES if image.shipped}
    missing = [name for name in tags if name in shipped and reference(name, tags[name]) not in held]
    if not missing:
        return
    with progress(f"loading {len(missing)} images into {node.name}"):
        command = [*inside(node.namespace), "ctr", "--address", str(node.containerd), "-n", "k8s.io", "images", "import", "-"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert process.stdin is not None and process.stderr is not None
        with tarfile.open(fileobj=process.stdin, mode="w|") as archive:
            _write(archive, {name: tags[name] for name in missing})
        process.stdin.close()
        words = process.stderr.read().decode()
        if process.wait():
            raise Failed(f"{node.name}: ctr images import: {words.strip()[-1000:]}")


def _write(archive: tarfile.TarFile, tags: dict[str, str]) -> None:
    """An OCI archive with those images, each also under the tag `dev`; what they share stands in it once."""
    entries, blobs = [], {}
    for name, tag in tags.items():
        found = _manifest(name, tag)
        if found is None:
            raise Failed(f"image {name} is not in {STORE}: run `python3 hack/cluster images`")
        for alias in (tag, "dev"):
            named = {"io.containerd.image.name": reference(name, alias)}
            entries.append({key: found[key] for key in ("mediaType", "digest", "size")} | {"annotations": named})
        blobs |= {blob.name: blob for blob in _blobs(found)}
    for file, document in (("oci-layout", {"imageLayoutVersion": "1.0.0"}), ("index.json", {"schemaVersion": 2, "manifests": entries})):
        content = json.dumps(document).encode()
        entry = tarfile.TarInfo(file)
        entry.size = len(content)
        archive.addfile(entry, BytesIO(content))
    for blob in blobs.values():
        archive.add(blob, f"blobs/sha256/{blob.name}")

