"""What a step takes, from the parameters and from what earlier steps gave."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from noria.api.pipelinerun import Output, StepStatus
from noria.api.ports import VALUE_TYPES, Binding
from noria.api.step import MAX_ITEMS, Step
from noria.plan.pipelines import graph, ports
from noria.plan.pipelines.frozen import Frozen, outputs

Records = Mapping[str, StepStatus]
"""Steps by name, and items of foreach as `step[number]`."""


class Folder(NamedTuple):
    """An artifact as an input."""

    uri: str
    digest: str | None = None
    format: str | None = None
    name: str | None = None
    """Of a registered model: its ModelVersion."""


@dataclass
class Inputs:
    """What one step, or one item, takes."""

    values: dict[str, tuple[str, Any]] = field(default_factory=dict)
    """Type and value by name."""
    folders: dict[str, Folder] = field(default_factory=dict)
    """Artifacts by name; of a list as `name/0`, `name/1`, ..."""
    data: dict[str, str] = field(default_factory=dict)
    """Uris from outside of the pipeline, by name."""


class Unfit(Exception):
    """What is given cannot be taken; the text says why, `cause` in one word."""

    def __init__(self, text: str, cause: str = "InvalidInput") -> None:
        super().__init__(text)
        self.cause = cause


def item_name(step: str, number: int) -> str:
    """Name of the record of an item."""
    return f"{step}[{number}]"


def resolve(frozen: Frozen, step: Step, records: Records, item: int | None = None) -> Inputs:
    """The inputs of a step whose needs have all been met. Raises Unfit."""
    found = Inputs()
    for each in step.inputs:
        if each.uri:
            found.data[each.name] = each.uri
            continue
        given, value = _source(frozen, step, each, records, item)
        if given not in VALUE_TYPES:
            folders = value if isinstance(value, list) else [value]
            named = [f"{each.name}/{number}" for number in range(len(folders))] if value is folders else [each.name]
            found.folders |= {
                name: Folder(one.uri, one.digest, one.format) for name, one in zip(named, folders, strict=True)
            }
            continue
        type = each.type or given
        gathered = each.from_ and frozen.step(graph.source(each.from_)[0]).foreach is not None
        if not gathered and (wrong := ports.fault(value, type)):
            raise Unfit(f"input {each.name}: {wrong}")
        found.values[each.name] = (type, value)
    return found


def items(frozen: Frozen, step: Step, records: Records) -> list[Any]:
    """What foreach runs over. Raises Unfit."""
    assert step.foreach is not None
    foreach = step.foreach
    if foreach.items is not None:
        return foreach.items
    if foreach.from_:
        _, found = _given(frozen, foreach.from_, records)
    else:
        found = frozen.parameters[foreach.parameter or ""]
    if not isinstance(found, list):
        raise Unfit(f"foreach: {ports.text(found)[:60]} is no list")
    if len(found) > MAX_ITEMS:
        raise Unfit(f"foreach: the list has {len(found)} items; at most {MAX_ITEMS} are run")
    return found


def _source(frozen: Frozen, step: Step, binding: Binding, records: Records, item: int | None) -> tuple[str, Any]:
    """Type and value of a binding; of artifacts the Output, or the list of them."""
    if binding.from_:
        return _given(frozen, binding.from_, records)
    if binding.parameter:
        return frozen.types[binding.parameter], frozen.parameters[binding.parameter]
    value = items(frozen, step, records)[item or 0] if binding.item else binding.value
    return ports.type_of(value), value


def _given(frozen: Frozen, reference: str, records: Records) -> tuple[str, Any]:
    name, port = graph.source(reference)
    step = frozen.step(name)
    type = outputs(step)[port]
    if step.foreach is None:
        return type, _output(records[name], port, type)
    found = [_output(records[item_name(name, n)], port, type) for n in range(records[name].count or 0)]
    return ("json" if type in VALUE_TYPES else type), found


def _output(record: StepStatus, port: str, type: str) -> Any:
    output = next((each for each in record.outputs or () if each.name == port), Output(name=port))
    if (output.value if type in VALUE_TYPES else output.uri) is None:
        raise Unfit(f"{record.name} gave no {port}")
    return output.value if type in VALUE_TYPES else output


def pipeline_outputs(frozen: Frozen, records: Records) -> list[Output]:
    """What the pipeline gave as a whole; outputs of steps that gave none are left out."""
    found: list[Output] = []
    for each in frozen.outputs:
        try:
            type, value = _given(frozen, each.from_, records)
        except (Unfit, KeyError):
            continue
        if type in VALUE_TYPES:
            found.append(Output(name=each.name, value=value))
        else:
            folders = value if isinstance(value, list) else [value]
            found += [one.model_copy(update={"name": each.name}) for one in folders]
    return found
