"""An `evaluate` step: the champion that its model is scored beside, the pod that scores both, and what comes of the scores."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from noria.api.endpoint import Served
from noria.api.modelversion import ModelVersion
from noria.api.pipelinerun import Output, PipelineRun
from noria.api.step import Evaluate, Step
from noria.plan import offline, scoring
from noria.plan.contract import Manifest, Ref, Selector, Settings
from noria.plan.manifests import child
from noria.plan.pipelines.containers import child_name, labels
from noria.plan.pipelines.inputs import Folder, Inputs, Unfit
from noria.plan.scoring import Asked, Candidate
from noria.plan.wheel.view import served_record

CHAMPION = "noria.dev/champion"
"""Annotation of the pod: what the champion is called."""
Related = Mapping[Ref | Selector, tuple[Manifest, ...]]


def endpoint(run: PipelineRun, step: Step) -> Ref | None:
    """The Endpoint whose served version is the champion."""
    name = step.evaluate and step.evaluate.endpoint
    return Ref("Endpoint", run.metadata.namespace, name) if name else None


def compared(run: PipelineRun, step: Step, inputs: Inputs, related: Related) -> Inputs:
    """The inputs with the champion among the folders, if there is one. Raises Unfit."""
    served = _served(run, endpoint(run, step), related)
    found = replace(inputs, folders=inputs.folders | {"champion": served}) if served else inputs
    for name in ("model", "champion"):
        each = found.folders.get(name)
        if each and (wrong := _candidate(each).fault(each.name or f"the {name}")):
            raise Unfit(wrong, "Unscorable")
    return found


def _served(run: PipelineRun, ref: Ref | None, related: Related) -> Folder | None:
    """What the Endpoint serves now; None if it serves nothing yet."""
    if ref is None:
        return None
    found = related.get(ref, ())
    if not found:
        text = f"there is no Endpoint {ref.name} in this namespace; create it, or correct evaluate.endpoint"
        raise Unfit(text, "EndpointNotFound")
    if not (told := found[0].get("status", {}).get("current")):
        return None
    current = Served.model_validate(told)
    live = related.get(Selector("ModelVersion", run.metadata.namespace), ())
    named = (ModelVersion.model_validate(each) for each in live if each["metadata"]["name"] == current.version)
    version = served_record(current, named)
    if version is None:
        text = f"Endpoint {ref.name} serves {current.version}, whose ModelVersion was deleted; nothing can be compared with it"
        raise Unfit(text, "ChampionDeleted")
    return Folder(version.spec.uri, version.spec.digest, version.spec.format, current.version)


def _candidate(folder: Folder) -> Candidate:
    return Candidate(folder.uri, folder.digest, folder.format)


def itself(inputs: Inputs) -> dict[str, Any] | None:
    """What the record says if the model is the champion, file for file: nothing is scored, for nothing would change."""
    model, champion = inputs.folders["model"], inputs.folders.get("champion")
    if champion is None or champion.digest is None or champion.digest != model.digest:
        return None
    return {"message": f"it is {champion.name or 'the champion'} itself", "outputs": _outputs(True, False, {}, {})}


def pod(run: PipelineRun, step: Step, attempt: int, inputs: Inputs, settings: Settings) -> Manifest:
    """The pod of one attempt."""
    rule, folders = step.evaluate, inputs.folders
    assert rule is not None
    test = rule.test or inputs.data.get("test") or folders["test"].uri
    champion = folders.get("champion")
    models = {"champion": _candidate(champion)} if champion else {}
    asked = Asked(rule, test, models | {"challenger": _candidate(folders["model"])})
    annotations, spec = scoring.container(asked, settings)
    annotations |= {CHAMPION: champion.name or "the input champion"} if champion else {}
    body = {"spec": spec | {"activeDeadlineSeconds": rule.deadline_seconds}}
    name, marks = child_name(run, step, None, attempt), labels(step, None, attempt)
    return child(run, "Pod", name, body, labels=marks, annotations=annotations)


def as_scored(inputs: Inputs, live: Manifest) -> Inputs:
    """The inputs with the champion that a pod was made with, whatever is served by now."""
    champion = _order(live)["models"].get("champion")
    folders = {"champion": Folder("", champion["digest"] or None)} if champion else {}
    return replace(inputs, folders=inputs.folders | folders)


def _order(live: Manifest) -> Any:
    return json.loads(live["metadata"]["annotations"][scoring.ORDER])


def outcome(step: Step, live: Manifest, message: str) -> dict[str, Any]:
    """What the record of a step says once its scorer has left a message."""
    rule, scored = step.evaluate, offline.read(message)
    assert rule is not None
    alone = "champion" not in _order(live)["models"]
    verdict = offline.judge(rule, scored, "evaluate", alone)
    passed = verdict.result == "Pass"
    champion = (live["metadata"].get("annotations") or {}).get(CHAMPION)
    text = f"beside {champion}: {verdict.message}" if champion else verdict.message
    numbers = {} if alone else _numbers(rule, scored, "champion")
    outputs = _outputs(passed, True, _numbers(rule, scored, "challenger"), numbers)
    by_uri = rule.test or any(each.uri for each in step.inputs)
    read = {"test": scored.test} if by_uri and scored.test else None
    state, cause = ("Succeeded", None) if passed else ("Failed", verdict.reason)
    return {"state": state, "cause": cause, "message": text, "outputs": outputs, "read": read}


def _outputs(passed: bool, changed: bool, metrics: dict[str, float], champion: dict[str, float]) -> list[Output]:
    given = {"passed": passed, "changed": changed, "metrics": metrics, "champion": champion}
    return [Output(name=name, value=value) for name, value in given.items()]


def _numbers(rule: Evaluate, scored: offline.Scored, role: str) -> dict[str, float]:
    found = scored.scores.get(role, {})
    return {each.name: found[each.name] for each in rule.metrics if each.name in found}
