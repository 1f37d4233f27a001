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
        ("a,target\n1,0\ninf,1\n", "column 'a', row 2 is not finite"),
        ("a,target\n1,0\n1\n", "line 3 has 1 values, the header has 2"),
        ("a,target\n1,0\n2,0\n", "all labels are 0"),
        ("a,target\n", "0 samples are too few"),
        ("", "not a CSV file"),
        ("target\n0\n1\n", "no column beside the target"),
        ("a,a,target\n1,1,0\n", "stands twice"),
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
