"""KServe, then Prometheus are gone for a while and come back: what serves goes on, the status says what is known, nobody must help."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from .conftest import OPERATOR, Kubectl, condition, endpoint, says, until
from .test_serving import load, serving, train


@pytest.fixture(scope="module")
def lasting(kubectl: Kubectl, workspace: str) -> Iterator[str]:
    """An Endpoint that follows the newest version and watches its requests; host name."""
    train(kubectl, workspace, "lasting", "sklearn", {}, "iris", job="lasting-1")
    errors = {"name": "errors", "type": "ErrorRate", "threshold": 0.5, "windowSeconds": 60, "minSamples": 1}
    kubectl.apply(
        endpoint(
            "lasting",
            workspace,
            model={"name": "lasting", "track": "Latest"},
            predictor={"resources": {"cpu": "250m", "memory": "1Gi"}},
            monitoring={"signals": [errors]},
            rollout={"drainSeconds": 5},
        )
    )
    yield serving(kubectl, "lasting", workspace, "lasting-1")
    kubectl.run("delete", "modelendpoint", "lasting", "-n", workspace)


@contextmanager
def gone(kubectl: Kubectl, deployment: str, namespace: str) -> Iterator[None]:
    """Not one pod of the Deployment runs; afterwards it is ready again."""
    selector = kubectl.get("deployment", deployment, namespace)["spec"]["selector"]["matchLabels"]
    labels = ",".join(f"{key}={value}" for key, value in selector.items())
    scale = ["scale", "deployment", deployment, "-n", namespace]
    kubectl.run(*scale, "--replicas=0")
    try:
        until(lambda: not kubectl.list("pods", namespace, labels), f"{deployment} is gone")
        yield
    finally:
        kubectl.run(*scale, "--replicas=1")
        until(
            lambda: kubectl.get("deployment", deployment, namespace)["status"].get("readyReplicas") == 1,
            f"{deployment} is back",
        )


def status(kubectl: Kubectl, workspace: str) -> dict[str, Any]:
    return dict(kubectl.get("modelendpoint", "lasting", workspace)["status"])


def test_a_new_version_waits_for_kserve_and_the_old_one_serves(
    kubectl: Kubectl, workspace: str, gateway: str, lasting: str
) -> None:
    with load(gateway, lasting) as answers:
        with gone(kubectl, "kserve-controller-manager", "kserve"):
            train(kubectl, workspace, "lasting", "sklearn", {}, "iris", job="lasting-2")
            said = says(kubectl, "modelendpoint", "lasting", workspace, "UpToDate", "InternalError")
            live = kubectl.get("modelendpoint", "lasting", workspace)
            before = answers["200"]
            until(lambda: answers["200"] > before + 100, "clients are served")
        serving(kubectl, "lasting", workspace, "lasting-2")
    assert "webhook" in said["message"]
    assert (condition(live, "Ready")["status"], condition(live, "Ready")["message"]) == ("True", "lasting-1 serves")
    assert (live["status"]["current"]["version"], live["status"]["next"]["version"]) == ("lasting-1", "lasting-2")
    back = kubectl.get("modelendpoint", "lasting", workspace)
    assert [condition(back, type)["status"] for type in ("Ready", "UpToDate")] == ["True", "True"]
    assert set(answers) == {"200"}, answers


def test_without_pods_it_is_not_ready_though_kserve_cannot_say_so(
    kubectl: Kubectl, workspace: str, lasting: str
) -> None:
    service = status(kubectl, workspace)["current"]["inferenceService"]
    with gone(kubectl, "kserve-controller-manager", "kserve"):
        kubectl.run("scale", "deployment", f"{service}-predictor", "-n", workspace, "--replicas=0")
        says(kubectl, "modelendpoint", "lasting", workspace, "Ready", "Restarting")
        live = kubectl.get("inferenceservice", service, workspace)
        assert condition(live, "Ready")["status"] == "True", "KServe's last word"
    says(kubectl, "modelendpoint", "lasting", workspace, "Ready", "Serving")


def test_a_signal_is_unknown_while_prometheus_is_gone(
    kubectl: Kubectl, workspace: str, gateway: str, lasting: str
) -> None:
    def operators() -> set[tuple[str, int]]:
        """The operator's pods, and how often each was started anew."""
        pods = kubectl.list("pods", "noria-system", OPERATOR)
        return {(each["metadata"]["name"], each["status"]["containerStatuses"][0]["restartCount"]) for each in pods}

    def signal(state: str) -> dict[str, Any] | None:
        signals = status(kubectl, workspace).get("signals", [])
        return next((each for each in signals if each["state"] == state), None)

    with load(gateway, lasting) as answers:
        until(lambda: signal("OK"), "the signal is evaluated")
        says(kubectl, "modelendpoint", "lasting", workspace, "Monitored", "SignalsKnown")
        before = operators()
        with gone(kubectl, "prometheus", "monitoring"):
            unknown = until(lambda: signal("Unknown"), "the signal is Unknown")
            said = says(kubectl, "modelendpoint", "lasting", workspace, "Monitored", "QueryFailed")
            live = kubectl.get("modelendpoint", "lasting", workspace)
        again = until(lambda: signal("OK"), "the signal is evaluated again")
        says(kubectl, "modelendpoint", "lasting", workspace, "Monitored", "SignalsKnown")
    assert (unknown["reason"], unknown.get("value")) == ("QueryFailed", None)
    assert said["status"] == "False" and "does not answer" in said["message"]
    assert condition(live, "Ready")["status"] == "True"
    assert (again["value"], again["samples"] > 0) == (0, True)
    assert operators() == before, "the operator goes on as it is"
    assert set(answers) == {"200"}, answers
