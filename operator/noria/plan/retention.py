"""Retention: what on the artifact claim somebody still needs, when the rest is swept, and what came of it."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from noria.api.workspace import RetentionStatus, Workspace
from noria.plan import causes, oneshot, sweep
from noria.plan.attempts import job_condition
from noria.plan.contract import Event, Manifest, Observed, Selector
from noria.plan.manifests import ARTIFACT_CLAIM, canonical, claim_of, moment, pinned, rfc3339
from noria.plan.pipelines.containers import RUNS
from noria.plan.pipelines.frozen import plain
from noria.plan.pods import by_job
from noria.plan.training import JOBS, folder_name

LOOK_AGAIN_SECONDS = 60
ORDER_LIMIT = 200 << 10
"""Bytes; all annotations of an object together may hold 256 KiB."""


class Step(NamedTuple):
    """What retention adds to the plan of a Workspace."""

    status: RetentionStatus | None
    children: tuple[Manifest, ...] = ()
    events: tuple[Event, ...] = ()
    wait: float | None = None
    """Seconds until the next look."""


def selectors(workspace: Workspace) -> tuple[Selector, ...]:
    """Everything that may need an artifact."""
    kinds = ("TrainingJob", "ModelVersion", "Endpoint", "InferenceService", "PipelineRun", "Pipeline", "Component")
    return tuple(Selector(kind, workspace.namespace) for kind in kinds)


def kept(
    jobs: Iterable[Manifest],
    versions: Iterable[Manifest],
    endpoints: Iterable[Manifest],
    services: Iterable[Manifest],
    runs: Iterable[Manifest] = (),
    pipelines: Iterable[Manifest] = (),
    components: Iterable[Manifest] = (),
) -> list[str]:
    """Paths on the claim, below `jobs` and `runs`, that must stay, sorted; `.` is all of it.

    Of a TrainingJob that has not finished or that failed the whole folder, and what an unfinished one reads; of one that
    succeeded and makes no version its completed attempt; the artifact of every version that exists or is served (it
    starts again from its files though its record was deleted); the data that an Endpoint, a Pipeline or a Component names.
    Of a PipelineRun that has not ended the whole folder; of one that has not succeeded what its frozen copy names; of every run what it names and
    what its steps have given, which may lie in the folder of an earlier run, or of a training.
    """
    paths = {path for job in jobs for path in _of_job(job)}
    uris = [each["spec"].get("uri") or "" for each in versions]
    uris += [text for each in (*endpoints, *services, *pipelines, *components) for text in _texts(each["spec"])]
    for run in runs:
        paths |= set(_of_run(run))
        uris += _texts([run["spec"], run.get("status", {}).get("steps", [])])
    return _outermost(paths | {path for uri in uris if (path := _swept(uri))})


def coarse(paths: Iterable[str]) -> list[str]:
    """A shorter list that keeps more: of each run that something is kept of the whole folder."""
    return _outermost({"/".join(each.split("/")[:2]) if each.startswith(f"{RUNS}/") else each for each in paths})


def _outermost(paths: set[str]) -> list[str]:
    return sorted(each for each in paths if paths.isdisjoint(map(str, PurePosixPath(each).parents)))


def _texts(value: Any) -> Iterator[str]:
    """All texts in a JSON value, however deep: by a call for each level a tenant's object would take minutes."""
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, dict | list):
            left.extend(each.values() if isinstance(each, dict) else each)


def _of_job(job: Manifest) -> Iterator[str]:
    folder = f"{JOBS}/{folder_name(job['metadata']['name'], job['metadata']['uid'])}"
    spec, status = job["spec"], job.get("status") or {}
    succeeded = _succeeded(status)
    if succeeded != "True":
        yield folder
    elif not (spec.get("output") or {}).get("model"):
        completed = [each["number"] for each in status.get("attempts", []) if each.get("cause") == "Completed"]
        yield f"{folder}/attempt-{completed[-1]}" if completed else folder
    if succeeded not in ("True", "False"):
        yield from (path for each in spec.get("inputs", []) if (path := _swept(each["uri"])))


