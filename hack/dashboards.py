"""Renders the chart's Grafana dashboards: the loop for who owns models, the operator for who runs the cluster.

`python hack/dashboards.py FOLDER [--check]`; the signals' queries are the operator's own, so that both see the same.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from noria.plan.wheel import promql

WINDOW = 300
ONE = {"namespace": "$namespace", "modelendpoint": "$endpoint"}
Json = dict[str, Any]


def panel(number: int, title: str, unit: str, **queries: str) -> Json:
    """A time series; `queries` are PromQL by legend, in which `__` stands for a label, as in `v__version`."""
    targets = [
        {"refId": chr(65 + index), "expr": expression, "legendFormat": legend(name)}
        for index, (name, expression) in enumerate(queries.items())
    ]
    return {
        "id": number,
        "type": "timeseries",
        "title": title,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"h": 8, "w": 12, "x": 12 * ((number - 1) % 2), "y": 8 * ((number - 1) // 2)},
        "fieldConfig": {"defaults": {"unit": unit, "custom": {"lineWidth": 1, "fillOpacity": 5}}, "overrides": []},
        "options": {
            "tooltip": {"mode": "multi", "sort": "desc"},
            "legend": {"displayMode": "list", "placement": "bottom"},
        },
        "targets": targets,
    }


def legend(name: str) -> str:
    """`p99__version` as `p99 {{version}}`."""
    first, *labels = name.split("__")
    return " ".join([first, *(f"{{{{{label}}}}}" for label in labels)]).strip()


def dashboard(uid: str, title: str, variables: list[Json], panels: list[Json]) -> Json:
    """A dashboard that any Grafana from 10 on takes."""
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    return {
        "uid": uid,
        "title": title,
        "tags": ["noria"],
        "timezone": "browser",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [source, *variables]},
        "panels": panels,
    }


def variable(name: str, label: str, query: str) -> Json:
    """A value that the reader chooses."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
    }


def loop() -> Json:
    """What an Endpoint's signals say, version by version, and how far its cycles are."""
    where = '{namespace="$namespace",modelendpoint="$endpoint"}'

    def signal(build: Callable[..., str], *arguments: float) -> str:
        return build(WINDOW, *arguments, selector=ONE)

    percentiles = {f"p{int(100 * each)}__version": signal(promql.latency, each) for each in (0.5, 0.95, 0.99)}
    scores = {"accuracy__version": signal(promql.accuracy), "f1__version": signal(promql.f1)}
    refused = {"errors__version": signal(promql.error_rate), "misfits__version": signal(promql.schema_errors)}
    stages = 'sum by (reason) (increase(noria_events_total{kind="Endpoint"}[1h]))'
    panels = [
        panel(
            1,
            "Drift of the ten worst features (PSI)",
            "none",
            __version__feature=f"topk(10, {signal(promql.feature_psi)})",
        ),
        panel(2, "Drift of the predictions (PSI)", "none", __version=signal(promql.prediction_psi)),
        panel(3, "Accuracy and F1 by the labels that came in", "percentunit", **scores),
        panel(4, "Accuracy by slice", "percentunit", __version__slice=signal(promql.accuracy_by_slice)),
        panel(5, "Latency", "s", **percentiles),
        panel(6, "Requests a second", "reqps", __version=f"sum by (version) (rate(noria_requests_total{where}[1m]))"),
        panel(7, "Errors (5xx) and requests that do not fit the signature", "percentunit", **refused),
        panel(
            8,
            "Values that are null, out of range or unknown",
            "percentunit",
            __version__feature__problem=f"topk(10, {signal(promql.quality)})",
        ),
        panel(9, "Stages of all Endpoints' cycles (last hour)", "none", __reason=stages),
        panel(10, "Versions that serve", "none", __version=f"count by (version) (noria_model_info{where})"),
    ]
    namespaces = variable("namespace", "Namespace", "label_values(noria_model_info, namespace)")
    endpoints = variable(
        "endpoint", "Endpoint", 'label_values(noria_model_info{namespace="$namespace"}, modelendpoint)'
    )
    return dashboard("noria-loop", "Noria: the wheel", [namespaces, endpoints], panels)


def operator() -> Json:
    """Whether the operator leads, keeps up, and gets its answers."""
    panels = [
        panel(
            1,
            "Reconciliations a second",
            "ops",
            __kind__result="sum by (kind, result) (rate(noria_reconciles_total[5m]))",
        ),
        panel(
            2,
            "Time of one reconciliation (p99)",
            "s",
            __kind="histogram_quantile(0.99, sum by (kind, le) (rate(noria_reconcile_seconds_bucket[5m])))",
        ),
        panel(
            3,
            "Requests to the API server a second",
            "reqps",
            __verb__kind__code="sum by (verb, kind, code) (rate(noria_api_requests_total[5m]))",
        ),
        panel(4, "Keys that wait", "none", waiting="sum(noria_queue_depth)"),
        panel(5, "Objects held", "none", __kind="sum by (kind) (noria_store_objects)"),
        panel(
            6,
            "Memory",
            "bytes",
            __pod="sum by (pod) (process_resident_memory_bytes and on (pod, namespace) noria_leader)",
        ),
        panel(
            7,
            "CPU",
            "none",
            __pod="sum by (pod) (rate(process_cpu_seconds_total[5m]) and on (pod, namespace) noria_leader)",
        ),
        panel(
            8,
            "Leaders, and whether Prometheus answers",
            "none",
            leaders="sum(noria_leader)",
            prometheus="max(noria_prometheus_up)",
        ),
        panel(
            9,
            "Queries to Prometheus a second",
            "reqps",
            __result="sum by (result) (rate(noria_prometheus_queries_total[5m]))",
        ),
        panel(10, "Age of the oldest full list", "s", age="max(noria_resync_age_seconds)"),
    ]
    return dashboard("noria-operator", "Noria: the operator", [], panels)


def render() -> Iterator[tuple[str, str]]:
    """File name and content of each."""
    for name, content in (("loop", loop()), ("operator", operator())):
        yield f"{name}.json", json.dumps(content, indent=1) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 if a file differs")
    given = parser.parse_args()
    stale = [
        name
        for name, text in render()
        if not (given.folder / name).exists() or (given.folder / name).read_text() != text
    ]
    for name, text in render():
        if not given.check:
            given.folder.mkdir(parents=True, exist_ok=True)
            (given.folder / name).write_text(text)
    if given.check and stale:
        print(
            f"{', '.join(stale)} in {given.folder} differ from what is rendered; run `make dashboards`", file=sys.stderr
        )
    return 1 if given.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
