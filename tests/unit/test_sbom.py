"""The SBOM of an image: its packages as the uppermost layer has them, valid by the released schema."""

import hashlib
import importlib.util
import io
import json
import tarfile
from pathlib import Path

from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).parents[2]
STATUS = "Package: {}\nStatus: {}\nArchitecture: amd64\nVersion: {}\n"
SITE = "opt/venv/lib/python3.13/site-packages"


SPEC = importlib.util.spec_from_file_location("sbom", ROOT / "hack/sbom.py")
assert SPEC and SPEC.loader
sbom = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(sbom)


def stored(folder: Path, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    (folder / digest).write_bytes(content)
    return f"sha256:{digest}"


def layer(folder: Path, **files: str) -> dict[str, str]:
    """A layer of files by path."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return {"digest": stored(folder, buffer.getvalue())}


def installed(name: str, version: str) -> dict[str, str]:
    return {
        f"{SITE}/{name}-{version}.dist-info/METADATA": f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n\nText"
    }


def test_packages_are_those_of_the_image(tmp_path: Path) -> None:
    release = {"usr/lib/os-release": "ID=debian\nVERSION_CODENAME=trixie\n"}
    debian = {"var/lib/dpkg/status": STATUS.format("python3", "install ok installed", "3.13.4-1")}
    gone = STATUS.format("pip", "deinstall ok config-files", "1")
    newer = {"var/lib/dpkg/status": STATUS.format("python3", "install ok installed", "3.13.5-1") + "\n" + gone}
    layers = [
        layer(tmp_path, **release, **debian, **installed("kopf", "1.45.1"), **installed("idna", "3.1")),
        layer(tmp_path, **newer, **installed("kopf", "1.45.2"), **{f"{SITE}/.wh.kopf-1.45.1.dist-info": ""}),
    ]
    config = stored(tmp_path, json.dumps({"created": "2026-11-26T19:00:00Z"}).encode())
    digest = stored(tmp_path, json.dumps({"config": {"digest": config}, "layers": layers}).encode())
    boms = [sbom.described(digest, "operator", lambda each: tmp_path / each.removeprefix("sha256:")) for _ in range(2)]
    written = [JsonV1Dot6(each).output_as_string() for each in boms]
    assert written[0] == written[1], "the same image has the same SBOM"
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(written[0]) is None
    bom = json.loads(written[0])
    assert (bom["metadata"]["component"]["name"], bom["metadata"]["component"]["version"]) == (
        "noria.dev/operator",
        digest,
    )
    assert {each["purl"] for each in bom["components"]} == {
        "pkg:deb/debian/python3@3.13.5-1?arch=amd64&distro=trixie",
        "pkg:pypi/kopf@1.45.2",
        "pkg:pypi/idna@3.1",
    }


def test_a_lock_file_names_what_must_be_in_it(tmp_path: Path) -> None:
    (lock := tmp_path / "requirements.txt").write_text("Typing_Extensions==4.1 \\\n    --hash=sha256:0\n# x==1\n")
    assert sbom.locked(lock) == {("typing-extensions", "4.1")}
