"""The two protocols: requests into named arrays, named arrays into answers.

v1: `{"instances": [...]}`. An instance is the value of the only input, or an object by input name, or, for tabular data, an
object by column name. `predictions` holds one entry an instance: the value of the only output, or an object by output name.
v2: the Open Inference Protocol; inputs by name, outputs by name.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from uuid import uuid4

import numpy as np
from kserve import InferOutput, InferRequest, InferResponse

from server.signature import DATATYPES, Array, InvalidRequest, Signature, Tensor, array

MOST_SAMPLES = 65_536
"""Of a request; a client that goes stops no model, and a program of the recipes takes no more."""
FROM_KIND = {str(dtype): name for name, dtype in DATATYPES.items()} | {"object": "BYTES"}


def from_v1(request: Any, signature: Signature) -> dict[str, Array]:
    """Arrays by input name from a v1 request."""
    instances = request.get("instances") if isinstance(request, dict) else None
    if not isinstance(instances, list):
        raise InvalidRequest(
            "'instances': expected a list, got " + ("nothing" if instances is None else _kind(instances))
        )
    if not instances:
        raise InvalidRequest("'instances': expected at least one sample, got none")
    _few(len(instances), "'instances'")
    values: dict[str, list[Any]] = {tensor.name: [] for tensor in signature.inputs}
    for number, instance in enumerate(instances):
        for name, value in _by_input(instance, number, signature).items():
            values[name].append(value)
    return {tensor.name: _stacked(values[tensor.name], tensor) for tensor in signature.inputs}


def _by_input(instance: Any, number: int, signature: Signature) -> Mapping[str, Any]:
    only = signature.inputs[0] if len(signature.inputs) == 1 else None
    if not isinstance(instance, dict):
        if only is None:
            names = ", ".join(repr(tensor.name) for tensor in signature.inputs)
            raise InvalidRequest(f"instances[{number}]: expected an object with {names}, got {_kind(instance)}")
        return {only.name: instance}
    by_column = only is not None and only.columns and only.name not in instance
    wanted = only.names if only is not None and by_column else tuple(tensor.name for tensor in signature.inputs)
    if missing := [name for name in wanted if name not in instance]:
        raise InvalidRequest(f"instances[{number}] {missing[0]!r}: expected a value, got none")
    if unknown := sorted(set(instance) - set(wanted)):
        raise InvalidRequest(
            f"instances[{number}] {unknown[0]!r}: the model has no such input; it has {', '.join(wanted)}"
        )
    if only is not None and by_column:
        if only.datatype == "BYTES":
            return {only.name: [instance[column] for column in only.names]}
        return {only.name: [_number(instance[column], number, column) for column in only.names]}
    return instance


def _number(value: Any, number: int, column: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(f"instances[{number}] {column!r}: expected a number, got {_kind(value)}")
    return value


def _few(samples: int, where: str) -> None:
    if samples > MOST_SAMPLES:
        raise InvalidRequest(f"{where}: expected at most {MOST_SAMPLES} samples a request, got {samples}")


def _stacked(values: list[Any], tensor: Tensor) -> Array:
    rows = list[Array]()
    for number, value in enumerate(values):
        where = f"instances[{number}] '{tensor.name}'"
        rows.append(array(value, tensor, where))
        # What is wrong with all is told before all are read.
        if number == 0 and len(values) > 1 and tensor.shape[0] == -1:
            tensor.check(rows[0][np.newaxis], where)
    shapes = {row.shape for row in rows}
    if len(shapes) == 1:
        with suppress(InvalidRequest):  # which says less than those of the samples
            return tensor.check(np.stack(rows) if len(rows) > 1 else rows[0][np.newaxis], tensor.name)
    for number, row in enumerate(rows):
        tensor.check(row[np.newaxis], f"instances[{number}] '{tensor.name}'")
    raise InvalidRequest(f"instances '{tensor.name}': expected samples of one shape, got {sorted(shapes)}")


def from_v2(request: InferRequest, signature: Signature) -> dict[str, Array]:
    """Arrays by input name from a v2 request."""
    made: dict[str, Array] = {}
    for number, given in enumerate(request.inputs):
        where = f"inputs[{number}] {given.name!r}"
        tensor = signature.input(given.name)
        if tensor is None:
            raise InvalidRequest(
                f"{where}: the model has no such input; it has {', '.join(one.name for one in signature.inputs)}"
            )
        if given.datatype != tensor.datatype:
            raise InvalidRequest(f"{where}: expected datatype {tensor.datatype}, got {given.datatype}")
        _few(given.shape[0] if given.shape else 0, where)
        made[tensor.name] = tensor.check(array(given.data, tensor, where, given.shape), where)
    if missing := [tensor for tensor in signature.inputs if tensor.name not in made]:
        raise InvalidRequest(f"inputs: expected {missing[0].name!r} of {missing[0].describe()}, got none")
    if len({len(value) for value in made.values()}) > 1:
        sizes = ", ".join(f"{name} {len(value)}" for name, value in made.items())
        raise InvalidRequest(f"inputs: expected one batch size in all inputs, got {sizes}")
    return made


def to_v1(outputs: Mapping[str, Array], version: str, ids: list[str]) -> dict[str, Any]:
    """A v1 answer; `ids` are those of its predictions, if they have any."""
    lists = {name: value.tolist() for name, value in outputs.items()}
    rows = [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    predictions = rows if len(lists) > 1 else next(iter(lists.values()))
    given = {"modelVersion": version, "predictionIds": ids}
    return {"predictions": predictions} | {name: value for name, value in given.items() if value}


def to_v2(outputs: Mapping[str, Array], request: InferRequest, version: str, ids: list[str]) -> InferResponse:
    """A v2 answer with the outputs that were asked for, or all; its parameter `prediction_ids` is one text, with commas."""
    wanted = [output.name for output in request.request_outputs or ()] or list(outputs)
    if unknown := [name for name in wanted if name not in outputs]:
        raise InvalidRequest(f"outputs {unknown[0]!r}: the model has no such output; it has {', '.join(outputs)}")
    made = []
    for name in wanted:
        value = outputs[name]
        output = InferOutput(name, list(value.shape), FROM_KIND[str(value.dtype)])
        output.set_data_from_numpy(value, binary_data=False)
        made.append(output)
    parameters = {"prediction_ids": ",".join(ids)} if ids else None
    return InferResponse(
        request.id or str(uuid4()), request.model_name, made, model_version=version or None, parameters=parameters
    )


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
