"""What users are told of requests that the API server did not grant."""

from datetime import UTC, datetime
from typing import Any

import pytest

from noria.api.trainingjob import TrainingJob
from noria.plan.contract import Plan
from noria.runtime import report
from noria.runtime.errors import ApiError, Failed, Forbidden

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def job(*conditions: Any) -> TrainingJob:
    metadata = {"name": "a", "namespace": "n", "uid": "u", "generation": 3}
    status = {"conditions": list(conditions)}
    return TrainingJob.model_validate({"metadata": metadata, "spec": {"image": "x"}, "status": status})


def told(before: TrainingJob, problem: ApiError) -> Plan:
    return report.refused(before, Plan(status=before.status), problem, NOW)


def failed(port: int, object: str = "Job n/a-1") -> Failed:
    return Failed(500, "InternalError", f"failed calling webhook: read tcp 10.0.0.1:{port}: reset", object)


def test_a_failing_webhook_is_told_with_the_object_and_its_words() -> None:
    (condition,) = told(job(), failed(1)).status.conditions
    assert (condition.type, condition.status, condition.reason) == ("Succeeded", "Unknown", "InternalError")
    assert condition.message == "Job n/a-1: failed calling webhook: read tcp 10.0.0.1:1: reset"


def test_the_same_failure_in_other_words_is_no_news() -> None:
    """Each change of a status asks for another look at once: the backoff would be none."""
    first = told(job(), failed(1))
    again = told(job(*first.status.manifest()["conditions"]), failed(2))
    assert again.status.conditions == first.status.conditions
    assert [len(first.events), len(again.events)] == [1, 0]
    other = told(job(*first.status.manifest()["conditions"]), failed(3, "Service n/a-1"))
    assert other.status.conditions[0].message.startswith("Service n/a-1: ")


def test_new_words_of_a_refusal_are_told() -> None:
    first = told(job(), Forbidden(403, "Forbidden", "exceeded quota: used 3", "Job n/a-1"))
    again = told(
        job(*first.status.manifest()["conditions"]), Forbidden(403, "Forbidden", "exceeded quota: used 4", "Job n/a-1")
    )
    (said,) = again.status.conditions
    assert said.reason == "QuotaExceeded" and "used 4. It starts when others end" in said.message


@pytest.mark.parametrize("status", ["True", "False"])
def test_what_has_ended_stays_so(status: str) -> None:
    ended = {"type": "Succeeded", "status": status, "reason": "X", "message": "", "lastTransitionTime": "x"}
    assert told(job(ended), failed(1)).status.conditions[0].reason == "X"


def test_a_failure_of_noria_itself_is_told_in_words_that_do_not_change() -> None:
    first = report.broken(job(), KeyError("at 0x7f01"), NOW)
    (condition,) = first.conditions
    assert (condition.type, condition.status, condition.reason) == ("Succeeded", "Unknown", "OperatorError")
    assert "KeyError" in condition.message
    again = report.broken(job(*first.manifest()["conditions"]), KeyError("at 0x7f02"), NOW)
    assert again.manifest() == first.manifest()


def test_what_has_ended_is_not_told_to_have_failed_afterwards() -> None:
    ended = {"type": "Succeeded", "status": "True", "reason": "Completed", "message": "", "lastTransitionTime": "x"}
    assert report.broken(job(ended), KeyError("a"), NOW).conditions[0].reason == "Completed"
