"""What the decisions about one Endpoint look at together, and what an Endpoint remembers of its versions."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from noria.api.cycle import Cycle, SignalStatus
from noria.api.endpoint import Endpoint, Served
from noria.api.modelversion import ModelVersion
from noria.plan.contract import Manifest, Observed
from noria.plan.manifests import moment, rfc3339
from noria.plan.wheel import serving
from noria.plan.wheel.wishes import Wish

APPROVE, RETRAIN, ROLLBACK_TO, RETRY, BY = (
    f"noria.dev/{name}" for name in ("approve", "retrain", "rollback-to", "retry", "by")
)
"""Annotations by which people act; the chart's policy asks for the right to, and for their own name in `by`."""

LONGEST_WISH = 256

CYCLE = "noria.dev/cycle"
"""Label of a Job, TrainingJob or PipelineRun: the cycle that it works for."""

SUPERSEDED, WITHDRAWN = "Superseded", "Withdrawn"
"""Reasons for which a cycle ends without a word against its version: something else is wanted, or it is not any more."""


class Refusal(NamedTuple):
    """Why something is not as it is wanted."""

    reason: str
    message: str


class Turn(NamedTuple):
    """Where the versions of an Endpoint stand. A plan makes one step from one Turn to the next, and only what is
    recorded has effects: a process that dies in between goes on from the record."""

    current: Served | None
    next: Served | None
    retiring: tuple[Served, ...]
    cycle: Cycle | None
    cycles: int
    history: tuple[Cycle, ...]
    rejected: tuple[str, ...]

    @classmethod
    def recorded(cls, endpoint: Endpoint) -> "Turn":
        """As the status holds it."""
        status = endpoint.status
        return cls(
            status.current,
            status.next,
            tuple(status.retiring),
            status.cycle,
            status.cycles,
            tuple(status.history),
            tuple(status.rejected),
        )


def turned_down(rejected: Collection[str], service: str, version: ModelVersion) -> bool:
    """Whether a version did not earn the traffic as it would be served by `service`, or was gone back behind."""
    return service in rejected or version.metadata.uid in rejected


def has_served(turn: Turn, version: ModelVersion) -> bool:
    """Whether it had all the traffic, as far as is remembered; not if its record is younger than that: then the number was
    registered again."""
    created, name = version.metadata.creation_timestamp, version.metadata.name
    promoted = (each.end_time for each in turn.history if each.outcome == "Promoted" and each.challenger == name)
    champions = (each.start_time for each in turn.history if each.champion == name)
    return any(each and (created is None or created <= moment(each)) for each in (*promoted, *champions))


def served_record(current: Served | None, versions: Iterable[ModelVersion]) -> ModelVersion | None:
    """The record of what serves; None once that is deleted, also if another has its number by now."""
    named = next((each for each in versions if current and each.metadata.name == current.version), None)
    if named is None or current is None or current.uri is None:  # an older Noria's status tells no uri
        return named
    return named if (current.uri, current.digest) == (named.spec.uri, named.spec.digest) else None


@dataclass(frozen=True)
class View:
    """One Endpoint with what was observed of it."""

    endpoint: Endpoint
    observed: Observed
    versions: tuple[ModelVersion, ...]
    """Versions of the Endpoint's model."""
    wanted: ModelVersion | Refusal
    """The version that the spec asks for."""
    signals: list[SignalStatus]
    measured: frozenset[str]
    """Names of the signals that were measured anew; the others are as they were recorded."""
    wish: Wish | None = None
    """The deploy step whose version is wanted."""
    runs: tuple[Manifest, ...] = ()
    """PipelineRuns of the namespace, where model.track is Deployed."""

    @property
    def now(self) -> str:
        """The moment, as it is recorded."""
        return rfc3339(self.observed.now)

    def action(self, annotation: str) -> str | None:
        """What somebody asks for by hand; no more of it than a record should hold."""
        return self.endpoint.metadata.annotations.get(annotation, "")[:LONGEST_WISH] or None

    def version(self, name: str | None) -> ModelVersion | None:
        """The version of that name."""
        return next((each for each in self.versions if each.metadata.name == name), None)

    @property
    def served(self) -> ModelVersion | None:
        """The record of what serves."""
        return served_record(self.endpoint.status.current, self.versions)

    def child(self, kind: str, name: str) -> Manifest | None:
        """A live child."""
        return next(
            (each for each in self.observed.children if each["kind"] == kind and each["metadata"]["name"] == name), None
        )

    def service(self, served: Served | None) -> Manifest | None:
        """The live InferenceService of a version."""
        return self.child("InferenceService", served.inference_service) if served else None

    def service_name(self, version: ModelVersion) -> str:
        """Name of the InferenceService of a version."""
        return serving.service_name(self.endpoint, version)

    @property
    def route(self) -> Manifest | None:
        """The live HTTPRoute."""
        return self.child("HTTPRoute", self.endpoint.metadata.name)
