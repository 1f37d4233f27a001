"""The graph of a pipeline: what depends on what, in which order, and where it bites its tail."""

from collections.abc import Iterable, Sequence
from graphlib import CycleError, TopologicalSorter

from noria.api.step import Step


def source(reference: str) -> tuple[str, str]:
    """Step and port of STEP.PORT."""
    step, _, port = reference.partition(".")
    return step, port


def feeds(step: Step) -> set[str]:
    """Names of the steps whose outputs it takes."""
    references = [each.from_ for each in step.inputs] + [step.foreach.from_ if step.foreach else None]
    return {source(each)[0] for each in references if each}


def before(steps: Iterable[Step]) -> dict[str, set[str]]:
    """For each step those that must have ended before it; steps with onExit come after all others."""
    steps = list(steps)
    ordinary = {each.name for each in steps if not each.on_exit}
    return {each.name: feeds(each) | set(each.after) | (ordinary if each.on_exit else set()) for each in steps}


def awaited(steps: Iterable[Step], step: Step) -> set[str]:
    """Names of all steps that must have ended before it, directly or not."""
    needs, found = before(steps), set[str]()
    left = [step.name]
    while left:
        more = needs[left.pop()] - found
        found |= more
        left += more
    return found


def ordered(steps: Sequence[Step]) -> list[Step]:
    """The steps, each behind those that it needs, else as they are written; CycleError if there is a cycle."""
    named = {each.name: each for each in steps}
    sorter = TopologicalSorter[str](dict.fromkeys(named, ()))  # the order of a set is another one in each process
    for name, needed in before(steps).items():
        sorter.add(name, *needed)
    return [named[name] for name in sorter.static_order() if name in named]


def cycle(steps: Sequence[Step]) -> list[str] | None:
    """Names of the steps of a cycle, each needed by the next, the first again at the end; None if there is none."""
    direct = {each.name: sorted(feeds(each) | set(each.after)) for each in steps}
    try:
        TopologicalSorter(direct).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return None
