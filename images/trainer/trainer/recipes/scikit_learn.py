"""Recipe `sklearn`: a scikit-learn classifier on tabular data, written as ONNX, so that no pickle is ever needed."""

import logging
from dataclasses import dataclass

import numpy as np
from cores import cores
from skl2onnx import to_onnx
from sklearn.base import ClassifierMixin
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trainer import artifact
from trainer.errors import TrainingInputError
from trainer.parameters import parameter, parse, strings
from trainer.pod import Pod
from trainer.scores import scores
from trainer.split import training_and_held_out
from trainer.steps import StepLog

log = logging.getLogger("trainer")

OPSET = 17


@dataclass(frozen=True)
class Parameters:
    """Parameters of the recipe; in a TrainingJob they are camelCase strings."""

    estimator: str = parameter("random-forest", choices=("random-forest", "gradient-boosting", "logistic-regression"))
    """Which classifier. Default random-forest."""
    estimators: int = parameter(100, minimum=1, maximum=10_000)
    """Trees of random-forest, rounds of gradient-boosting. Default 100."""
    seed: int = parameter(0, minimum=0, maximum=1 << 31)
    """Seed of split and training. Default 0."""
    test_fraction: float = parameter(0.2, minimum=0, above=True, maximum=0.9)
    """Share of each class that is held out, if no input or file `test` is given. Default 0.2."""
    target: str = parameter("target")
    """Column of the labels in CSV. Default `target`."""


def train(pod: Pod) -> None:
    """Reads the data, trains in one step, and writes model.onnx with its card, scores and distributions."""
    given = parse(Parameters, pod.parameters, "sklearn")
    data, held_out = training_and_held_out(pod.inputs, given.target, given.test_fraction, given.seed)
    if not data.columns:
        raise TrainingInputError(
            f"recipe sklearn takes tabular data, not images of shape {data.x.shape[1:]}: use classifier"
        )
    classes, y = np.unique(data.y, return_inverse=True)
    steps = StepLog(pod.steps_file, total=1)
    model = _estimator(given).fit(data.x, data.y)
    probabilities = model.predict_proba(data.x)
    loss = scores(y, probabilities)["loss"]
    steps.write(1, 1, loss, len(y))
    steps.close()
    converted = to_onnx(model, data.x[:1], target_opset=OPSET, options={id(model): {"zipmap": False}}, final_types=None)
    graph = converted.graph
    renamed = {graph.input[0].name: "features", graph.output[0].name: "label", graph.output[1].name: "probabilities"}
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    for value in (*graph.input, *graph.output):
        value.name = renamed.get(value.name, value.name)
    (pod.output / "model.onnx").write_bytes(converted.SerializeToString())
    card = {
        "format": "onnx",
        "seed": given.seed,
        "parameters": strings(given),
        "baseModel": None,
        "signature": {
            "inputs": [
                artifact.tensor("features", "FP32", data.x.shape[1], columns=artifact.columns(data.columns, data.x))
            ],
            "outputs": [
                artifact.tensor("label", "BYTES" if classes.dtype.kind == "U" else "INT64"),
                artifact.tensor("probabilities", "FP32", len(classes)),
            ],
        },
    }
    metrics = scores(np.searchsorted(classes, held_out.y), model.predict_proba(held_out.x))
    names = [str(label) for label in classes]
    artifact.write(
        pod.output, card, metrics, artifact.baseline(data.columns, data.x, names, probabilities.argmax(axis=1))
    )
    log.info("wrote %s: %s", pod.output, metrics)


def _estimator(given: Parameters) -> ClassifierMixin:
    match given.estimator:
        case "random-forest":
            return RandomForestClassifier(given.estimators, random_state=given.seed, n_jobs=cores())
        case "gradient-boosting":
            return GradientBoostingClassifier(n_estimators=given.estimators, random_state=given.seed)
        case _:
            return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, random_state=given.seed))
