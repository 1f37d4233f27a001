"""What the audit log of a load says: the time between the end of a step's pod and the next step's pod, and who wrote how much."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

Event = dict[str, Any]
Step = tuple[str, int]
UNCOUNTED = ("leases", "selfsubjectaccessreviews", "subjectaccessreviews", "tokenreviews")


def _at(event: Event) -> float:
    return datetime.fromisoformat(event["stageTimestamp"]).timestamp()


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
                created[known] = _at(event)
        elif event["user"]["username"] == "kwok" and what.get("subresource") == "status":
            told = (event["requestObject"].get("status") or {}).get("phase")
            if told == "Succeeded" and what["name"] in of_pod:
                ended.setdefault(of_pod[what["name"]], _at(event))
    return [created[run, n] - ended[run, n - width] for run, n in created if n >= width]


def writes(events: Iterable[Event]) -> defaultdict[str, Counter[str]]:
    """What each user wrote, as verb and resource; leases and reviews of rights left out, refused requests counted too."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for event in events:
        what = event.get("objectRef") or {}
        if (resource := what.get("resource")) and resource not in UNCOUNTED:
            whole = "/".join(filter(None, (resource, what.get("subresource"))))
            found[event["user"]["username"]][f"{event['verb']} {whole}"] += 1
    return found
