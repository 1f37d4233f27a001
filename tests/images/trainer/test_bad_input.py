"""Bad input: exit code 2 and one sentence that names the parameter, the file, the row, the column."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trainer.errors import TrainingInputError
from trainer.parameters import parse
from trainer.recipes.classifier import Parameters
from trainer.split import training_and_held_out


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("epochs", "five", "parameter 'epochs' must be a whole number, not 'five'"),
        ("epochs", "0", "parameter 'epochs' must be a whole number of at least 1 and at most 100000, not 0"),
        ("learningRate", "0", "parameter 'learningRate' must be a number above 0 and at most 10, not 0"),
        ("learningRate", "nan", "parameter 'learningRate'"),
        ("epoch", "5", "recipe classifier has no parameter 'epoch'; it has batchSize, dropout, epochs"),
        ("export", "pickle", "parameter 'export' must be one of torch-export, onnx, not 'pickle'"),
    ],
)
def test_parameters(name: str, value: str, part: str) -> None:
    with pytest.raises(TrainingInputError) as caught:
        parse(Parameters, {name: value}, "classifier")
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("a,b\n1,2\n", "data.csv: no column 'target' (parameter 'target'); it has a, b"),
        ("a,target\n1,0\n,1\n", "data.csv: column 'a', row 2 is empty"),
        ("a,target\n1,0\n2, \n", "data.csv: column 'target', row 2 is empty"),
        ("a,target\n1,0\nx,1\n", "column 'a', row 2 is not a number: 'x'"),
        ("a,target\n1,0\n1_2,1\n", "column 'a', row 2 is not a number: '1_2'"),
        ("a,target\n1,0\ninf,1\n", "column 'a', row 2 is not finite"),
        ("a,target\n1,0\n1\n", "line 3 has 1 values, the header has 2"),
        ("a,target\n1,0\n2,0\n", "all labels are 0"),
        ("a,target\n", "0 samples are too few"),
        ("", "not a CSV file"),
        ("target\n0\n1\n", "no column beside the target"),
        ("a,a,target\n1,1,0\n", "stands twice"),
        (",a,target\n0,1,0\n1,2,1\n", "a column has no name; pandas writes its index so, without index=False"),
    ],
)
def test_csv(tmp_path: Path, content: str, part: str) -> None:
    (tmp_path / "data.csv").write_text(content)
    with pytest.raises(TrainingInputError) as caught:
        training_and_held_out({"train": tmp_path}, "target", 0.2, 0)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "part"),
    [
        ({"x": np.zeros((4, 2))}, "array 'y' is missing"),
        ({"x": np.zeros((4, 2)), "y": np.zeros(3, dtype=int)}, "as many samples"),
        ({"x": np.zeros((4, 2)), "y": np.array([object()] * 4)}, "not a NumPy archive of plain arrays"),
        ({"x": np.zeros((4, 2)), "y": np.array([0.5, 1, 2, 3])}, "whole numbers or texts"),
        ({"x": np.array(["a", "b"]), "y": np.array([0, 1])}, "x must hold numbers"),
        ({"x": np.zeros(4), "y": np.array([0, 1, 0, 1])}, "x must have 2 (tabular)"),
        ({"x": np.zeros((4, 2)), "y": np.array([0, 1, 0, 2**63], dtype=np.uint64)}, "numbers above 2**63 - 1"),
        ({"x": np.zeros((4, 2)), "y": np.array([0, 1, 0, 1]), "columns": np.array(["a", "a"])}, "stands twice"),
        ({"x": np.zeros((4, 8, 9, 3)), "y": np.array([0, 1, 0, 1])}, "put them first: x.transpose(0, 3, 1, 2)"),
        ({"x": np.zeros((4, 28, 28, 1)), "y": np.array([0, 1, 0, 1])}, "looks like images with their channels last"),
        (
            {"x": np.array(["2026-01-01"] * 4, dtype="M8[D]")[:, None], "y": np.array([0, 1, 0, 1])},
            "x must hold numbers",
        ),
        ({"x": np.full((4, 1, 1), np.nan), "y": np.array([0, 1, 0, 1])}, "index (0, 0), row 1 is not finite"),
    ],
)
def test_npz(tmp_path: Path, arrays: dict[str, np.ndarray], part: str) -> None:
    np.savez(tmp_path / "train.npz", **arrays)
    with pytest.raises(TrainingInputError) as caught:
        training_and_held_out({"train": tmp_path}, "target", 0.2, 0)
    assert part in str(caught.value)


def test_inputs(tmp_path: Path) -> None:
    with pytest.raises(TrainingInputError, match="no input is named 'train'"):
        training_and_held_out({"data": tmp_path}, "target", 0.2, 0)
    with pytest.raises(TrainingInputError, match=r"found none"):
        training_and_held_out({"train": tmp_path}, "target", 0.2, 0)
    np.savez(tmp_path / "train.npz", x=np.eye(2), y=np.array([0, 1]))
    np.savez(tmp_path / "test.npz", x=np.eye(2), y=np.array([1, 7]))
    with pytest.raises(TrainingInputError, match=r"labels 7 do not occur in train\.npz"):
        training_and_held_out({"train": tmp_path}, "target", 0.2, 0)


def test_exit_code_2_and_a_sentence(training: Any) -> None:
    result = training("classifier", "iris", epochs="x").run()
    assert result.returncode == 2
    assert "parameter 'epochs' must be a whole number" in result.stdout and "Traceback" not in result.stdout


def test_sklearn_refuses_images(training: Any) -> None:
    result = training("sklearn", "digits-images").run()
    assert result.returncode == 2 and "takes tabular data, not images" in result.stdout


def test_no_class_is_held_out_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a,target\n1,0\n2,0\n3,0\n4,0\n5,1\n")
    with pytest.raises(TrainingInputError, match=r"0\.9 holds all samples of class 0 out"):
        training_and_held_out({"train": tmp_path}, "target", 0.9, 0)


def test_a_file_is_known_by_what_it_is_and_not_by_its_name(tmp_path: Path) -> None:
    """A uri that names a file is mounted without its suffix."""
    np.savez(tmp_path / "train.npz", x=np.eye(10), y=np.arange(10) % 2)
    (tmp_path / "train.npz").rename(tmp_path / "train")
    assert len(training_and_held_out({"train": tmp_path / "train"}, "target", 0.2, 0)[0].y) == 8


def test_texts_take_as_much_memory_as_they_are_long_and_labels_may_be_long_numbers(tmp_path: Path) -> None:
    long = "x" * 200_000
    (tmp_path / "data.csv").write_text("text,target\n" + f"{long},{'9' * 30}\n" + "short,1\n" * 4)
    data, _ = training_and_held_out({"train": tmp_path}, "target", 0.3, 0, "text")
    assert data.x.dtype == object and set(data.y.tolist()) == {"9" * 30, "1"} and long in data.x.tolist()


@pytest.mark.parametrize(
    ("labels", "read"),
    [
        (["1", "-2", "30"], [1, -2, 30]),
        (["1_1", "11", "2_1"], ["1_1", "11", "2_1"]),
        (["01", "1", "007"], ["01", "1", "007"]),
        (["+1", "1", "2"], ["+1", "1", "2"]),
    ],
)
def test_labels_are_numbers_only_if_all_are_written_as_such(
    tmp_path: Path, labels: list[str], read: list[int | str]
) -> None:
    """Two labels became one, and came back as a third."""
    (tmp_path / "data.csv").write_text("a,target\n" + "".join(f"1,{label}\n" for label in labels * 5))
    data, _ = training_and_held_out({"train": tmp_path}, "target", 0.2, 0)
    assert set(data.y.tolist()) == set(read)


def test_held_out_labels_are_of_the_type_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a,target\n1,0\n2,1\n3,3+\n")
    (tmp_path / "test.csv").write_text("a,target\n1,0\n2,1\n")
    assert training_and_held_out({"train": tmp_path}, "target", 0.2, 0)[1].y.tolist() == ["0", "1"]
    (tmp_path / "train.csv").write_text("a,target\n1,0\n2,1\n")
    (tmp_path / "test.csv").write_text("a,target\n1,0\n2,3+\n")
    np.savez(tmp_path / "train.npz", x=np.zeros((24, 2)), y=np.arange(24) % 12)
    np.savez(tmp_path / "test.npz", x=np.zeros((3, 2)), y=np.array(["10", "2", "0"]))
    assert training_and_held_out({"train": tmp_path}, "target", 0.2, 0)[1].y.tolist() == [10, 2, 0]
    (tmp_path / "train.npz").unlink()
    (tmp_path / "test.npz").unlink()
    with pytest.raises(TrainingInputError, match=r"test\.csv: labels 3\+ do not occur in train\.csv"):
        training_and_held_out({"train": tmp_path}, "target", 0.2, 0)


def test_channels_first_are_taken_however_many_there_are(tmp_path: Path) -> None:
    for shape in ((12, 100, 1), (3, 28, 28), (1, 5, 3), (12, 4, 3)):
        np.savez(tmp_path / "train.npz", x=np.zeros((10, *shape)), y=np.arange(10) % 2)
        assert training_and_held_out({"train": tmp_path}, "target", 0.2, 0)[0].x.shape[1:] == shape
