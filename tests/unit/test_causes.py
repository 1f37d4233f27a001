"""Why pods wait, and why they ended, where several of them have something to tell."""

from datetime import UTC, datetime
from typing import Any

from noria.plan.causes import failure, waiting
from noria.plan.contract import Observed, Settings
from noria.plan.wheel.trouble import trouble

PULL = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}

SETTINGS = Settings(agent_image="a", trainer_image="t", serving_runtime="s", server_image="v")


def container(name: str, **state: Any) -> dict[str, Any]:
    return {"name": name, "image": f"registry/{name}", "state": state}


def failed(name: str, at: str, code: int = 1) -> dict[str, Any]:
    ended = container("trainer", terminated={"exitCode": code, "finishedAt": at})
    return {"metadata": {"name": name}, "status": {"phase": "Failed", "containerStatuses": [ended]}}


def test_a_container_that_runs_hides_none_that_waits() -> None:
    pod = {"status": {"containerStatuses": [container("trainer", running={}), container("agent", **PULL)]}}
    found = waiting([{"status": {}}, pod])
    assert found and found.reason == "ImagePullFailed" and "image registry/agent: no such image" in found.message


def test_the_pod_that_ended_first_tells_why() -> None:
    found = failure([failed("a", "2026-01-01T00:00:09Z", 7), failed("b", "2026-01-01T00:00:01Z", 3)], "trainer")
    assert found and found.exit_code == 3 and found.at == "2026-01-01T00:00:01Z"


def test_the_pod_that_was_disrupted_first_tells_why() -> None:
    def disrupted(name: str, reason: str, at: str) -> dict[str, Any]:
        told = {"type": "DisruptionTarget", "status": "True", "reason": reason, "lastTransitionTime": at}
        return {"metadata": {"name": name}, "status": {"phase": "Running", "conditions": [told]}}

    evicted = disrupted("a", "EvictionByEvictionAPI", "2026-01-01T00:00:09Z")
    found = failure([evicted, disrupted("b", "PreemptionByScheduler", "2026-01-01T00:00:01Z")], "trainer")
    assert found and found.reason == "Preempted" and not found.counted


def test_a_service_of_which_nothing_is_told_yet_is_simply_on_its_way() -> None:
    service = {"kind": "InferenceService", "metadata": {"name": "digits-1"}}
    observed = Observed(settings=SETTINGS, now=datetime(2026, 1, 1, tzinfo=UTC), children=(service,))
    assert trouble(observed, "digits-1") is None
