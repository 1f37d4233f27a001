"""Trains one model of each format with the recipes, in the trainer's image: `train_models.py FOLDER [JOB ...]` makes a folder for each."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

JOBS: dict[str, tuple[str, str, dict[str, str]]] = {
    "digits": ("classifier", "digits", {"epochs": "6"}),
    "images": ("classifier", "digits-images", {"epochs": "3", "export": "onnx"}),
    "flowers": (
        "classifier",
        "flowers",
        {"epochs": "30", "batchSize": "16", "target": "species", "learningRate": "0.01"},
    ),
    "onnx-flowers": (
        "classifier",
        "flowers",
        {"epochs": "30", "batchSize": "16", "target": "species", "learningRate": "0.01", "export": "onnx"},
    ),
    "iris": ("sklearn", "iris", {"estimators": "10"}),
    "plain": ("sklearn", "digits-sites/plain", {"estimators": "20"}),
    "mixed": ("sklearn", "digits-sites/mixed", {"estimators": "20"}),
    "docs": ("text-classifier", "docstrings", {"epochs": "1", "maxTokens": "32", "learningRate": "0.003"}),
}


def make_flowers(folder: Path) -> None:
    """Iris as CSV with texts for labels, and its held-out fifth."""
    from sklearn.datasets import load_iris

    iris = load_iris()
    rows = [
        ",".join([*map(str, x), str(iris.target_names[y])])
        for x, y in zip(iris.data.tolist(), iris.target, strict=True)
    ]
    order = np.random.default_rng(0).permutation(len(rows))
    folder.mkdir()
    for stem, chosen in (("train", order[30:]), ("test", order[:30])):
        text = "\n".join(["length,width,petal length,petal width,species", *(rows[index] for index in chosen)])
        (folder / f"{stem}.csv").write_text(text + "\n")


def main() -> None:
    """Trains those named, or all of them."""
    root = Path(sys.argv[1])
    for name in sys.argv[2:] or JOBS:
        recipe, data, parameters = JOBS[name]
        folder = root / name
        for inner in ("job/attempt-1", "job/checkpoint"):
            (folder / inner).mkdir(parents=True)
        data, _, part = data.partition("/")
        if data == "flowers":
            make_flowers(folder / "data")
        else:
            subprocess.run([sys.executable, "-m", "trainer.datasets", data, str(folder / "data")], check=True)
        pod = {
            "namespace": "test", "trainingJob": name, "uid": "1", "attempt": 1, "nodes": 1, "inputs": {"train": str(folder / "data" / part)},
            "outputDir": str(folder / "job/attempt-1"), "checkpointDir": str(folder / "job/checkpoint"), "resume": True,
            "stepsFile": str(folder / "steps.jsonl"), "recipe": {"name": recipe, "parameters": parameters},
        }  # fmt: skip
        (folder / "pod.json").write_text(json.dumps(pod))
        environment = os.environ | {"NORIA_POD_FILE": str(folder / "pod.json")}
        subprocess.run([sys.executable, "-m", "trainer"], env=environment, check=True)
        folder.chmod(0o755)


if __name__ == "__main__":
    main()
