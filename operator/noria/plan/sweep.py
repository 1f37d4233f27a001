"""The Job of one sweep: its order, its pod, and the report that it leaves."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field, ValidationError

from noria.api.meta import Model
from noria.api.workspace import Workspace
from noria.plan import causes
from noria.plan.contract import Manifest, Settings
from noria.plan.manifests import ARTIFACT_CLAIM, CONTAINER_SECURITY, POD_SECURITY, SERVICE_ACCOUNT, child, owner_labels
from noria.plan.training import AGENT, AGENT_RESOURCES, JOBS, ROLE

ROLE_SWEEP = "sweep"
NUMBER = ORDER = "noria.dev/sweep"
"""Label with the sweep's number; annotation of the pod with its order, which says what is kept (docs/pod-contract.md)."""
DEADLINE_SECONDS = 600


class Report(Model):
    """The agent's termination message."""

    removed: Annotated[int, Field(ge=0)]
    bytes: Annotated[int, Field(ge=0)]
    kept: Annotated[int, Field(ge=0)]
    failed: list[str] = []


def report(pods: Iterable[Manifest]) -> Report | str:
    """What the agent told; or why that is not known."""
    said = next(
        (ended["message"] for pod in pods if (ended := causes.terminated(pod, AGENT)) and "message" in ended), ""
    )
    if not said:
        return "swept; its report went with its pod"
    try:
        return Report.model_validate_json(said)
    except ValidationError as error:
        return f"swept; its report cannot be read: {error.errors()[0]['msg']}"


def number_of(live: Manifest) -> int:
    """Which sweep a Job or pod belongs to; 0 for what is none."""
    label = live["metadata"]["labels"].get(NUMBER, "")
    return int(label) if label.isdecimal() else 0


def job(workspace: Workspace, number: int, order: str, settings: Settings) -> Manifest:
    """The Job of one sweep; one that fails is not repeated before the next interval."""
    labels = {ROLE: ROLE_SWEEP, NUMBER: str(number)}
    told = {"path": "sweep.json", "fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{ORDER}']"}}
    container = {
        "name": AGENT,
        "image": settings.agent_image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["sweep"],
        "env": [{"name": "NORIA_SWEEP_FILE", "value": "/noria/config/sweep.json"}],
        "resources": AGENT_RESOURCES,
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "config", "mountPath": "/noria/config", "readOnly": True},
            {"name": "artifacts", "mountPath": "/noria/jobs", "subPath": JOBS},
        ],
    }
    pod = {
        "restartPolicy": "Never",
        "serviceAccountName": SERVICE_ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY,
        "terminationGracePeriodSeconds": 30,
        "containers": [container],
        "volumes": [
            {"name": "config", "downwardAPI": {"items": [told]}},
            {"name": "artifacts", "persistentVolumeClaim": {"claimName": ARTIFACT_CLAIM}},
        ],
    }
    template = {"metadata": {"labels": owner_labels(workspace) | labels, "annotations": {ORDER: order}}, "spec": pod}
    body = {
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": 0,
            "activeDeadlineSeconds": DEADLINE_SECONDS,
            "template": template,
        }
    }
    return child(workspace, "Job", f"noria-sweep-{number}", body, namespace=workspace.namespace, labels=labels)
