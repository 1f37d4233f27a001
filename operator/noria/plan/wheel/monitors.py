"""For clusters with the Prometheus operator: what scrapes the servers, and each signal as an alert."""

from collections.abc import Iterator

from noria.api.endpoint import Endpoint
from noria.api.monitoring import Signal
from noria.plan.contract import Manifest
from noria.plan.manifests import OWNER_UID, child
from noria.plan.wheel import measures, promql
from noria.plan.wheel.view import Turn, View


def monitors(view: View, recorded: Turn) -> Iterator[Manifest]:
    """PodMonitor and PrometheusRule, where their definitions are there."""
    endpoint, labels = view.endpoint, view.observed.settings.monitor_labels
    if recorded.current and "PodMonitor" not in view.observed.absent:
        yield child(endpoint, "PodMonitor", endpoint.metadata.name, {"spec": _scraping(endpoint)}, labels=labels)
    if recorded.current and "PrometheusRule" not in view.observed.absent:
        told = (alert(endpoint, each, recorded.current.version) for each in endpoint.spec.monitoring.signals)
        if rules := [each for each in told if each]:
            group = {"name": f"noria-{endpoint.metadata.name}", "rules": rules}
            body = {"spec": {"groups": [group]}}
            yield child(endpoint, "PrometheusRule", endpoint.metadata.name, body, labels=labels)


def _scraping(endpoint: Endpoint) -> Manifest:
    labels = {OWNER_UID: endpoint.metadata.uid}
    return {"selector": {"matchLabels": labels}, "podMetricsEndpoints": [{"portNumber": 8080, "path": "/metrics"}]}


def alert(endpoint: Endpoint, signal: Signal, version: str) -> Manifest | None:
    """The signal as an alert. Staleness is known to the operator alone."""
    name, namespace = endpoint.metadata.name, endpoint.metadata.namespace or ""
    only = {"namespace": namespace, "modelendpoint": name, "version": version}
    try:
        asked = measures.questions(signal, namespace, only)
    except promql.InvalidQuery:
        return None  # condition Monitored tells it
    if asked.values is None:
        return None
    sign = "<" if measures.worse_below(signal) else ">"
    past = f"({asked.values.promql}) {sign} {signal.threshold!r}"
    enough = f" and on () sum({asked.samples.promql}) >= {signal.min_samples}" if asked.samples else ""
    rule = {
        "alert": "NoriaSignalFiring",
        "expr": f"({past}){enough}" if enough else past,
        "labels": {"severity": "warning", "signal": signal.name, "modelendpoint": name, "namespace": namespace},
        "annotations": {"summary": f"Endpoint {namespace}/{name}: signal {signal.name} ({signal.type})"},
    }
    return rule | ({"for": f"{signal.for_seconds}s"} if signal.for_seconds else {})
