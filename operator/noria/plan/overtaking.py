"""Each kind has a watch of its own, so news of a Job may overtake the news of its pods: its end is believed when they tell the same."""

from collections.abc import Sequence, Set
from datetime import datetime
from typing import NamedTuple

from noria.plan.contract import Manifest
from noria.plan.manifests import moment
from noria.plan.pods import by_job

LAG_SECONDS = 5
"""For so long at most: the pods may be gone, or the Job may have failed without one. Then they are asked for."""
ENDS = {"SuccessCriteriaMet": "Succeeded", "Complete": "Succeeded", "FailureTarget": "Failed", "Failed": "Failed"}
"""A Job's conditions that tell of its end, and the phase of the pods that brought it about."""


class Heard(NamedTuple):
    """Children as they may be believed, the seconds until all of it may be, and the uids of the Jobs that wait for it."""

    children: tuple[Manifest, ...]
    left: float | None = None
    early: frozenset[str] = frozenset()


def in_order(children: Sequence[Manifest], now: datetime) -> Heard:
    """Jobs whose end came less than 5 s ago, and of whose pods that is not known, are as they were before it."""
    left = {id(each): seconds for each in children if each["kind"] == "Job" and (seconds := _fresh(each, now)) > 0}
    if not left:
        return Heard(tuple(children))
    pods = by_job(children)
    early = {key: left[key] for each in children if (key := id(each)) in left and not _told(each, pods)}
    return Heard(
        tuple(_before(each) if id(each) in early else each for each in children),
        min(early.values(), default=None),
        frozenset(each["metadata"]["uid"] for each in children if id(each) in early),
    )


def untold(children: Sequence[Manifest], jobs: Set[str]) -> bool:
    """Whether the pods of any of `jobs` (uids) do not tell of its end."""
    if not jobs:
        return False
    pods = by_job(children)
    asked = (each for each in children if each["kind"] == "Job" and each["metadata"]["uid"] in jobs)
    return any(_ends(each) and not _told(each, pods) for each in asked)


def _ends(job: Manifest) -> list[Manifest]:
    conditions = job.get("status", {}).get("conditions", [])
    return [each for each in conditions if each["type"] in ENDS and each["status"] == "True"]


def _fresh(job: Manifest, now: datetime) -> float:
    """Seconds for which its end is fresh; 0 if it is not, or if it has not ended."""
    times = [moment(each["lastTransitionTime"]) for each in _ends(job) if each.get("lastTransitionTime")]
    return max(0.0, LAG_SECONDS - (now - min(times)).total_seconds()) if times else 0.0


def _told(job: Manifest, pods: dict[str, list[Manifest]]) -> bool:
    """Whether enough of its pods have ended as it says."""
    phases = [each.get("status", {}).get("phase") for each in pods.get(job["metadata"]["name"], [])]
    wanted = {ENDS[each["type"]] for each in _ends(job)}
    needed = job["spec"].get("completions", 1) if wanted == {"Succeeded"} else 1
    return sum(each in wanted for each in phases) >= needed


def _before(job: Manifest) -> Manifest:
    status = {key: value for key, value in job["status"].items() if key != "completionTime"}
    ends = _ends(job)
    return job | {"status": status | {"conditions": [each for each in status["conditions"] if each not in ends]}}
