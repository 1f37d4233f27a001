"""What the audit log of a load says: the time between the end of a step's pod and the next step's pod, and who wrote how much."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Event = dict[str, Any]
Step = tuple[str, int]
READS = ("get", "list")
UNCOUNTED = ("leases", "selfsubjectaccessreviews", "subjectaccessreviews", "tokenreviews")


def at(event: Event) -> float:
    """When it was answered, in seconds of the log's clock."""
    return datetime.fromisoformat(event["stageTimestamp"]).timestamp()


def asked(event: Event) -> float:
    """When it was received, by the same clock."""
    return datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp()


def _granted(event: Event) -> bool:
    return event["stage"] == "ResponseComplete" and event["responseStatus"]["code"] < 300


def gaps(events: Iterable[Event], step: Callable[[dict[str, Any]], Step | None], width: int) -> list[float]:
    """Seconds from the moment a step's pod has succeeded until the next step's pod was created; step n follows n - width."""
    of_pod: dict[str, Step] = {}
    created: dict[Step, float] = {}
    ended: dict[Step, float] = {}
    for event in events:
        what = event.get("objectRef") or {}
        if what.get("resource") != "pods" or not _granted(event):
            continue
        if event["verb"] == "create" and "subresource" not in what:
            pod = event["responseObject"]
            if known := step(pod):
                of_pod[pod["metadata"]["name"]] = known
                if known in created:
                    raise RuntimeError(f"step {known} ran twice")
                created[known] = at(event)
        elif event["user"]["username"] == "kwok" and what.get("subresource") == "status":
            told = (event["requestObject"].get("status") or {}).get("phase")
            if told == "Succeeded" and what["name"] in of_pod:
                ended.setdefault(of_pod[what["name"]], at(event))
    return [created[run, n] - ended[run, n - width] for run, n in created if n >= width]


def writes(events: Iterable[Event]) -> defaultdict[str, Counter[str]]:
    """What each user wrote, as verb and resource; leases and reviews of rights left out, refused requests counted too."""
    return _counted(each for each in events if each["verb"] not in READS)


def reads(events: Iterable[Event]) -> defaultdict[str, Counter[str]]:
    """What each user read, as verb and resource, where the policy logs it; watches and leases left out."""
    return _counted(each for each in events if each["verb"] in READS)


def _counted(events: Iterable[Event]) -> defaultdict[str, Counter[str]]:
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for event in events:
        what = event.get("objectRef") or {}
        if (resource := what.get("resource")) and resource not in UNCOUNTED:
            whole = "/".join(filter(None, (resource, what.get("subresource"))))
            found[event["user"]["username"]][f"{event['verb']} {whole}"] += 1
    return found


@dataclass
class Life:
    """When an object was created, its Job was, its pod had succeeded, and its status said so: seconds of the log's clock."""

    created: float = 0
    job: float = 0
    ended: float = 0
    told: float = 0


def lives(events: Iterable[Event], kind: str, done: str) -> dict[str, Life]:
    """The lives of objects of `kind` (a plural) by name, which holds no dash; `done`: the condition that says Succeeded.
    Jobs and pods belong to the object whose name theirs begins with."""
    found: defaultdict[str, Life] = defaultdict(Life)
    for event in events:
        what = event.get("objectRef") or {}
        if not _granted(event) or event["verb"] in READS or "name" not in what:
            continue
        whole = "/".join(filter(None, (what["resource"], what.get("subresource"))))
        life, new = found[what["name"].split("-")[0]], event["responseStatus"]["code"] == 201
        if whole == kind and new:
            life.created = life.created or at(event)
        if whole == "jobs" and new:
            life.job = life.job or at(event)
        if whole == "pods/status" and (event["requestObject"].get("status") or {}).get("phase") == "Succeeded":
            life.ended = life.ended or at(event)
        if whole == f"{kind}/status" and _says(event["requestObject"], done):
            life.told = life.told or at(event)
    return {name: life for name, life in found.items() if life.created}


def _says(written: dict[str, Any], done: str) -> bool:
    conditions = (written.get("status") or {}).get("conditions") or []
    return any(each["type"] == done and each.get("status") == "True" for each in conditions)


def at_share(values: Iterable[float], share: float) -> float:
    """The value that `share` of them do not exceed."""
    known = sorted(values)
    return known[min(len(known) - 1, int(len(known) * share))]