def _of_run(run: Manifest) -> Iterator[str]:
    """Beside what a run names by uri: its own folder, until it has ended, or if nothing in it is superseded."""
    folder = f"{RUNS}/{folder_name(run['metadata']['name'], run['metadata']['uid'])}"
    status = run.get("status") or {}
    records = [each for each in status.get("steps", []) if each["state"] != "Cached"]
    gave = any(text.startswith(f"pvc://{ARTIFACT_CLAIM}/{folder}/") for text in _texts(records))
    if _succeeded(status) != "True":  # a rerun of one that failed reads what the copy names, whatever was edited since
        yield from (path for uri in _frozen(status) if (path := _swept(uri)))
    intact = gave and all(each["state"] != "Failed" and each.get("attempt", 1) == 1 for each in records)
    if intact or not status.get("completionTime"):
        yield folder


def _succeeded(status: Manifest) -> str | None:
    """Status of the condition Succeeded."""
    return {each["type"]: each["status"] for each in status.get("conditions", [])}.get("Succeeded")


def _frozen(status: Manifest) -> Iterator[str]:
    text = status.get("frozen")
    return _texts(plain(text)) if text else iter(())


def _swept(uri: str) -> str | None:
    """The path of an uri below `jobs` or `runs` on the artifact claim, of an attempt of a step no deeper than its folder;
    `.` where it may be all of it; None elsewhere."""
    claim, path = claim_of(uri)
    if not uri.startswith("pvc://") or claim != ARTIFACT_CLAIM:
        return None
    parts = [each for each in path.split("/") if each not in ("", ".")]
    if not parts or ".." in parts:
        return "."
    return "/".join(parts[:4] if parts[0] == RUNS else parts) if parts[0] in (JOBS, RUNS) else None


def step(workspace: Workspace, observed: Observed, usable: bool) -> Step:
    """The next step: wait, become due, sweep, or take in the result. Only a `usable` claim is swept."""
    status = workspace.status.retention or RetentionStatus()
    jobs = sorted((each for each in observed.children if each["kind"] == "Job"), key=sweep.number_of)
    newest = (pinned(jobs[-1]),) if jobs else ()  # its logs stay until the next one takes its place
    if not usable:
        return Step(workspace.status.retention and status.model_copy(update={"state": None}))
    due = _due(workspace, status)
    live = next((each for each in jobs if sweep.number_of(each) == status.number), None)
    if status.state == "Running":
        return _watch(workspace, observed, status, live)
    if status.state == "Due" and live:
        return Step(_running(status), (pinned(live),))
    if status.state == "Due":
        if hidden := _hidden(workspace, observed):
            return Step(status.model_copy(update={"message": hidden}), newest, wait=LOOK_AGAIN_SECONDS)
        return _begin(workspace, observed, status, min(due or observed.now, observed.now))
    if due is None:
        return Step(workspace.status.retention, newest)
    if (left := (due - observed.now).total_seconds()) > 0:
        return Step(workspace.status.retention, newest, wait=left)
    return Step(status.model_copy(update={"number": status.number + 1, "state": "Due"}), newest)


def _due(workspace: Workspace, status: RetentionStatus) -> datetime | None:
    """When the next sweep is due: an interval after the last one, or after the Workspace was made."""
    last = moment(status.last_sweep_time) if status.last_sweep_time else workspace.metadata.creation_timestamp
    return last and last + timedelta(seconds=workspace.spec.storage.retention.interval_seconds)


