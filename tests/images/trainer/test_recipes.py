"""The other two recipes, and data as people really have it."""

from pathlib import Path
from typing import Any

import onnx
import pytest


@pytest.mark.parametrize("estimator", ["random-forest", "gradient-boosting", "logistic-regression"])
def test_sklearn_to_onnx(training: Any, estimator: str) -> None:
    job = training("sklearn", "iris", estimator=estimator, estimators="20")
    result = job.run()
    assert result.returncode == 0, result.stdout
    assert job.written("metrics.json")["accuracy"] > 0.9
    graph = onnx.load(job.output / "model.onnx").graph
    assert [value.name for value in (*graph.input, *graph.output)] == ["features", "label", "probabilities"]
    assert job.steps() == [job.steps()[0] | {"step": 1, "total": 1}]


def test_text_classifier(training: Any) -> None:
    job = training("text-classifier", "docstrings", epochs="3", layers="1", maxTokens="32", learningRate="0.003")
    result = job.run()
    assert result.returncode == 0, result.stdout
    assert job.written("metrics.json")["accuracy"] > 0.55
    names = {path.name for path in job.output.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "noria.json"} <= names
    assert not any(path.suffix in (".bin", ".pt", ".pkl") for path in job.output.iterdir())


def test_csv_with_text_labels(training: Any, tmp_path: Path) -> None:
    rows = [f"{i % 7},{i % 2 * 10},{'yes' if i % 2 else 'no'}" for i in range(200)]
    (tmp_path / "data").mkdir()
    (tmp_path / "data/people.csv").write_text("\n".join(["a,b,bought", *rows]) + "\n")
    job = training("classifier", tmp_path / "data", target="bought", epochs="5", learningRate="0.01")
    result = job.run()
    assert result.returncode == 0, result.stdout
    card = job.written("noria.json")
    assert card["categories"] == {"label": ["no", "yes"]} and job.written("metrics.json")["accuracy"] == 1.0
    assert card["signature"]["outputs"][0] == {"name": "label", "datatype": "BYTES", "shape": [-1]}
    assert [column["name"] for column in card["signature"]["inputs"][0]["columns"]] == ["a", "b"]
