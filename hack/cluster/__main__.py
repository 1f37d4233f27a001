"""The local cluster: python3 hack/cluster up | down | status | tools | images | load IMAGE... | lose NODE."""

import argparse
import sys

sys.dont_write_bytecode = True

import builder  # noqa: E402
import cluster  # noqa: E402
import elsewhere  # noqa: E402
import images  # noqa: E402
import loader  # noqa: E402
import packages  # noqa: E402
import tools  # noqa: E402
from progress import ClusterError  # noqa: E402


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python3 hack/cluster", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    for name, help_ in (
        ("up", "start what is missing; a second time it changes nothing"),
        ("down", "end all of it"),
        ("status", "what runs"),
        ("tools", "build the pinned Go programs into the cache"),
        ("images", "build and load the images that changed"),
    ):
        commands.add_parser(name, help=help_)
    commands.add_parser("load", help="load images by name").add_argument("image", nargs="+", choices=sorted(images.ALL))
    commands.add_parser("lose", help="kill a node at once").add_argument("node")
    return top


def load(names: list[str]) -> None:
    wanted = [images.ALL[name] for name in names]
    builder.build(wanted)
    loader.load(wanted)


def prepare_tools() -> None:
    packages.ensure()
    tools.build_all()


def run(words: argparse.Namespace) -> None:
    if words.command == "status":
        cluster.status()
        return
    where = elsewhere.chosen()
    if where and words.command in ("up", "down"):
        getattr(elsewhere, f"{where}_{words.command}")()
        return
    with cluster.alone():
        {
            "up": cluster.up,
            "down": cluster.down,
            "tools": prepare_tools,
            "images": cluster.rebuild_images,
            "load": lambda: load(words.image),
            "lose": lambda: cluster.lose(words.node),
        }[words.command]()


def main() -> int:
    words = parser().parse_args()
    try:
        run(words)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
