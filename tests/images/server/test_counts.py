"""What is served is counted as the baseline divides it: drift is a query over these series, so all exist, at 0, from the start."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from server.baseline import Baseline, Binned, Categorised, Outcome, outcome_of, read_baseline
from server.counts import CHUNK, WAITING, Bins, Counts
from server.signature import Column, InvalidSignature, Signature, Tensor, read_card, read_signature
from support import MODELS, held_out, start

FOLDER = MODELS / "digits/job/attempt-1"
Series = dict[tuple[str, ...], float]


def series(counts: Counts) -> dict[str, Series]:
    """Values by name and by labels, but for those of the model."""
    found: dict[str, Series] = {}
    for family in counts.collect():
        for sample in family.samples:
            assert (sample.labels.pop("modelendpoint"), sample.labels.pop("version")) == ("digits", "digits-1")
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def counting(signature: Signature, baseline: Baseline) -> Counts:
    return Counts(("digits", "digits-1"), signature, baseline, outcome_of(signature, baseline))


def table(datatype: str = "FP32", *columns: Column, output: str = "INT64") -> Signature:
    """A signature with tabular data of two columns, or those given."""
    columns = columns or (Column("a", 0, 1), Column("b"))
    return Signature((Tensor("x", datatype, (-1, len(columns)), columns),), (Tensor("y", output, (-1,)),))


def test_every_series_exists_at_0_and_the_baseline_beside_it() -> None:
    signature = read_signature(read_card(FOLDER))
    assert signature is not None
    found = series(counting(signature, read_baseline(FOLDER)))
    told = json.loads((FOLDER / "baseline.json").read_text())
    bins = {
        (feature["name"], str(number)): share
        for feature in told["features"]
        for number, share in enumerate(feature["proportions"])
    }
    predicted = dict(zip(told["predictions"]["categories"], told["predictions"]["proportions"], strict=True))
    assert found["noria_feature_baseline"] == bins and len(bins) > 300
    assert found["noria_feature_total"] == dict.fromkeys(bins, 0)
    assert found["noria_prediction_baseline"] == {(name,): share for name, share in predicted.items()}
    assert found["noria_prediction_total"] == {(name,): 0 for name in predicted}
    problems = {
        (column.name, problem): 0 for column in signature.inputs[0].columns for problem in ("Null", "OutOfRange")
    }
    assert found["noria_quality_total"] == problems


@pytest.mark.parametrize("seed", range(100))
def test_bins_equal_numpys(seed: int) -> None:
    generator = np.random.default_rng(seed)
    features = int(generator.integers(1, 9))
    edges = [np.unique(generator.normal(size=generator.integers(1, 12)).round(1)) for _ in range(features)]
    columns = [Binned(str(number), tuple(one), (1.0,) * (len(one) + 1)) for number, one in enumerate(edges)]
    bins, seen = Bins(columns, "FP64"), []
    for _ in range(3):
        x = generator.normal(size=(generator.integers(1, CHUNK * 2), features)).round(1)
        x[generator.random(x.shape) < 0.1] = generator.choice([np.nan, np.inf, -np.inf])
        seen.append(x.astype(generator.choice(["f4", "f8"])))
        bins.add(seen[-1])
    for number, one in enumerate(edges):
        values = np.concatenate([x[:, number].astype(np.float64) for x in seen])
        values = values[~np.isnan(values)]
        expected = np.bincount(np.searchsorted(one, values, side="left"), minlength=len(one) + 1)
        assert bins.counts[: len(one) + 1, number].tolist() == expected.tolist()
        assert not bins.counts[len(one) + 1 :, number].any()


def test_a_baseline_of_doubles_holds_for_what_comes_as_floats() -> None:
    """0.1 as FP32 is a little more than 0.1, and was in the next bin, out of range, and of no category."""
    columns = Column("a", -0.7, 0.1), Column("b", categories=(0.1, 0.7))
    counts = counting(table("FP32", *columns), Baseline((Binned("a", (0.1,), (1.0, 0.0)),)))
    x = np.array([[0.1, 0.1], [-0.7, 0.7]], dtype=np.float32)
    assert not counts.add({"x": x}, {"y": np.zeros(2)})
    found = series(counts)
    assert found["noria_feature_total"] == {("a", "0"): 2, ("a", "1"): 0}
    assert found["noria_quality_total"] == dict.fromkeys(found["noria_quality_total"], 0)


def test_answers_are_counted_by_feature_and_by_prediction(serve: Any) -> None:
    server = serve("digits")
    x, _ = held_out("digits")

    def counted() -> Iterator[float]:
        for name, labels in (
            ("noria_predictions_total", {}),
            ("noria_feature_total", {"feature": "pixel_2_3"}),
            ("noria_feature_total", {"feature": "pixel_2_3", "bin": "0"}),
            ("noria_prediction_total", {}),
            ("noria_prediction_total", {"category": "3"}),
            ("noria_requests_total", {"code": "2xx"}),
            ("noria_request_seconds_count", {}),
        ):
            yield server.metric(name, **labels)

    before = list(counted())
    predicted = [one["label"] for size in (1, 2, 200) for one in server.predict(x[:size].tolist())[1]["predictions"]]
    edge = next(one for one in read_baseline(FOLDER).features if one.name == "pixel_2_3").edges[0]
    lowest = sum(int((x[:size, 19] <= edge).sum()) for size in (1, 2, 200))
    grown = [after - earlier for after, earlier in zip(counted(), before, strict=True)]
    assert grown == [203, 203, lowest, 203, predicted.count(3), 3, 3]


def test_codes_of_requests_for_predictions_alone(serve: Any) -> None:
    server = serve("iris")
    before = [server.metric("noria_requests_total", code=code) for code in ("2xx", "4xx", "5xx")]
    server.get("/v1/models/iris")
    server.predict([[1, 2, 3]])
    server.infer({"name": "features", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]})
    after = [server.metric("noria_requests_total", code=code) for code in ("2xx", "4xx", "5xx")]
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1, 0]


BROKEN = """
from server.formats import onnx
def broken(self, inputs):
    raise RuntimeError("out of tune")
