"""What makes the challenger of a cycle, a TrainingJob or a PipelineRun, and what came of it."""

from datetime import datetime
from typing import NamedTuple

from noria.api.cycle import Cycle
from noria.api.endpoint import Endpoint
from noria.api.meta import Condition
from noria.api.pipelinerun import PipelineRun
from noria.api.trainingjob import TrainingJob
from noria.plan.conditions import find, finished
from noria.plan.contract import Manifest
from noria.plan.manifests import child, digest, moment
from noria.plan.pipelines import admission
from noria.plan.wheel import wanted, wishes
from noria.plan.wheel.view import CYCLE, Refusal, View

RECORD_SECONDS = 60
"""A version that is not seen so long after its training ended was deleted; its record comes a moment after the end."""
HELD_UP = ("PipelineNotFound", "ComponentNotFound", "Approval", "Suspended", admission.QUEUED)
"""Reasons for which a run waits for somebody."""


def job_name(endpoint: Endpoint, cycle: int) -> str:
    """Name of the TrainingJob of a cycle."""
    return f"{endpoint.metadata.name}-retrain-{cycle}"


def run_name(endpoint: Endpoint, cycle: int) -> str:
    """Name of the PipelineRun of a cycle, at most 30 characters: the hash keeps Endpoints apart whose names begin alike."""
    return f"{endpoint.metadata.name[:16].rstrip('-')}-{digest(endpoint.metadata.uid)[7:12]}-{cycle}"


def made_for(endpoint: Endpoint, cycle: Cycle) -> Manifest | None:
    """The object that makes the challenger of a cycle, as the spec says now."""
    retrain, labels = endpoint.spec.retrain, {CYCLE: str(cycle.number)}
    if retrain is None:
        return None
    if retrain.pipeline:
        spec = {"pipeline": retrain.pipeline.name}
        given = {"parameters": [each.manifest() for each in retrain.pipeline.parameters]}
        body = {"spec": spec | (given if retrain.pipeline.parameters else {})}
        return child(endpoint, "PipelineRun", run_name(endpoint, cycle.number), body, labels=labels)
    assert retrain.template is not None  # the definition asks for one of the two
    output = retrain.template.output.model_copy(update={"model": endpoint.spec.model.name})
    body = {"spec": retrain.template.model_copy(update={"output": output}).manifest()}
    return child(endpoint, "TrainingJob", job_name(endpoint, cycle.number), body, labels=labels)


def live(view: View, cycle: Cycle) -> Manifest | None:
    """That object, if it exists. The spec may name the other kind by now."""
    name, number = view.endpoint, cycle.number
    return view.child("TrainingJob", job_name(name, number)) or view.child("PipelineRun", run_name(name, number))


def recorded(cycle: Cycle) -> str | None:
    """That object as the record names it, once it was seen."""
    if cycle.pipeline_run:
        return f"PipelineRun {cycle.pipeline_run}"
    return f"TrainingJob {cycle.training_job}" if cycle.training_job else None


def seen(cycle: Cycle, found: Manifest) -> Cycle:
    """The cycle with that object in its record."""
    field = "pipeline_run" if found["kind"] == "PipelineRun" else "training_job"
    return cycle.model_copy(update={field: found["metadata"]["name"]})


class Made(NamedTuple):
    """The version that was made."""

    version: str
    at: datetime


def outcome(view: View, found: Manifest) -> Made | Refusal | None:
    """The version that it made, why it made none, or None while it runs."""
    if found["kind"] == "PipelineRun":
        return _of_run(view, PipelineRun.model_validate(found), found)
    training = TrainingJob.model_validate(found)
    end = finished(training.status)
    if end is None:
        return None
    if end.status == "True" and training.status.model_version:
        return Made(training.status.model_version, moment(end.last_transition_time))
    return Refusal(end.reason, f"TrainingJob {training.metadata.name}: {end.message}")


def _of_run(view: View, run: PipelineRun, found: Manifest) -> Made | Refusal | None:
    """Once the run has ended, what it registered; or before, what its deploy step asks this Endpoint for: that step waits
    for the cycle, and the cycle does not wait for it."""
    name = run.metadata.name
    end = finished(run.status)
    handed = next(
        (
            each
            for each in wishes.of(view.endpoint, (found,))
            if wanted.may_follow(view.endpoint, view.versions, each.version)
        ),
        None,
    )
    if handed is None and end is None:
        return None
    if handed is None and end and end.status != "True":
        return Refusal(end.reason, f"PipelineRun {name}: {end.message}")
    version = handed.version if handed else _newest_made(view, run)
    if version is None:
        model = view.endpoint.spec.model.name
        remedy = (
            f"give Pipeline {run.spec.pipeline} a step register: {{model: {model}}}; what the cache gave does not count"
        )
        return Refusal("NoVersion", f"PipelineRun {name} made no version of model {model}; {remedy}")
    if view.served and version == view.served.metadata.name:
        text = f"PipelineRun {name} asks for {version}, which serves already; deploy what the run has made"
        return Refusal("NoVersion", text)
    return Made(version, moment(handed.began if handed else end.last_transition_time if end else view.now))


def _newest_made(view: View, run: PipelineRun) -> str | None:
    """Of the versions of the model that steps of the run made, the one with the highest number."""
    given = (
        str(output.value)
        for step in run.status.steps
        if step.state == "Succeeded" and step.deploy is None
        for output in step.outputs or ()
        if output.name == "version"
    )
    model = view.endpoint.spec.model.name
    made = (each for each in given if wishes.model_of(each) == model and each.rpartition("-")[2].isdecimal())
    return max(made, key=lambda each: int(each.rpartition("-")[2]), default=None)


def gone(view: View, made: Made) -> bool:
    """Whether the version was deleted before it was seen."""
    return (view.observed.now - made.at).total_seconds() >= RECORD_SECONDS


def queued(view: View, cycle: Cycle) -> str | None:
    """Name of the PipelineRun of a cycle, while it waits for its turn."""
    found = live(view, cycle)
    told = _told(found) if found else None
    return str(found["metadata"]["name"]) if found and told and told.reason == admission.QUEUED else None


def words(view: View, cycle: Cycle) -> str:
    """What makes the challenger, in a sentence, and what a run waits for that somebody must give it."""
    found = live(view, cycle) or made_for(view.endpoint, cycle)
    if found is None:
        return "a challenger is made"
    text = f"{found['kind']} {found['metadata']['name']} " + (
        "trains a challenger" if found["kind"] == "TrainingJob" else "makes a challenger"
    )
    why = _told(found)
    return f"{text}: {why.message}" if why and why.reason in HELD_UP else text


def _told(found: Manifest) -> Condition | None:
    """How a PipelineRun goes, in its own words."""
    told = [Condition.model_validate(each) for each in found.get("status", {}).get("conditions", [])]
    return find(told, "Succeeded") if found["kind"] == "PipelineRun" else None
