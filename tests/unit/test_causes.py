"""Why pods wait, and why they ended, where several of them have something to tell."""

from typing import Any

from noria.plan.causes import failure, waiting

PULL = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}


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
