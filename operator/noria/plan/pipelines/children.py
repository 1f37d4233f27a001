"""What steps make beside Jobs: the TrainingJob of a train step, the ModelVersion of a register step."""

from typing import Any

from noria.api.meta import API_VERSION
from noria.api.pipelinerun import PipelineRun, StepStatus
from noria.api.pod import EnvVar
from noria.api.step import Step
from noria.api.trainingjob import Input
from noria.plan.contract import Manifest, Settings
from noria.plan.manifests import MANAGED_BY, child, digest
from noria.plan.modelversion import MODEL
from noria.plan.pipelines import cache, ports
from noria.plan.pipelines.containers import child_name, labels
from noria.plan.pipelines.inputs import Folder, Inputs
from noria.plan.pipelines.steps import variable
from noria.plan.training import code_digest

RUN_UID, RUN_STEP = "noria.dev/pipeline-run-uid", "noria.dev/step"
TEXT_LIMIT = 1024
"""Characters of one parameter that a version's record keeps."""


def trainingjob(run: PipelineRun, step: Step, item: int | None, inputs: Inputs) -> Manifest:
    """The TrainingJob: folders become its inputs; values the recipe's parameters, or variables INPUT_NAME of an image."""
    spec = step.train
    assert spec is not None
    uris = {name: each.uri for name, each in inputs.folders.items()} | inputs.data
    update: dict[str, Any] = {"inputs": [*spec.inputs, *(Input(name=name, uri=uri) for name, uri in uris.items())]}
    texts = {name: ports.text(value) for name, (_, value) in inputs.values.items()}
    if spec.recipe:
        update["recipe"] = spec.recipe.model_copy(update={"parameters": spec.recipe.parameters | texts})
    else:
        texts = {name: text.replace("$", "$$") for name, text in texts.items()}  # a doubled $ is not expanded
        given = [EnvVar(name=f"INPUT_{variable(name)}", value=value) for name, value in texts.items()]
        named = {each.name for each in given}
        update["env"] = [*(each for each in spec.env if each.name not in named), *given]
    if step.timeout_seconds:
        update["active_deadline_seconds"] = step.timeout_seconds
    body = {"spec": spec.model_copy(update=update).manifest()}
    return child(run, "TrainingJob", child_name(run, step, item), body, labels=labels(step, item, 1))


def registered(versions: tuple[Manifest, ...], run: PipelineRun, step: Step) -> Manifest | None:
    """The version that the step has made already."""
    wanted = {RUN_UID: run.metadata.uid, RUN_STEP: step.name}.items()
    return next((each for each in versions if wanted <= (each["metadata"].get("labels") or {}).items()), None)


def modelversion(
    run: PipelineRun,
    step: Step,
    model: Folder,
    maker: Step,
    taken: Inputs,
    made: StepStatus,
    number: int,
    settings: Settings,
) -> Manifest:
    """The record of a model that step `maker` gave, and of what that had `taken`. It has no owner: a model outlives the run
    that made it."""
    assert step.register_ is not None
    name, body = step.register_.model, maker.run or maker.train
    assert body is not None
    image = maker.run.image if maker.run else (maker.train and maker.train.image) or settings.trainer_image
    lineage = {
        "pipelineRun": run.metadata.name,
        "step": made.name,
        "uid": run.metadata.uid,
        "attempt": made.attempt or 1,
        "image": image,
        "imageDigest": made.image,
        "codeDigest": code_digest(body),
        "inputs": _read(maker, taken, made),
        "trainingJob": made.job if maker.train else None,
    }
    metrics = next((each.value for each in made.outputs or () if each.name == "metrics"), None)
    spec = {
        "model": name,
        "version": number,
        "uri": model.uri,
        "digest": model.digest,
        "format": model.format or "custom",
        "metrics": _numbers(metrics),
        "parameters": parameters(maker, taken),
        "lineage": {key: value for key, value in lineage.items() if value is not None},
    }
    marks = {MANAGED_BY: "noria", MODEL: name, RUN_UID: run.metadata.uid, RUN_STEP: step.name}
    return {
        "apiVersion": API_VERSION,
        "kind": "ModelVersion",
        "metadata": {"name": f"{name}-{number}", "namespace": run.metadata.namespace, "labels": marks},
        "spec": {key: value for key, value in spec.items() if value is not None},
    }


def parameters(step: Step, taken: Inputs) -> dict[str, str]:
    """What a step was told, as text: its values, over those of its recipe. What is too long is known by its digest."""
    recipe = step.train.recipe.parameters if step.train and step.train.recipe else {}
    texts = {name: ports.text(value) for name, (_, value) in taken.values.items()}
    return recipe | {name: text if len(text) <= TEXT_LIMIT else digest(text) for name, text in texts.items()}


def _read(step: Step, taken: Inputs, made: StepStatus) -> list[Manifest]:
    """The first 64 folders that a step took, each with its digest as far as one was made."""
    folders = {name: (each.uri, each.digest) for name, each in taken.folders.items()}
    outside = {name: (uri, (made.read or {}).get(name)) for name, uri in cache.outside(step).items()}
    read = [
        {"name": name, "uri": uri} | ({"digest": known} if known else {})
        for name, (uri, known) in (folders | outside).items()
    ]
    return read[:64]


def _numbers(value: Any) -> dict[str, float]:
    """The first 64 numbers of a flat object."""
    if not isinstance(value, dict):
        return {}
    found = {str(name): float(each) for name, each in value.items() if ports.type_of(each) in ("integer", "number")}
    return dict(sorted(found.items())[:64])
