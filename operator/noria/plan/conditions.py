"""Conditions: what holds, why, and what to do about it. The runtime sets the times of transitions."""

from collections.abc import Sequence

from noria.api.meta import Condition, Status
from noria.plan.contract import Observed
from noria.plan.manifests import rfc3339

MESSAGE_LIMIT = 4096


def condition(observed: Observed, type: str, holds: bool | None, reason: str, message: str) -> Condition:
    """A condition; `holds` None means Unknown. Of a long message the end is kept: errors end with their cause."""
    status = {True: "True", False: "False", None: "Unknown"}[holds]
    if len(message) > MESSAGE_LIMIT:
        message = "... " + message[-MESSAGE_LIMIT:]
    return Condition.model_validate(
        {
            "type": type,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": rfc3339(observed.now),
        }
    )


def find(conditions: Sequence[Condition], type: str) -> Condition | None:
    """The condition of that type."""
    return next((each for each in conditions if each.type == type), None)


def finished(status: Status) -> Condition | None:
    """The Succeeded condition of a batch kind, once it is True or False: then nothing changes any more."""
    succeeded = find(status.conditions, "Succeeded")
    return succeeded if succeeded and succeeded.status != "Unknown" else None
