"""Pipeline: its faults are told, its schedule starts runs, its limits say whose turn it is and which ended runs go."""

import json
from collections.abc import Sequence
from functools import lru_cache

from noria.api.pipeline import Component, KeptPipelineSpec, Pipeline, PipelineStatus
from noria.plan.conditions import condition
from noria.plan.contract import Controller, Manifest, Needs, Observed, Plan, Ref, Settings
from noria.plan.manifests import canonical, digest
from noria.plan.pipelines import admission, fellows, lint, scheduling
from noria.plan.pipelines.fellows import Fellow

TOLD = 3
"""How many faults are told."""
LONGEST_WAIT = 300.0
"""Seconds: after a jump of the clock no start is later than this."""


def needs(pipeline: Pipeline, settings: Settings) -> Needs:
    """The components that it names; the runs, if anything is said of them."""
    return Needs(refs=_components(pipeline), selectors=(fellows.runs(pipeline),) if _rules(pipeline) else ())


def _components(pipeline: Pipeline) -> tuple[Ref, ...]:
    names = sorted({each.component for each in pipeline.spec.steps if each.component})
    return tuple(Ref("Component", pipeline.metadata.namespace, each) for each in names)


def _rules(pipeline: Pipeline) -> bool:
    spec = pipeline.spec
    return bool(spec.schedule or spec.max_concurrent_runs or spec.history_limits.manifest())


def plan(pipeline: Pipeline, observed: Observed) -> Plan:
    """What should be for one Pipeline."""
    mine = fellows.of(pipeline, observed.related.get(fellows.runs(pipeline), ()))
    draft = _schedule(pipeline, observed, mine)
    status = _counted(pipeline, draft.status, mine)
    told = condition(observed, "Ready", draft.holds, draft.reason, draft.message)
    beyond = [(each.live, each.stays_until) for each in fellows.outlived(pipeline.spec.history_limits, mine)]
    times = [*draft.waits, *(until for _, until in beyond if until)]
    waits = [(each - observed.now).total_seconds() for each in times]
    return Plan(
        status=status.model_copy(update={"conditions": [told]}),
        children=tuple(draft.children),
        creates=tuple(draft.creates),
        deletes=tuple(live for live, until in beyond if until is None or until <= observed.now),
        events=tuple(draft.events),
        requeue_after=min((min(each, LONGEST_WAIT) for each in waits if each > 0), default=None),
    )


def _schedule(pipeline: Pipeline, observed: Observed, mine: Sequence[Fellow]) -> scheduling.Draft:
    """What the schedule does; nothing, as long as a run could not begin."""
    schedule, status = pipeline.spec.schedule, pipeline.status.model_copy(update={"checked": None})
    idle = scheduling.forgotten(status) if schedule is None else status.model_copy(update={"next_schedule_time": None})
    live = {ref.name: observed.related.get(ref, ()) for ref in _components(pipeline)}
    if missing := [name for name, found in live.items() if not found]:
        text = f"there is no Component {missing[0]} in this namespace; create it"
        return scheduling.Draft(idle, "ComponentNotFound", text, holds=False)
    used = [found[0] for found in live.values()]
    checked = digest([pipeline.metadata.generation, *(each["metadata"].get("uid") for each in used)])[7:23]
    if checked != pipeline.status.checked and (faults := _faults(pipeline, used)):
        more = f"\n(and {len(faults) - TOLD} more; `noria lint` tells all)" if len(faults) > TOLD else ""
        reason = "InvalidSchedule" if faults[0].path.startswith("schedule.") else "InvalidPipeline"
        return scheduling.Draft(idle, reason, "\n".join(map(str, faults[:TOLD])) + more, holds=False)
    if schedule is None:
        draft = scheduling.Draft(idle, "NotScheduled", "it runs when a PipelineRun names it")
    else:
        draft = scheduling.draft(pipeline, schedule, mine, observed.now)
    draft.status = draft.status.model_copy(update={"checked": checked})
    return draft


def _faults(pipeline: Pipeline, used: Sequence[Manifest]) -> tuple[lint.Problem, ...]:
    return _found(canonical([pipeline.spec.manifest(), *used]))


@lru_cache(maxsize=64)
def _found(text: str) -> tuple[lint.Problem, ...]:
    """Of 500 steps a tenth of a second, too long to be looked for at each change of a run."""
    written, *used = json.loads(text)
    spec, components = KeptPipelineSpec.model_validate(written), map(Component.model_validate, used)
    return (*lint.problems(spec, {each.metadata.name: each for each in components}), *lint.scheduled(spec))


def _counted(pipeline: Pipeline, status: PipelineStatus, mine: Sequence[Fellow]) -> PipelineStatus:
    """The status with whose turn it is."""
    turns = admission.turns(pipeline.spec.max_concurrent_runs, mine, status.admitted)
    counts = _rules(pipeline)
    return status.model_copy(
        update={
            "active": len(turns.active) if counts else None,
            "active_runs": [each.name for each in turns.active[: admission.NAMED]],
            "queued": len(turns.queued) if counts else None,
            "queued_runs": [each.name for each in turns.queued[: admission.NAMED]],
            "admitted": turns.admitted,
        }
    )


CONTROLLER = Controller(
    resource=Pipeline,
    owns=(),
    # What its schedule started is seen with all other runs of it, and never pruned.
    watches=(),
    needs=needs,
    plan=plan,
)
