"""The alerts of an Endpoint are rules that Prometheus loads, and they fire when the operator's own evaluation would."""

from pathlib import Path

import yaml

from noria.api import Endpoint
from noria.plan.wheel import monitors

from .conftest import Promtool, series

GOLDEN = Path(__file__).parents[1] / "golden" / "endpoint" / "monitors-where-their-kinds-are" / "plan.yaml"
SIGNALS = [
    {"name": "drift", "type": "DataDrift", "threshold": 0.2, "windowSeconds": 600, "minSamples": 100},
    {"name": "predictions", "type": "PredictionDrift", "threshold": 0.2, "windowSeconds": 600},
    {"name": "quality", "type": "DataQuality", "threshold": 0.05, "windowSeconds": 600},
    {"name": "accuracy", "type": "Performance", "metric": "accuracy", "threshold": 0.9, "windowSeconds": 600},
    {"name": "latency", "type": "Latency", "quantile": 0.99, "threshold": 0.5, "windowSeconds": 600, "forSeconds": 60},
    {"name": "errors", "type": "ErrorRate", "threshold": 0.01, "windowSeconds": 600, "minSamples": 100},
    {"name": "queue", "type": "Custom", "query": "max(queue_length)", "fires": "Below", "threshold": 2},
    {"name": "scalar", "type": "Custom", "query": "-scalar(max(queue_length)) + 1", "threshold": 2},
    {"name": "age", "type": "Staleness", "threshold": 86400},
]


def alerts() -> dict[str, str]:
    """Expression by signal."""
    written = {
        "metadata": {"name": "digits", "namespace": "vision", "uid": "u"},
        "spec": {"model": {"name": "digits", "track": "Latest"}, "monitoring": {"signals": SIGNALS}},
    }
    endpoint = Endpoint.model_validate(written)
    rules = (monitors.alert(endpoint, each, "digits-1") for each in endpoint.spec.monitoring.signals)
    return {rule["labels"]["signal"]: rule["expr"] for rule in rules if rule}


def requests(code: str, namespace: str = "vision") -> str:
    labels = {"namespace": namespace, "modelendpoint": "digits", "version": "digits-1", "code": code, "pod": "a"}
    return series("noria_requests_total", **labels)


def test_prometheus_loads_the_rules(promtool: Promtool) -> None:
    planned = yaml.safe_load(GOLDEN.read_text())["children"]
    (rule,) = (each for each in planned if each["kind"] == "PrometheusRule")
    promtool.check_rules(rule["spec"])


def test_every_signal_but_age_is_an_alert(promtool: Promtool) -> None:
    groups = {"groups": [{"name": "g", "rules": [{"alert": name, "expr": text} for name, text in alerts().items()]}]}
    promtool.check_rules(groups)
    assert set(alerts()) == {each["name"] for each in SIGNALS} - {"age"}


def test_an_alert_fires_above_the_threshold_with_enough_samples_of_its_own_endpoint(promtool: Promtool) -> None:
    where = {"namespace": "vision", "modelendpoint": "digits", "version": "digits-1"}
    failing = {requests("2xx"): "0+98x60", requests("5xx"): "0+2x60"}
    promtool.expect(failing, alerts()["errors"], [(where, 0.02)])
    promtool.expect({requests("2xx"): "0+100x60", requests("5xx"): "0x60"}, alerts()["errors"], [])
    promtool.expect({requests("2xx"): "0+4x60", requests("5xx"): "0+2x60"}, alerts()["errors"], [])
    promtool.expect({requests("5xx", "other"): "0+100x60"}, alerts()["errors"], [])
