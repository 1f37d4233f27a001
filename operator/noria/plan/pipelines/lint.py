"""What is wrong with a pipeline, with the path of each fault and the remedy: before any pod starts, or by `noria lint`."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from itertools import islice
from typing import Any, NamedTuple

from noria.api.pipeline import Component, KeptPipelineSpec, PipelineSpec
from noria.api.ports import VALUE_TYPES, Binding, Given
from noria.api.step import Step
from noria.plan.pipelines import calendar, graph, ports
from noria.plan.pipelines.frozen import outputs, resolved
from noria.plan.pipelines.steps import ITEMS, inside

MOST = 100
"""Faults that are told: to look for near names takes milliseconds each, and a pipeline may name 250,000 steps in vain."""


class Problem(NamedTuple):
    """One fault."""

    path: str
    """Field, as `steps[train].inputs[data].from`."""
    message: str
    """What is wrong."""
    remedy: str
    """What to do."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}; {self.remedy}"


def problems(spec: PipelineSpec, components: Mapping[str, Component]) -> list[Problem]:
    """The faults of a pipeline, MOST at most; what follows from another fault alone is not told."""
    return list(islice(_problems(spec, components), MOST))


def _problems(spec: PipelineSpec, components: Mapping[str, Component]) -> Iterator[Problem]:
    yield from _names(spec)
    yield from _parameters(spec)
    steps: dict[str, Step] = {}
    for each in spec.steps:
        if each.component and each.component not in components:
            remedy = f"create it, or name one of: {_listed(components)}"
            yield Problem(f"steps[{each.name}].component", f"there is no Component {each.component}", remedy)
            continue
        if each.component:
            yield from _interface(each, components[each.component])
            each = resolved(each, components[each.component])
        steps[each.name] = each
    unread = {each.name for each in spec.steps} - steps.keys()
    if chain := graph.cycle(spec.steps):
        text = " -> ".join(chain)
        yield Problem(f"steps[{chain[-1]}]", f"it needs itself: {text}", "take one of these bindings or after away")
        return
    typed = _Types(spec, steps, unread)
    for each in steps.values():
        yield from _order(each, steps, unread)
        yield from typed.read(each)
        yield from (Problem(f"steps[{each.name}]{path}", *rest) for path, *rest in inside(each, typed.inputs(each)))
    yield from typed.wholes()


def given(spec: PipelineSpec, values: Iterable[Given]) -> list[Problem]:
    """What is wrong with the parameters that a run gives."""
    known, values = {each.name: each for each in spec.parameters}, list(values)
    found = []
    for each in values:
        path = f"parameters[{each.name}]"
        if each.name not in known:
            found.append(_unknown(path, "parameter of the pipeline", each.name, known))
        elif wrong := ports.fault(each.value, known[each.name].type):
            found.append(Problem(path, wrong, "correct the value"))
    missing = known.keys() - {each.name for each in values}
    required = [name for name in known if name in missing and known[name].default is None]
    return found + [
        Problem(f"parameters[{name}]", "it has no default and is not given", "give it") for name in required
    ]


def scheduled(spec: KeptPipelineSpec) -> list[Problem]:
    """What is wrong with the schedule of a Pipeline."""
    if spec.schedule is None:
        return []
    wrong = calendar.fault(spec.schedule)
    found = [Problem(*wrong)] if wrong else []
    return [each._replace(path=f"schedule.{each.path}") for each in (*found, *given(spec, spec.schedule.parameters))]


def _names(spec: PipelineSpec) -> Iterator[Problem]:
    """Names that stand twice in a list; an API server refuses them, a file may hold them."""
    lists: dict[str, list[str]] = {
        "parameters": [each.name for each in spec.parameters],
        "steps": [each.name for each in spec.steps],
        "outputs": [each.name for each in spec.outputs],
    }
    for step in spec.steps:
        lists[f"steps[{step.name}].inputs"] = [each.name for each in step.inputs]
        lists[f"steps[{step.name}].outputs"] = [each.name for each in step.outputs]
    for path, names in lists.items():
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield Problem(f"{path}[{name}]", "the name stands twice", "choose another name for one of them")
    if all(each.on_exit for each in spec.steps):
        yield Problem("steps", "all of them have onExit", "add what is to run before the exit")


def _parameters(spec: PipelineSpec) -> Iterator[Problem]:
    for each in spec.parameters:
        if each.default is not None and (wrong := ports.fault(each.default, each.type)):
            yield Problem(f"parameters[{each.name}].default", wrong, "correct the default or the type")


def _interface(step: Step, component: Component) -> Iterator[Problem]:
    """What a component takes and is not given, or is given and does not take."""
    bound, taken = {each.name for each in step.inputs}, {each.name: each for each in component.spec.inputs}
    path, name = f"steps[{step.name}].inputs", component.metadata.name
    for unknown in sorted(bound - taken.keys()):
        yield _unknown(f"{path}[{unknown}]", f"input of Component {name}", unknown, taken)
    for port in component.spec.inputs:
        if port.name not in bound and port.default is None:
            yield Problem(f"{path}[{port.name}]", f"Component {name} needs it ({port.type})", "bind it")
    for each in step.inputs:
        if each.type and each.name in taken and each.type != taken[each.name].type:
            text = f"it is of type {taken[each.name].type} in Component {name}, not {each.type}"
            yield Problem(f"{path}[{each.name}].type", text, "leave type out")


