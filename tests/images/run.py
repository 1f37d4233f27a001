"""Runs the tests of the images: the agent's on this Python, the trainer's and server's inside the images that are shipped.

`python3 tests/images/run.py [agent|trainer|server ...]` (default: all); the exit code is 0 when all tests passed. It takes
the images that `python3 hack/cluster images` built, or else `noria.dev/{trainer,server}:dev` of buildah's own storage. The
images hold no pytest: this machine's is mounted into them.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

TESTS = Path(__file__).parent
ROOT = TESTS.parents[1]
PYTEST = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "default", "--durations=5", "--import-mode=importlib"]
BUILDAH = {"BUILDAH_ISOLATION": "chroot"} | dict(os.environ)
STORAGE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "noria" / "buildah"
REFERENCES = ROOT / ".cluster" / "images.json"
USER = 1000
MOUNTED = "/src/tests/images"


def buildah(*arguments: str) -> list[str]:
    """The command, on the storage that holds the images."""
    storage = ["--root", str(STORAGE / "root"), "--runroot", str(STORAGE / "run"), "--storage-driver", "overlay"]
    return ["buildah", *(storage if REFERENCES.exists() else []), *arguments]


def reference(name: str) -> str:
    """The image of that name as it was built last."""
    return json.loads(REFERENCES.read_text())[name] if REFERENCES.exists() else f"noria.dev/{name}:dev"


@contextmanager
def container(image: str) -> Iterator[str]:
    """A working container of the image, removed afterwards."""
    made = subprocess.run(buildah("from", "--pull-never", image), env=BUILDAH, stdout=subprocess.PIPE, text=True)
    if made.returncode:
        sys.exit(
            f"{image} is not there: build images/torch, then images/{image.split('/')[-1].split(':')[0]} (see images/README.md)"
        )
    name = made.stdout.strip()
    try:
        yield name
    finally:
        subprocess.run(buildah("rm", name), env=BUILDAH, stdout=subprocess.DEVNULL, check=True)


def inside(image: str, folders: Mapping[Path, str], command: list[str]) -> int:
    """Runs `command` (without python3) in the image as its own user, with folders of this machine; returns the exit code."""
    volumes = [f"--volume={here}:{there}" for here, there in folders.items()]
    with container(image) as name:
        arguments = buildah("run", *volumes, "--env=PYTHONPATH=/app:/pytest", name, "--", "python3", *command)
        return subprocess.run(arguments, env=BUILDAH).returncode


def copy_pytest(folder: Path) -> None:
    """Copies pytest and what it needs, all pure Python, into `folder`."""
    folder.chmod(0o755)
    waiting, seen = ["pytest"], set()
    while waiting:
        found: Distribution = distribution(waiting.pop())
        if found.name in seen:
            continue
        seen.add(found.name)
        for top in {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}:
            source = Path(str(found.locate_file(top)))
            if source.is_dir():
                shutil.copytree(source, folder / top, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
            else:
                shutil.copy(source, folder / top)
        needs = map(Requirement, found.requires or ())
        waiting += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]


def agent() -> int:
    """The agent's tests, here."""
    return subprocess.run([sys.executable, *PYTEST, str(TESTS / "agent")]).returncode


def trainer() -> int:
    """The trainer's tests, in its image."""
    with tempfile.TemporaryDirectory() as temporary:
        copy_pytest(Path(temporary))
        folders = {TESTS: f"{MOUNTED}:ro", Path(temporary): "/pytest:ro"}
        return inside(reference("trainer"), folders, [*PYTEST, f"{MOUNTED}/trainer"])


def published(models: Path, *jobs: str) -> int:
    """Trains the jobs of server/train_models.py (all, if none is named) in the trainer's image and publishes their models with the
    agent, a folder each in `models`; the exit code of the training."""
    os.chown(models, USER, USER)
    folders = {TESTS: f"{MOUNTED}:ro", models: "/models"}
    if code := inside(reference("trainer"), folders, [f"{MOUNTED}/server/train_models.py", "/models", *jobs]):
        return code
    for job in sorted(models.iterdir()):
        told = {"NORIA_POD_FILE": "pod.json", "NORIA_JOB_DIR": "job", "NORIA_TERMINATION_LOG": "message.json"}
        environment = os.environ | {name: str(job / path) for name, path in told.items()}
        environment["PYTHONPATH"] = str(ROOT / "images/agent")
        subprocess.run(
            [sys.executable, "-m", "agent", "publish"], env=environment, stdout=subprocess.DEVNULL, check=True
        )
    return 0


def server() -> int:
    """The server's tests, in its image, on models that the trainer's image trains and the agent publishes."""
    with tempfile.TemporaryDirectory() as temporary, tempfile.TemporaryDirectory() as pytest:
        models = Path(temporary)
        copy_pytest(Path(pytest))
        if code := published(models):
            return code
        folders = {TESTS: f"{MOUNTED}:ro", Path(pytest): "/pytest:ro", models: "/models:ro"}
        return inside(reference("server"), folders, [*PYTEST, f"{MOUNTED}/server"])


SUITES = {"agent": agent, "trainer": trainer, "server": server}


def main() -> int:
    """Runs the suites named, all of them even if one fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=", ".join(SUITES))
    wanted = parser.parse_args().suites or list(SUITES)
    if unknown := set(wanted) - set(SUITES):
        parser.error(f"there is no suite {', '.join(sorted(unknown))}")
    failed = []
    for name in wanted:
        print(f"== {name}", flush=True)
        if SUITES[name]():
            failed.append(name)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
