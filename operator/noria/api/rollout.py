"""How a new version earns the traffic: a gate on held-out data, a mirror, steps of weight, gates on what it does there."""

from typing import Annotated, Literal

from pydantic import Field

from noria.api.meta import Model, map_list, rules
from noria.api.monitoring import PerformanceMetric, PromQL, Quantile, Threshold, share
from noria.api.pod import Name, Resources
from noria.api.trainingjob import InputUri

NotNegative = Annotated[float, Field(json_schema_extra=rules(("self >= 0.0", "must not be negative")))]
GateMetric = Literal["accuracy", "f1", "precision", "recall", "log_loss", "roc_auc", "mae", "rmse"]


class MetricGate(Model):
    """One number in which the challenger must not be worse, or must be better, than the champion."""

    name: GateMetric
    """accuracy, f1, precision, recall (macro), roc_auc: more is better; log_loss, mae, rmse: less is better."""
    min_effect: NotNegative = 0.0
    """How much better the challenger must be at least, in the metric's unit. Default 0: not worse."""


class Slices(Model):
    """Groups of the held-out data, so that a better average cannot hide a worse group."""

    model_config = Model.model_config | {
        "json_schema_extra": rules(("has(self.maxDrop) || has(self.maxGap)", "set maxDrop, maxGap or both"))
    }

    columns: Annotated[list[Annotated[str, Field(min_length=1, max_length=128)]], Field(min_length=1, max_length=4)]
    """Columns of the held-out data; each distinct value is a group."""
    max_drop: NotNegative | None = None
    """How much worse than the champion the challenger may be in any group, in the metric's unit."""
    max_gap: NotNegative | None = None
    """How far the challenger's best and worst group may lie apart, in the metric's unit."""
    min_samples: Annotated[int, Field(ge=1)] = 20
    """Smaller groups are not judged. Default 20."""


class Evaluation(Model):
    """How champion and challenger are scored on the same held-out data."""

    test: InputUri | None = None
    """The held-out data: pvc://CLAIM/PATH of the same namespace, a folder with test.npz or test.csv; absent: the input `test`."""
    target: Annotated[str, Field(min_length=1, max_length=128)] = "target"
    """Column of the truth, in CSV. Default target."""
    metrics: Annotated[list[MetricGate], Field(min_length=1, max_length=8, json_schema_extra=map_list("name"))]
    """All of them must pass."""
    min_samples: Annotated[int, Field(ge=1)] = 100
    """Held-out samples below which the result is inconclusive, which is not a pass. Default 100."""
    slices: Slices | None = None
    """Limits by group."""
    resources: Resources = Resources(cpu="1", memory="2Gi")
    """CPU and memory of the Job."""
    deadline_seconds: Annotated[int, Field(ge=10, le=86400)] = 3600
    """Seconds that the scoring may take. Default 3600."""


class Gate(Evaluation):
    """The offline gate: champion and challenger are scored on the same held-out data by one Job."""

    test: InputUri
    """The held-out data: pvc://CLAIM/PATH of the same namespace, a folder with test.npz or test.csv."""


class Mirror(Model):
    """Copies of live requests go to the challenger, whose answers are thrown away."""

    percent: Annotated[int, Field(ge=1, le=100)] = 100
    """Share of the requests in percent. Default 100."""
    hold_seconds: Annotated[int, Field(ge=1, le=604800)] = 300
    """Seconds for which it is watched. Default 300."""


class Step(Model):
    """A share of the traffic for a time."""

    weight: Annotated[int, Field(ge=1, le=99)]
    """Percent of the requests that the challenger answers."""
    hold_seconds: Annotated[int, Field(ge=1, le=604800)] = 300
    """Seconds for which it is watched. Default 300."""


class OnlineGate(Model):
    """One number by which the challenger is judged while it has traffic, beside the champion in the same window."""

    model_config = Model.model_config | {
        "json_schema_extra": rules(
            ("has(self.limit) || has(self.tolerance)", "set limit, tolerance or both"),
            ("has(self.metric) == (self.type == 'Performance')", "metric belongs to type Performance, which needs it"),
            ("has(self.quantile) == (self.type == 'Latency')", "quantile belongs to type Latency, which needs it"),
            ("has(self.query) == (self.type == 'Custom')", "query belongs to type Custom, which needs it"),
            share("limit"),
        )
    }

    name: Annotated[Name, Field(max_length=40)]
    """Name."""
    type: Literal["ErrorRate", "Latency", "PredictionDrift", "Performance", "Custom"]
    """As of signals. Performance is not judged on mirrored requests, which get no labels. Custom: `query` gives one
    number for each version, by label `version`; less is better."""
    limit: Threshold | None = None
    """The challenger's value must not pass this; accuracy and f1 must not fall below it."""
    tolerance: NotNegative | None = None
    """How much worse than the champion's the challenger's value may be, as a share of the champion's: 0.2 is 20 %."""
    window_seconds: Annotated[int, Field(ge=5, le=604800)] = 300
    """Seconds that are looked back; a step ends no earlier. Default 300."""
    min_samples: Annotated[int, Field(ge=1)] = 50
    """Samples of each of the two below which the result is inconclusive. Default 50. Not for Custom."""
    metric: PerformanceMetric | None = None
    """accuracy, f1 (macro) or mae."""
    quantile: Quantile | None = None
    """For Latency, for example 0.99."""
    query: PromQL | None = None
    """For Custom."""


class Rollout(Model):
    """How traffic moves to a new version."""

    model_config = Model.model_config | {
        "json_schema_extra": rules(
            (
                "!has(self.gates) || size(self.gates) == 0 || has(self.mirror) || has(self.steps) && size(self.steps) > 0",
                "gates are judged while a challenger has a mirror or a step: set mirror or steps, or take gates away",
            ),
            (
                "!has(self.gates) || size(self.gates) == 0 || !has(self.mirror) || has(self.steps) && size(self.steps) > 0"
                " || self.gates.exists(gate, gate.type != 'Performance')",
                "mirrored requests get no labels, so gates of type Performance judge nothing there: set steps, or a gate of another type",
            ),
        )
    }

    drain_seconds: Annotated[int, Field(ge=1, le=3600)] = 15
    """Seconds for which a version without traffic goes on running to end its requests. Default 15."""
    warm_seconds: Annotated[int, Field(ge=0, le=604800)] = 0
    """Seconds for which the old version is kept after a promotion, so that a rollback only moves the traffic. Default 0."""
    deadline_seconds: Annotated[int, Field(ge=10, le=604800)] = 3600
    """Seconds that a challenger may take to become ready. Default 3600."""
    mirror: Mirror | None = None
    """Mirrored requests first. Skipped where the administrator has not declared that the gateway mirrors."""
    steps: Annotated[
        list[Step],
        Field(
            max_length=20,
            json_schema_extra=rules(
                (
                    "self.map(step, step.weight).isSorted() && self.all(a, self.exists_one(b, a.weight == b.weight))",
                    "weights must increase from step to step",
                )
            ),
        ),
    ] = []
    """Steps of weight; absent: all traffic moves at once when the challenger is ready."""
    gates: Annotated[list[OnlineGate], Field(max_length=16, json_schema_extra=map_list("name"))] = []
    """All of them must pass at the end of each step; one that fails rolls back at once."""
    patience_seconds: Annotated[int, Field(ge=0, le=604800)] = 1800
    """Seconds for which a step waits beyond its hold for an inconclusive gate before it rolls back. Default 1800."""
    approval: Literal["Automatic", "Manual"] = "Automatic"
    """Manual: before all traffic moves somebody must approve, by annotation noria.dev/approve. Default Automatic."""
