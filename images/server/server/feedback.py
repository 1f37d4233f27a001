"""Labels that arrive later: checked as a whole, then counted under the version and the slice that each id names."""

import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from server import metrics
from server.baseline import Outcome
from server.ids import InvalidId, PredictionId, Slices, read
from server.signature import InvalidRequest

MAX_LABELS = 1000
MAX_FOREIGN_VERSIONS, MAX_FOREIGN_CLASSES = 8, 32
MAX_AGE = 30 * 24 * 3600
"""Seconds after which a label comes too late."""
CLOCK_DIFFERENCE = 300
"""Seconds by which another replica's clock may be ahead."""
MAX_NUMBER = 1e15
"""Largest predicted or true number: one label must not drown a sum."""


class Label(NamedTuple):
    """A prediction and the truth."""

    told: PredictionId
    truth: str | int | float


class Feedback:
    """Counts labels of one Endpoint's predictions, whichever replica and version made them."""

    def __init__(
        self, endpoint: str, version: str, outcome: Outcome | None, slices: Slices, now: Callable[[], float] = time.time
    ) -> None:
        self.endpoint, self.version, self.outcome, self.slices, self.now = endpoint, version, outcome, slices, now
        self._foreign: dict[str, float] = {}
        """When each other version last made a prediction that was labelled, in seconds; the newest ones are counted."""
        self._classes: set[str] = set()
        """Classes that only other versions know, as their predictions tell."""
        self._begun: set[tuple[str, str]] = set()
        """Versions and slices whose series are there."""
        model, dash, number = version.rpartition("-")
        self._form = re.compile(re.escape(model) + r"-[0-9]{1,9}") if dash and number.isdigit() else None
        self.slices.begins = lambda name: self._begin(version, name)
        self._begin(version, "")

    def accept(self, body: Any) -> int:
        """Counts all labels of a request; their number. Raises InvalidRequest, and counts none, if one is wrong."""
        if self.outcome is None:
            raise InvalidRequest("labels: this model gives no ids, it has no output with one value a sample")
        entries = body.get("labels") if isinstance(body, dict) else None
        if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_LABELS:
            raise InvalidRequest(f"'labels': expected a list of 1 to {MAX_LABELS} objects with 'id' and 'label'")
        seen: dict[str, int] = {}
        foreign = dict[str, float]()
        classes = self._learned(entries, self.outcome)
        labels = []
        for number, entry in enumerate(entries):
            try:
                label = self._checked(entry, self.outcome, foreign, classes)
            except ValueError as error:
                raise InvalidRequest(f"labels[{number}]{error}") from error
            if (first := seen.setdefault(entry["id"], number)) != number:
                raise InvalidRequest(f"labels[{number}].id: stands at labels[{first}] already")
            labels.append(label)
        self._know(foreign)
        for name in sorted(classes - self._classes):
            for version in {self.version, *self._foreign}:
                metrics.start_class(self.endpoint, version, name)
        self._classes = classes
        for label in labels:
            if label.told.version in (self.version, *self._foreign):  # others are older than all that are compared
                self._count(label, self.outcome)
        return len(labels)

    def _begin(self, version: str, slice: str) -> None:
        if self.outcome and (version, slice) not in self._begun:
            self._begun.add((version, slice))
            metrics.start_feedback(self.endpoint, version, self.outcome, slice)

    def _know(self, foreign: dict[str, float]) -> None:
        """Of other versions, with those that a request named, the ones whose predictions are newest."""
        known = self._foreign | {name: max(at, self._foreign.get(name, at)) for name, at in foreign.items()}
        for name in sorted(known, key=known.__getitem__)[:-MAX_FOREIGN_VERSIONS]:
            metrics.end_feedback(self.endpoint, name)
            self._begun = {each for each in self._begun if each[0] != name}
            del known[name]
        self._foreign = known

    def _learned(self, entries: list[Any], outcome: Outcome) -> set[str]:
        """With the classes that other versions have predicted: while one is on trial, replicas of both get the labels of both."""
        found = set(self._classes)
        for entry in entries if outcome.categories else ():
            with suppress(InvalidId):
                told = read(entry.get("id") if isinstance(entry, dict) else None)
                name = str(told.prediction)
                foreign = told.version != self.version and self._form and self._form.fullmatch(told.version)
                if foreign and not isinstance(told.prediction, float) and name not in outcome.categories:
                    found |= {name} if len(found) < MAX_FOREIGN_CLASSES else set()
        return found

    def _checked(self, entry: Any, outcome: Outcome, foreign: dict[str, float], classes: set[str]) -> Label:
        if not isinstance(entry, dict) or set(entry) != {"id", "label"}:
            raise ValueError(": expected an object with 'id' and 'label'")
        try:
            told = read(entry["id"])
        except InvalidId as error:
            raise ValueError(f".id: {error}") from error
        age = self.now() - told.seconds
        if age > MAX_AGE:
            raise ValueError(f".id: the prediction is older than {MAX_AGE // 86400} days, its label comes too late")
        if age < -CLOCK_DIFFERENCE:
            raise ValueError(".id: the prediction is from the future")
        if told.version != self.version:
            if self._form is None or not self._form.fullmatch(told.version):
                raise ValueError(f".id: {told.version[:80]!r} is no version of this model, which is {self.version!r}")
            if told.version not in foreign and len(foreign) >= MAX_FOREIGN_VERSIONS:
                raise ValueError(
                    f".id: {told.version!r} is one version more than the {MAX_FOREIGN_VERSIONS} that a request may name"
                )
            foreign[told.version] = max(told.seconds, foreign.get(told.version, told.seconds))
        if not _fits(told.prediction, outcome, classes if told.version != self.version else set()):
            raise ValueError(".id: holds no prediction of this model")
        if not _fits(entry["label"], outcome, classes):
            raise ValueError(f".label: expected {_expected(outcome)}, got {str(entry['label'])[:50]!r}")
        return Label(told, entry["label"])

    def _count(self, label: Label, outcome: Outcome) -> None:
        told, slice = label.told, self.slices.admitted(label.told.slice)
        where = (self.endpoint, told.version)
        self._begin(told.version, slice)
        if outcome.is_number:
            metrics.feedback.labels(*where, slice, "").inc()
            metrics.feedback_error.labels(*where, slice).inc(abs(float(told.prediction) - float(label.truth)))
            return
        predicted, true = str(told.prediction), str(label.truth)
        metrics.feedback.labels(*where, slice, "true" if predicted == true else "false").inc()
        if not outcome.categories:
            return
        if predicted == true:
            metrics.feedback_class.labels(*where, true, "tp").inc()
        else:
            metrics.feedback_class.labels(*where, predicted, "fp").inc()
            metrics.feedback_class.labels(*where, true, "fn").inc()


def _fits(value: Any, outcome: Outcome, classes: set[str]) -> bool:
    if outcome.is_number:
        return type(value) in (int, float) and abs(value) <= MAX_NUMBER
    if outcome.categories:
        return isinstance(value, str | int) and (str(value) in outcome.categories or str(value) in classes)
    return isinstance(value, str | int)


def _expected(outcome: Outcome) -> str:
    if outcome.is_number:
        return "a number"
    if not outcome.categories:
        return "a text or a whole number"
    shown = ", ".join(outcome.categories[:20])
    return f"one of {shown}" + (", ..." if len(outcome.categories) > 20 else "")
