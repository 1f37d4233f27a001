"""Signals: from what Prometheus says of the served version to OK, Pending, Firing or Unknown, without flapping."""

from datetime import datetime, timedelta
from typing import NamedTuple

from noria.api.cycle import SignalState, SignalStatus
from noria.api.endpoint import Endpoint
from noria.api.modelversion import ModelVersion
from noria.api.monitoring import Signal
from noria.plan.contract import Observed
from noria.plan.manifests import moment, rfc3339
from noria.plan.wheel import probing
from noria.plan.wheel.measures import Reading, reading, reworded, worse_below

CROSSINGS = 4
"""So many crossings of the threshold within the window are flapping: nothing is concluded until they are fewer."""
MOVEMENT = 0.1
"""A value is written anew when it moved by this share of the threshold, or of itself above it; each write costs a request."""


class Judged(NamedTuple):
    """The signals of an Endpoint."""

    signals: list[SignalStatus]
    measured: frozenset[str] = frozenset()
    """Names of those that were measured now; the others are as they were recorded, since Prometheus was not asked yet."""


def judge(endpoint: Endpoint, version: ModelVersion | None, observed: Observed) -> Judged:
    """All signals of the served version."""
    if version is None:
        return Judged([])
    before = {each.name: each for each in endpoint.status.signals}
    judged, measured = list[SignalStatus](), set[str]()
    for signal in endpoint.spec.monitoring.signals:
        read = _read(endpoint, signal, version, observed)
        old = before.get(signal.name)
        if read is None:
            judged += [old] if old else []
        else:
            judged.append(_judge(signal, old, read, observed.now))
            measured.add(signal.name)
    return Judged(judged, frozenset(measured))


def _read(endpoint: Endpoint, signal: Signal, version: ModelVersion, observed: Observed) -> Reading | None:
    if signal.type != "Staleness":
        return reading(signal, endpoint.metadata.namespace or "", version.metadata.name, observed)
    if signal.uri:
        return probing.reading(endpoint, signal.uri, version, observed.now)
    age = _age(version, observed.now)
    return Reading(age) if age is not None else Reading(reason="NoData", message=NO_TIME.format(version.metadata.name))


NO_TIME = "{} has no creation time"


def _age(version: ModelVersion | None, now: datetime) -> float | None:
    """Seconds since the version was made."""
    created = version.metadata.creation_timestamp if version else None
    return (now - created).total_seconds() if created else None


def past(signal: Signal, value: float) -> bool:
    """Whether the value is on the firing side of the threshold."""
    return value < signal.threshold if worse_below(signal) else value > signal.threshold


def _judge(signal: Signal, old: SignalStatus | None, read: Reading, now: datetime) -> SignalStatus:
    crossings = _recent(old.crossings or [] if old else [], signal, now)
    state: SignalState
    reason, message = read.reason, read.message
    if read.reason or read.value is None:
        state = "Unknown"
    else:
        beyond = past(signal, read.value)
        if old and old.state != "Unknown" and beyond != (old.state in ("Pending", "Firing")):
            crossings = [*crossings, rfc3339(now)][-CROSSINGS:]
        if len(crossings) >= CROSSINGS:
            state, reason = "Unknown", "Flapping"
            message = f"it crossed the threshold {CROSSINGS} times within {signal.window_seconds} s; a longer window or forSeconds steadies it"
        else:
            state = _side(signal, old, beyond, now)
    judged = SignalStatus(
        name=signal.name,
        state=state,
        value=rounded(read.value, 3),
        threshold=signal.threshold,
        samples=None if read.samples is None else int(rounded(read.samples, 2) or 0),
        feature=read.feature,
        since=old.since if old and old.state == state else rfc3339(now),
        reason=reason,
        message=message,
        crossings=crossings or None,
    )
    return _damped(judged, old)


def _side(signal: Signal, old: SignalStatus | None, beyond: bool, now: datetime) -> SignalState:
    if not beyond:
        return "OK"
    if signal.for_seconds == 0 or (old and old.state == "Firing"):
        return "Firing"
    waited = (now - moment(old.since)).total_seconds() if old and old.state == "Pending" else 0.0
    return "Firing" if waited >= signal.for_seconds else "Pending"


def _recent(crossings: list[str], signal: Signal, now: datetime) -> list[str]:
    return [each for each in crossings if now - moment(each) < timedelta(seconds=signal.window_seconds)]


def _damped(judged: SignalStatus, old: SignalStatus | None) -> SignalStatus:
    """The recorded numbers, while nothing but small movements happened."""
    if old is None or (judged.state, judged.reason, judged.crossings) != (old.state, old.reason, old.crossings):
        return judged
    reread = reworded(old, judged.reason, judged.message)
    return judged if reread or judged.threshold != old.threshold or moved(old, judged.value) else old


def moved(old: SignalStatus, value: float | None) -> bool:
    """Whether the value is far enough from the recorded one to be written anew."""
    if value is None or old.value is None:
        return value is not old.value
    return abs(value - old.value) >= MOVEMENT * max(old.threshold, abs(old.value))


def rounded(value: float | None, digits: int) -> float | None:
    """To so many significant digits, as it is recorded."""
    return None if value is None else float(f"{value:.{digits}g}")


def requeue(
    endpoint: Endpoint, version: ModelVersion | None, signals: list[SignalStatus], now: datetime
) -> float | None:
    """Seconds until time alone may change a signal: a Pending one fires, a version grows stale, crossings are forgotten."""
    by_name = {each.name: each for each in endpoint.spec.monitoring.signals}
    waits, age = [], _age(version, now)
    for each in signals:
        signal = by_name[each.name]
        if each.state == "Pending":
            waits.append(signal.for_seconds - (now - moment(each.since)).total_seconds())
        if signal.type == "Staleness" and signal.uri is None and each.state == "OK" and age is not None:
            waits.append(min(signal.threshold - age, MOVEMENT * signal.threshold) + 1)
        if each.crossings:
            waits.append(signal.window_seconds - (now - moment(each.crossings[0])).total_seconds())
    return min((max(1.0, each) for each in waits), default=None)


ORDER: tuple[SignalState, ...] = ("Firing", "Pending", "OK", "Unknown")


def worst(endpoint: Endpoint, signals: list[SignalStatus]) -> str | None:
    """The worst signal in one line, for `kubectl get`."""
    by_name = {each.name: each for each in endpoint.spec.monitoring.signals}

    def badness(each: SignalStatus) -> float:
        if not each.value:
            return 0.0
        below = worse_below(by_name[each.name])
        return each.threshold / each.value if below else each.value / each.threshold

    ranked = sorted(signals, key=lambda each: (ORDER.index(each.state), -badness(each), each.name))
    return _line(ranked[0], worse_below(by_name[ranked[0].name])) if ranked else None


def _line(signal: SignalStatus, below: bool) -> str:
    if signal.state == "Unknown" or signal.value is None:
        return f"{signal.name} unknown ({signal.reason})"
    firing = signal.state in ("Firing", "Pending")
    sign = {(True, False): ">", (False, False): "<=", (True, True): "<", (False, True): ">="}[firing, below]
    where = f" ({signal.feature})" if signal.feature else ""
    return f"{signal.name} {_number(signal.value)} {sign} {_number(signal.threshold)}{where}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"
