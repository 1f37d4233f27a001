"""The frozen copy of a pipeline that a run keeps: components put in their places, parameters bound."""

import base64
import json
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from noria.api.meta import Model
from noria.api.pipeline import Component, PipelineOutput, PipelineSpec
from noria.api.ports import Binding
from noria.api.step import Step
from noria.plan.manifests import canonical
from noria.plan.pipelines import graph


class Frozen(Model):
    """What a run does, whatever is edited meanwhile."""

    parameters: dict[str, Any] = {}
    """Values by name."""
    types: dict[str, str] = {}
    """Types of the parameters."""
    steps: list[Step]
    """In an order in which each comes behind those that it needs."""
    outputs: list[PipelineOutput] = []
    """What the pipeline gives."""

    def step(self, name: str) -> Step:
        """The step of that name."""
        return next(each for each in self.steps if each.name == name)


def resolved(step: Step, component: Component) -> Step:
    """A step that names a component with the component in its place."""
    spec, bound = component.spec, {each.name: each for each in step.inputs}
    inputs = [
        bound[port.name].model_copy(update={"type": port.type})
        if port.name in bound
        else Binding(name=port.name, type=port.type, value=port.default)
        for port in spec.inputs
        if port.name in bound or port.default is not None
    ]
    body = {"run": spec.run, "train": spec.train, "outputs": spec.outputs}
    return step.model_copy(update=body | {"component": None, "inputs": inputs})


def outputs(step: Step) -> dict[str, str]:
    """Types of what a resolved step gives, by port."""
    if step.run:
        return {each.name: each.type for each in step.outputs}
    if step.train:
        version = {"version": "string"} if step.train.output.model else {}
        return {"model": "model", "metrics": "json"} | version
    if step.evaluate:
        return {"passed": "boolean", "changed": "boolean", "metrics": "json", "champion": "json"}
    if step.deploy:
        return {"version": "string", "outcome": "string"}
    return {"version": "string"} if step.register_ else {"by": "string"}


def freeze(spec: PipelineSpec, components: Mapping[str, Component], parameters: Mapping[str, Any]) -> Frozen:
    """The copy of a pipeline without faults."""
    steps = [resolved(each, components[each.component]) if each.component else each for each in spec.steps]
    defaults = {each.name: each.default for each in spec.parameters if each.default is not None}
    return Frozen(
        parameters=defaults | dict(parameters),
        types={each.name: each.type for each in spec.parameters},
        steps=graph.ordered(steps),
        outputs=spec.outputs,
    )


def pack(frozen: Frozen) -> str:
    """The copy as the status holds it."""
    plain = frozen.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    return base64.b64encode(zlib.compress(canonical(plain).encode(), 9)).decode()


def plain(text: str) -> Any:
    """The copy that `pack` wrote, as JSON."""
    return json.loads(zlib.decompress(base64.b64decode(text)))


@lru_cache(maxsize=64)
def unpack(text: str) -> Frozen:
    """The copy that `pack` wrote."""
    return Frozen.model_validate(plain(text))
