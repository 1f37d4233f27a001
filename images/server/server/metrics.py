"""What the server counts beside KServe's own metrics; the label is `modelendpoint`, for scrapers overwrite `endpoint`."""

from prometheus_client import Counter, Gauge, Histogram

LABELS = ("modelendpoint", "version")
CAUSES = ("InvalidRequest", "ModelError")

predictions = Counter("noria_predictions", "Samples predicted.", LABELS)
errors = Counter("noria_prediction_errors", "Requests that got no prediction, by cause.", (*LABELS, "cause"))
seconds = Histogram(
    "noria_prediction_seconds",
    "Seconds that the model took for a request, without waiting and without the protocol.",
    LABELS,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
info = Gauge("noria_model_info", "1 for the model that is served.", (*LABELS, "format", "digest"))
verified = Gauge(
    "noria_model_verified", "1 if every file was checked against the ModelVersion's digest, else 0.", LABELS
)


def start(endpoint: str, version: str, format: str, digest: str, is_verified: bool) -> None:
    """Makes every series exist, at 0, so that rates are right from the first request on."""
    predictions.labels(endpoint, version)
    seconds.labels(endpoint, version)
    for cause in CAUSES:
        errors.labels(endpoint, version, cause)
    info.labels(endpoint, version, format, digest).set(1)
    verified.labels(endpoint, version).set(is_verified)
