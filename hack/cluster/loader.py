"""Puts images into the nodes' containerd: only blobs that a node lacks are sent, and nothing is written in between."""

import concurrent.futures
import io
import json
import subprocess
import tarfile
from collections.abc import Sequence
from typing import IO

import builder
import images
from commands import run, write_atomically
from images import Image
from progress import ClusterError, step
from settings import IMAGES_JSON, NODES, Node


def load(wanted: Sequence[Image]) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for done in [pool.submit(load_into, node, wanted) for node in NODES]:
            done.result()


def load_into(node: Node, wanted: Sequence[Image]) -> None:
    present = listed(node)
    for image in wanted:
        digest = builder.digest(image)
        if all(present.get(name) == digest for name in (image.development_tag, image.reference)):
            continue
        if digest not in present.values():
            with step(f"load {image.name} into {node.name}"):
                send(node, image, digest)
        tag(node, image, digest)


def load_all() -> None:
    load([image for image in images.present() if image.load])
    write_references()


def write_references() -> None:
    """Name -> reference by content, for whoever installs a chart."""
    text = json.dumps({image.name: image.reference for image in images.present() if image.load}, indent=1) + "\n"
    if not IMAGES_JSON.exists() or IMAGES_JSON.read_text() != text:
        write_atomically(IMAGES_JSON, text)


def ctr(node: Node, *words: str) -> list[str]:
    return ["ctr", "--address", str(node.containerd_socket), "--namespace", "k8s.io", *words]


def listed(node: Node) -> dict[str, str]:
    """{reference: digest} of a node's images."""
    lines = run(ctr(node, "images", "ls")).splitlines()[1:]
    return {words[0]: words[2] for words in map(str.split, lines) if len(words) > 2}


def tag(node: Node, image: Image, digest: str) -> None:
    present = listed(node)
    source = next(name for name, value in present.items() if value == digest and not name.startswith("sha256:"))
    for name in (image.reference, image.development_tag):
        if present.get(name) != digest:
            run(ctr(node, "images", "tag", "--force", source, name))


def send(node: Node, image: Image, digest: str) -> None:
    held = set(run(ctr(node, "content", "ls", "-q")).split())
    command = ctr(node, "images", "import", "--digests=false", "--base-name", image.reference.rsplit(":", 1)[0], "-")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdin and process.stdout
        try:
            write_archive(process.stdin, image, digest, held)
            process.stdin.close()
        except BrokenPipeError:
            pass
        said = process.stdout.read().decode(errors="replace")
    if process.returncode != 0:
        raise ClusterError(f"{node.name} did not take the image {image.name}: {said[-1500:]}")


def write_archive(out: IO[bytes], image: Image, digest: str, held: set[str]) -> None:
    """An OCI archive without the blobs that the receiver holds already."""
    manifest = builder.blob(digest)
    index = {
        "schemaVersion": 2,
        "manifests": [
            {
                "mediaType": json.loads(manifest.read_text()).get(
                    "mediaType", "application/vnd.oci.image.manifest.v1+json"
                ),
                "digest": digest,
                "size": manifest.stat().st_size,
                "annotations": {
                    "org.opencontainers.image.ref.name": image.reference,
                    "io.containerd.image.name": image.reference,
                },
            }
        ],
    }
    with tarfile.open(fileobj=out, mode="w|", bufsize=1 << 20) as archive:
        for name, text in (("oci-layout", '{"imageLayoutVersion":"1.0.0"}'), ("index.json", json.dumps(index))):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
        for name in sorted(builder.blobs_of(digest)):
            if f"sha256:{name}" not in held:
                archive.add(builder.blob(name), arcname=f"blobs/sha256/{name}", recursive=False)
