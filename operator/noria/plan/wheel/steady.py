"""What new answers leave as it is recorded of signals: of a thousand Endpoints only those that they change are planned anew."""

import sys
from collections import defaultdict
from collections.abc import Callable
from math import inf, nextafter
from typing import NamedTuple

from noria.api.cycle import SignalStatus
from noria.api.endpoint import Endpoint
from noria.api.monitoring import Signal
from noria.plan.contract import Answer, Look, Query, Steady
from noria.plan.wheel.measures import Questions, queries, questions, reworded, told, worse_below
from noria.plan.wheel.signals import MOVEMENT, moved, past, rounded

MOST = sys.float_info.max
NEVER = (inf, -inf)
"""No number lies between."""


class Recorded(NamedTuple):
    """A signal as it is recorded, while neither time nor anything but its own answers changes it."""

    signal: Signal
    status: SignalStatus
    asked: Questions
    version: str

    def look(self, answer: Callable[[Query], Answer | None]) -> Look:
        """NONE while judging it anew would record the same; NOW if it passes the threshold, which may begin something."""
        read = told(self.signal, self.asked, self.version, answer)
        if read is None:
            return Look.NEWS
        before, unknown = self.status, read.reason is not None or read.value is None
        beyond = not unknown and read.value is not None and past(self.signal, read.value)
        if beyond and before.state != "Firing":
            return Look.NOW
        state = "Unknown" if unknown else "Firing" if beyond else "OK"
        if state != before.state or read.reason != before.reason or moved(before, rounded(read.value, 3)):
            return Look.NEWS
        if reworded(before, read.reason, read.message):
            return Look.NEWS
        return Look.NONE

    def span(self, query: Query) -> tuple[float, float]:
        """Numbers from the first to the second, as answer to one of its queries, surely say what is recorded."""
        before, few = self.status, self.status.reason == "TooFewSamples"
        if before.state == "Unknown" and not few:
            return NEVER
        if query == self.asked.samples:
            least = float(self.signal.min_samples)
            return (-inf, nextafter(least, -inf)) if few else (least, MOST)
        if before.value is None or self.signal.features:
            return NEVER  # the worst of several numbers counts
        near = 0.9 * MOVEMENT * max(before.threshold, abs(before.value))  # numbers are rounded before they are compared
        low, high = before.value - near, before.value + near
        if few:
            return low, high
        if worse_below(self.signal) == (before.state == "Firing"):
            limit = nextafter(before.threshold, -inf) if before.state == "Firing" else before.threshold
            return low, min(high, limit)
        limit = nextafter(before.threshold, inf) if before.state == "Firing" else before.threshold
        return max(low, limit), high


def steady(endpoint: Endpoint) -> dict[Query, Steady]:
    """All that is recorded of signals, by query; only where every signal that asks it changes by its answers alone."""
    if endpoint.status.current is None:
        return {}
    version, namespace = endpoint.status.current.version, endpoint.metadata.namespace or ""
    known = {each.name: each for each in endpoint.status.signals}
    found, unsteady = defaultdict[Query, list[Recorded]](list), set[Query]()
    for signal in endpoint.spec.monitoring.signals:
        old, asked = known.get(signal.name), queries(signal, namespace)
        if old is None or old.crossings or old.state == "Pending" or old.threshold != signal.threshold:
            unsteady.update(asked)
            continue
        for query in asked:
            found[query].append(Recorded(signal, old, questions(signal, namespace), version))
    return {query: _steady(query, version, judges) for query, judges in found.items() if query not in unsteady}


def _steady(query: Query, version: str, judges: list[Recorded]) -> Steady:
    lows, highs = zip(*(each.span(query) for each in judges), strict=True)
    return Steady(version, max(lows), min(highs), tuple(judges))
