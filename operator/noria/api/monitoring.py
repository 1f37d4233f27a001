"""What an Endpoint watches, and when that sets off a training."""

from typing import Annotated, Literal

from pydantic import Field

from noria.api.meta import Model, map_list, rules
from noria.api.pod import Name
from noria.api.ports import Given, ObjectName
from noria.api.trainingjob import InputUri, TrainingJobSpec

SignalType = Literal[
    "DataDrift", "PredictionDrift", "DataQuality", "Performance", "Latency", "ErrorRate", "Staleness", "Custom"
]
PerformanceMetric = Literal["accuracy", "f1", "mae"]
Threshold = Annotated[float, Field(json_schema_extra=rules(("self > 0.0", "must be above zero")))]
Quantile = Annotated[
    float, Field(json_schema_extra=rules(("self > 0.0 && self < 1.0", "must lie between 0 and 1, for example 0.99")))
]
PromQL = Annotated[str, Field(min_length=1, max_length=4096)]
"""A query; every selector in it is confined to the object's namespace."""


def share(field: str) -> tuple[str, str]:
    """The rule that `field` lies within what a share can be."""
    shares = "self.type == 'ErrorRate' || self.type == 'Performance' && has(self.metric) && self.metric in ['accuracy', 'f1']"
    return (
        f"!has(self.{field}) || !({shares}) || self.{field} <= 1.0",
        f"{field} is a share of ErrorRate, accuracy and f1: at most 1, for example 0.01",
    )


class Signal(Model):
    """One thing that is watched: it fires when its value passes the threshold."""

    model_config = Model.model_config | {
        "json_schema_extra": rules(
            ("has(self.metric) == (self.type == 'Performance')", "metric belongs to type Performance, which needs it"),
            ("has(self.quantile) == (self.type == 'Latency')", "quantile belongs to type Latency, which needs it"),
            (
                "has(self.query) == (self.type == 'Custom') && has(self.fires) == (self.type == 'Custom')",
                "query and fires belong to type Custom, which needs both",
            ),
            (
                "!has(self.features) || self.type in ['DataDrift', 'DataQuality']",
                "features belong to types DataDrift and DataQuality",
            ),
            share("threshold"),
            ("!has(self.uri) || self.type == 'Staleness'", "uri belongs to type Staleness"),
            (
                "!has(self.uri) || self.windowSeconds >= 60",
                "with uri windowSeconds is the time between two looks at the data: at least 60",
            ),
        )
    }

    name: Annotated[Name, Field(max_length=40)]
    """Name, by which retrain.signals refers to it."""
    type: SignalType
    """DataDrift: population stability index (PSI) of the worst feature against the training's distribution.
    PredictionDrift: the same of the predictions. DataQuality: share of values that are null, out of the range seen in
    training or of an unknown category, of the worst feature, or of requests that do not fit the signature.
    Performance: `metric` by the labels that clients post. Latency: seconds at `quantile`. ErrorRate: share of requests
    answered 5xx. Staleness: age of the served version in seconds, or with `uri` how long there have been new data.
    Custom: `query`."""
    threshold: Threshold
    """It fires above this value; accuracy and f1 below it; a Custom one as `fires` says. 0.2 is customary for a PSI."""
    window_seconds: Annotated[int, Field(ge=10, le=2592000)] = 3600
    """Seconds that are looked back; with `uri` seconds between two looks at the data. Default 3600."""
    min_samples: Annotated[int, Field(ge=1, le=1000000000)] = 100
    """Samples (requests, labels) below which nothing is concluded. Default 100. Not for Staleness and Custom."""
    for_seconds: Annotated[int, Field(ge=0, le=86400)] = 0
    """Seconds for which the value must stay past the threshold. Default 0."""
    features: Annotated[list[Annotated[str, Field(min_length=1, max_length=128)]], Field(max_length=256)] = []
    """Features that count; absent: all."""
    metric: PerformanceMetric | None = None
    """accuracy, f1 (macro) or mae (mean absolute error)."""
    quantile: Quantile | None = None
    """For Latency, for example 0.99."""
    query: PromQL | None = None
    """PromQL that gives one number."""
    fires: Literal["Above", "Below"] | None = None
    """Side of the threshold on which a Custom signal fires."""
    uri: InputUri | None = None
    """For Staleness: an input of the training, pvc://CLAIM/PATH. The value is then the number of seconds for which its
    content has differed from what the served version was trained on, and 0 while it is the same."""


class Monitoring(Model):
    """What is watched."""

    signals: Annotated[list[Signal], Field(max_length=32, json_schema_extra=map_list("name"))] = []
    """Signals by name."""


class Budget(Model):
    """The most trainings in a span of time."""

    count: Annotated[int, Field(ge=1, le=20)] = 5
    """Trainings. Default 5."""
    window_seconds: Annotated[int, Field(ge=1, le=31536000)] = 86400
    """Within so many seconds. Default 86400, a day."""


class RetrainPipeline(Model):
    """A Pipeline that makes a challenger: a register step, or a train step with output.model, names the Endpoint's model."""

    name: ObjectName
    """Name of the Pipeline, in the same namespace; each training runs it as it is then."""
    parameters: Annotated[list[Given], Field(max_length=128, json_schema_extra=map_list("name"))] = []
    """Values of its parameters."""


class Retrain(Model):
    """When a training is set off, and which."""

    model_config = Model.model_config | {
        "json_schema_extra": rules(
            ("has(self.template) != has(self.pipeline)", "set exactly one of template and pipeline")
        )
    }

    signals: Annotated[list[Annotated[str, Field(max_length=40)]], Field(min_length=1, max_length=32)]
    """Names of the signals any of which sets it off."""
    template: TrainingJobSpec | None = None
    """The training. Either this or pipeline. Its output.model is the Endpoint's model; inputs are read as they are when it starts, and their
    digests go into the new version's lineage: a uri whose content grows is always trained on the newest."""
    pipeline: RetrainPipeline | None = None
    """The training as a Pipeline, run as a PipelineRun of the Endpoint."""
    cooldown_seconds: Annotated[int, Field(ge=0, le=31536000)] = 3600
    """Seconds after the end of one cycle before the next may begin. Default 3600."""
    budget: Budget = Budget()
    """The most trainings in a span of time."""
    max_failures: Annotated[int, Field(ge=1, le=20)] = 3
    """Cycles in a row without a promotion after which it stops until it is asked for by hand. Default 3."""
    frozen: bool = False
    """True: signals set off nothing. Default false."""
