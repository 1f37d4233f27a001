"""What deploy steps of PipelineRuns ask an Endpoint for: the run's own record is the wish, and nobody writes it to the Endpoint."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from noria.api.cycle import Cycle
from noria.api.endpoint import Endpoint
from noria.plan.contract import Manifest, Selector


class Wish(NamedTuple):
    """A deploy step that is Running. Of two the greater is the newer one; the names only make the order total."""

    began: str
    run: str
    step: str
    version: str
    """Name of the ModelVersion."""

    def __str__(self) -> str:
        return f"step {self.step} of PipelineRun {self.run} asks for {self.version}"


def runs(endpoint: Endpoint) -> Selector:
    """Where wishes stand."""
    return Selector("PipelineRun", endpoint.metadata.namespace)


def model_of(version: str) -> str:
    """Name of the model of a version: it is named <model>-<number>."""
    return version.rpartition("-")[0]


def of(endpoint: Endpoint, found: Iterable[Manifest]) -> list[Wish]:
    """The wishes to an Endpoint for versions of its model, the newest first; a run that is being deleted has none, for its
    record changes no more."""
    asked = (
        Wish(step["startTime"], run["metadata"]["name"], step["name"], step["deploy"]["version"])
        for run in found
        if "completionTime" not in run.get("status", {}) and "deletionTimestamp" not in run["metadata"]
        for step in _asking(run, endpoint)
        if step["state"] == "Running"
    )
    return sorted((each for each in asked if model_of(each.version) == endpoint.spec.model.name), reverse=True)


def withdrawn(endpoint: Endpoint, cycle: Cycle, found: Iterable[Manifest]) -> bool:
    """Whether the step that asked for the cycle's version has ended without it. Of a run that is gone nothing is concluded."""
    run, step = cycle.trigger.run or cycle.pipeline_run, cycle.trigger.step
    return any(
        each["state"] == "Failed" and each["deploy"]["version"] == cycle.challenger and step in (None, each["name"])
        for one in found
        if one["metadata"]["name"] == run
        for each in _asking(one, endpoint)
    )


def _asking(run: Manifest, endpoint: Endpoint) -> Iterator[Manifest]:
    for step in run.get("status", {}).get("steps", []):
        if step.get("deploy", {}).get("endpoint") == endpoint.metadata.name:
            yield step
