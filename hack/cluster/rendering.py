"""Manifests with their placeholders filled in, and files as the text that a hash is made of."""

import re
import string
from pathlib import Path

import images
from settings import DNS_SERVICE, HERE, VOLUMES


def manifest(name: str) -> str:
    """manifests/<name>.yaml with its ${...} filled in; a literal dollar is written twice there."""
    values = {"DNS_SERVICE": DNS_SERVICE, "VOLUMES": str(VOLUMES)}
    text = (HERE / "manifests" / f"{name}.yaml").read_text()
    for part in re.findall(r"\$\{IMAGE_(\w+)\}", text):
        values[f"IMAGE_{part}"] = images.ALL[part.replace("_", "-")].reference
    return string.Template(text).substitute(values)


def files(*paths: Path) -> str:
    found = sorted(file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
    return "\0".join(f"{file.name}\0{file.read_text()}" for file in found)
