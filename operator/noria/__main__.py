"""The command `noria`: run the operator, render the CRDs, check pipelines, draw them, tell what a model came from, or replay
the past of an Endpoint."""

import argparse
import asyncio
import json
import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import TextIO

import yaml
from pydantic import ValidationError


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line; the exit code tells whether it worked."""
    parser = argparse.ArgumentParser(prog="noria", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the operator against the cluster of the pod, or of KUBECONFIG")
    run.add_argument("--config", type=Path, required=True, help="YAML file with the administrator's settings")
    run.add_argument("--port", type=int, default=8080, help="port of /healthz and /metrics (default 8080)")
    run.add_argument(
        "--alerts-token", type=Path, help="file with the bearer token of /alerts; without it the path answers 404"
    )
    crds = commands.add_parser("crds", help="render the CustomResourceDefinitions into a folder")
    crds.add_argument("folder", type=Path)
    crds.add_argument("--check", action="store_true", help="write nothing; end with 1 if a file differs")
    replay = commands.add_parser("replay", help="what an Endpoint's loop would have done, by what Prometheus recorded")
    replay.add_argument("endpoint", help="name of the Endpoint")
    replay.add_argument("-n", "--namespace", required=True)
    replay.add_argument("--prometheus", required=True, metavar="URL")
    replay.add_argument("--hours", type=_positive, default=6.0, help="how far to look back (default 6)")
    replay.add_argument(
        "--step", type=_positive, default=15, metavar="SECONDS", help="between two evaluations (default 15)"
    )
    replay.add_argument(
        "--threshold",
        action="append",
        default=[],
        type=_threshold,
        metavar="SIGNAL=VALUE",
        help="try another threshold",
    )
    replay.add_argument(
        "--cycle",
        type=_positive,
        default=600,
        metavar="SECONDS",
        help="how long a training and its rollout are taken to last (default 600)",
    )
    lint = commands.add_parser("lint", help="what is wrong with the Pipelines, Components and PipelineRuns in files")
    lint.add_argument("files", nargs="+", type=argparse.FileType(), metavar="FILE", help="YAML; - for standard input")
    graph = commands.add_parser("graph", help="draw a Pipeline or a PipelineRun as Mermaid, a run coloured by state")
    graph.add_argument(
        "what",
        metavar="FILE|KIND/NAME",
        help="YAML, whose first one is drawn, - for standard input; or, with -n, npl/NAME or nrun/NAME",
    )
    graph.add_argument("-n", "--namespace", help="read the object from the cluster of KUBECONFIG")
    lineage = commands.add_parser(
        "lineage", help="what an object came from: versions, steps, data, code and image digests"
    )
    lineage.add_argument("what", metavar="KIND/NAME", help="mep/NAME, mv/NAME, tjob/NAME or nrun/NAME")
    lineage.add_argument("-n", "--namespace", required=True)
    lineage.add_argument("-o", "--output", choices=["tree", "json"], default="tree", help="default tree")
    given = parser.parse_args(arguments)
    if given.command == "lint":
        return _lint(given.files)
    if given.command == "graph":
        return _graph(given.what, given.namespace)
    if given.command == "lineage":
        return asyncio.run(_lineage(given.what, given.namespace, given.output))
    if given.command == "run":
        return _run(given.config, given.port, given.alerts_token)
    if given.command == "replay":
        return asyncio.run(_replay(given))
    return _crds(given.folder, given.check)


FLOAT = "tag:yaml.org,2002:float"


class _Loader(yaml.SafeLoader):
    """As kubectl reads YAML: dates stay texts, and 1e-3 is a number."""


_Loader.yaml_implicit_resolvers = {
    first: [each for each in resolvers if each[0] not in ("tag:yaml.org,2002:timestamp", FLOAT)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    FLOAT,
    re.compile(
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+.0123456789"),
)


def _positive(text: str) -> float:
    if (number := float(text)) <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def _run(config: Path, port: int, alerts_token: Path | None) -> int:
    from noria.plan.contract import Settings
    from noria.runtime import logs, process
    from noria.runtime.errors import Unreachable

    logs.configure()
    try:
        settings = Settings.model_validate(yaml.safe_load(config.read_text()))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        print(f"noria: settings in {config}: {error}", file=sys.stderr)
        return 2
    try:
        return asyncio.run(process.run(settings, port, alerts_token))
    except Unreachable as error:
        print(f"noria: {error}", file=sys.stderr)
        return 1


def _lint(files: list[TextIO]) -> int:
    from noria.plan.pipelines.files import faults

    found = 0
    try:
        documents: list[object] = []
        for file in files:
            with file:
                documents += yaml.load_all(file, _Loader)
        for fault in faults(documents):
            found += 1
            print(fault)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        print(f"noria: no YAML: {error}", file=sys.stderr)
        return 2
    return 1 if found else 0


def _graph(what: str, namespace: str | None) -> int:
    from noria.api import Pipeline, PipelineRun
    from noria.plan.named import named
    from noria.plan.pipelines.frozen import unpack
    from noria.plan.pipelines.picture import mermaid
    from noria.runtime import inspection
    from noria.runtime.errors import ApiError

    try:
        if namespace:
            document = asyncio.run(inspection.manifest(named(what, namespace, (Pipeline, PipelineRun))))
        else:
            found = list(yaml.load_all(sys.stdin if what == "-" else Path(what).read_text(), _Loader))
            kinds = (Pipeline.kind(), PipelineRun.kind())
            document = next(each for each in found if isinstance(each, dict) and each.get("kind") in kinds)
        if document["kind"] == "Pipeline":
            print(mermaid(Pipeline.model_validate(document).spec.steps, {}), end="")
            return 0
        run = PipelineRun.model_validate(document)
    except StopIteration:
        print(f"noria: {what} holds no Pipeline and no PipelineRun", file=sys.stderr)
        return 2
    except (ValidationError, yaml.YAMLError) as error:
        print(f"noria: {what} cannot be read: {error}", file=sys.stderr)
        return 2
    except FileNotFoundError:
        print(f"noria: there is no file {what}; KIND/NAME is read from the cluster with -n NAMESPACE", file=sys.stderr)
        return 2
    except (OSError, ValueError, ApiError) as error:
        print(f"noria: {error}", file=sys.stderr)
        return 2
    if run.status.frozen is None and run.spec.inline:
        print(mermaid(run.spec.inline.steps, {}), end="")
        return 0
    if run.status.frozen is None:
        print(f"noria: PipelineRun {run.metadata.name} has not begun", file=sys.stderr)
        return 1
    print(mermaid(unpack(run.status.frozen).steps, {each.name: each for each in run.status.steps}), end="")
    return 0


async def _lineage(what: str, namespace: str, output: str) -> int:
    from noria.plan.lineage.trace import ROOTS
    from noria.plan.lineage.tree import text
    from noria.plan.named import named
    from noria.runtime import inspection
    from noria.runtime.errors import ApiError

    try:
        tree = await inspection.lineage(named(what, namespace, ROOTS))
    except (ApiError, ValueError) as error:
        print(f"noria: {error}", file=sys.stderr)
        return 1
    print(json.dumps(tree.manifest(), indent=2, ensure_ascii=False) if output == "json" else text(tree).rstrip())
    return 0


def _threshold(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    return name, float(value)


async def _replay(given: argparse.Namespace) -> int:
    from noria.runtime.errors import ApiError
    from noria.runtime.history import NoHistory, replayed

    happenings = replayed(
        given.namespace,
        given.endpoint,
        given.prometheus,
        since=timedelta(hours=given.hours),
        step=timedelta(seconds=given.step),
        thresholds=dict(given.threshold),
        cycle_seconds=given.cycle,
    )
    try:
        async for each in happenings:
            print(f"{each.at:%Y-%m-%d %H:%M:%S}  {each.what}")
    except (ApiError, NoHistory, KeyError) as error:
        print(f"noria: {error.args[0] if isinstance(error, KeyError) else error}", file=sys.stderr)
        return 1
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
    folder.mkdir(parents=True, exist_ok=True)
    for name in stale:
        (folder / name).write_text(render()[name])
        print(f"wrote {folder / name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
