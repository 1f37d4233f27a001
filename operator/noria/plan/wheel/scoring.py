"""The scoring of a cycle: the Job that scores champion and challenger for the offline gate, and what it said."""

from datetime import datetime

from noria.api.endpoint import Endpoint
from noria.api.modelversion import ModelVersion
from noria.api.rollout import Gate
from noria.plan import causes, scoring
from noria.plan.attempts import refusals
from noria.plan.contract import Manifest, Observed, Settings
from noria.plan.manifests import moment
from noria.plan.pods import by_job
from noria.plan.scoring import SCORER, Asked, Candidate
from noria.plan.training import ROLE
from noria.plan.wheel.view import CYCLE, Refusal, Turn, View

ROLE_SCORE = "score"
RETRIES = 3
"""A cycle has one Job: pods that were lost are its own to replace."""


def job_name(endpoint: Endpoint, cycle: int) -> str:
    """Name of the scoring Job of a cycle."""
    return f"{endpoint.metadata.name}-score-{cycle}"


def candidate(version: ModelVersion) -> Candidate:
    """A version as the scorer takes it."""
    return Candidate(version.spec.uri, version.spec.digest, version.spec.format)


def unscorable(version: ModelVersion) -> str | None:
    """Why a version cannot be scored."""
    return candidate(version).fault(version.metadata.name)


def jobs(
    endpoint: Endpoint, gate: Gate, champion: ModelVersion, challenger: ModelVersion, cycle: int, settings: Settings
) -> list[Manifest]:
    """The Job of a cycle; none for versions that cannot be scored."""
    if unscorable(champion) or unscorable(challenger):
        return []
    models = {"champion": candidate(champion), "challenger": candidate(challenger)}
    labels = {ROLE: ROLE_SCORE, CYCLE: str(cycle)}
    asked = Asked(gate, gate.test, models, RETRIES)
    return [scoring.job(endpoint, job_name(endpoint, cycle), labels, asked, settings)]


LOST_SECONDS = 60
"""A Job that completed so long ago and whose pod is not known has lost its message."""


def answer(observed: Observed, endpoint: Endpoint, cycle: int) -> str | Refusal | None:
    """The scorer's message, why there is none, or None while it works."""
    name = job_name(endpoint, cycle)
    live = next(
        (each for each in observed.children if each["kind"] == "Job" and each["metadata"]["name"] == name), None
    )
    if live is None:
        return None
    pods = by_job(observed.children).get(name, [])
    held = {each["type"]: each for each in live.get("status", {}).get("conditions", []) if each["status"] == "True"}
    if (completed := _completed(live)) is not None:
        if message := causes.said(pods, SCORER):
            return message
        if (observed.now - completed).total_seconds() < LOST_SECONDS:
            return None
        return Refusal("ScoreLost", f"Job {name} completed, but its pod and its message are gone")
    if "Failed" in held:
        cause = causes.failure(pods, SCORER)
        text = cause.message if cause else held["Failed"].get("message", "its pods are gone")
        return Refusal(cause.reason if cause else held["Failed"].get("reason", "JobFailed"), f"Job {name}: {text}")
    return None


def requeue(view: View, turn: Turn) -> list[float]:
    """Seconds until the message of a Job that completed counts as lost."""
    cycle = turn.cycle
    job = view.child("Job", job_name(view.endpoint, cycle.number)) if cycle and cycle.stage == "Scoring" else None
    completed = _completed(job) if job else None
    return [] if completed is None else [max(0.0, LOST_SECONDS - (view.observed.now - completed).total_seconds())]


def _completed(job: Manifest) -> datetime | None:
    status = job.get("status", {})
    held = {each["type"]: each for each in status.get("conditions", []) if each["status"] == "True"}
    if "Complete" not in held:
        return None
    return moment(status.get("completionTime") or held["Complete"]["lastTransitionTime"])


def outdated(live: Manifest, wished: Manifest) -> bool:
    """Whether a Job was told something else than the gate asks by now, so that its answer would be to another question."""
    asked, asks = (each["metadata"].get("annotations", {}).get(scoring.MARK) for each in (live, wished))
    return asked not in (None, asks)


def waits(observed: Observed, endpoint: Endpoint, cycle: int) -> str:
    """What the scoring waits for, in words."""
    name = job_name(endpoint, cycle)
    pods = by_job(observed.children).get(name, [])
    cause = causes.waiting(pods, () if pods else refusals(observed, name))
    return f": {cause.message}" if cause else ""
