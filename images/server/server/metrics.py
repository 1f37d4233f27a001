"""What the server counts beside KServe's own metrics; the label is `modelendpoint`, for scrapers overwrite `endpoint`.

What is counted against the training's baseline is in `counts`.
"""

import prometheus_client
from prometheus_client import Counter, Gauge, Histogram

from server.baseline import Outcome

LABELS = ("modelendpoint", "version")
CAUSES = ("InvalidRequest", "ModelError")
CODES = ("2xx", "4xx", "5xx")

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call] # they double the series, and nothing reads them

requests = Counter("noria_requests", "Requests for predictions, by the answer's code.", (*LABELS, "code"))
request_seconds = Histogram(
    "noria_request_seconds",
    "Seconds from a request for predictions to the end of its answer, waiting included.",
    LABELS,
    buckets=(
        0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075,
        0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2, 3, 4, 5, 7.5, 10, 15, 20, 30, 45, 60, 120, 300,
    ),
)  # fmt: skip
predictions = Counter("noria_predictions", "Samples predicted.", LABELS)
errors = Counter("noria_prediction_errors", "Requests that got no prediction, by cause.", (*LABELS, "cause"))
seconds = Histogram(
    "noria_prediction_seconds",
    "Seconds that the model took for a request, without waiting and without the protocol.",
    LABELS,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
feedback = Counter("noria_feedback", "Labels received; for numbers `correct` is empty.", (*LABELS, "slice", "correct"))
feedback_class = Counter(
    "noria_feedback_class",
    "Labels by class: tp as predicted, fp predicted wrongly, fn missed.",
    (*LABELS, "class", "result"),
)
feedback_error = Counter(
    "noria_feedback_error", "Sum of absolute differences between predicted and true numbers.", (*LABELS, "slice")
)
info = Gauge("noria_model_info", "1 for the model that is served.", (*LABELS, "format", "digest"))
verified = Gauge(
    "noria_model_verified", "1 if every file was checked against the ModelVersion's digest, else 0.", LABELS
)


def start(endpoint: str, version: str, format: str, digest: str, is_verified: bool) -> None:
    """Makes every series exist, at 0, so that rates are right from the first request on."""
    predictions.labels(endpoint, version)
    seconds.labels(endpoint, version)
    request_seconds.labels(endpoint, version)
    for code in CODES:
        requests.labels(endpoint, version, code)
    for cause in CAUSES:
        errors.labels(endpoint, version, cause)
    info.labels(endpoint, version, format, digest).set(1)
    verified.labels(endpoint, version).set(is_verified)


def start_feedback(endpoint: str, version: str, outcome: Outcome, slice: str = "") -> None:
    """The same for labels of a slice: of wrong ones, which are rarer, a series that is born by its first would lose more."""
    for correct in ("",) if outcome.is_number else ("true", "false"):
        feedback.labels(endpoint, version, slice, correct)
    if outcome.is_number:
        feedback_error.labels(endpoint, version, slice)
    for category in outcome.categories:
        start_class(endpoint, version, category)


def end_feedback(endpoint: str, version: str) -> None:
    """What was counted of a version goes: nobody compares it any more."""
    for each in (feedback, feedback_class, feedback_error):
        each.remove_by_labels({"modelendpoint": endpoint, "version": version})


def start_class(endpoint: str, version: str, category: str) -> None:
    """The same for labels of a class."""
    for result in ("tp", "fp", "fn"):
        feedback_class.labels(endpoint, version, category, result)
