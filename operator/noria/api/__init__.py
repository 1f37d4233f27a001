"""What users write: the resources of noria.dev/v1alpha1 as pydantic models, from which crds/ is rendered."""

from noria.api.endpoint import Endpoint
from noria.api.meta import Resource
from noria.api.modelversion import ModelVersion
from noria.api.pipeline import Component, Pipeline
from noria.api.pipelinerun import PipelineRun
from noria.api.trainingjob import TrainingJob
from noria.api.workspace import Workspace

RESOURCES: tuple[type[Resource], ...] = (
    Workspace,
    TrainingJob,
    ModelVersion,
    Endpoint,
    Component,
    Pipeline,
    PipelineRun,
)

__all__ = [
    "RESOURCES",
    "Component",
    "Endpoint",
    "ModelVersion",
    "Pipeline",
    "PipelineRun",
    "TrainingJob",
    "Workspace",
]
