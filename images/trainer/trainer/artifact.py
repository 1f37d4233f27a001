"""What a recipe leaves beside the model: the card for machines, the final numbers, and the distributions of the training."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 10
Json = dict[str, Any]


def tensor(name: str, datatype: str, *shape: int, columns: list[Json] | None = None) -> Json:
    """One entry of a signature; the batch dimension is put before `shape`."""
    entry: Json = {"name": name, "datatype": datatype, "shape": [-1, *shape]}
    return entry | {"columns": columns} if columns else entry


def columns(names: tuple[str, ...], x: npt.NDArray[np.floating]) -> list[Json]:
    """Name and range of each column of `x` (samples, features)."""
    return [
        {"name": name, "minimum": float(values.min()), "maximum": float(values.max())}
        for name, values in zip(names, x.T, strict=True)
    ]


def baseline(
    names: tuple[str, ...], x: npt.NDArray[np.generic], categories: list[str], predicted: npt.NDArray[np.int64]
) -> Json:
    """Distributions of the features, in quantile bins of `x` (samples, features), and of `predicted` class indexes.

    A feature with few distinct values gets fewer bins; one that never varies gets none. Images and texts have no features.
    """
    counts = np.bincount(predicted, minlength=len(categories))
    return {
        "features": [feature for name, values in zip(names, x.T, strict=True) for feature in _feature(name, values)]
        if names
        else [],
        "predictions": {
            "name": "label",
            "categories": categories,
            "proportions": (counts / counts.sum()).round(6).tolist(),
        },
    }


def _feature(name: str, values: npt.NDArray[np.generic]) -> list[Json]:
    values = values.astype(np.float64)
    edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))
    edges = edges[edges < values.max()]
    if not len(edges):  # nearly all are the greatest
        edges = np.unique(values)[:-1][-1:]
    if not len(edges):
        return []
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
    return [{"name": name, "edges": edges.tolist(), "proportions": (counts / len(values)).round(6).tolist()}]


def write(output: Path, card: Json, metrics: Mapping[str, float], distributions: Json) -> None:
    """Writes noria.json, metrics.json and baseline.json into the output folder."""
    files = {"noria.json": card, "metrics.json": dict(metrics), "baseline.json": distributions}
    for name, content in files.items():
        (output / name).write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
