"""python3 hack/cluster up|down|status|tools|images: the local cluster, without Docker."""

import argparse
import json
import shutil
from pathlib import Path

import addons
import controlplane
import debian
import images
import layout
import network
import node
import pki
import process
import tools
from layout import NODES


def up() -> None:
    """Everything, where it is missing."""
    _claim()
    debian.install()
    tools.build()
    built = images.build()
    network.up()
    pki.make()
    controlplane.up()
    for each in NODES:
        node.start_containerd(each)
    images.load(built)
    for each in NODES:
        node.up(each)
    addons.up(built)
    print(f"The cluster runs: export KUBECONFIG={layout.KUBECONFIG}")


def _claim() -> None:
    """Makes sure that no cluster of another checkout runs, and that nothing dead of one is left."""
    record = process.record()
    folder = Path(record["folder"])
    running = any(process.alive(name) for name in record["daemons"])
    if running and folder != layout.STATE:
        raise process.Failed(f"a cluster of {folder.parent} runs on this machine; end it with `make down` there")
    whole = all(process.alive(name) for name in _daemons())
    if not whole and (record["daemons"] or folder != layout.STATE):
        print("  a cluster was left in pieces; clearing it away")
        down()
    layout.STATE.mkdir(exist_ok=True)


def _daemons() -> list[str]:
    nodes = [name for each in NODES for name in node.daemons(each)]
    return [*nodes, *controlplane.DAEMONS]


def down() -> None:
    """Ends what `up` started, of whichever checkout; the cache of tools and images stays."""
    folder = Path(process.record()["folder"])
    process.end([name for name in _daemons() if "containerd" not in name])
    for each in NODES:
        node.clear(each)
    process.end(_daemons())
    for each in NODES:
        node.clear(each)
    for mount in reversed(_mounts(folder)):
        process.run("umount", "--lazy", mount)
    network.down()
    for each in NODES:
        shutil.rmtree(Path("/run") / each.namespace, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    layout.RECORD.unlink(missing_ok=True)


def _mounts(folder: Path) -> list[str]:
    """Mount points below the state folder and below /run of the nodes, outermost first."""
    places = (f"{folder}/", *(f"/run/{each.namespace}/" for each in NODES))
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if point.startswith(places)]


def status() -> None:
    """What runs."""
    for name in _daemons():
        print(f"{name:28}{'runs' if process.alive(name) else 'does not run'}")


def build_images() -> None:
    """Builds the images that changed, and loads them if the cluster runs."""
    debian.install()
    tools.build()
    built = images.build()
    if process.alive("containerd-1"):
        images.load(built)
        addons.noria(built)
    layout.STATE.mkdir(exist_ok=True)
    layout.IMAGES_JSON.write_text(json.dumps(images.references(built)))


def build_tools() -> None:
    """Builds the tools that the cache lacks."""
    layout.STATE.mkdir(exist_ok=True)
    tools.build()


COMMANDS = {"up": up, "down": down, "status": status, "tools": build_tools, "images": build_images}


def main() -> None:
    parser = argparse.ArgumentParser(prog="hack/cluster", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    try:
        COMMANDS[parser.parse_args().command]()
    except process.Failed as failure:
        process.fail(failure)


if __name__ == "__main__":
    main()
