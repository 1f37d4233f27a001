"""What users are told: the status as it is written, conditions about what the API server refused, and Events."""

import hashlib
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from pydantic import ValidationError

from noria.api.meta import API_VERSION, Condition, Resource, Status
from noria.plan import causes
from noria.plan.conditions import find, finished, reason_of
from noria.plan.contract import Event, Manifest, Plan
from noria.plan.manifests import rfc3339

MESSAGE_LIMIT = 1024
"""Longest message that an Event may have."""


class Problem(Protocol):
    """Why a plan could not be carried out."""

    status: int
    reason: str
    message: str
    object: str


def groomed(status: Manifest, live: Manifest) -> Manifest:
    """`status` with the generation that it judges, and with the old time on conditions whose status did not change."""
    generation = live["metadata"].get("generation", 0)
    before = {each["type"]: each for each in (live.get("status") or {}).get("conditions", [])}
    conditions = [each | {"observedGeneration": generation} for each in status.get("conditions", [])]
    for each in conditions:
        old = before.get(each["type"])
        if old and old["status"] == each["status"]:
            each["lastTransitionTime"] = old["lastTransitionTime"]
    return status | {"observedGeneration": generation} | ({"conditions": conditions} if conditions else {})


def invalid(resource: type[Resource], live: Manifest, error: ValidationError, now: datetime) -> Manifest:
    """The status of an object whose spec this version does not understand."""
    faults = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:3])
    text = f"{'; '.join(faults)}; correct the object, then it is looked at again"
    said = _condition(resource.summary, "InvalidSpec", text, now)
    status = live.get("status") or {}
    others = [each for each in status.get("conditions", []) if each["type"] != resource.summary]
    return {**status, "conditions": [said, *others]}


def refused(resource: Resource, plan: Plan, problem: Problem, now: datetime) -> Plan:
    """`plan` where a condition tells why it could not be carried out; an Event tells it once."""
    reason, said = causes.over_quota(problem.message) or (reason_of(problem.reason, "Refused"), problem.message)
    message = f"{problem.object}: {said}"
    type = _concerned(resource, plan.status)
    before = find(resource.status.conditions, type)
    news = not before or before.reason != reason
    # A failing webhook's words hold ports and times; if each were news, each would ask for another look at once.
    if before and not news and problem.status >= 500 and before.message.startswith(f"{problem.object}: "):
        message = before.message
    status = plan.status
    if not finished(resource.status):  # what has ended stays so, whatever happens to its leftovers
        held = _condition(type, reason, message, now)
        others = [each for each in status.conditions if each.type != type]
        status = status.model_copy(update={"conditions": [Condition.model_validate(held), *others]})
    told = (Event("Warning", reason, message, f"generation-{resource.metadata.generation}"),) if news else ()
    return replace(
        plan, status=status, events=(*plan.events, *told), passing=False, delete_self=False, requeue_after=None
    )


def broken(resource: Resource, error: Exception, now: datetime) -> Status:
    """The status of an object that Noria itself fails at. Of the error only its kind is told, which every try has in
    common: its words may change, and the log has them."""
    status: Status = resource.status
    if finished(status):
        return status
    text = f"Noria failed at this object ({type(error).__name__}) and tries again; the operator's log says where"
    said = Condition.model_validate(_condition(_concerned(resource, status), "OperatorError", text, now))
    others = [each for each in status.conditions if each.type != said.type]
    return status.model_copy(update={"conditions": [said, *others]})


def _concerned(resource: Resource, status: Status) -> str:
    """Type of the condition that tells it: what works as it is goes on being called so."""
    summary = find(status.conditions, resource.summary)
    return resource.progress if resource.progress and summary and summary.status == "True" else resource.summary


def event(live: Manifest, told: Event, now: datetime) -> Manifest:
    """The Event object. Its name is a hash of what happened to whom, so that a second telling finds it there."""
    metadata = live["metadata"]
    mark = hashlib.sha256("/".join((metadata["uid"], told.reason, told.cycle)).encode()).hexdigest()[:16]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name'][:200]}.{mark}", "namespace": metadata.get("namespace") or "default"},
        "involvedObject": {
            key: value
            for key, value in {"apiVersion": API_VERSION, "kind": live["kind"], **metadata}.items()
            if key in ("apiVersion", "kind", "name", "namespace", "uid", "resourceVersion")
        },
        "type": told.type,
        "reason": told.reason,
        "message": told.message[-MESSAGE_LIMIT:],
        "source": {"component": "noria"},
        "firstTimestamp": rfc3339(now),
        "lastTimestamp": rfc3339(now),
        "count": 1,
    }


def _condition(type: str, reason: str, message: str, now: datetime) -> Manifest:
    """A condition as not reached: of a batch kind that is Unknown, since its False is final."""
    said: dict[str, Any] = {"type": type, "status": "Unknown" if type == "Succeeded" else "False", "reason": reason}
    return said | {"message": message, "lastTransitionTime": rfc3339(now)}
