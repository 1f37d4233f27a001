"""Counts what is served into the bins of the training's baseline, away from the answer's path, for drift and data quality.

A request only leaves its arrays here; they are counted together, in one vectorised pass, after the answer or at a scrape.
Everything runs on the event loop: there are no locks.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from server.baseline import Baseline, Binned, Categorised, Outcome
from server.quality import Quality
from server.signature import Array, Signature, rounded

WAITING = 256
"""Samples that wait before they are counted without a scrape."""
CHUNK = 1024
"""Samples counted in one pass, so that memory stays bounded."""

log = logging.getLogger("server")


class Bins:
    """Counts of numbers in their bins, for several columns at once; edges are rounded as the numbers are."""

    def __init__(self, columns: Sequence[Binned], datatype: str) -> None:
        self.columns = columns
        width = max((len(column.edges) for column in columns), default=0)
        self._edges = np.full((width, 1, len(columns)), np.inf)
        for number, column in enumerate(columns):
            self._edges[: len(column.edges), 0, number] = rounded(column.edges, datatype)
        self.counts = np.zeros((width + 1, len(columns)), dtype=np.int64)
        """(bins, columns); NaN is in no bin."""

    def add(self, x: Array) -> None:
        """Counts samples: `x` (samples, columns). A bin holds what is above its lower edge but not above its upper one."""
        for start in range(0, len(x), CHUNK):
            part = x[start : start + CHUNK]
            above = np.count_nonzero(part > self._edges, axis=1)
            present = len(part) - np.count_nonzero(np.isnan(part), axis=0)
            self.counts[0] += present
            self.counts[:-1] -= above
            self.counts[1:] += above


class Counts(Collector):
    """What one model has seen and predicted since the start of the process, as Prometheus reads it."""

    def __init__(
        self, labels: tuple[str, str], signature: Signature, baseline: Baseline, outcome: Outcome | None
    ) -> None:
        self._labels, self._outcome, self._predictions = labels, outcome, baseline.predictions
        self._tabular = signature.tabular
        self._quality = Quality(self._tabular) if self._tabular else None
        names = self._tabular.names if self._tabular and self._tabular.datatype != "BYTES" else ()
        known = [feature for feature in baseline.features if feature.name in names]
        if unknown := [feature.name for feature in baseline.features if feature.name not in names]:
            log.warning(
                "baseline.json: %d features are no columns of the signature and are not counted: %s",
                len(unknown), ", ".join(unknown[:10]),
            )  # fmt: skip
        self._features = Bins(known, self._tabular.datatype if self._tabular else "FP64")
        self._columns = [names.index(feature.name) for feature in known]
        kinds = {tensor.name: tensor.datatype for tensor in signature.outputs}
        binned = [self._predictions] if isinstance(self._predictions, Binned) else []
        self._predicted = Bins(binned, kinds.get(binned[0].name, "FP64")) if binned else None
        categories = baseline.predictions.categories if isinstance(baseline.predictions, Categorised) else ()
        self._classes = dict.fromkeys(categories, 0)
        self._waiting: list[tuple[Array | None, Array | None]] = []
        self._samples = 0

    def add(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> bool:
        """Notes a request that was answered; True if it is time to call `flush`."""
        x = inputs[self._tabular.name] if self._tabular else None
        self._waiting.append((x, self._outcome.of(outputs) if self._outcome else None))
        self._samples += len(next(iter(inputs.values())))
        return self._samples >= WAITING

    def add_refused(self, payload: Any) -> None:
        """Counts the bad values of a request of either protocol that does not fit the signature."""
        if self._quality:
            self._quality.add_refused(payload)

    def add_failed(self, inputs: Mapping[str, Array]) -> None:
        """Counts the bad values of a request that the model failed on."""
        if self._quality and self._tabular:
            self._quality.add(inputs[self._tabular.name])

    def flush(self) -> None:
        """Counts what waits."""
        waiting, self._waiting, self._samples = self._waiting, [], 0
        samples = [x for x, _ in waiting if x is not None]
        if self._quality and samples:
            x = np.concatenate(samples)
            self._quality.add(x)
            if self._columns:
                self._features.add(x[:, self._columns])
        predictions = [values for _, values in waiting if values is not None]
        if self._predictions and predictions:
            values = np.concatenate(predictions)
            if self._predicted:
                self._predicted.add(values[:, np.newaxis])
            else:
                for category, count in Counter(map(str, values.tolist())).items():
                    if category in self._classes:
                        self._classes[category] += count

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Every series, those at 0 too."""
        self.flush()
        yield self._family(
            CounterMetricFamily, "noria_feature", "Samples by feature and bin of the baseline.", ("feature", "bin"),
            (
                ((feature.name, str(bin)), count)
                for feature, counts in zip(self._features.columns, self._features.counts.T.tolist(), strict=True)
                for bin, count in enumerate(counts[: len(feature.proportions)])
            ),
        )  # fmt: skip
        yield self._family(
            GaugeMetricFamily, "noria_feature_baseline", "Share of the training's samples in the bin.",
            ("feature", "bin"),
            (
                ((feature.name, str(bin)), share)
                for feature in self._features.columns
                for bin, share in enumerate(feature.proportions)
            ),
        )  # fmt: skip
        yield self._family(
            CounterMetricFamily, "noria_prediction", "Samples by predicted category; for numbers, by bin.",
            ("category",), (((category,), count) for category, count, _ in self._categories()),
        )  # fmt: skip
        yield self._family(
            GaugeMetricFamily, "noria_prediction_baseline", "Share of the training's samples that got the prediction.",
            ("category",), (((category,), share) for category, _, share in self._categories()),
        )  # fmt: skip
        yield self._family(
            CounterMetricFamily, "noria_quality", "Values that the training would not have known, by problem.",
            ("feature", "problem"),
            (((name, problem), count) for name, problem, count in (self._quality.problems() if self._quality else ())),
        )  # fmt: skip

    def _categories(self) -> Iterator[tuple[str, float, float]]:
        if isinstance(self._predictions, Categorised):
            for category, share in zip(self._predictions.categories, self._predictions.proportions, strict=True):
                yield category, self._classes[category], share
        elif self._predicted and self._predictions:
            counts = self._predicted.counts[:, 0]
            for bin, (count, share) in enumerate(zip(counts, self._predictions.proportions, strict=True)):
                yield str(bin), int(count), share

    def _family(
        self,
        kind: type[Any],
        name: str,
        text: str,
        labels: tuple[str, ...],
        rows: Iterable[tuple[tuple[str, ...], float]],
    ) -> Any:
        family = kind(name, text, labels=("modelendpoint", "version", *labels))
        for values, count in rows:
            family.add_metric((*self._labels, *values), count)
        return family