def _order(step: Step, steps: Mapping[str, Step], unread: set[str]) -> Iterator[Problem]:
    for name in step.after:
        path = f"steps[{step.name}].after[{name}]"
        if name not in steps.keys() | unread:
            yield _unknown(path, "step", name, steps)
    for name in sorted(graph.feeds(step) | set(step.after)):
        if name in steps and steps[name].on_exit and not step.on_exit:
            text = f"{name} has onExit and runs when all others have ended"
            yield Problem(f"steps[{step.name}]", text, "give this step onExit too, or take it from the other")


class _Types:
    """Types of what flows, found step by step in their order."""

    def __init__(self, spec: PipelineSpec, steps: Mapping[str, Step], unread: set[str]) -> None:
        self.spec, self.steps, self.unread = spec, steps, unread
        self.parameters = {each.name: each.type for each in spec.parameters}

    def inputs(self, step: Step) -> dict[str, str]:
        """Types of a step's inputs as far as they are known; where a type is declared, that."""
        typed: dict[str, str] = {}
        for each in step.inputs:
            given, _ = self._source(step, each)
            several = given is not None and given.startswith(ITEMS)
            if found := given if several else each.type or given:
                typed[each.name] = found
        return typed

    def read(self, step: Step) -> Iterator[Problem]:
        """Faults of what a step takes."""
        for each in step.inputs:
            path = f"steps[{step.name}].inputs[{each.name}]"
            sources = (each.from_, each.parameter, each.value, each.uri, each.item or None)
            if sum(source is not None for source in sources) != 1:
                yield Problem(
                    path, "it has no source, or several", "set exactly one of from, parameter, value, uri and item"
                )
                continue
            given, problem = self._source(step, each)
            if problem:
                yield problem
            elif given and each.type and not _accepts(given, each.type):
                yield Problem(
                    path,
                    f"it is to be of type {each.type}, and {_words(each)} is of type {given}",
                    "bind another, or correct the type",
                )
            elif each.value is not None and (wrong := ports.fault(each.value, each.type or ports.type_of(each.value))):
                yield Problem(f"{path}.value", wrong, "correct it")
            elif each.uri and ".." in each.uri.split("/"):
                yield Problem(f"{path}.uri", "it must not contain '..'", "name the folder itself")
        if step.foreach:
            yield from self._items(step)

    def wholes(self) -> Iterator[Problem]:
        """Faults of the pipeline's own outputs."""
        for each in self.spec.outputs:
            _, problem = self._output(f"outputs[{each.name}].from", each.from_)
            if problem:
                yield problem

    def _items(self, step: Step) -> Iterator[Problem]:
        path, foreach = f"steps[{step.name}].foreach", step.foreach
        assert foreach is not None
        if sum(each is not None for each in (foreach.items, foreach.parameter, foreach.from_)) != 1:
            yield Problem(path, "it has no list, or several", "set exactly one of items, parameter and from")
            return
        for number, item in enumerate(foreach.items or []):
            if wrong := ports.fault(item, ports.type_of(item)):
                yield Problem(f"{path}.items[{number}]", wrong, "correct it")
        if foreach.parameter:
            given, problem = self._parameter(f"{path}.parameter", foreach.parameter)
        elif foreach.from_:
            given, problem = self._output(f"{path}.from", foreach.from_)
        else:
            return
        if problem:
            yield problem
        elif given and given != "json" and not given.startswith(ITEMS):
            yield Problem(path, f"its source is of type {given}", "name one of type json that holds a list")
        elif given and given.removeprefix(ITEMS) not in VALUE_TYPES:
            yield Problem(
                path, "items are values, not folders", "take all folders as one input of a step without foreach"
            )

    def _source(self, step: Step, binding: Binding) -> tuple[str | None, Problem | None]:
        path = f"steps[{step.name}].inputs[{binding.name}]"
        if binding.from_:
            return self._output(f"{path}.from", binding.from_)
        if binding.parameter:
            return self._parameter(f"{path}.parameter", binding.parameter)
        if binding.item:
            if step.foreach is None:
                return None, Problem(f"{path}.item", "the step has no foreach", "add foreach, or bind something else")
            return binding.type or "json", None
        if binding.uri:
            return binding.type or "dataset", None
        return (ports.type_of(binding.value), None) if binding.value is not None else (None, None)

    def _parameter(self, path: str, name: str) -> tuple[str | None, Problem | None]:
        if name not in self.parameters:
            return None, _unknown(path, "parameter of the pipeline", name, self.parameters)
        return self.parameters[name], None

    def _output(self, path: str, reference: str) -> tuple[str | None, Problem | None]:
        name, port = graph.source(reference)
        if name in self.unread:
            return None, None
        if name not in self.steps:
            return None, _unknown(path, "step", name, self.steps)
        gives = outputs(self.steps[name])
        if port not in gives:
            return None, _unknown(path, f"output of step {name}", port, gives)
        return (ITEMS if self.steps[name].foreach else "") + gives[port], None


def _accepts(given: str, wanted: str) -> bool:
    """Lists of values are json; lists of folders go where such a folder goes."""
    if given.startswith(ITEMS):
        inner = given.removeprefix(ITEMS)
        return wanted == "json" if inner in VALUE_TYPES else ports.fits(inner, wanted)
    # What is in a json is known when it is there.
    return wanted in VALUE_TYPES if given == "json" else ports.fits(given, wanted)


def _words(binding: Binding) -> str:
    return binding.from_ or (f"parameter {binding.parameter}" if binding.parameter else "what is given")


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(sorted(map(str, names))) or "none"


def _unknown(path: str, what: str, name: str, known: Iterable[str]) -> Problem:
    near = get_close_matches(name, known, 1)
    remedy = f"did you mean {near[0]}?" if near else f"there are: {_listed(known)}"
    return Problem(path, f"{name} is no {what}", remedy)
