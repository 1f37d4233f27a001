"""Recipe `classifier`: a neural network on tabular data or images, on one process or many."""

import logging
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from trainer import artifact
from trainer.group import joined
from trainer.loop import Schedule, fit
from trainer.network import Served, network
from trainer.parameters import parameter, parse, strings
from trainer.pod import Pod
from trainer.scores import scores
from trainer.split import training_and_held_out

log = logging.getLogger("trainer")

MAX_BATCH = 1 << 16
EVALUATION_BATCH = 1024


@dataclass(frozen=True)
class Parameters:
    """Parameters of the recipe; in a TrainingJob they are camelCase strings."""

    epochs: int = parameter(20, minimum=1, maximum=100_000)
    """Passes over the training data. Default 20."""
    batch_size: int = parameter(64, minimum=1, maximum=1 << 20)
    """Samples a step, over all processes together. Default 64."""
    learning_rate: float = parameter(0.001, minimum=0, above=True, maximum=10)
    """Step size of AdamW. Default 0.001."""
    weight_decay: float = parameter(0.01, minimum=0, maximum=10)
    """Weight decay of AdamW. Default 0.01."""
    hidden_units: int = parameter(64, minimum=1, maximum=65_536)
    """Width of the hidden layers. Default 64."""
    dropout: float = parameter(0.0, minimum=0, maximum=0.95)
    """Share of hidden units dropped in a training step. Default 0."""
    seed: int = parameter(0, minimum=0, maximum=1 << 31)
    """Seed of split, initial weights, order and dropout. Default 0."""
    test_fraction: float = parameter(0.2, minimum=0, above=True, maximum=0.9)
    """Share of each class that is held out, if no input or file `test` is given. Default 0.2."""
    target: str = parameter("target")
    """Column of the labels in CSV. Default `target`."""
    export: str = parameter("torch-export", choices=("torch-export", "onnx"))
    """Format of the model: torch-export (default) writes model.pt2, onnx writes model.onnx."""


def train(pod: Pod) -> None:
    """Reads the data, trains, and writes the model with its card, scores and distributions."""
    given = parse(Parameters, pod.parameters, "classifier")
    data, held_out = training_and_held_out(pod.inputs, given.target, given.test_fraction, given.seed)
    classes, y = np.unique(data.y, return_inverse=True)
    with joined() as group:
        torch.manual_seed(given.seed)
        model = network(data.x, len(classes), given.hidden_units, given.dropout)
        x, targets = torch.from_numpy(data.x).to(group.device), torch.from_numpy(y).to(group.device)

        def loss_of(network: nn.Module, indexes: Tensor) -> Tensor:
            indexes = indexes.to(group.device)
            return nn.functional.cross_entropy(network(x[indexes]), targets[indexes])

        fit(pod, group, Schedule.of(data, given), strings(given), model, loss_of)
        if group.leads:
            _write(pod, given, model, data, held_out, classes)


def _write(pod: Pod, given: Parameters, model: nn.Module, data, held_out, classes) -> None:  # type: ignore[no-untyped-def]
    numbers = classes.dtype.kind != "U"
    served = Served(model, classes if numbers else np.arange(len(classes))).eval()
    name = "features" if data.columns else "pixels"
    example = torch.from_numpy(data.x[:2])
    if given.export == "onnx":
        outputs = ["label", "probabilities"]
        torch.onnx.export(
            served, (example,), str(pod.output / "model.onnx"), dynamo=False, opset_version=17,
            input_names=[name], output_names=outputs, dynamic_axes={key: {0: "batch"} for key in (name, *outputs)},
        )  # fmt: skip
    else:
        batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
        torch.export.save(
            torch.export.export(served, (example,), dynamic_shapes={"x": {0: batch}}), pod.output / "model.pt2"
        )
    metrics = scores(np.searchsorted(classes, held_out.y), _probabilities(model, held_out.x))
    columns = artifact.columns(data.columns, data.x) if data.columns else None
    card = {
        "format": given.export,
        "seed": given.seed,
        "parameters": strings(given),
        "baseModel": None,
        "signature": {
            "inputs": [artifact.tensor(name, "FP32", *data.x.shape[1:], columns=columns)],
            "outputs": [
                artifact.tensor("label", "INT64" if numbers else "BYTES"),
                artifact.tensor("probabilities", "FP32", len(classes)),
            ],
        },
        "categories": {} if numbers else {"label": [str(label) for label in classes]},
    }
    predicted = _probabilities(model, data.x).argmax(axis=1)
    distributions = artifact.baseline(data.columns, data.x, [str(label) for label in classes], predicted)
    artifact.write(pod.output, card, metrics, distributions)
    log.info("wrote %s: %s", pod.output, metrics)


def _probabilities(model: nn.Module, x: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        batches = torch.from_numpy(x).split(EVALUATION_BATCH)
        return torch.cat([torch.softmax(model(batch), dim=1) for batch in batches]).numpy()
