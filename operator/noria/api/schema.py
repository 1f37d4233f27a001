"""Renders CustomResourceDefinitions from the models: pydantic's JSON schema, made structural as an API server wants it."""

from typing import Any

import yaml
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from noria.api import RESOURCES
from noria.api.meta import GROUP, VERSION, Resource


class StructuralSchema(GenerateJsonSchema):
    """JSON schema without `$ref`, null types, `const`, titles and null defaults, none of which a CRD may hold."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
        return {"type": "string", "enum": list(schema["expected"])}

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        inner = super().default_schema(schema)
        if inner.get("default", ...) in (None, [], {}, ""):
            inner.pop("default")
        return inner

    def encode_default(self, dft: Any) -> Any:
        return dft.manifest() if hasattr(dft, "manifest") else super().encode_default(dft)

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def generate(self, schema: CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        document = super().generate(schema, mode)
        structural: JsonSchemaValue = _structural(document, document.pop("$defs", {}))
        return structural


def _structural(node: Any, definitions: dict[str, Any]) -> Any:
    """`node` with references inlined and bounds in OpenAPI 3.0's spelling."""
    if isinstance(node, list):
        return [_structural(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    node = dict(node)
    if node.pop("x-noria-bare", False):
        return _bare(_structural(node, definitions))
    if reference := node.pop("$ref", None):
        return _structural(definitions[reference.rsplit("/", 1)[1]] | node, definitions)
    for bound in ("Minimum", "Maximum"):
        if (value := node.pop(f"exclusive{bound}", None)) is not None:
            node |= {bound.lower(): value, f"exclusive{bound}": True}
    properties = node.pop("properties", None)
    node.pop("title", None)
    if isinstance(node.get("additionalProperties"), bool):
        node.pop("additionalProperties")
    fixed = {key: _structural(value, definitions) for key, value in node.items()}
    if properties is not None:
        fixed["properties"] = {name: _structural(value, definitions) for name, value in properties.items()}
    if isinstance(fixed.get("description"), str):
        fixed["description"] = " ".join(fixed["description"].split())
    return fixed


def _bare(node: Any) -> Any:
    """`node` without CEL rules: inside a list of many objects their cost would exceed what an API server allows."""
    if isinstance(node, list):
        return [_bare(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {key: _bare(value) for key, value in node.items() if key != "x-kubernetes-validations"}


CEL_KEYWORDS = {"namespace", "package", "import", "return", "const", "function", "in", "as", "for", "if", "else"}
"""Property names that a CEL rule must spell with underscores around them."""


def _frozen(fields: set[str]) -> list[dict[str, str]]:
    """One CEL rule a field that forbids to change it; has() on both sides, or unsetting the field would pass."""
    return [
        {
            "rule": "has(self.{0}) == has(oldSelf.{0}) && (!has(self.{0}) || self.{0} == oldSelf.{0})".format(
                f"__{name}__" if name in CEL_KEYWORDS else name
            ),
            "message": f"{name} cannot change: make a new object",
        }
        for name in sorted(fields)
    ]


def crd(resource: type[Resource]) -> dict[str, Any]:
    """The CustomResourceDefinition of `resource`, ready to apply."""
    schema = resource.model_json_schema(schema_generator=StructuralSchema)
    spec, status = schema["properties"]["spec"], schema["properties"].get("status")
    spec.pop("default", None)
    if resource.mutable is not None:
        spec.setdefault("x-kubernetes-validations", []).extend(_frozen(set(spec["properties"]) - set(resource.mutable)))
    root: dict[str, Any] = {
        "type": "object",
        "description": schema["description"],
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 253}}},
            "spec": spec,
        },
    }
    if resource.has_status:
        assert status is not None
        status.pop("default", None)
        root["properties"]["status"] = status
    if resource.root_rules:
        root["x-kubernetes-validations"] = [{"rule": rule, "message": text} for rule, text in resource.root_rules]
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": root},
        "additionalPrinterColumns": [
            {"name": column.name, "jsonPath": column.json_path, "type": column.type}
            | ({"priority": column.priority} if column.priority else {})
            for column in resource.columns
        ],
    }
    if resource.has_status:
        version["subresources"] = {"status": {}}
    names = {
        "kind": resource.kind(),
        "listKind": f"{resource.kind()}List",
        "plural": resource.plural,
        "singular": resource.singular,
        "shortNames": list(resource.short_names),
    }
    if resource.categories:
        names["categories"] = list(resource.categories)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        # `helm uninstall` leaves the definitions, or every object of theirs would go with them.
        "metadata": {"name": f"{resource.plural}.{GROUP}", "annotations": {"helm.sh/resource-policy": "keep"}},
        "spec": {
            "group": GROUP,
            "names": names,
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "versions": [version],
        },
    }


def render() -> dict[str, str]:
    """File name -> YAML of every CRD, for crds/."""
    head = "# Rendered from operator/noria/api by `make crds`; edit the models, not this file.\n"
    return {
        f"{resource.plural}.yaml": head + yaml.safe_dump(crd(resource), sort_keys=False, width=120)
        for resource in RESOURCES
    }
