"""The three formats, one module each: only that of the model in use is imported, since each brings a heavy library."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Protocol

from server.signature import Array, Signature

MODULES = {"safetensors": "transformer", "torch-export": "torch_export", "onnx": "onnx"}


class UnsafeModel(Exception):
    """The model file holds something that could run code when it is loaded; the text says what."""


class UnsupportedModel(Exception):
    """The model cannot be served by this server; the text says why and what to do."""


class Runtime(Protocol):
    """A loaded model."""

    signature: Signature

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name for inputs by name, all with the batch as their first dimension."""


def detect(folder: Path) -> str:
    """The format by the files, as the pod contract orders it."""
    if (folder / "config.json").is_file() and any(folder.glob("*.safetensors")):
        return "safetensors"
    if (folder / "model.pt2").is_file():
        return "torch-export"
    if (folder / "model.onnx").is_file():
        return "onnx"
    raise UnsupportedModel(f"{folder} holds neither config.json with *.safetensors, nor model.pt2, nor model.onnx")


def load(format: str, folder: Path, signature: Signature | None, threads: int) -> Runtime:
    """The model in `folder`; `signature` None: the model is asked for it."""
    runtime: Runtime = import_module(f"server.formats.{MODULES[format]}").load(folder, signature, threads)
    return runtime
