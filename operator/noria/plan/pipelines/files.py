"""`noria lint`: what an API server and a run would say of the pipelines in a file, without either."""

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import ValidationError

from noria.api import Component, Pipeline, PipelineRun
from noria.api.meta import Resource
from noria.api.pipeline import PipelineSpec
from noria.plan.contract import Manifest
from noria.plan.pipelines import lint, rules

KINDS: dict[str, type[Resource]] = {each.kind(): each for each in (Component, Pipeline, PipelineRun)}


def faults(documents: Iterable[Any]) -> Iterator[str]:
    """One line for each fault of the Components, Pipelines and PipelineRuns among the documents."""
    found: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    for document in documents:
        if isinstance(document, dict) and document.get("kind") in KINDS:
            try:
                resource = KINDS[document["kind"]].model_validate(document)
            except ValidationError as error:
                where = _where(document)
                yield from (f"{where}: {_path(each['loc'])}: {each['msg']}" for each in error.errors())
                continue
            found[resource.kind()][resource.metadata.name] = resource
            yield from _refused(document, KINDS[document["kind"]])
    for pipeline in found["Pipeline"].values():
        yield from _told(pipeline, lint.problems(pipeline.spec, found["Component"]))
        yield from _told(pipeline, lint.scheduled(pipeline.spec))
    for run in found["PipelineRun"].values():
        spec: PipelineSpec | None = run.spec.inline
        if spec:
            yield from _told(run, lint.problems(spec, found["Component"]), "inline.")
        elif run.spec.pipeline in found["Pipeline"]:
            spec = found["Pipeline"][run.spec.pipeline].spec
        if spec:
            yield from _told(run, lint.given(spec, run.spec.parameters))


def _refused(document: Manifest, kind: type[Resource]) -> Iterator[str]:
    """What an API server refuses: unknown fields, and the rules of the definition."""
    where, schema, spec = _where(document), rules.schema_of(kind), document.get("spec") or {}
    for path in rules.unknown(schema, spec):
        yield f"{where}: spec{path}: there is no such field; kubectl explain {kind.plural} names them"
    for path, message in rules.broken(schema, spec):
        yield f"{where}: spec{path}: {message}"


def _told(resource: Resource, problems: Iterable[lint.Problem], prefix: str = "") -> Iterator[str]:
    where = _where({"kind": resource.kind(), "metadata": {"name": resource.metadata.name}})
    return (f"{where}: spec.{prefix}{each}" for each in problems)


def _where(document: Manifest) -> str:
    return f"{document['kind']} {(document.get('metadata') or {}).get('name', '')}"


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location))
