"""The command `noria`: run the operator, or render the CRDs."""

import argparse
import asyncio
import sys
from pathlib import Path

import yaml
from pydantic import ValidationError


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line; the exit code tells whether it worked."""
    parser = argparse.ArgumentParser(prog="noria", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the operator against the cluster of the pod, or of KUBECONFIG")
    run.add_argument("--config", type=Path, required=True, help="YAML file with the administrator's settings")
    run.add_argument("--port", type=int, default=8080, help="port of /healthz and /metrics (default 8080)")
    crds = commands.add_parser("crds", help="render the CustomResourceDefinitions into a folder")
    crds.add_argument("folder", type=Path)
    crds.add_argument("--check", action="store_true", help="write nothing; end with 1 if a file differs")
    given = parser.parse_args(arguments)
    return _run(given.config, given.port) if given.command == "run" else _crds(given.folder, given.check)


def _run(config: Path, port: int) -> int:
    from noria.plan.contract import Settings
    from noria.runtime import logs, process

    logs.configure()
    try:
        settings = Settings.model_validate(yaml.safe_load(config.read_text()))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        print(f"noria: settings in {config}: {error}", file=sys.stderr)
        return 2
    asyncio.run(process.run(settings, port))
    return 0


def _crds(folder: Path, check: bool) -> int:
    from noria.api.schema import render

    stale = [
        name for name, text in render().items() if not (folder / name).exists() or (folder / name).read_text() != text
    ]
    if check:
        for name in stale:
            print(f"noria: {folder / name} is not what the models say; run `make crds`", file=sys.stderr)
        return 1 if stale else 0
    for name in stale:
        (folder / name).write_text(render()[name])
        print(f"wrote {folder / name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
