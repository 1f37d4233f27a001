"""The stages that a cycle goes through, in order, and how it enters the next one."""

from noria.api.cycle import Cycle, GateResult, Result, Stage, StepRecord
from noria.api.endpoint import Served
from noria.plan.wheel import traffic
from noria.plan.wheel.view import Turn, View

GATES_KEPT = 32
"""Gate results that a stage's record holds, those that did not pass first; many slices could make a status too large."""
ORDER: tuple[Stage, ...] = ("Training", "Scoring", "Starting", "Mirroring", "Canary", "Approval", "Moving")
WITH_TRAFFIC: tuple[Stage, ...] = ("Mirroring", "Canary", "Approval", "Moving")


def _stages(view: View, turn: Turn, cycle: Cycle) -> list[tuple[Stage, int | None]]:
    """The stages of this cycle, in order."""
    rollout, gateway = view.endpoint.spec.rollout, bool(view.observed.settings.gateway_name)
    judged = cycle.trigger.reason != "Rollback" and turn.current is not None
    stages: list[tuple[Stage, int | None]] = []
    if cycle.trigger.reason in ("Signal", "Manual"):
        stages.append(("Training", None))
    itself = cycle.champion == cycle.challenger and view.served
    if judged and view.endpoint.spec.gate and not itself:
        stages.append(("Scoring", None))
    stages.append(("Starting", None))
    if judged and gateway:
        if rollout.mirror and view.observed.settings.gateway_mirrors:
            stages.append(("Mirroring", None))
        stages += [("Canary", number) for number in range(len(rollout.steps))]
    if judged and rollout.approval == "Manual":
        stages.append(("Approval", None))
    return [*stages, ("Moving", None)]


def _rank(stage: Stage, step: int | None) -> tuple[int, int]:
    return ORDER.index(stage), step or 0


def enter(
    view: View,
    turn: Turn,
    cycle: Cycle,
    result: Result = "Pass",
    message: str | None = None,
    found: list[GateResult] | None = None,
) -> Turn:
    """Into the next stage, with what came of the one before; the spec may have changed since."""
    rank = _rank(cycle.stage, cycle.step) if cycle.stage else (-1, 0)
    stage, step = next(each for each in _stages(view, turn, cycle) if _rank(*each) > rank)
    steps = closed(view, cycle, result, message, found)
    if cycle.stage == "Starting":
        steps += _passed_over(view, turn, cycle)
    entered = StepRecord(name=traffic.stage_name(view.endpoint, stage, step), start_time=view.now)
    update = {"stage": stage, "step": step, "stage_time": view.now, "settled_time": None, "steps": [*steps, entered]}
    turn = turn._replace(cycle=cycle.model_copy(update=update))
    return _with_next(view, turn, cycle) if stage == "Starting" else turn


def _with_next(view: View, turn: Turn, cycle: Cycle) -> Turn:
    """The challenger takes its place; one that is still warm comes back as it is."""
    challenger = view.version(cycle.challenger)
    assert challenger is not None  # _obsolete has looked
    name = view.service_name(challenger)
    spec = challenger.spec
    served = Served(
        version=challenger.metadata.name, uri=spec.uri, digest=spec.digest, inference_service=name, since=view.now
    )
    return turn._replace(next=served, retiring=tuple(each for each in turn.retiring if each.inference_service != name))


def _passed_over(view: View, turn: Turn, cycle: Cycle) -> list[StepRecord]:
    """What the spec asks for and this cluster cannot do, told in the record."""
    rollout, settings = view.endpoint.spec.rollout, view.observed.settings
    if cycle.trigger.reason == "Rollback" or turn.current is None:
        return []
    asked: list[tuple[str, str]] = []
    if rollout.mirror and not settings.gateway_mirrors:
        asked.append(("Mirroring", traffic.NO_MIRROR))
    if rollout.steps and not settings.gateway_name:
        asked.append(("Canary", traffic.NO_GATEWAY))
    return [
        StepRecord(name=name, start_time=view.now, end_time=view.now, result="Skipped", message=why)
        for name, why in asked
    ]


def closed(
    view: View, cycle: Cycle, result: Result, message: str | None, found: list[GateResult] | None
) -> list[StepRecord]:
    """The steps so far, the newest one ended."""
    kept = sorted(found or [], key=lambda each: each.result in ("Pass", "Skipped"))[:GATES_KEPT]
    told = {"end_time": view.now, "result": result, "message": message, "gates": kept or None}
    return [*cycle.steps[:-1], *(each.model_copy(update=told) for each in cycle.steps[-1:])]
