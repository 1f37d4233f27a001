"""Final numbers of a classifier on held-out data."""

import numpy as np
import numpy.typing as npt


def scores(y: npt.NDArray[np.int64], probabilities: npt.NDArray[np.floating]) -> dict[str, float]:
    """Accuracy, macro F1 and log loss; `y` (samples,) are class indexes, `probabilities` (samples, classes)."""
    predicted = probabilities.argmax(axis=1)
    classes = np.union1d(y, predicted)
    return {
        "accuracy": round(float((predicted == y).mean()), 6),
        "f1Macro": round(float(np.mean([_f1(y == one, predicted == one) for one in classes])), 6),
        "loss": round(float(-np.log(np.clip(probabilities[np.arange(len(y)), y], 1e-12, 1)).mean()), 6),
        "heldOutSamples": float(len(y)),
    }


def _f1(true: npt.NDArray[np.bool_], predicted: npt.NDArray[np.bool_]) -> float:
    return 2 * float((true & predicted).sum()) / max(float(true.sum() + predicted.sum()), 1.0)
