"""ONNX models with onnxruntime."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state

from server.formats import UnsupportedModel
from server.signature import Array, Signature, Tensor, agreed

DATATYPES = {
    "tensor(float)": "FP32", "tensor(double)": "FP64", "tensor(float16)": "FP16", "tensor(bool)": "BOOL", "tensor(string)": "BYTES",
    **{f"tensor({sign}int{bits})": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip
_OWN = [
    each for each in vars(onnxruntime_pybind11_state).values() if isinstance(each, type) and issubclass(each, Exception)
]
REFUSALS = (*_OWN, RuntimeError)
"""What onnxruntime raises of a model: classes of its own, which have no parent in common, and RuntimeError for the rest of C++."""


class Onnx:
    """A session on the CPU."""

    def __init__(self, session: onnxruntime.InferenceSession, signature: Signature) -> None:
        self.session, self.signature = session, signature
        self._names = [output.name for output in session.get_outputs()]

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See Runtime."""
        return self.signature.named(dict(zip(self._names, self.session.run(None, dict(inputs)), strict=True)))


def load(folder: Path, signature: Signature | None, threads: int) -> Onnx:
    """The session of model.onnx. That external data lie in `folder`, links followed, onnxruntime sees to itself."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    try:
        session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    except REFUSALS as error:
        raise UnsupportedModel(
            f"model.onnx: onnxruntime refuses it, export it anew with all its data in this folder: {' '.join(str(error).split())[:600]}"
        ) from error
    own = Signature(tuple(map(_tensor, session.get_inputs())), tuple(map(_tensor, session.get_outputs())))
    return Onnx(session, agreed(signature, own, "model.onnx"))


def _tensor(node: Any) -> Tensor:
    if node.type not in DATATYPES:
        raise UnsupportedModel(
            f"model.onnx: {node.name!r} is a {node.type}, and only tensors are served; export it so (of scikit-learn: zipmap=False)"
        )
    shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
    return Tensor(node.name, DATATYPES[node.type], shape)
