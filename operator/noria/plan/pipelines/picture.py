"""A run, or a pipeline, as a picture: Mermaid, which Markdown viewers draw, coloured by state."""

from collections.abc import Iterator, Mapping, Sequence

from noria.api.pipelinerun import StepStatus
from noria.api.step import Step
from noria.plan.pipelines import graph

COLOURS = {
    "Pending": "#eeeeee",
    "Running": "#9ecbff",
    "Waiting": "#ffe08a",
    "Succeeded": "#a6e3a1",
    "Cached": "#d5f2d3",
    "Skipped": "#d0d0d0",
    "Failed": "#f4a3a3",
}


def mermaid(steps: Sequence[Step], records: Mapping[str, StepStatus]) -> str:
    """The graph; bindings are arrows with the port, `after` is dotted, steps with onExit have round ends."""
    return "\n".join(["flowchart LR", *_lines(steps, records)]) + "\n"


def _lines(steps: Sequence[Step], records: Mapping[str, StepStatus]) -> Iterator[str]:
    for each in steps:
        record = records.get(each.name)
        fan = " x " + str(record.count if record and record.count is not None else "n") if each.foreach else ""
        opened, closed = ("([", "])") if each.on_exit else ("[", "]")
        yield f'  {_id(each.name)}{opened}"{each.name}{fan}"{closed}' + (f":::{record.state}" if record else "")
    for each in steps:
        references = [one.from_ for one in each.inputs] + [each.foreach.from_ if each.foreach else None]
        for name, port in dict.fromkeys(graph.source(one) for one in references if one):
            yield f"  {_id(name)} -->|{port}| {_id(each.name)}"
        for name in sorted(set(each.after) - graph.feeds(each)):
            yield f"  {_id(name)} -.-> {_id(each.name)}"
    if records:
        yield from (f"  classDef {state} fill:{colour},stroke:#555555" for state, colour in COLOURS.items())


def _id(name: str) -> str:
    """`end` is a word of the language."""
    return f"s_{name.replace('-', '_')}"
