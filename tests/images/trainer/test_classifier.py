"""Recipe `classifier` as a user sees it: accuracy, files, resume at the exact step, several processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trainer.artifact import baseline
from trainer.network import Pool


def exported(training: Any) -> torch.nn.Module:
    return torch.export.load(str(training.output / "model.pt2")).module()


def test_digits_reach_accuracy_with_card_scores_and_baseline(training: Any) -> None:
    job = training("classifier", "digits", epochs="20")
    result = job.run()
    assert result.returncode == 0, result.stdout
    metrics, card, distributions = (job.written(f"{name}.json") for name in ("metrics", "noria", "baseline"))
    assert metrics["accuracy"] > 0.9 and metrics["f1Macro"] > 0.9 and metrics["heldOutSamples"] == 360
    assert card["signature"]["inputs"][0]["shape"] == [-1, 64] and card["format"] == "torch-export"
    assert card["parameters"]["epochs"] == "20" and card["parameters"]["batchSize"] == "64"
    assert card["signature"]["inputs"][0]["columns"][3] == {"name": "pixel_0_3", "minimum": 0.0, "maximum": 16.0}
    for feature in distributions["features"]:
        assert len(feature["proportions"]) == len(feature["edges"]) + 1
        assert sum(feature["proportions"]) == pytest.approx(1, abs=1e-4)
    assert distributions["predictions"]["categories"] == [str(digit) for digit in range(10)]
    steps = job.steps()
    assert [step["step"] for step in steps] == list(range(1, 22 * 20 + 1))
    assert steps[-1]["total"] == 440 and steps[-1]["epoch"] == 20 and steps[-1]["loss"] < steps[0]["loss"]
    with np.load(job.data / "test.npz") as test:
        label, probabilities = exported(job)(torch.from_numpy(test["x"]))
        assert float((label.numpy() == test["y"]).mean()) == pytest.approx(metrics["accuracy"], abs=1e-6)
        assert exported(job)(torch.from_numpy(test["x"][:1]))[0].shape == (1,)
    assert probabilities.shape == (360, 10)


def test_two_trainings_with_one_seed_are_the_same(training: Any) -> None:
    job = training("classifier", "iris", epochs="2", batchSize="16")
    assert job.run().returncode == 0
    first = exported(job).state_dict()
    (job.root / "checkpoint/checkpoint.pt").unlink()
    assert job.run().returncode == 0
    second = exported(job).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_images_to_onnx(training: Any) -> None:
    job = training("classifier", "digits-images", epochs="6", export="onnx", learningRate="0.003")
    result = job.run()
    assert result.returncode == 0, result.stdout
    assert job.written("metrics.json")["accuracy"] > 0.9
    assert job.written("noria.json")["signature"]["inputs"] == [
        {"name": "pixels", "datatype": "FP32", "shape": [-1, 8, 8]}
    ]
    assert sorted(path.name for path in job.output.iterdir()) == [
        "baseline.json",
        "metrics.json",
        "model.onnx",
        "noria.json",
    ]


def test_sigterm_saves_and_resume_ends_as_if_never_interrupted(training: Any) -> None:
    job = training("classifier", "digits", epochs="3", dropout="0.2")
    assert job.run().returncode == 0
    whole = exported(job).state_dict()
    (job.root / "checkpoint/checkpoint.pt").unlink()
    result = job.run("-c", INTERRUPTED)
    assert result.returncode == 143, result.stdout
    assert job.steps()[-1]["step"] == 30 and not any(job.output.iterdir())
    assert job.run().returncode == 0
    assert [step["step"] for step in job.steps()] == list(range(31, 67))
    resumed = exported(job).state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


INTERRUPTED = """
import os, signal, sys
from trainer import steps
from trainer.__main__ import main
write = steps.StepLog.write
def interrupting(self, step, *rest):
    write(self, step, *rest)
    if step == 30:
        os.kill(os.getpid(), signal.SIGTERM)
