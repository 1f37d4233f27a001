"""What is served predicts as it did in training: scores over the held-out data, computed from answers, equal metrics.json."""

import csv
import json
from typing import Any

import numpy as np
import pytest
from support import MODELS, held_out


@pytest.mark.parametrize("job", ["digits", "images", "iris", "docs"])
def test_answers_score_as_in_training(serve: Any, job: str) -> None:
    x, y = held_out(job)
    status, answer = serve(job).predict(x.tolist())
    assert status == 200, answer
    metrics = json.loads((MODELS / job / "job/attempt-1/metrics.json").read_text())
    labels = np.array([one["label"] for one in answer["predictions"]])
    probabilities = np.array([one["probabilities"] for one in answer["predictions"]])
    index = np.searchsorted(np.unique(y), y)
    assert float((labels == y).mean()) == pytest.approx(metrics["accuracy"], abs=1e-6)
    assert float(-np.log(np.clip(probabilities[np.arange(len(y)), index], 1e-12, 1)).mean()) == pytest.approx(
        metrics["loss"], abs=1e-4
    )
    assert answer["modelVersion"] == f"{job}-1"


@pytest.mark.parametrize("job", ["digits", "images", "iris"])
def test_v2_and_v1_agree(serve: Any, job: str) -> None:
    x, _ = held_out(job)
    x = x[:3]
    server = serve(job)
    name = "pixels" if job == "images" else "features"
    status, answer = server.infer(
        {"name": name, "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}, id="7"
    )
    assert status == 200, answer
    outputs = {output["name"]: output for output in answer["outputs"]}
    predictions = server.predict(x.tolist())[1]["predictions"]
    assert outputs["label"]["datatype"] == "INT64" and outputs["label"]["data"] == [one["label"] for one in predictions]
    assert outputs["probabilities"]["shape"] == [3, len(predictions[0]["probabilities"])]
    assert np.allclose(outputs["probabilities"]["data"], np.ravel([one["probabilities"] for one in predictions]))
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("7", job, f"{job}-1")
    nested = server.infer(
        {"name": name, "datatype": "FP32", "shape": list(x.shape), "data": x.tolist()}, outputs=[{"name": "label"}]
    )
    assert [output["name"] for output in nested[1]["outputs"]] == ["label"]
    assert nested[1]["outputs"][0]["data"] == outputs["label"]["data"]


def test_text_over_both_protocols(serve: Any) -> None:
    server = serve("docs")
    texts = ["Computes the gradient of the loss with respect to the tensor.", "Fit the estimator to ümlauts."]
    status, answer = server.infer({"name": "text", "datatype": "BYTES", "shape": [2], "data": texts})
    assert status == 200, answer
    label = answer["outputs"][0]
    assert label["datatype"] == "BYTES" and set(label["data"]) <= {"scipy", "sklearn", "torch"}
    predictions = server.predict(texts)[1]["predictions"]
    assert [one["label"] for one in predictions] == label["data"]
    assert server.predict([{"text": texts[0]}])[1]["predictions"][0]["label"] == label["data"][0]


@pytest.mark.parametrize("job", ["flowers", "onnx-flowers"])
def test_labels_that_are_texts_and_instances_by_column(serve: Any, job: str) -> None:
    with (MODELS / job / "data/test.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    instances = [{name: float(value) for name, value in row.items() if name != "species"} for row in rows]
    server = serve(job)
    status, answer = server.predict(instances)
    assert status == 200, answer
    accuracy = np.mean([one["label"] == row["species"] for one, row in zip(answer["predictions"], rows, strict=True)])
    metrics = json.loads((MODELS / job / "job/attempt-1/metrics.json").read_text())
    assert accuracy == pytest.approx(metrics["accuracy"], abs=1e-6) and accuracy > 0.8
    labels = ({"id": one, "label": row["species"]} for one, row in zip(answer["predictionIds"], rows, strict=True))
    assert server.label(*labels) == (200, {"accepted": len(rows)})


def test_metadata_health_and_metrics(serve: Any) -> None:
    server = serve("iris")
    assert json.loads(server.get("/v2/models/iris")[1])["inputs"] == [
        {"name": "features", "datatype": "FP32", "shape": [-1, 4]}
    ]
    assert server.get("/v2/health/ready")[0] == 200 and server.get("/v1/models/iris")[0] == 200
    before = server.get("/metrics")[1]
    labels = 'modelendpoint="iris",version="iris-1"'
    assert f"noria_model_verified{{{labels}}} 1.0" in before and "noria_model_info{" in before
    assert 'endpoint="' not in before.replace('modelendpoint="', "")
    server.predict([[1, 2, 3, 4]] * 5)
    server.predict([[1]])
    after = server.get("/metrics")[1]

    def value(text: str, series: str) -> float:
        return next(float(line.split(" ")[-1]) for line in text.splitlines() if line.startswith(series))

    for series, grown in (
        (f"noria_predictions_total{{{labels}}}", 5),
        (f"noria_prediction_seconds_count{{{labels}}}", 1),
        (f'noria_prediction_errors_total{{cause="InvalidRequest",{labels}}}', 1),
    ):
        assert value(after, series) - value(before, series) == grown