def _hidden(workspace: Workspace, observed: Observed) -> str | None:
    """Why it cannot be known what is needed: what is not seen is not what does not exist."""
    jobs, versions, endpoints, services, *others = selectors(workspace)
    unseen = [each.kind for each in (jobs, versions, endpoints, *others) if each.kind in observed.absent]
    unseen += [each.kind for each in selectors(workspace) if each not in observed.related]
    if unseen:
        return f"waits: the API server does not show {', '.join(sorted(set(unseen)))}"
    if services.kind in observed.absent and observed.related[endpoints]:
        return "waits: Endpoints may serve what no version names, and InferenceServices cannot be seen; install KServe"
    return None


def _begin(workspace: Workspace, observed: Observed, status: RetentionStatus, as_of: datetime) -> Step:
    needed = kept(*(observed.related[each] for each in selectors(workspace)))
    orders = (canonical({"asOf": rfc3339(as_of), "keep": each}) for each in (needed, coarse(needed)))
    order = min(orders, key=lambda each: len(each.encode()) > ORDER_LIMIT)
    if (size := len(order.encode())) > ORDER_LIMIT:
        return _ended(
            workspace,
            observed,
            status,
            rfc3339(observed.now),
            f"not swept: the list of what is kept has {size} bytes, and at most {ORDER_LIMIT} can be told; "
            "delete TrainingJobs, PipelineRuns and ModelVersions that nobody needs",
        )
    return Step(_running(status), (sweep.job(workspace, status.number, order, observed.settings),))


def _watch(workspace: Workspace, observed: Observed, status: RetentionStatus, live: Manifest | None) -> Step:
    """A sweep in progress: what its pod says, and in the end what came of it."""
    if live is None:
        text = "not swept: its Job was refused or deleted"
        return _ended(workspace, observed, status, rfc3339(observed.now), text)
    pods = by_job(observed.children).get(live["metadata"]["name"], [])
    children, now = (pinned(live),), rfc3339(observed.now)
    if complete := job_condition(live, "Complete"):
        if any(not causes.over(pod) for pod in pods):
            return Step(status, children)  # the Job's news came before its pod's
        at = complete.get("lastTransitionTime") or now
        return _ended(workspace, observed, status, at, sweep.report(pods), children)
    name = live["metadata"]["name"]
    refusals = [
        each for each in observed.children if each["kind"] == "Event" and each["involvedObject"].get("name") == name
    ]
    trouble = causes.waiting(pods, () if pods else refusals)
    # At the deadline the pods go before the Job says so.
    waits = f"waits: {trouble.reason}: {trouble.message}" if trouble else None if pods else status.message
    failed = job_condition(live, "Failed") or job_condition(live, "FailureTarget")
    if failed is None:
        return Step(_running(status, waits), children)
    text = f"not swept: {oneshot.why_failed(failed, pods, waits)}"
    return _ended(workspace, observed, status, failed.get("lastTransitionTime") or now, text, children)


def _running(status: RetentionStatus, message: str | None = None) -> RetentionStatus:
    return status.model_copy(update={"state": "Running", "message": message})


def _ended(
    workspace: Workspace,
    observed: Observed,
    status: RetentionStatus,
    at: str,
    result: sweep.Report | str,
    children: tuple[Manifest, ...] = (),
) -> Step:
    events: tuple[Event, ...] = ()
    if isinstance(result, str):
        after = RetentionStatus(number=status.number, last_sweep_time=at, message=result)
    else:
        text = f"removed {result.removed} folders with {result.bytes} bytes, kept {result.kept}"
        failed = f"; not removed: {'; '.join(result.failed)}" if result.failed else ""
        after = RetentionStatus(
            number=status.number,
            last_sweep_time=at,
            removed_folders=result.removed,
            freed_bytes=result.bytes,
            message=text + failed,
        )
        told = f"{text} on claim {ARTIFACT_CLAIM}"
        events = (Event("Normal", "Swept", told, str(status.number)),) if result.removed else ()
    due = _due(workspace, after)
    return Step(after, children, events, max(0.0, (due - observed.now).total_seconds()) if due else None)
