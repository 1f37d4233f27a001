"""Gates while a challenger has traffic: whether it may go on, by what it does beside the champion."""

from collections.abc import Iterable
from datetime import datetime
from math import isclose

from noria.api.cycle import GateResult
from noria.api.rollout import OnlineGate
from noria.plan.contract import Observed
from noria.plan.wheel.measures import Reading, queries, reading, worse_below


def online(
    gates: Iterable[OnlineGate], namespace: str, champion: str, challenger: str, observed: Observed, mirrored: bool
) -> list[GateResult]:
    """Champion against challenger on what they answered in the same window."""
    results = []
    for gate in gates:
        if champion == challenger:
            results.append(GateResult(name=gate.name, result="Inconclusive", message=ONE_VERSION.format(champion)))
            continue
        if mirrored and gate.type == "Performance":
            text = "mirrored requests get no labels"
            results.append(GateResult(name=gate.name, result="Skipped", message=text))
            continue
        results.append(
            _online(
                gate,
                reading(gate, namespace, champion, observed) or NOT_ASKED,
                reading(gate, namespace, challenger, observed) or NOT_ASKED,
            )
        )
    return results


def asked(gates: Iterable[OnlineGate], namespace: str, observed: Observed) -> datetime | None:
    """The moment up to which Prometheus has told about all of them: of the oldest answer; now, where nothing is asked. None
    while it has not been asked all: a new process has no answers, and nothing has run out by that."""
    if not observed.settings.prometheus_url:
        return observed.now
    answers = [observed.answers.get(query) for gate in gates for query in queries(gate, namespace)]
    if None in answers:
        return None
    return min((each.at for each in answers if each and each.at), default=observed.now)


NOT_ASKED = Reading(reason="NotAsked", message="Prometheus has not been asked yet")
ONE_VERSION = (
    "{} serves already, under another runtime or with other files, and metrics by version cannot tell the two apart; "
    "register a version of another number, or take rollout.gates away for this change"
)


def _online(gate: OnlineGate, champion: Reading, challenger: Reading) -> GateResult:
    values = {"champion": _short(champion.value), "challenger": _short(challenger.value)}
    relative, below = gate.tolerance is not None, worse_below(gate)
    if gate.limit is not None and challenger.value is not None and not challenger.reason:
        past = challenger.value < gate.limit if below else challenger.value > gate.limit
        if past and not isclose(challenger.value, gate.limit):  # whatever the champion does
            text = _bounded(challenger.value, gate.limit, below)
            return GateResult(name=gate.name, result="Fail", message=text, **values)
    unknown = challenger if challenger.reason else champion if relative and champion.reason else None
    if unknown or challenger.value is None:
        whose = "challenger" if unknown is challenger else "champion"
        text = f"{whose}: {unknown.message if unknown else 'no value'}"
        return GateResult(name=gate.name, result="Inconclusive", message=text, **values)
    bounds = [] if gate.limit is None else [gate.limit]
    if gate.tolerance is not None and champion.value is not None:
        worse = gate.tolerance * abs(champion.value)
        bounds.append(champion.value - worse if below else champion.value + worse)
    bound = max(bounds) if below else min(bounds)
    better = challenger.value > bound if below else challenger.value < bound
    fine = better or isclose(challenger.value, bound)  # 0.8 less a quarter of it is a little above 0.6
    text = _bounded(challenger.value, bound, below)
    return GateResult(name=gate.name, result="Pass" if fine else "Fail", message=text, **values)


def _bounded(value: float, bound: float, below: bool) -> str:
    return f"{value:.4g}, {'at least' if below else 'at most'} {bound:.4g} is allowed"


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
