"""Approvals by hand: annotations of a PipelineRun that name a step, and what becomes of those that cannot be granted."""

from collections.abc import Iterator

from noria.api.pipelinerun import PipelineRun
from noria.plan.contract import Event

APPROVE, REJECT, BY = "noria.dev/approve", "noria.dev/reject", "noria.dev/by"
APPROVAL = "Approval"
LONGEST_WISH = 256


def wish(run: PipelineRun, annotation: str) -> str | None:
    """The step that is named; no more of it than a record should hold."""
    return run.metadata.annotations.get(annotation, "")[:LONGEST_WISH] or None


def by(run: PipelineRun) -> str:
    """Who asks, as the API server knows them where the chart's policy is in force."""
    return wish(run, BY) or "somebody"


def waits(run: PipelineRun, step: str | None) -> bool:
    """Whether the record says that the step waits for an approval."""
    return any(each.name == step and each.state == "Waiting" and each.cause == APPROVAL for each in run.status.steps)


def done(run: PipelineRun) -> tuple[str, ...]:
    """Annotations whose wish the record holds by now, or which cannot be."""
    over = tuple(key for key in (APPROVE, REJECT) if wish(run, key) and not waits(run, wish(run, key)))
    standing = {key for key in (APPROVE, REJECT) if wish(run, key)} - set(over)
    return (*over, BY) if over and not standing and wish(run, BY) else over


def refused(run: PipelineRun) -> Iterator[Event]:
    """What is said to those who ask for what cannot be."""
    states = {each.name: each.state for each in run.status.steps}
    for key in (each for each in done(run) if each != BY):
        step = wish(run, key)
        if states.get(step or "") not in ("Succeeded", "Failed"):
            yield Event(
                "Warning",
                "NotWaiting",
                f"{by(run)} set {key}={step}, but no step {step} waits for an approval",
                f"{key}-{step}",
            )
