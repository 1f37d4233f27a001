"""The wheel on the real cluster: approval by those who may, a rollback that only moves traffic, drift as the textbook has it.

`make demo-loop` proves whole cycles; this proves what people do by hand, and that the numbers are right.
"""

import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from noria.plan.wheel import promql

from .conftest import KUBECONFIG, ROOT, Kubectl, condition, endpoint, says, until
from .test_serving import FLOWER, ask, load, serving, train

ROLES = {"grace": "edit", "ada": "noria-modelendpoints-approver"}
STEP_SECONDS, WINDOW_SECONDS = 5, 120
HISTORY_SECONDS = 1200
"""Longer than this module has run when the drift is compared, on the slowest machine."""
ROWS = 600


@pytest.fixture(scope="module")
def prometheus(kubectl: Kubectl) -> str:
    """Address of the cluster's Prometheus, reachable from this host."""
    address = kubectl.get("service", "prometheus", "monitoring")["spec"]["clusterIP"]
    return f"http://{address}:9090"


def query(prometheus: str, expression: str) -> list[dict[str, Any]]:
    body = urllib.parse.urlencode({"query": expression}).encode()
    with urllib.request.urlopen(f"{prometheus}/api/v1/query", body, timeout=30) as answer:
        return list(json.load(answer)["data"]["result"])


@pytest.fixture(scope="module")
def turning(kubectl: Kubectl, workspace: str) -> Iterator[str]:
    """An Endpoint whose next version needs a canary step and an approval; host name."""
    for user, role in ROLES.items():
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": f"wheel-{user}", "namespace": workspace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        }
        kubectl.apply(binding)
    train(kubectl, workspace, "turning", "sklearn", {}, "iris", job="turning-1")
    kubectl.apply(
        endpoint(
            "turning",
            workspace,
            model={"name": "turning", "track": "Latest"},
            predictor={"replicas": 2, "resources": {"cpu": "250m", "memory": "1Gi"}},
            monitoring={
                "signals": [
                    {"name": "drift", "type": "DataDrift", "threshold": 0.5, "windowSeconds": WINDOW_SECONDS},
                    {
                        "name": "mine",
                        "type": "Custom",
                        "query": "sum(increase(noria_predictions_total[30s]))",
                        "fires": "Above",
                        "threshold": 100,
                    },
                ]
            },
            rollout={
                "drainSeconds": 5,
                "warmSeconds": 600,
                "steps": [{"weight": 50, "holdSeconds": STEP_SECONDS}],
                "approval": "Manual",
            },
        )
    )
    yield serving(kubectl, "turning", workspace, "turning-1")
    kubectl.run("delete", "modelendpoint", "turning", "-n", workspace)


def annotate(
    kubectl: Kubectl, workspace: str, user: str, name: str = "turning", **annotations: str
) -> subprocess.CompletedProcess[str]:
    words = [f"noria.dev/{key.replace('_', '-')}={value}" for key, value in annotations.items()]
    told = ["annotate", "modelendpoint", name, "-n", workspace, "--overwrite", f"--as={user}", *words]
    return kubectl.run(*told, check=False)


def current(kubectl: Kubectl, workspace: str) -> str:
    status = kubectl.get("modelendpoint", "turning", workspace).get("status", {})
    return "" if "cycle" in status else str(status.get("current", {}).get("version"))


def send(gateway: str, host: str, rows: np.ndarray) -> list[dict[str, Any]]:
    """The answers to the rows, ten a request."""
    answers = []
    for start in range(0, len(rows), 10):
        body = {"instances": rows[start : start + 10].tolist()}
        status, answer = ask(gateway, host, "/v1/models/turning:predict", body)
        assert status == 200, answer
        answers.append(answer)
    return answers


def baseline(kubectl: Kubectl, workspace: str) -> dict[str, Any]:
    """baseline.json of the version that serves, read from the claim."""
    path = kubectl.get("modelversion", "turning-1", workspace)["spec"]["uri"].removeprefix("pvc://noria-artifacts/")
    pod = kubectl.get("job", "data-iris", workspace)["spec"]["template"]["spec"]
    pod["containers"][0]["command"] = ["cat", f"/data/{path}/baseline.json"]
    pod["containers"][0]["volumeMounts"][0] = {"name": "artifacts", "mountPath": "/data", "readOnly": True}
    pod["restartPolicy"] = "Never"
    metadata = {"name": "baseline", "namespace": workspace}
    kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod})
    until(lambda: kubectl.get("pod", "baseline", workspace).get("status", {}).get("phase") == "Succeeded", "it is read")
    return dict(json.loads(kubectl.run("logs", "baseline", "-n", workspace).stdout))


