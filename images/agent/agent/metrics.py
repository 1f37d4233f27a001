"""The progress of a training as Prometheus metrics; a number that no step line told is no series, rather than a false 0."""

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from agent.steps import Progress

PORT = 9464

GAUGES = {
    "noria_training_step": ("step", "Step that the training has reached, over all attempts."),
    "noria_training_steps": ("total", "Steps that the training will take."),
    "noria_training_epoch": ("epoch", "Epoch that the training is in."),
    "noria_training_loss": ("loss", "Loss of the newest step."),
    "noria_training_samples_per_second": ("samples_per_second", "Samples trained a second, over all processes."),
    "noria_training_eta_seconds": ("eta_seconds", "Seconds to the end at the present pace."),
}


class ProgressCollector(Collector):
    """Gives the newest progress whenever it is scraped."""

    def __init__(self, training_job: str, attempt: int, progress: Callable[[], Progress]) -> None:
        self.labels = {"trainingjob": training_job, "attempt": str(attempt)}
        self.progress = progress

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """One family for each number known."""
        progress = self.progress()
        for name, (attribute, text) in GAUGES.items():
            value = getattr(progress, attribute)
            if value is not None:
                family = GaugeMetricFamily(name, text, labels=tuple(self.labels))
                family.add_metric(tuple(self.labels.values()), value)
                yield family
        counter = CounterMetricFamily(
            "noria_training_invalid_lines", "Lines of the step log that were no JSON object.", labels=tuple(self.labels)
        )
        counter.add_metric(tuple(self.labels.values()), progress.invalid_lines)
        yield counter
