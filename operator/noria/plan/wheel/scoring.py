"""The Job that scores champion and challenger on the same held-out data, for the offline gate."""

from datetime import datetime

from noria.api.endpoint import Endpoint
from noria.api.modelversion import ModelVersion
from noria.api.rollout import Gate
from noria.plan import causes
from noria.plan.contract import Manifest, Observed, Settings
from noria.plan.manifests import (
    CONTAINER_SECURITY,
    canonical,
    child,
    claim_of,
    digest,
    moment,
    owner_labels,
    resources,
)
from noria.plan.pods import CONFIG, HOME, RESTRICTED, TMP, mounted, told
from noria.plan.training import ROLE
from noria.plan.wheel.view import CYCLE, Refusal, Turn, View

SCORER, ROLE_SCORE = "scorer", "score"
SCORE_ANNOTATION = "noria.dev/score"


def job_name(endpoint: Endpoint, cycle: int) -> str:
    """Name of the scoring Job of a cycle."""
    return f"{endpoint.metadata.name}-score-{cycle}"


def unscorable(version: ModelVersion) -> str | None:
    """Why a version cannot be scored."""
    if not version.spec.uri.startswith("pvc://"):
        return f"{version.metadata.name} lies at {version.spec.uri}; only pvc:// can be scored"
    if version.spec.format == "custom":
        return f"{version.metadata.name} has format custom, which the scorer cannot load"
    return None


def jobs(
    endpoint: Endpoint, gate: Gate, champion: ModelVersion, challenger: ModelVersion, cycle: int, settings: Settings
) -> list[Manifest]:
    """The Job of a cycle; none for versions that cannot be scored."""
    if unscorable(champion) or unscorable(challenger):
        return []
    return [_job(endpoint, gate, champion, challenger, cycle, settings)]


def _job(
    endpoint: Endpoint, gate: Gate, champion: ModelVersion, challenger: ModelVersion, cycle: int, settings: Settings
) -> Manifest:
    """The Job: one pod, no retries of its own beyond a lost pod; both models and the data are mounted read only."""
    models = {"champion": champion, "challenger": challenger}
    folders = {f"/noria/{name}": version.spec.uri for name, version in models.items()} | {"/noria/test": gate.test}
    claims = {_volume(claim_of(uri)[0]): claim_of(uri)[0] for uri in folders.values()}
    order = {
        "test": "/noria/test",
        "target": gate.target,
        "metrics": [each.name for each in gate.metrics],
        "slices": gate.slices.columns if gate.slices else [],
        "maxSamples": 100_000,
        "models": {
            name: {"folder": f"/noria/{name}", "digest": version.spec.digest or "", "format": version.spec.format}
            for name, version in models.items()
        },
    }
    labels = {ROLE: ROLE_SCORE, CYCLE: str(cycle)}
    container = {
        "name": SCORER,
        "image": settings.server_image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-m", "server.score"],
        "env": [{"name": name, "value": value} for name, value in sorted(HOME.items())],
        "resources": resources(gate.resources),
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            CONFIG,
            TMP[0],
            *(mounted(uri, path, _volume(claim_of(uri)[0])) for path, uri in folders.items()),
        ],
    }
    pod = {
        **RESTRICTED,
        "containers": [container],
        "volumes": [
            told({"score.json": SCORE_ANNOTATION}),
            TMP[1],
            *({"name": name, "persistentVolumeClaim": {"claimName": claim}} for name, claim in sorted(claims.items())),
        ],
    }
    metadata = {"labels": owner_labels(endpoint) | labels, "annotations": {SCORE_ANNOTATION: canonical(order)}}
    body = {
        "spec": {
            "backoffLimit": 3,
            "activeDeadlineSeconds": gate.deadline_seconds,
            "template": {"metadata": metadata, "spec": pod},
        }
    }
    return child(endpoint, "Job", job_name(endpoint, cycle), body, labels=labels)


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
    wanted = {ROLE: ROLE_SCORE, CYCLE: str(cycle)}.items()
    pods = [
        each for each in observed.children if each["kind"] == "Pod" and wanted <= each["metadata"]["labels"].items()
    ]
    held = {each["type"]: each for each in live.get("status", {}).get("conditions", []) if each["status"] == "True"}
    if (completed := _completed(live)) is not None:
        ended = [causes.terminated(pod, SCORER) for pod in pods if pod.get("status", {}).get("phase") == "Succeeded"]
        if message := next((each["message"] for each in ended if each and each.get("message")), None):
            return str(message)
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


def waits(observed: Observed, cycle: int) -> str:
    """What the scoring waits for, in words."""
    wanted = {ROLE: ROLE_SCORE, CYCLE: str(cycle)}.items()
    pods = [
        each for each in observed.children if each["kind"] == "Pod" and wanted <= each["metadata"]["labels"].items()
    ]
    cause = causes.waiting(pods)
    return f": {cause.message}" if cause else ""


def _volume(claim: str) -> str:
    return f"claim-{digest(claim)[7:15]}"