onnx.Onnx.predict = broken
"""


def test_a_model_that_fails_is_a_5xx_and_its_input_is_no_sample(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BROKEN)
    server = start("iris", tmp_path / "log", PYTHONPATH=f"{tmp_path}:/app")
    status, answer = server.predict([[99, 3, 1, 0.2]])
    assert status == 500 and "RuntimeError" in answer["error"]
    assert server.metric("noria_requests_total", code="5xx") == 1
    assert server.metric("noria_prediction_errors_total", cause="ModelError") == 1
    assert server.metric("noria_quality_total", feature="sepal length (cm)", problem="OutOfRange") == 1
    assert server.metric("noria_predictions_total") == 0 == server.metric("noria_feature_total")
    assert server.stop() == 0


def test_bad_values_are_counted_also_where_the_request_is_refused(serve: Any) -> None:
    server = serve("iris")
    names = [f"{part} {size} (cm)" for part in ("sepal", "petal") for size in ("length", "width")]

    def counted() -> list[float]:
        asked = [("Null", names[0]), ("OutOfRange", names[0]), ("Null", names[3]), ("OutOfRange", names[3])]
        return [server.metric("noria_quality_total", feature=name, problem=problem) for problem, name in asked]

    before = counted()
    assert server.predict([[99, 3, 1, 0.2]])[0] == 200
    assert server.predict([[None, 3, 1, 99], [5, 3, 1, 0.2]])[0] == 400
    assert (
        server.predict([dict(zip(names, [5, 3, 1, None], strict=True)), {"sepal length (cm)": -1}, {"features": 3}])[0]
        == 400
    )
    given = {"name": "features", "datatype": "FP32", "shape": [2, 4], "data": [None, 3, 1, 0.2, 5, 3, 1, -7]}
    assert server.infer(given)[0] == 400
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [2, 2, 1, 2]


def test_unknown_categories_and_nan() -> None:
    counts = counting(table("FP32", Column("a", categories=(1, 2)), Column("b", 0, 9)), Baseline())
    x = np.array([[1, np.nan], [3, 5], [2, 10]], dtype=np.float32)
    counts.add({"x": x}, {"y": np.zeros(3, dtype=np.int64)})
    counts.add_failed({"x": x[1:2]})
    found = series(counts)["noria_quality_total"]
    assert found == {
        ("a", "Null"): 0, ("a", "UnknownCategory"): 2, ("b", "Null"): 1, ("b", "OutOfRange"): 1,
    }  # fmt: skip
    texts = counting(table("BYTES", Column("colour", categories=("red",))), Baseline())
    texts.add({"x": np.array([["red"], ["blue"]], dtype=np.object_)}, {"y": np.zeros(2)})
    texts.add_refused({"instances": [{"colour": None}, ["green"], "red", [["red"]], {}, {"x": ["blue"]}]})
    assert series(texts)["noria_quality_total"] == {("colour", "Null"): 1, ("colour", "UnknownCategory"): 3}


def test_predicted_numbers_are_counted_in_bins() -> None:
    signature, baseline = table(output="FP32"), Baseline((), Binned("y", (0.0, 1.0), (0.2, 0.3, 0.5)))
    assert outcome_of(signature, baseline) == Outcome("y", True)
    counts = counting(signature, baseline)
    counts.add({"x": np.zeros((4, 2))}, {"y": np.array([[-1], [0], [0.5], [7]], dtype=np.float32)})
    assert series(counts)["noria_prediction_total"] == {("0",): 2, ("1",): 1, ("2",): 1}
    assert series(counts)["noria_prediction_baseline"] == {("0",): 0.2, ("1",): 0.3, ("2",): 0.5}


def test_counting_waits_for_a_scrape_or_enough_samples() -> None:
    counts = counting(table(), Baseline())
    asked = [counts.add({"x": np.zeros((1, 2))}, {}) for _ in range(WAITING)]
    assert asked == [False] * (WAITING - 1) + [True]


def test_features_that_the_signature_does_not_know_are_left_out_and_named(caplog: pytest.LogCaptureFixture) -> None:
    known, other = Binned("a", (0.5,), (0.5, 0.5)), Binned("z", (0.5,), (0.5, 0.5))
    found = series(counting(table(), Baseline((other, known), Categorised("y", ("0",), (1.0,)))))
    assert found["noria_feature_total"] == {("a", "0"): 0, ("a", "1"): 0}
    assert [record.getMessage() for record in caplog.records] == [
        "baseline.json: 1 features are no columns of the signature and are not counted: z"
    ]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"features": [{"name": "a", "edges": [1, 1], "proportions": [1, 0, 0]}]}, "features[0] 'a': expected edges"),
        ({"features": [{"name": "a", "edges": [1], "proportions": [1]}]}, "features[0] 'a': expected 2 proportions"),
        ({"features": [{"name": "a", "edges": ["x"], "proportions": [1]}]}, "features[0] 'a': expected edges"),
        ({"features": [3]}, "features[0]: expected an object"),
        ({"features": {}, "predictions": {"name": "y", "categories": ["0"], "proportions": [1, 2]}}, "expected 1 prop"),
        ({"predictions": {"name": "y", "categories": ["0", 0], "proportions": [1, 2]}}, "predictions: expected a name"),
        ([], "must be an object"),
    ],
)
def test_bad_baseline(tmp_path: Path, change: Any, error: str) -> None:
    (tmp_path / "baseline.json").write_text(json.dumps(change))
    with pytest.raises(InvalidSignature) as caught:
        read_baseline(tmp_path)
    assert str(caught.value).startswith("baseline.json: ") and error in str(caught.value)


def test_model_without_a_baseline_serves(copied: Any, tmp_path: Path) -> None:
    folder = copied("iris")
    (folder / "baseline.json").unlink()
    server = start("iris", tmp_path / "log", folder, NORIA_MODEL_DIGEST="")
    status, answer = server.predict([[1, 2, 3, 4]])
    assert status == 200 and len(answer["predictionIds"]) == 1
    assert server.label({"id": answer["predictionIds"][0], "label": 7}) == (200, {"accepted": 1})
    assert server.metric("noria_feedback_total", correct="false") == 1
    assert "noria_feature_total{" not in server.get("/metrics")[1]
    assert server.stop() == 0
