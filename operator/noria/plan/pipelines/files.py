"""`noria lint`: what an API server and a run would say of the pipelines in a file, without either."""

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import ValidationError

from noria.api import Component, Pipeline, PipelineRun
from noria.api.meta import API_VERSION, GROUP, Resource
from noria.api.pipeline import PipelineSpec
from noria.plan.contract import Manifest
from noria.plan.pipelines import lint, rules

KINDS: dict[str, type[Resource]] = {each.kind(): each for each in (Component, Pipeline, PipelineRun)}


def faults(documents: Iterable[Any]) -> Iterator[str]:
    """One line for each fault of the Components, Pipelines and PipelineRuns among the documents."""
    found: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    known = set[tuple[str, str | None, str]]()
    for document in _ours(documents):
        where = _where(document)
        if document.get("apiVersion", API_VERSION) != API_VERSION:
            yield f"{where}: apiVersion: {document['apiVersion']} is not known; write {API_VERSION}"
            continue
        try:
            resource = KINDS[document["kind"]].model_validate(document)
        except ValidationError as error:
            yield from (f"{where}: {_path(each['loc'])}: {each['msg']}" for each in error.errors())
            continue
        key = (resource.kind(), resource.metadata.namespace, resource.metadata.name)
        if key in known and resource.metadata.name:
            yield f"{where}: metadata.name: it stands here twice; the second would take the place of the first"
        known.add(key)
        found[resource.kind()].append(resource)
        yield from _refused(document, KINDS[document["kind"]])
    for pipeline in found["Pipeline"]:
        yield from _told(pipeline, lint.problems(pipeline.spec, _beside(pipeline, found["Component"])))
        yield from _told(pipeline, lint.scheduled(pipeline.spec))
    for run in found["PipelineRun"]:
        spec: PipelineSpec | None = run.spec.inline
        if spec:
            yield from _told(run, lint.problems(spec, _beside(run, found["Component"])), "inline.")
        elif of := _beside(run, found["Pipeline"]).get(run.spec.pipeline):
            spec = of.spec
        if spec:
            yield from _told(run, lint.given(spec, run.spec.parameters))


def _ours(documents: Iterable[Any]) -> Iterator[Manifest]:
    """Those of our kinds, also in a List, as kubectl writes it; others, as Tekton, have a Pipeline too."""
    for each in documents:
        if not isinstance(each, dict):
            continue
        if each.get("kind") == "List":
            yield from _ours(each.get("items") or ())
        elif each.get("kind") in KINDS and str(each.get("apiVersion", API_VERSION)).startswith(f"{GROUP}/"):
            yield each


def _beside(resource: Resource, others: Iterable[Any]) -> dict[str, Any]:
    """By name those of its namespace; who names none may be meant for any."""
    mine = resource.metadata.namespace
    fitting = [each for each in others if None in (mine, each.metadata.namespace) or each.metadata.namespace == mine]
    return {each.metadata.name: each for each in sorted(fitting, key=lambda each: each.metadata.namespace == mine)}


def _refused(document: Manifest, kind: type[Resource]) -> Iterator[str]:
    """What an API server refuses: unknown fields, and the rules of the definition."""
    where, schema, spec = _where(document), rules.schema_of(kind), document.get("spec") or {}
    root = {"x-kubernetes-validations": [{"rule": rule, "message": text} for rule, text in kind.root_rules]}
    if (document.get("metadata") or {}).get("name"):
        yield from (f"{where}: {message}" for _, message in rules.broken(root, document))
    for path in rules.unknown(schema, spec):
        yield f"{where}: spec{path}: there is no such field; kubectl explain {kind.plural} names them"
    for path, message in rules.broken(schema, spec):
        yield f"{where}: spec{path}: {message}"


def _told(resource: Resource, problems: Iterable[lint.Problem], prefix: str = "") -> Iterator[str]:
    where = _where({"kind": resource.kind(), "metadata": {"name": resource.metadata.name}})
    return (f"{where}: spec.{prefix}{each}" for each in problems)


def _where(document: Manifest) -> str:
    metadata = document.get("metadata")
    return f"{document['kind']} {metadata.get('name', '') if isinstance(metadata, dict) else ''}"


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location))
