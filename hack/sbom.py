"""`make sbom`: what is in each of Noria's images, as CycloneDX: Debian's packages and those that pip installed, read from the built image itself.

It ends with 1 if an image lacks what its lock file names.
"""

import json
import re
import sys
import tarfile
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".cluster" / "sbom"
DPKG, RELEASE = "var/lib/dpkg/status", "usr/lib/os-release"
INSTALLED = re.compile(r"^opt/venv/lib/python[\d.]+/site-packages/[^/]+\.dist-info/METADATA$")
CODENAME = re.compile(r"^VERSION_CODENAME=(\S+)$", re.MULTILINE)
LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)

Blob = Callable[[str], Path]
"""The file of a digest in an OCI layout."""


def described(digest: str, name: str, blob: Blob) -> Bom:
    """The image of that digest."""
    manifest = json.loads(blob(digest).read_text())
    created = json.loads(blob(manifest["config"]["digest"]).read_text())["created"]
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_OID, digest))
    bom.metadata.timestamp = datetime.fromisoformat(created)
    bom.metadata.component = Component(
        type=ComponentType.CONTAINER, name=f"noria.dev/{name}", version=digest, bom_ref=digest
    )
    for purl in purls(files(manifest, blob)):
        bom.components.add(Component(name=purl.name, version=purl.version, purl=purl, bom_ref=purl.to_string()))
    bom.register_dependency(bom.metadata.component, bom.components)
    return bom


def files(manifest: dict, blob: Blob) -> dict[str, str]:
    """What says which packages there are, by path, as the uppermost layer has it."""
    found: dict[str, str] = {}
    for layer in manifest["layers"]:
        with tarfile.open(blob(layer["digest"])) as archive:
            for member in archive:
                path = PurePosixPath(member.name)
                if path.name.startswith(".wh."):  # it, and all below it, is gone from here on
                    gone = str(path.parent) if path.name == ".wh..wh..opq" else str(path.with_name(path.name[4:]))
                    found = {each: text for each, text in found.items() if not f"{each}/".startswith(f"{gone}/")}
                elif str(path) in (DPKG, RELEASE) or INSTALLED.match(str(path)):
                    content = archive.extractfile(member)
                    assert content, f"{path} is no plain file"
                    found[str(path)] = content.read().decode()
    return found


def purls(texts: dict[str, str]) -> Iterator[PackageURL]:
    """The packages that these files name."""
    parse, suite = HeaderParser().parsestr, CODENAME.findall(texts.pop(RELEASE))[0]
    for stanza in map(parse, texts.pop(DPKG).split("\n\n")):
        if stanza["Status"] == "install ok installed":
            where = {"arch": stanza["Architecture"], "distro": suite}
            yield PackageURL("deb", "debian", stanza["Package"], stanza["Version"], where)
    for package in map(parse, texts.values()):
        yield PackageURL("pypi", None, package["Name"], package["Version"])


def locked(lock: Path) -> set[tuple[str, str]]:
    """Name and version of each package in a lock file."""
    named = LOCKED.findall(lock.read_text()) if lock.exists() else []
    return {(PackageURL("pypi", None, name).name, version) for name, version in named}


def main() -> int:
    sys.path.insert(0, str(ROOT / "hack" / "cluster"))
    import builder
    import images

    FOLDER.mkdir(parents=True, exist_ok=True)
    missing = []
    for image in images.PROJECT_IMAGES:
        if not image.load:
            continue
        bom = described(builder.digest(image), image.name, builder.blob)
        file = FOLDER / f"{image.name}.cdx.json"
        file.write_text(JsonV1Dot6(bom).output_as_string(indent=1))
        print(f"{file.relative_to(ROOT)}: {len(bom.components)} packages")
        lacks = locked(image.folder / "requirements.txt") - {(each.name, each.version) for each in bom.components}
        missing += [f"{image.name}: {name} {version}" for name, version in sorted(lacks)]
    for each in missing:
        print(f"in the lock file and not in the image: {each}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
