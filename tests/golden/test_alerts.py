"""Each signal as an alert, word by word in alerts.txt; tests/promql says what the words mean."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from noria.api import Endpoint
from noria.plan.wheel import monitors, promql

HERE = Path(__file__).parent
TOLD = HERE / "alerts.txt"
WINDOW = {"windowSeconds": 60, "threshold": 0.5}
SIGNALS = {
    "data": {"type": "DataDrift", "minSamples": 7},
    "some-data": {"type": "DataDrift", "features": ["size (cm)", "p0"]},
    "predictions": {"type": "PredictionDrift"},
    "quality": {"type": "DataQuality"},
    "some-quality": {"type": "DataQuality", "features": ["p0"]},
    "accuracy": {"type": "Performance", "metric": "accuracy"},
    "f1": {"type": "Performance", "metric": "f1"},
    "mae": {"type": "Performance", "metric": "mae"},
    "latency": {"type": "Latency", "quantile": 0.95, "forSeconds": 30},
    "errors": {"type": "ErrorRate"},
    "queue": {"type": "Custom", "query": "max(queue_length)", "fires": "Below"},
    "age": {"type": "Staleness"},
    "elsewhere": {"type": "Custom", "query": 'max(up{namespace="b"})', "fires": "Above"},
}


def written(**signals: dict[str, Any]) -> Endpoint:
    watched = [{"name": name, **WINDOW, **each} for name, each in signals.items()]
    spec = {"model": {"name": "digits", "track": "Latest"}, "monitoring": {"signals": watched}}
    return Endpoint.model_validate({"metadata": {"name": "digits", "namespace": "vision", "uid": "u"}, "spec": spec})


def told() -> str:
    endpoint = written(**SIGNALS)
    alerts = {each.name: monitors.alert(endpoint, each, "digits-1") for each in endpoint.spec.monitoring.signals}
    slices = promql.accuracy_by_slice(60)
    document = {"alerts": alerts, "accuracy by slice, for dashboards": slices}
    return yaml.safe_dump(document, sort_keys=False, width=140)


def test_an_alert_asks_word_by_word(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--rewrite"):
        TOLD.write_text(told())
    assert told() == TOLD.read_text()


def test_what_the_operator_alone_knows_and_what_cannot_be_asked_are_no_alerts() -> None:
    endpoint = written(**SIGNALS)
    alone = [each.name for each in endpoint.spec.monitoring.signals if not monitors.alert(endpoint, each, "digits-1")]
    assert alone == ["age", "elsewhere"]
