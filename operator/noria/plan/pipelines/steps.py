"""What is wrong within one step, by its kind."""

from collections import Counter
from collections.abc import Iterator, Mapping

from noria.api.endpoint import Endpoint
from noria.api.ports import VALUE_TYPES
from noria.api.step import Step
from noria.api.trainingjob import TrainingJob
from noria.plan.pipelines import rules, when

ITEMS = "list of "
"""What a step with foreach gives of a port: all of its outputs in order."""
CODE_LIMIT = 65536
TAKEN = {"model": ("model",), "champion": ("model",), "test": ("dataset", "directory")}
"""Folders that evaluate takes, by type."""
Fault = tuple[str, str, str]
"""Path within the step, what is wrong, what to do."""


def variable(name: str) -> str:
    """Name of an input in a variable of the environment."""
    return name.upper().replace("-", "_")


def inside(step: Step, types: Mapping[str, str]) -> Iterator[Fault]:
    """The step's faults; `types` are those of its inputs, as far as known."""
    if step.when and all(each.name in types for each in step.inputs):
        items = {each.name for each in step.inputs if each.item}  # it is asked once, before the items
        seen = {name: type for name, type in types.items() if _is_value(type) and name not in items}
        values = {name: "json" if type.startswith(ITEMS) else type for name, type in seen.items()}
        if wrong := when.fault(step.when, values, step.on_exit):
            known = ", ".join(when.variable(name) for name in sorted(values)) or "no inputs"
            yield ".when", wrong, f"correct it; it sees {known}" + (" and run" if step.on_exit else "")
    twice = [name for name, count in Counter(variable(each.name) for each in step.inputs).items() if count > 1]
    for name in twice:
        yield ".inputs", f"two of them would be the variable {name}", "rename one"
    if step.run:
        yield from _run(step)
    if step.train:
        yield from _train(step, types)
    if step.evaluate:
        yield from _evaluate(step, types)
    if step.register_:
        yield from _register(step, types)
    if step.deploy:
        yield from _deploy(step, types)
    if step.approve:
        for name, type in types.items():
            if not _is_value(type):
                yield f".inputs[{name}]", f"it is of type {type}", "an approval takes values alone"


def _is_value(type: str) -> bool:
    return type.removeprefix(ITEMS) in VALUE_TYPES


def _run(step: Step) -> Iterator[Fault]:
    assert step.run is not None
    code = step.run.code or {}
    if sum(len(text.encode()) for text in code.values()) > CODE_LIMIT:
        yield ".run.code", f"together the files have more than {CODE_LIMIT} bytes", "build an image"
    for name in sorted(code):
        if (
            len(name) > 40
            or not name.replace(".", "").replace("_", "").replace("-", "").isalnum()
            or not name.isascii()
        ):
            yield f".run.code[{name}]", "it is no plain file name", "use up to 40 letters, digits, '-', '_' and '.'"


def _train(step: Step, types: Mapping[str, str]) -> Iterator[Fault]:
    spec = step.train
    assert spec is not None
    for path, message in rules.broken(rules.schema_of(TrainingJob), spec.manifest()):
        yield f".train{path}", message, "correct it"
    if step.retry:
        yield ".retry", "a train step retries as train.retry says", "set train.retry"
    if spec.suspend or spec.ttl_seconds_after_finished is not None:
        yield ".train", "suspend and ttlSecondsAfterFinished are the run's", "set them on the PipelineRun"
    taken = {each.name for each in spec.inputs}
    for name, type in types.items():
        if _is_value(type):
            continue
        if type.startswith(ITEMS):
            yield f".inputs[{name}]", "a training takes one folder an input", "gather them in a run step"
        elif name in taken:
            yield f".inputs[{name}]", "train.inputs has one of this name", "rename one"
        elif name != name.lower():
            yield f".inputs[{name}]", "the name of a training's input has lower-case letters", "rename it"


def _evaluate(step: Step, types: Mapping[str, str]) -> Iterator[Fault]:
    spec, bound = step.evaluate, {each.name: each for each in step.inputs}
    assert spec is not None
    for path, message in rules.broken(rules.schema_of(Endpoint)["properties"]["gate"], spec.manifest()):
        yield f".evaluate{path}", message, "correct it"
    if "model" not in bound:
        yield ".inputs", "evaluate takes the input model", "bind it to an output of type model"
    if spec.test is None and "test" not in bound:
        yield ".evaluate.test", "there are no held-out data", "set it, or bind the input test"
    if spec.test is not None and "test" in bound:
        yield ".evaluate.test", "the held-out data are the input test already", "take one of the two away"
    if spec.endpoint is not None and "champion" in bound:
        yield ".evaluate.endpoint", "the champion is the input champion already", "take one of the two away"
    if step.timeout_seconds:
        yield ".timeoutSeconds", "an evaluation ends as evaluate.deadlineSeconds says", "set that"
    for name, type in types.items():
        wanted = TAKEN.get(name)
        if wanted is None and not _is_value(type):
            yield f".inputs[{name}]", f"evaluate takes the folders {', '.join(TAKEN)}", "take it away"
        elif wanted and type not in wanted:
            yield f".inputs[{name}]", f"it is of type {type}", f"bind an output of type {' or '.join(wanted)}"
        elif name in ("model", "champion") and bound[name].from_ is None:
            yield f".inputs[{name}]", "what lies there has no digest", "bind what a step has made"


def _register(step: Step, types: Mapping[str, str]) -> Iterator[Fault]:
    model = next((each for each in step.inputs if each.name == "model"), None)
    if model is None:
        yield ".inputs", "register takes the input model", "bind it to an output of type model"
    elif "model" in types and types["model"] not in ("model", "directory"):
        yield ".inputs[model]", f"it is of type {types['model']}", "bind an output of type model"
    elif model.from_ is None:
        yield ".inputs[model]", "what lies there has no digest", "register what a step has made"


def _deploy(step: Step, types: Mapping[str, str]) -> Iterator[Fault]:
    if not any(each.name == "version" for each in step.inputs):
        yield ".inputs", "deploy takes the input version", "bind it to the output version of a register or train step"
    elif types.get("version", "string") != "string":
        text = f"it is of type {types['version']}"
        yield ".inputs[version]", text, "bind the name of a ModelVersion, for example the output of a register step"
