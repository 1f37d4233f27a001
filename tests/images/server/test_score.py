"""The offline gate: both models are scored on the same held-out samples, and a short message says what came out."""

import csv
import json
import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from server.baseline import Baseline
from server.score import answers as asking
from server.score.answers import Answers
from server.score.held_out import HeldOut, digest, read
from server.score.measures import BY_CLASS, by_class, interval, score
from server.score.request import Candidate, Request, ScoreError
from server.score.result import LIMIT, message, result
from server.signature import Signature, Tensor
from sklearn import metrics as sk
from support import MODELS, digest_of, held_out

SITES = MODELS / "mixed/data/mixed"


def model(job: str, **changes: str) -> dict[str, str]:
    return {"folder": str(MODELS / job / "job/attempt-1"), "digest": digest_of(job), "format": ""} | changes


def scored(tmp_path: Path, test: Path, challenger: Any, champion: Any = None, **more: Any) -> dict[str, Any]:
    """The message of a scorer that runs as its container would."""
    models = {"challenger": challenger} | ({"champion": champion} if champion else {})
    told = {"test": str(test), "metrics": ["accuracy"], "models": models} | more
    (tmp_path / "score.json").write_text(json.dumps(told))
    environment = {"NORIA_SCORE_FILE": str(tmp_path / "score.json"), "NORIA_TERMINATION_LOG": str(tmp_path / "log")}
    ended = subprocess.run(
        [sys.executable, "-m", "server.score"],
        env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout
    text = (tmp_path / "log").read_bytes()
    assert len(text) <= LIMIT and b" " not in text.split(b'"message"')[0]
    return dict(json.loads(text))


def test_two_models_with_slices_and_a_metric_that_is_unknown(tmp_path: Path) -> None:
    asked = ["accuracy", "f1", "precision", "recall", "log_loss", "bleu", "mae"]
    found = scored(tmp_path, SITES, model("mixed"), model("plain"), metrics=asked, slices=["site"])
    trained = {job: json.loads((MODELS / job / "job/attempt-1/metrics.json").read_text()) for job in ("mixed", "plain")}
    assert found["samples"] == 720 and found["test"] == digest(SITES)
    for name, key in (("accuracy", "accuracy"), ("f1", "f1Macro"), ("log_loss", "loss")):
        assert found["scores"]["challenger"][name] == pytest.approx(trained["mixed"][key], abs=1e-4)
        difference = found["difference"][name]
        both = found["scores"]
        assert difference["value"] == pytest.approx(both["challenger"][name] - both["champion"][name], abs=2e-6)
        assert difference["low"] < difference["value"] < difference["high"]
    assert set(found["difference"]) == {"accuracy", "f1", "precision", "recall", "log_loss"}
    ours, theirs = found["slices"]["site=a"], found["slices"]["site=b"]
    assert ours["samples"] == theirs["samples"] == 360
    assert ours["champion"]["accuracy"] == pytest.approx(trained["plain"]["accuracy"], abs=1e-6)
    assert theirs["champion"]["accuracy"] < 0.6 and min(one["challenger"]["accuracy"] for one in (ours, theirs)) > 0.93
    assert theirs["difference"]["accuracy"]["low"] > 0.3


def test_first_version_has_no_champion(tmp_path: Path) -> None:
    found = scored(tmp_path, MODELS / "digits/data", model("digits", digest=""), metrics=["accuracy", "roc_auc"])
    assert set(found) == {"samples", "test", "scores"} and set(found["scores"]) == {"challenger"}
    assert found["scores"]["challenger"]["roc_auc"] > 0.98


def test_a_sample_of_a_large_test_set_is_the_same_every_time(tmp_path: Path) -> None:
    asked = [scored(tmp_path, SITES, model("mixed"), model("plain"), maxSamples=100) for _ in range(2)]
    assert asked[0] == asked[1] and asked[0]["samples"] == 100


def test_the_data_are_told_by_the_digest_that_the_agent_makes(tmp_path: Path) -> None:
    (tmp_path / "held" / "sub").mkdir(parents=True)
    (tmp_path / "held" / "test.csv").write_text("x,target\n1,2\n")
    (tmp_path / "held" / "sub" / "notes").write_text("n\n")
    (tmp_path / "test").write_text("x,target\n1,2\n")
    folder = "sha256:b35f860486d097f6eba8188c88168450ac791e3c7486db72f4b3a2ff77526dac"
    file = "sha256:0aaf57877fa7d7cbc1eb3c0ae540651dab3291a35e6291521ecc8924d6b1b50a"
    assert [digest(tmp_path / "held"), digest(tmp_path / "test")] == [folder, file]


def test_csv_with_texts_for_labels_and_a_slice(tmp_path: Path) -> None:
    with (MODELS / "flowers/data/test.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    order = [3, 1, 0, 2, 4]
    lines = [[*(row[number] for number in order), "ab"[number % 2]] for number, row in enumerate([header, *rows])]
    lines[0][-1] = "garden"
    (tmp_path / "held.csv").write_text("\n".join(map(",".join, lines)) + "\n")
    found = scored(tmp_path, tmp_path, model("flowers"), target="species", slices=["garden"])
    told = json.loads((MODELS / "flowers/job/attempt-1/metrics.json").read_text())
    assert found["scores"]["challenger"]["accuracy"] == pytest.approx(told["accuracy"], abs=1e-6)
    assert {name: one["samples"] for name, one in found["slices"].items()} == {"garden=b": 15, "garden=a": 15}


def test_images_and_texts(tmp_path: Path) -> None:
    for job in ("images", "docs"):
        found = scored(tmp_path, MODELS / job / "data", model(job))
        told = json.loads((MODELS / job / "job/attempt-1/metrics.json").read_text())
        assert found["scores"]["challenger"]["accuracy"] == pytest.approx(told["accuracy"], abs=1e-6)


def test_models_that_must_not_be_loaded(tmp_path: Path, copied: Any) -> None:
    found = scored(tmp_path, SITES, model("mixed", digest=digest_of("plain")), model("plain"))
    assert found["error"] == "DigestMismatch" and found["message"].startswith(
        "challenger: manifest.json: expected sha256:"
    )
    assert found["whose"] == "challenger"
    found = scored(tmp_path, SITES, model("mixed"), model("plain", digest=digest_of("mixed")))
    assert (found["error"], found["whose"]) == ("DigestMismatch", "champion")
    assert scored(tmp_path, tmp_path / "nothing", model("mixed"))["whose"] == "data"
    folder = copied("docs")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoConfig": "code.Config"}}))
    found = scored(tmp_path, MODELS / "docs/data", model("docs", folder=str(folder), digest=""))
    assert found["error"] == "UnsafeModel" and found["message"].startswith("challenger: config.json")


@pytest.mark.parametrize(
    ("arrays", "error"),
    [
        (None, "InvalidData: {folder}: expected test.npz, test.csv, or one .npz or .csv file; found none"),
        ({"x": np.zeros((3, 4))}, "InvalidData: test.npz: array 'y' is missing"),
        ({"x": np.zeros((3, 4)), "y": np.zeros(2)}, "InvalidData: test.npz: 'y' must have one value for each sample"),
        ({"x": np.zeros((3, 5)), "y": np.zeros(3)}, "InvalidData: challenger: test.npz 'features': expected shape"),
        ({"x": np.array(["a"] * 3), "y": np.zeros(3)}, "InvalidData: challenger: test.npz: expected FP32 [-1, 4]"),
        (
            {"x": np.zeros((3, 1)), "y": np.zeros(3), "columns": np.array(["z"])},
            "InvalidData: challenger: test.npz: no column 'sepal length (cm)', which the model needs",
        ),
        ({"x": np.full((3, 4), np.nan), "y": np.zeros(3)}, "expected finite numbers, got nan at [0, 0]"),
    ],
)
def test_bad_data(tmp_path: Path, arrays: Any, error: str) -> None:
    (tmp_path / "data").mkdir()
    if arrays:
        np.savez(tmp_path / "data/test.npz", **arrays)
    found = scored(tmp_path, tmp_path / "data", model("iris"))
    assert error.format(folder=tmp_path / "data") in f"{found['error']}: {found['message']}"


def test_data_that_do_not_fit_the_champion_are_the_datas_fault(tmp_path: Path) -> None:
    names = np.array(["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "other"])
    np.savez(tmp_path / "test.npz", x=np.zeros((3, 4)), y=np.zeros(3), columns=names)
    found = scored(tmp_path, tmp_path, model("iris"), model("iris"))
    assert (found["error"], found["whose"]) == ("InvalidData", "data")
    assert found["message"] == "champion: test.npz: no column 'petal width (cm)', which the model needs"
    np.savez(tmp_path / "test.npz", x=np.zeros((3, 4)), y=np.zeros(3))
    found = scored(tmp_path, tmp_path, model("docs"), model("iris"))
    assert (found["error"], found["whose"]) == ("InvalidData", "challenger"), "they fit the champion"


def test_a_model_of_another_kind(tmp_path: Path) -> None:
    found = scored(tmp_path, SITES, model("docs"), model("plain"))
    assert (found["error"], found["message"][:10]) == ("InvalidData", "challenger")


class Mad:
    """A model that loads as it should and then predicts NaN."""

    def __init__(self, runtime: Any) -> None:
        self.signature, self._predict = runtime.signature, runtime.predict

    def predict(self, inputs: Any) -> dict[str, Any]:
        found = self._predict(inputs).items()
        return {name: each * np.nan if each.dtype.kind == "f" else each for name, each in found}


def test_a_prediction_that_is_no_number_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = asking.load
    monkeypatch.setattr(asking, "load", lambda *given: Mad(loaded(*given)))
    test = read(Request(test=MODELS / "digits/data", models={}, metrics=("accuracy",)))
    with pytest.raises(ScoreError, match=r"^challenger: predicts what is no finite number$") as told:
        asking.ask("challenger", Candidate(MODELS / "digits/job/attempt-1", "", ""), test)
    assert told.value.code == "UnsupportedModel"


def answers(seed: int, samples: int = 200, skill: float = 0.7) -> Answers:
    """Made-up answers: right with the probability `skill`."""
    generator = np.random.default_rng(seed)
    classes = ("10", "9", "x")
    truth = np.array(classes)[np.random.default_rng(0).integers(0, 3, samples)]
    right = generator.random(samples) < skill
    predicted = np.where(right, truth, np.array(classes)[generator.integers(0, 3, samples)])
    raw = generator.random((samples, 3)) + (predicted[:, np.newaxis] == np.array(classes))
    return Answers(truth, predicted, raw / raw.sum(axis=1, keepdims=True), classes)


@pytest.mark.parametrize("seed", range(30))
def test_resampled_metrics_are_scikit_learns(seed: int) -> None:
    one = answers(seed, samples=int(np.random.default_rng(seed).integers(2, 40)), skill=0.3)
    known = np.unique([one.truth, one.predicted])
    named, true = one.predicted[:, np.newaxis] == known, one.truth[:, np.newaxis] == known
    for metric in BY_CLASS:
        found = by_class(metric, (named & true).sum(axis=0), named.sum(axis=0), true.sum(axis=0))
        assert float(found) == pytest.approx(score(metric, one))


@pytest.mark.parametrize("metric", ["accuracy", "f1", "log_loss", "roc_auc"])
def test_intervals_are_those_of_a_paired_bootstrap(metric: str) -> None:
    one, other = answers(1, skill=0.7), answers(2, skill=0.75)

    def difference(drawn: Any) -> float:
        return float(score(metric, other.at(drawn)) or 0) - float(score(metric, one.at(drawn)) or 0)

    expected = stats.bootstrap(
        (np.arange(200),), difference, n_resamples=1000, vectorized=False, method="percentile",
        random_state=np.random.default_rng(5),
    ).confidence_interval  # fmt: skip
    low, high = interval(metric, one, other)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.15 * (expected.high - expected.low))
    assert (low, high) == interval(metric, one, other)


def test_numbers_and_two_classes() -> None:
    truth = np.array([1.0, 2.0, 4.0])
    one, other = (Answers(truth, truth + shift, None, ()) for shift in (np.array([1.0, 0, 2]), np.array([0.0, 1, 0])))
    assert score("mae", one) == 1.0 and score("rmse", one) == pytest.approx(np.sqrt(5 / 3))
    assert score("accuracy", one) is None is score("roc_auc", one)
    low, high = interval("rmse", one, other)
    assert low < score("rmse", other) - score("rmse", one) < high
    truth, share = np.array(["no", "yes", "yes", "no"]), np.array([0.1, 0.8, 0.3, 0.4])
    two = Answers(truth, truth, np.stack([share, 1 - share], axis=1), ("yes", "no"))
    assert score("roc_auc", two) == sk.roc_auc_score(truth == "yes", share) == 0.75
    assert score("log_loss", Answers(np.array(["maybe"] * 4), truth, two.probabilities, two.classes)) is None


def test_what_does_not_fit_is_left_out_in_order() -> None:
    both = {"champion": answers(1, 2000), "challenger": answers(2, 2000)}
    asked = ("accuracy", "f1", "precision", "recall", "log_loss")
    few = {"site": np.array([f"{number % 3}" for number in range(2000)])}
    assert "difference" in json.loads(message(result(both, asked, few, "sha256:")))["slices"]["site=0"]
    sites = {name: np.array([f"{name}-{number**2 % 43}" for number in range(2000)]) for name in ("site", "day", "user")}
    made = result(both, asked, {"site": sites["site"]}, "sha256:")
    assert len(made["slices"]) == 20 and made["slices"]["site: all others"]["samples"] > 0
    assert sum(one["samples"] for one in made["slices"].values()) == 2000
    sizes = sorted(np.unique(sites["site"], return_counts=True)[1])
    assert made["omitted"] == {"groups": len(sizes) - 19, "largest": sizes[-20]}
    text = message(made)
    found = json.loads(text)
    hidden = len(sizes) - len([name for name in found["slices"] if "others" not in name])
    assert found["omitted"] == {"groups": hidden, "largest": sizes[hidden - 1]}, "no group is left out in silence"
    assert len(text) <= LIMIT and 10 < len(found["slices"]) <= 20
    assert all("difference" not in one for one in found["slices"].values())
    assert found["difference"]["accuracy"]["value"] == round(made["difference"]["accuracy"]["value"], 3)
    crowded = result(both, asked, {f"{name}{'n' * 50}": values for name, values in sites.items()}, "sha256:")
    text = message(crowded)
    assert (
        len(crowded["slices"]) > 20
        and all(len(name) <= 75 for name in crowded["slices"])
        and len(text) <= LIMIT
        and set(json.loads(text)["scores"]) == set(both)
    )


def test_groups_with_long_names_stay_apart() -> None:
    both = {"champion": answers(1, 60), "challenger": answers(2, 60)}
    values = np.array(["x" * 80 + str(number % 2) for number in range(60)])
    made = result(both, ("accuracy",), {"site": values, "a": np.array(["b=c"] * 60), "a=b": np.array(["c"] * 60)}, "")
    assert sorted(one["samples"] for one in made["slices"].values()) == [30, 30, 60, 60] and "omitted" not in made


def test_a_group_that_is_called_as_the_rest_is_counted_when_it_is_left_out() -> None:
    both = {"champion": answers(1, 2000), "challenger": answers(2, 2000)}
    values = np.array([f"{number % 20}{'x' * 30}: all others" for number in range(2000)])
    asked = ("accuracy", "f1", "precision", "recall", "log_loss")
    found = json.loads(message(result(both, asked, {"site": values, "day": values}, "")))
    assert found["omitted"] == {"groups": 40 - len(found["slices"]), "largest": 100}
    values = np.array(["b: all others"] * 100 + [f"{number}" for number in range(100) for _ in range(19)])
    made = result(both, ("accuracy",), {"a": values, "a=b": np.array([f"{number}" for number in range(2000)])}, "")
    assert len(made["slices"]) == 40 and sum(one["samples"] for one in made["slices"].values()) == 4000


def test_a_name_that_looks_cut_is_no_others() -> None:
    both = {"champion": answers(1, 60), "challenger": answers(2, 60)}
    long = "x" * 80
    (cut,) = result(both, ("accuracy",), {"site": np.array([long] * 60)}, "")["slices"]
    values = np.array([long, cut.removeprefix("site=")] * 30)
    made = result(both, ("accuracy",), {"site": values}, "")
    assert [one["samples"] for one in made["slices"].values()] == [30, 30]


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_a_champion_that_cannot_be_read_is_its_own_fault(tmp_path: Path, copied: Any, content: str) -> None:
    folder = copied("mixed")
    (folder / "noria.json").write_text(content)
    found = scored(tmp_path, SITES, model("mixed"), model("mixed", folder=str(folder), digest=""))
    assert (found["error"], found["whose"]) == ("UnsupportedModel", "champion")


def test_the_digest_is_the_agents(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("b/x.csv", "b.csv", "a.csv"):
        (tmp_path / name).write_text(name)
    listed = [{"path": name, "sha256": sha, "size": len(name)} for name, sha in sorted(
        (name, subprocess.run(["sha256sum", str(tmp_path / name)], stdout=subprocess.PIPE, check=True, text=True).stdout[:64])
        for name in ("b/x.csv", "b.csv", "a.csv")
    )]  # fmt: skip
    text = json.dumps({"files": listed}, separators=(",", ":"), sort_keys=True) + "\n"
    shown = subprocess.run(["sha256sum"], input=text.encode(), stdout=subprocess.PIPE, check=True).stdout[:64].decode()
    assert digest(tmp_path) == f"sha256:{shown}"


@pytest.mark.parametrize(
    ("labels", "accuracy"),
    [
        (lambda y: y.astype(np.float64), True),
        (lambda y: y.astype(np.float64).astype(str), True),
        (lambda y: y == 1, True),
        (lambda y: np.where(y == 1, "true", "false"), True),
        (lambda y: y + 100, "no label (100, 101, 102) is a class of a model (0, 1, 2)"),
        (lambda y: np.array(["setosa"] * len(y)), "no label (setosa) is a class of a model (0, 1, 2)"),
        (
            lambda y: np.where(np.arange(len(y)) == 1, np.nan, y),
            "test.npz: row 2 has no label; fill it or drop the row",
        ),
        (lambda y: np.where(np.arange(len(y)) == 1, " ", y.astype(str)), "test.npz: row 2 has no label"),
    ],
)
def test_labels_are_those_of_the_model_however_they_are_written(tmp_path: Path, labels: Any, accuracy: Any) -> None:
    """Both models were wrong about all of those that match nothing, neither was worse, and the gate passed."""
    x, y = held_out("iris")
    np.savez(tmp_path / "test.npz", x=x, y=labels(y))
    found = scored(tmp_path, tmp_path, model("iris"), model("iris"))
    if accuracy is True:
        assert found["scores"]["challenger"]["accuracy"] > 0.2
    else:
        assert (found["error"], found["whose"]) == ("InvalidData", "data") and accuracy in found["message"], found


def test_numbers_that_the_input_cannot_hold_are_the_datas_fault() -> None:
    integers = Signature((Tensor("x", "UINT8", (-1, 2)),), (Tensor("y", "INT64", (-1,)),))
    held = HeldOut("test.npz", np.zeros(2), {}, np.array([[0.0, 255.0]]), (), {})
    assert held.input(integers)[1].tolist() == [[0, 255]]
    for value in (0.7, 300.0, -1.0):
        with pytest.raises(ScoreError, match=r"test\.npz: 'x' holds numbers that no UINT8 is"):
            HeldOut("test.npz", np.zeros(2), {}, np.array([[0.0, value]]), (), {}).input(integers)


def test_a_label_that_is_no_number_is_told() -> None:
    held = HeldOut("test.csv", np.array(["1.5", "nan"]), {}, None, (), {})
    with pytest.raises(ScoreError, match=r"test\.csv: label of row 2 is no finite number"):
        asking._truth(held)


def test_a_file_is_known_by_what_it_is_and_not_by_its_name(tmp_path: Path) -> None:
    """A uri that names a file is mounted without its suffix."""
    x, y = held_out("iris")
    np.savez(tmp_path / "test.npz", x=x, y=y)
    (tmp_path / "test.npz").rename(tmp_path / "test")
    assert scored(tmp_path, tmp_path / "test", model("iris"))["samples"] == len(y)


def test_a_model_that_takes_so_many_samples_and_no_other_number_is_asked_so_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    signature = Signature((Tensor("x", "FP32", (4, 1)),), (Tensor("y", "INT64", (4,)),))
    asked = list[int]()

    class Fixed:
        def predict(self, inputs: Any) -> dict[str, Any]:
            asked.append(len(inputs["x"]))
            return {"y": inputs["x"][:, 0].astype(np.int64)}

    Fixed.signature = signature  # type: ignore[attr-defined]
    monkeypatch.setattr(asking, "load", lambda *_: Fixed())
    monkeypatch.setattr(asking, "detect", lambda _: "onnx")
    monkeypatch.setattr(asking, "read_baseline", lambda _: Baseline())
    monkeypatch.setattr(asking, "read_card", lambda _: {})
    y = np.arange(10) % 2
    held = HeldOut("t", y, {}, y[:, np.newaxis].astype(np.float32), (), {})
    found = asking._ask(Candidate(Path("/nowhere"), "", ""), held)
    assert asked == [4, 4, 4] and (found.truth == found.predicted).all() and len(found.truth) == 10


def test_many_classes_are_resampled_in_little_memory() -> None:
    generator = np.random.default_rng(0)
    truth, one, other = (generator.integers(0, 500, 50_000).astype(str) for _ in range(3))
    tracemalloc.start()
    low, high = interval("f1", Answers(truth, one, None, ()), Answers(truth, other, None, ()))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert low < 0 < high and peak < 300e6


def test_an_interval_that_no_number_bounds_is_left_out() -> None:
    """NaN is no JSON."""
    truth = np.array(["a"] * 5000 + ["b"])
    probabilities = np.stack([np.linspace(0.9, 0.1, 5001), np.linspace(0.1, 0.9, 5001)], axis=1)
    both = Answers(truth, truth, probabilities, ("a", "b"))
    made = result({"champion": both, "challenger": both}, ("roc_auc",), {}, "sha256:x")
    json.loads(message(made), parse_constant=lambda name: pytest.fail(name))


def test_a_class_that_only_the_challenger_knows_is_a_class() -> None:
    """The data need not fit both: what the champion has never learned it is wrong about."""
    cats = Answers(np.array(["x"] * 4), np.array(["cat"] * 4), None, ("cat", "dog"))
    capitals = replace(cats, predicted=np.array(["Cat"] * 4), classes=("Cat", "Dog"))
    held = HeldOut("t", np.array(["Cat", "Cat", "Cat", "Dog"]), {}, None, (), {})
    both = asking.in_their_words({"champion": cats, "challenger": capitals}, held)
    assert (score("accuracy", both["champion"]), score("accuracy", both["challenger"])) == (0, 0.75)
    with pytest.raises(ScoreError, match=r"t: no label \(Cat, Dog\) is a class of a model \(cat, dog\)"):
        asking.in_their_words({"challenger": cats}, held)
