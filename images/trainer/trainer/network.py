"""The networks of recipe `classifier`, with the standardisation inside, so that whoever serves them sends raw features."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn


class Standardise(nn.Module):  # type: ignore[misc]
    """(x - mean) / deviation, by feature for tabular data, over everything for images."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, x: npt.NDArray[np.float32]) -> None:
        super().__init__()
        axes = (0,) if x.ndim == 2 else tuple(range(x.ndim))
        deviation = x.std(axis=axes, keepdims=True, dtype=np.float64)
        self.register_buffer(
            "mean", torch.from_numpy(x.mean(axis=axes, keepdims=True, dtype=np.float64).astype(np.float32))
        )
        self.register_buffer("deviation", torch.from_numpy(np.where(deviation == 0, 1, deviation).astype(np.float32)))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as `x`."""
        return (x - self.mean) / self.deviation


class Channels(nn.Module):  # type: ignore[misc]
    """Gives images (batch, height, width) their channel dimension."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 1, height, width)."""
        return x.unsqueeze(1)


class Pool(nn.Module):  # type: ignore[misc]
    """As nn.AdaptiveAvgPool2d(size), by two products with constant matrices, which ONNX holds for images of any shape."""

    rows: Tensor
    columns: Tensor

    def __init__(self, height: int, width: int, size: int) -> None:
        super().__init__()
        self.register_buffer("rows", _averages(height, size), persistent=False)
        self.register_buffer("columns", _averages(width, size).T.contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, size, size)."""
        return self.rows @ x @ self.columns


def _averages(length: int, size: int) -> Tensor:
    """(size, length): each row the mean over one of `size` windows, from floor(i length / size) to ceil((i + 1) length / size)."""
    made = torch.zeros(size, length)
    for number in range(size):
        start, end = number * length // size, -(-(number + 1) * length // size)
        made[number, start:end] = 1 / (end - start)
    return made


def network(x: npt.NDArray[np.float32], classes: int, hidden: int, dropout: float) -> nn.Sequential:
    """Logits (batch, classes) for samples shaped like those of `x`: two hidden layers, or two convolutions for images."""
    if x.ndim == 2:
        features = x.shape[1]
        body = [
            nn.Linear(features, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
        ]
        return nn.Sequential(Standardise(x), *body, nn.Linear(hidden, classes))
    channels = 1 if x.ndim == 3 else x.shape[1]
    size = 4
    return nn.Sequential(
        Standardise(x),
        *([Channels()] if x.ndim == 3 else []),
        nn.Conv2d(channels, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        Pool(*x.shape[-2:], size),
        nn.Flatten(),
        nn.Linear(32 * size * size, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, classes),
    )


class Served(nn.Module):  # type: ignore[misc]
    """What is exported: label and probabilities from raw features."""

    labels: Tensor

    def __init__(self, body: nn.Module, labels: npt.NDArray[np.int64]) -> None:
        super().__init__()
        self.body = body
        self.register_buffer("labels", torch.from_numpy(labels))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Labels (batch,) int64 and probabilities (batch, classes) float32."""
        probabilities = torch.softmax(self.body(x), dim=1)
        return self.labels[probabilities.argmax(dim=1)], probabilities
