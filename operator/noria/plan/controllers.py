"""All controllers; adding a kind ends with a line here."""

from typing import Any

from noria.plan import endpoint, pipeline, pipelinerun, trainingjob, workspace
from noria.plan.contract import Controller

CONTROLLERS: tuple[Controller[Any], ...] = (
    workspace.CONTROLLER,
    trainingjob.CONTROLLER,
    endpoint.CONTROLLER,
    pipeline.CONTROLLER,
    pipelinerun.CONTROLLER,
)
