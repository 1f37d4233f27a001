"""The Job of one sweep: its order, its pod, and the report that it leaves."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field, ValidationError

from noria.api.meta import Model
from noria.api.workspace import Workspace
from noria.plan import oneshot
from noria.plan.contract import Manifest, Settings
from noria.plan.manifests import ARTIFACT_CLAIM
from noria.plan.pipelines.containers import RUNS
from noria.plan.training import JOBS

KIND = "sweep"


class Report(Model):
    """The agent's termination message."""

    removed: Annotated[int, Field(ge=0)]
    bytes: Annotated[int, Field(ge=0)]
    kept: Annotated[int, Field(ge=0)]
    failed: list[str] = []


def report(pods: Iterable[Manifest]) -> Report | str:
    """What the agent told; or why that is not known."""
    said = oneshot.said(pods)
    if said is None:
        return "swept; its report went with its pod"
    try:
        return Report.model_validate_json(said)
    except ValidationError as error:
        return f"swept; its report cannot be read: {error.errors()[0]['msg']}"


def number_of(live: Manifest) -> int:
    """Which sweep a Job or pod belongs to; 0 for what is none."""
    return oneshot.number_of(live, KIND)


def job(workspace: Workspace, number: int, order: str, settings: Settings) -> Manifest:
    """The Job of one sweep, told what is kept; one that fails is not repeated before the next interval."""
    jobs, runs = (
        {"name": "artifacts", "mountPath": f"/noria/artifacts/{each}", "subPath": each} for each in (JOBS, RUNS)
    )
    errand = oneshot.Errand(KIND, "sweep", number, order, {"claimName": ARTIFACT_CLAIM}, jobs, others=(runs,))
    return oneshot.job(workspace, f"noria-sweep-{number}", errand, settings, namespace=workspace.namespace)
