"""Reruns: which run may be taken up again, and why another may not."""

from noria.api.pipelinerun import PipelineRun
from noria.plan.conditions import finished
from noria.plan.contract import Observed, Ref


def earlier(run: PipelineRun) -> Ref:
    """The run that a rerun names."""
    return Ref("PipelineRun", run.metadata.namespace, run.spec.rerun_of or "")


def taken_up(run: PipelineRun, observed: Observed) -> PipelineRun | str:
    """That run, if it has begun and ended without success; or what is wrong, and what to do."""
    live, name = observed.related.get(earlier(run), ()), run.spec.rerun_of
    if not live:
        return f"there is no PipelineRun {name} in this namespace; name one that has ended without success"
    found = PipelineRun.model_validate(live[0])
    ended = finished(found.status)
    if ended is None:
        return f"PipelineRun {name} has not ended; wait for its end, or cancel it, and start a new rerun then"
    if ended.status == "True":
        return f"PipelineRun {name} succeeded, so nothing of it is left to run; start a new run of its pipeline"
    if found.status.frozen is None:
        return f"PipelineRun {name} never began ({ended.reason}); correct what it tells, and start a new run"
    return found