def textbook(rows: np.ndarray, known: dict[str, Any]) -> dict[str, float]:
    """Population stability index of each column from the raw rows."""
    values = {}
    for column, feature in zip(rows.T, known["features"], strict=True):
        counts = np.bincount(
            np.searchsorted(feature["edges"], column, side="left"), minlength=len(feature["edges"]) + 1
        )
        share = np.clip(counts / counts.sum(), 1e-4, None)
        before = np.clip(feature["proportions"], 1e-4, None)
        values[feature["name"]] = float(np.sum((share - before) * np.log(share / before)))
    return values


def test_drift_is_the_textbooks_also_across_a_replicas_restart(
    kubectl: Kubectl, workspace: str, gateway: str, turning: str, prometheus: str
) -> None:
    known = baseline(kubectl, workspace)
    random = np.random.default_rng(5)
    rows = random.normal([6.3, 3.3, 4.6, 1.6], [0.5, 0.4, 1.0, 0.5], (ROWS, 4)).clip(0.1).astype(np.float32)
    only = {"namespace": workspace, "modelendpoint": "turning", "version": "turning-1"}
    series = f'noria_predictions_total{{namespace="{workspace}",modelendpoint="turning"}}'
    counted = f"sum(max_over_time({series}[{HISTORY_SECONDS}s]))"

    def scraped() -> bool:
        """Whether every replica was scraped six times: what it counts before the first is no increase, and increase()
        extends a series by up to half a scrape, which is much for one of few scrapes."""
        pods = kubectl.list("pods", workspace, "noria.dev/owner-name=turning,component=predictor")
        known = query(prometheus, f"count_over_time({series}[{HISTORY_SECONDS}s]) >= 6")
        return {each["metadata"]["name"] for each in pods} <= {row["metric"]["pod"] for row in known}

    def has(count: int) -> bool:
        return [float(row["value"][1]) for row in query(prometheus, counted)] == [count]

    until(scraped, "both replicas are scraped")
    answers = send(gateway, turning, rows[: ROWS // 2])
    until(lambda: has(ROWS // 2), "the first half is counted")
    pods = kubectl.list("pods", workspace, "noria.dev/owner-name=turning,component=predictor")
    kubectl.run("delete", "pod", pods[0]["metadata"]["name"], "-n", workspace)
    says(kubectl, "modelendpoint", "turning", workspace, "Ready", "Serving")
    until(scraped, "the new replica is scraped")
    answers += send(gateway, turning, rows[ROWS // 2 :])
    until(lambda: has(ROWS), "every row is counted, once")
    increase = float(query(prometheus, promql.samples(HISTORY_SECONDS, selector=only))[0]["value"][1])
    assert increase == pytest.approx(ROWS, rel=0.1), "each replica's increase, summed"
    found = {
        row["metric"]["feature"]: float(row["value"][1])
        for row in query(prometheus, promql.feature_psi(HISTORY_SECONDS, selector=only))
    }
    for name, value in textbook(rows, known).items():
        assert found[name] == pytest.approx(value, rel=0.05), name
    labels = [{"id": each, "label": 1} for answer in answers for each in answer["predictionIds"]]
    status, answer = ask(gateway, turning, "/v1/models/turning:feedback", {"labels": labels})
    assert (status, answer["accepted"]) == (200, ROWS)


def test_who_asks_by_hand_says_so_and_may(kubectl: Kubectl, workspace: str, turning: str) -> None:
    assert "may not approve" in annotate(kubectl, workspace, "grace", by="grace", approve="turning-2").stderr
    assert (
        "set annotation noria.dev/by=ada" in annotate(kubectl, workspace, "ada", by="bob", approve="turning-2").stderr
    )
    assert "set annotation noria.dev/by=ada" in annotate(kubectl, workspace, "ada", approve="turning-2").stderr
    assert "may not create pods" in annotate(kubectl, workspace, "ada", by="ada", rollback_to="turning-1").stderr
    looser = ["--type=merge", "-p", '{"spec": {"rollout": {"approval": "Automatic"}}}', "--as=grace"]
    patched = kubectl.run("patch", "modelendpoint", "turning", "-n", workspace, *looser, check=False)
    assert "may not approve" in patched.stderr, "who takes the approval away approves"


def test_nobody_takes_over_what_another_asked_for(kubectl: Kubectl, workspace: str, turning: str) -> None:
    large = {"cpu": "64", "memory": "1Gi"}
    model = {"name": "turning", "version": 1}
    kubectl.apply(endpoint("stuck", workspace, model=model, predictor={"resources": large}))
    says(kubectl, "modelendpoint", "stuck", workspace, "Ready", "Unschedulable")
    assert annotate(kubectl, workspace, "ada", "stuck", by="ada", approve="turning-1").returncode == 0
    assert "ada asked for" in annotate(kubectl, workspace, "grace", "stuck", by="grace", retry="turning-1").stderr
    withdrawn = ["annotate", "modelendpoint", "stuck", "-n", workspace, "noria.dev/approve-", "noria.dev/by-"]
    assert "may not approve" in kubectl.run(*withdrawn, "--as=grace", check=False).stderr
    assert kubectl.run(*withdrawn, "--as=ada", check=False).returncode == 0


def test_approval_then_rollback_without_a_failed_request(
    kubectl: Kubectl, workspace: str, gateway: str, turning: str
) -> None:
    with load(gateway, turning) as answers:
        train(kubectl, workspace, "turning", "sklearn", {"seed": "1"}, "iris", job="turning-2")
        said = says(kubectl, "modelendpoint", "turning", workspace, "UpToDate", "ApprovalNeeded", 240)
        assert "noria.dev/approve=turning-2" in said["message"]
        kubectl.run(
            "delete", "pod", "-n", "noria-system", "-l", "app.kubernetes.io/name=noria", "--grace-period=0", "--force"
        )
        assert annotate(kubectl, workspace, "ada", by="ada", approve="turning-2").returncode == 0
        until(lambda: current(kubectl, workspace) == "turning-2", "turning-2 is promoted")
        promoted = kubectl.get("modelendpoint", "turning", workspace)
        assert promoted["status"]["history"][0]["approvedBy"] == "ada"
        assert [each["name"] for each in promoted["status"]["history"][0]["steps"]] == [
            "Starting",
            "Canary-50",
            "Approval",
            "Moving",
        ]
        assert annotate(kubectl, workspace, "grace", by="grace", rollback_to="turning-1").returncode == 0
        began = time.monotonic()
        until(lambda: current(kubectl, workspace) == "turning-1", "turning-1 is back")
        seconds = time.monotonic() - began
    assert set(answers) == {"200"}, answers
    assert seconds < 15, "the old version was warm: only the traffic moves"
    back = kubectl.get("modelendpoint", "turning", workspace)
    assert back["status"]["history"][0]["trigger"] == {"reason": "Rollback", "by": "grace"}
    until(
        lambda: (
            not kubectl.get("modelendpoint", "turning", workspace)["metadata"]["annotations"].keys()
            & {"noria.dev/by", "noria.dev/rollback-to", "noria.dev/approve"}
        ),
        "the annotations are gone",
    )
    assert condition(back, "UpToDate")["status"] == "True", "what was rolled back is not wanted again"


def test_a_signal_of_ones_own_fires(kubectl: Kubectl, workspace: str, gateway: str, turning: str) -> None:
    def mine() -> dict[str, Any]:
        signals = kubectl.get("modelendpoint", "turning", workspace)["status"]["signals"]
        return next(each for each in signals if each["name"] == "mine")

    until(lambda: mine()["state"] == "OK", "what other tests asked for is over")
    send(gateway, turning, np.tile(np.array(FLOWER, np.float32), (300, 1)))
    fired = until(lambda: (said := mine())["state"] == "Firing" and said, "more than 100 predictions within 30 s")
    assert fired["value"] > 100


def test_every_query_of_the_dashboards_has_data(workspace: str, turning: str, prometheus: str) -> None:
    for path in sorted((ROOT / "charts/noria/files/dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                asked = target["expr"].replace("$namespace", workspace).replace("$endpoint", "turning")
                until(lambda asked=asked: query(prometheus, asked), f"{panel['title']}: {asked}", 30)


def test_replay_tells_what_another_threshold_would_have_done(workspace: str, turning: str, prometheus: str) -> None:
    command = ["-m", "noria", "replay", "turning", "-n", workspace, "--prometheus", prometheus, "--hours", "0.5"]
    environment = {"PYTHONPATH": str(ROOT / "operator"), "KUBECONFIG": str(KUBECONFIG), "PATH": "/usr/bin:/bin"}
    for threshold, word in (("0.01", "Firing"), ("100", "OK")):
        ran = subprocess.run(
            [sys.executable, *command, "--threshold", f"drift={threshold}"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        assert f"signal drift: {word}" in ran.stdout
