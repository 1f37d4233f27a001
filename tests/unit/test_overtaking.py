"""A Job whose end is heard before its pods' is taken as running, but not for long."""

from datetime import UTC, datetime, timedelta

import pytest

from noria.plan.contract import Manifest
from noria.plan.overtaking import Heard, in_order, untold

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
RUNNING = {"type": "Suspended", "status": "False", "lastTransitionTime": "2026-11-24T11:00:00Z"}


def job(end: str | None, completions: int = 1) -> Manifest:
    at = {"status": "True", "lastTransitionTime": "2026-11-24T12:00:00Z"}
    conditions = [RUNNING, *([{"type": end, **at}] if end else [])]
    status = {"conditions": conditions, "completionTime": "2026-11-24T12:00:00Z"}
    return {
        "kind": "Job",
        "metadata": {"name": "j", "uid": "u"},
        "spec": {"completions": completions},
        "status": status,
    }


def pod(phase: str, name: str = "j-0") -> Manifest:
    owner = {"kind": "Job", "name": "j", "uid": "u", "controller": True}
    return {"kind": "Pod", "metadata": {"name": name, "ownerReferences": [owner]}, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("end", "pods", "believed"),
    [
        ("Complete", [], False),
        ("Complete", [pod("Running")], False),
        ("Complete", [pod("Succeeded")], True),
        ("SuccessCriteriaMet", [pod("Running")], False),
        ("FailureTarget", [pod("Running")], False),
        ("FailureTarget", [pod("Running"), pod("Failed", "j-1")], True),
        ("Failed", [], False),
        (None, [pod("Running")], True),
    ],
)
def test_an_end_is_believed_when_the_pods_tell_it_too(end: str | None, pods: list[Manifest], believed: bool) -> None:
    children = (job(end), *pods)
    heard = in_order(children, NOON + timedelta(seconds=1))
    assert heard.left == (None if believed else 4)
    assert (heard.children == children) == believed
    if not believed:
        assert heard.children[0]["status"] == {"conditions": [RUNNING]} and heard.children[1:] == children[1:]
    assert heard.early == (set() if believed else {"u"})
    assert in_order(children, NOON + timedelta(seconds=5)) == Heard(children), "it is believed in the end"
    assert untold(children, {"u"}) == (not believed), "and then its pods are asked for"
    assert not untold(children, {"another"})


def test_a_job_of_two_completes_when_both_pods_did() -> None:
    one, other = pod("Succeeded"), pod("Succeeded", "j-1")
    assert in_order((job("Complete", 2), one), NOON).left == 5
    assert in_order((job("Complete", 2), one, other), NOON).left is None