steps.StepLog.write = interrupting
sys.exit(main())
"""


def test_kill_loses_only_the_steps_since_the_checkpoint(training: Any) -> None:
    job = training("classifier", "digits", epochs="3")
    job.interval = 0
    assert job.run("-c", INTERRUPTED.replace("SIGTERM", "SIGKILL")).returncode == -signal.SIGKILL
    assert job.run().returncode == 0
    assert [step["step"] for step in job.steps()] == list(range(30, 67))


def test_finished_training_that_runs_again_only_writes(training: Any) -> None:
    job = training("classifier", "iris", epochs="2")
    assert job.run().returncode == 0
    assert job.run().returncode == 0
    assert job.steps() == [] and (job.output / "model.pt2").is_file()


def test_unreadable_or_crafted_checkpoint_starts_anew(training: Any) -> None:
    job = training("classifier", "iris", epochs="1")
    (job.root / "checkpoint").mkdir()
    torch.save({"step": 5, "parameters": Crafted()}, job.root / "checkpoint/checkpoint.pt")
    result = job.run()
    assert result.returncode == 0 and "starts anew" in result.stdout
    assert job.steps()[0]["step"] == 1 and not TOUCHED.exists()


TOUCHED = Path("/tmp/touched-by-a-checkpoint")


class Crafted:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {TOUCHED}",)


def test_without_checkpoints_it_trains_and_keeps_none(training: Any) -> None:
    job = training("classifier", "iris", epochs="2")
    job.checkpoints, job.interval = False, 0
    result = job.run()
    assert result.returncode == 0, result.stdout
    assert job.written("metrics.json")["accuracy"] > 0 and not (job.root / "checkpoint").exists()


def test_checkpoint_of_other_parameters_is_refused(training: Any) -> None:
    job = training("classifier", "iris", epochs="1")
    assert job.run().returncode == 0
    job.parameters["hiddenUnits"] = "32"
    result = job.run()
    assert result.returncode == 2 and "other values of hiddenUnits" in result.stdout


def test_two_processes_under_torchrun(training: Any) -> None:
    job = training("classifier", "digits", epochs="4")
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29512", "-m", "trainer")
    result = job.run(*torchrun)
    assert result.returncode == 0, result.stdout
    steps = job.steps()
    assert [step["step"] for step in steps] == list(range(1, 89)) and job.written("metrics.json")["accuracy"] > 0.85
    assert job.run(*torchrun).returncode == 0
    assert job.steps() == []


def test_sigterm_of_one_process_ends_all_at_the_same_step_with_a_checkpoint(training: Any, tmp_path: Path) -> None:
    """One that left alone took all steps since the last checkpoint with it."""
    job = training("classifier", "digits", epochs="4")
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED.replace("step == 30", "step == 30 and os.environ['RANK'] == '1'"))
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29514")
    result = job.run(*torchrun, str(script))
    assert result.returncode and "ended by SIGTERM after step 31 of 88" in result.stdout, result.stdout
    assert job.steps()[-1]["step"] == 31 and not any(job.output.iterdir())
    result = job.run(*torchrun, "-m", "trainer")
    assert result.returncode == 0, result.stdout
    assert [step["step"] for step in job.steps()] == list(range(32, 89))


def test_as_many_processes_as_the_environment_asks_for(training: Any) -> None:
    job = training("classifier", "digits", epochs="4")
    result = job.run(PET_NPROC_PER_NODE="2", PET_MASTER_PORT="29513")
    assert result.returncode == 0, result.stdout
    assert [step["step"] for step in job.steps()] == list(range(1, 89))


def test_two_plain_processes_with_the_contracts_variables(training: Any) -> None:
    job = training("classifier", "iris", epochs="2")
    variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511", "WORLD_SIZE": "2"}
    told = job.told(**variables, RANK="0")
    ranks = [subprocess.Popen([sys.executable, "-m", "trainer"], env=told | {"RANK": rank}) for rank in ("0", "1")]
    assert [process.wait(120) for process in ranks] == [0, 0]
    assert len(job.steps()) == job.steps()[-1]["total"] == 2


def test_baseline_bins_are_closed_above() -> None:
    x = np.array([[0.0, 5.0], [0.0, 5.0], [1.0, 5.0], [2.0, 5.0]], dtype=np.float32)
    made = baseline(("a", "constant"), x, ["n", "y"], np.array([0, 0, 0, 1]))
    assert [feature["name"] for feature in made["features"]] == ["a"]
    edges, proportions = made["features"][0]["edges"], made["features"][0]["proportions"]
    assert edges[0] == 0.0 and proportions[0] == 0.5 and max(edges) < 2.0
    assert made["predictions"] == {"name": "label", "categories": ["n", "y"], "proportions": [0.75, 0.25]}


@pytest.mark.parametrize("usual", [0.0, 1.0])
def test_a_feature_that_is_nearly_always_the_same_has_a_baseline(usual: float) -> None:
    """Where the usual value is the greatest it had none, and its drift was seen by nobody."""
    x = np.full((1000, 1), usual, dtype=np.float32)
    x[:50] = 1 - usual
    (feature,) = baseline(("active",), x, ["n", "y"], np.array([0, 1]))["features"]
    assert feature == {"name": "active", "edges": [0.0], "proportions": [0.95, 0.05] if usual == 0 else [0.05, 0.95]}


def test_a_checkpoint_of_other_data_starts_anew(training: Any, tmp_path: Path) -> None:
    """Orders, classes and what is held out follow from the data."""
    job = training("classifier", "iris", epochs="2")
    assert job.run().returncode == 0
    with np.load(job.data / "train.npz") as whole:
        (tmp_path / "grown").mkdir()
        arrays = {name: np.concatenate([whole[name], whole[name][:30]]) for name in ("x", "y")}
        np.savez(tmp_path / "grown/train.npz", columns=whole["columns"], **arrays)
    job.data = tmp_path / "grown"
    result = job.run()
    assert result.returncode == 0 and "was made from other data, the training starts anew" in result.stdout
    assert job.steps()[0]["step"] == 1


@pytest.mark.parametrize(("height", "width"), [(8, 8), (30, 50), (3, 7)])
def test_images_of_any_shape_are_pooled_as_torch_does(height: int, width: int) -> None:
    x = torch.rand(2, 3, height, width)
    assert torch.allclose(Pool(height, width, 4)(x), torch.nn.AdaptiveAvgPool2d(4)(x), atol=1e-6)


def test_images_whose_sides_are_no_multiple_of_four_become_onnx(training: Any, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    generator = np.random.default_rng(0)
    np.savez(tmp_path / "data/train.npz", x=generator.random((40, 30, 50)), y=np.arange(40) % 2)
    job = training("classifier", tmp_path / "data", epochs="1", export="onnx", batchSize="8")
    result = job.run()
    assert result.returncode == 0, result.stdout
    assert (job.output / "model.onnx").is_file()
