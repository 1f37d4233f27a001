"""torch.export programs, checked before they are loaded."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from server.formats import UnsupportedModel
from server.formats.archive import check
from server.signature import Array, InvalidSignature, Signature, Tensor

DATATYPES = {
    torch.float16: "FP16", torch.float32: "FP32", torch.float64: "FP64", torch.bool: "BOOL", torch.uint8: "UINT8",
    torch.int8: "INT8", torch.int16: "INT16", torch.int32: "INT32", torch.int64: "INT64",
}  # fmt: skip


class TorchExport:
    """A program whose inputs and outputs are tensors."""

    def __init__(self, module: torch.nn.Module, signature: Signature) -> None:
        self.module, self.signature = module, signature
        self._names = [tensor.name for tensor in signature.outputs]

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See Runtime; inputs are given in the signature's order."""
        arguments = [torch.from_numpy(np.ascontiguousarray(inputs[tensor.name])) for tensor in self.signature.inputs]
        with torch.inference_mode():
            made = self.module(*arguments)
        if isinstance(made, Mapping):
            return self.signature.named({str(name): value.numpy() for name, value in made.items()})
        values = [made] if isinstance(made, torch.Tensor) else list(made)
        names = self._names or [f"output{number}" for number in range(len(values))]
        return self.signature.named({name: value.numpy() for name, value in zip(names, values, strict=True)})


def load(folder: Path, signature: Signature | None, threads: int) -> TorchExport:
    """The program in model.pt2."""
    checked = check(folder / "model.pt2")
    torch.set_num_threads(threads)
    program = torch.export.load(checked)
    if signature:
        _agree(signature, program)
    return TorchExport(program.module(), signature or Signature(_inputs(program), ()))


def _agree(told: Signature, program: torch.export.ExportedProgram) -> None:
    """Inputs are known by their order, outputs too, but for those that the program itself names. Raises InvalidSignature."""
    graph, shape = program.graph_signature, program.call_spec.out_spec
    for what, tensors, there in (
        ("inputs", told.inputs, graph.user_inputs),
        ("outputs", told.outputs, graph.user_outputs),
    ):
        if tensors and len(tensors) != len(there):
            raise InvalidSignature(f"noria.json: it tells of {len(tensors)} {what}, model.pt2 has {len(there)}")
    names = {tensor.name for tensor in told.outputs}
    if told.outputs and shape and issubclass(shape.type, dict) and names != set(map(str, shape.context)):
        raise InvalidSignature(
            f"noria.json: its outputs are {', '.join(sorted(names))}, those of model.pt2 {', '.join(sorted(map(str, shape.context)))}"
        )


def _inputs(program: torch.export.ExportedProgram) -> tuple[Tensor, ...]:
    wanted = set(program.graph_signature.user_inputs)
    tensors = []
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in wanted:
            value = node.meta.get("val")
            if not isinstance(value, torch.Tensor) or value.dtype not in DATATYPES or not value.dim():
                raise UnsupportedModel(
                    f"model.pt2: input {node.name!r} is no tensor with a batch dimension; give noria.json a signature"
                )
            shape = tuple(size if isinstance(size, int) else -1 for size in value.shape)
            tensors.append(Tensor(node.name, DATATYPES[value.dtype], shape))
    return tuple(tensors)
