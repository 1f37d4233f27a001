"""Conditions: what holds, why, and what to do about it. The runtime sets the times of transitions."""

import re
from collections.abc import Sequence

from noria.api.meta import Condition, Status
from noria.plan.contract import Observed
from noria.plan.manifests import rfc3339

MESSAGE_LIMIT = 4096
REASON = re.compile("[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")


def reason_of(told: str, otherwise: str = "Other") -> str:
    """What others say in a word, where a condition can hold that; a webhook may say a sentence, a crashed server anything."""
    return told if len(told) <= 128 and REASON.fullmatch(told) else otherwise


def condition(observed: Observed, type: str, holds: bool | None, reason: str, message: str) -> Condition:
    """A condition; `holds` None means Unknown. Of a long message the end is kept: errors end with their cause."""
    status = {True: "True", False: "False", None: "Unknown"}[holds]
    if len(message) > MESSAGE_LIMIT:
        message = "... " + message[-MESSAGE_LIMIT:]
    return Condition.model_validate(
        {
            "type": type,
            "status": status,
            "reason": reason_of(reason),
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
