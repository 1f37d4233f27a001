"""The whole operator as a process, against a real API server: what it makes, leaves alone, survives and hands over."""

import json
import signal
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from noria.plan.manifests import rfc3339

Start = Eventually = Callable[..., Any]


def manifest(kind: str, name: str, namespace: str | None = None, **spec: Any) -> str:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return yaml.safe_dump({"apiVersion": "noria.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})


def read(kubectl: Any, *what: str) -> Any:
    ran = kubectl("get", *what, "-o", "json")
    return json.loads(ran.stdout) if ran.returncode == 0 else None


def summary(resource: Any) -> Any:
    return next(iter((resource or {}).get("status", {}).get("conditions", [])), {})


def apply(kubectl: Any, text: str) -> None:
    ran = kubectl("apply", "-f", "-", stdin=text)
    assert ran.returncode == 0, ran.stderr


def test_objects_become_what_they_declare_and_then_all_is_quiet(
    control_plane: Any, kubectl: Any, namespace: str, start: Start, eventually: Eventually
) -> None:
    operator = start(user="first", lease_namespace=namespace)
    eventually(operator.leads)
    team = f"team-{namespace}"
    apply(kubectl, manifest("Workspace", team, quota={"cpu": "2000m"}, members=[{"name": "ada"}]))
    apply(kubectl, manifest("TrainingJob", "train", namespace, image="x", command=["true"]))
    apply(kubectl, manifest("Endpoint", "digits", namespace, model={"name": "digits", "track": "Latest"}))
    eventually(lambda: summary(read(kubectl, "workspace", team)).get("status") == "True")
    assert read(kubectl, "-n", team, "resourcequota", "noria")["spec"]["hard"]["requests.cpu"] == "2"
    job = eventually(lambda: read(kubectl, "-n", namespace, "jobs")["items"])[0]
    assert job["metadata"]["ownerReferences"][0]["kind"] == "TrainingJob"
    eventually(lambda: summary(read(kubectl, "-n", namespace, "trainingjob", "train")).get("reason"))
    eventually(lambda: summary(read(kubectl, "-n", namespace, "modelendpoint", "digits")).get("reason"))

    # Quiet: no write between the renewals of the lease, though every own write has come back as an event.
    def quiet() -> bool:
        before, renewed = control_plane.writes("first"), renewals(control_plane, "first")
        eventually(lambda: renewals(control_plane, "first") > renewed + 1)
        return bool(control_plane.writes("first") == before)

    assert eventually(quiet)
    assert operator.get("/healthz").startswith("all kinds were listed")

    apply(kubectl, manifest("Workspace", team, quota={"cpu": "3"}, members=[]))
    eventually(lambda: read(kubectl, "-n", team, "resourcequota", "noria")["spec"]["hard"]["requests.cpu"] == "3")
    eventually(lambda: not read(kubectl, "-n", team, "rolebindings")["items"])

    operator.signal(signal.SIGTERM)
    assert operator.process.wait(15) == 0, operator.log.read_text()[-3000:]
    lease = read(kubectl, "-n", namespace, "lease", "noria")
    assert not lease["spec"].get("holderIdentity"), "a clean stop releases the lease"


def renewals(control_plane: Any, user: str) -> int:
    asked = [(each["objectRef"]["resource"], each["verb"]) for each in control_plane.requests(user)]
    return asked.count(("leases", "update"))


def test_what_is_not_ours_is_not_touched(kubectl: Any, namespace: str, start: Start, eventually: Eventually) -> None:
    kubectl("create", "namespace", f"taken-{namespace}")
    before = read(kubectl, "namespace", f"taken-{namespace}")
    start(user="first", lease_namespace=namespace)
    apply(kubectl, manifest("Workspace", f"taken-{namespace}", members=[{"name": "ada"}]))
    condition = eventually(lambda: summary(read(kubectl, "workspace", f"taken-{namespace}")))
    assert (condition["status"], condition["reason"]) == ("False", "NameTaken"), condition
    assert "delete it, or choose another name" in condition["message"]
    assert read(kubectl, "namespace", f"taken-{namespace}") == before
    assert not read(kubectl, "-n", f"taken-{namespace}", "rolebindings,resourcequotas")["items"]
    events = read(kubectl, "-n", "default", "events", f"--field-selector=involvedObject.name=taken-{namespace}")
    assert [each["reason"] for each in events["items"]] == ["NameTaken"]


def test_the_second_takes_over_and_the_first_writes_nothing_more(
    control_plane: Any, kubectl: Any, namespace: str, start: Start, eventually: Eventually
) -> None:
    first = start(user="first", lease_namespace=namespace)
    eventually(first.leads)
    second = start(user="second", lease_namespace=namespace)
    eventually(lambda: second.get("/healthz"))
    apply(kubectl, manifest("TrainingJob", "one", namespace, image="x"))
    eventually(lambda: summary(read(kubectl, "-n", namespace, "trainingjob", "one")).get("reason"))
    assert not control_plane.writes("second"), "only the leader writes"

    first.signal(signal.SIGSTOP)
    eventually(second.leads, 40)
    written = len(control_plane.writes("first"))
    first.signal(signal.SIGCONT)
    apply(kubectl, manifest("TrainingJob", "two", namespace, image="x"))
    eventually(lambda: summary(read(kubectl, "-n", namespace, "trainingjob", "two")).get("reason"))
    assert first.process.wait(30) != 0, "who lost the lease ends"
    assert len(control_plane.writes("first")) == written

    third = start(user="first", lease_namespace=namespace)
    eventually(lambda: third.get("/healthz"))
    second.signal(signal.SIGKILL)
    eventually(third.leads, 40)


def test_listed_namespaces_alone_are_looked_at(
    control_plane: Any, kubectl: Any, namespace: str, start: Start, eventually: Eventually
) -> None:
    other = f"other-{namespace}"
    kubectl("create", "namespace", other)
    began = len(control_plane.requests("second"))
    operator = start(user="second", lease_namespace=namespace, namespaces=[namespace])
    eventually(operator.leads)
    apply(kubectl, manifest("TrainingJob", "there", other, image="x"))
    apply(kubectl, manifest("TrainingJob", "here", namespace, image="x"))
    apply(kubectl, manifest("Workspace", f"w-{namespace}"))
    eventually(lambda: summary(read(kubectl, "-n", namespace, "trainingjob", "here")).get("reason"))
    assert not read(kubectl, "-n", other, "trainingjob", "there").get("status")
    assert not read(kubectl, "workspace", f"w-{namespace}").get("status")
    asked = [each["objectRef"] for each in control_plane.requests("second")[began:]]
    assert {each.get("namespace") for each in asked} == {namespace}


def test_a_crash_in_the_middle_is_made_good(
    control_plane: Any, kubectl: Any, namespace: str, start: Start, eventually: Eventually
) -> None:
    """At which write exactly: tests/faults/test_kills.py."""
    first = start(user="first", lease_namespace=namespace)
    eventually(first.leads)
    before = len(control_plane.writes("first"))
    apply(kubectl, manifest("TrainingJob", "train", namespace, image="x", nodes=2))
    eventually(lambda: len(control_plane.writes("first")) > before)
    first.signal(signal.SIGKILL)
    eventually(lambda: first.process.poll() is not None)
    start(user="second", lease_namespace=namespace)
    eventually(lambda: summary(read(kubectl, "-n", namespace, "trainingjob", "train")).get("reason"), 40)
    assert len(read(kubectl, "-n", namespace, "jobs")["items"]) == 1


@pytest.mark.parametrize("hangs", [False, True])
def test_a_webhook_that_fails_is_told_and_then_overcome(
    hangs: bool, kubectl: Any, namespace: str, start: Start, eventually: Eventually
) -> None:
    """Also one that takes longer than the operator waits: it was met with silence, for ever."""
    silent = socket.create_server(("127.0.0.1", 0))
    port = silent.getsockname()[1] if hangs else 1
    matches = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    rule = {"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]}
    webhook = {
        "name": "broken.noria.dev",
        "clientConfig": {"url": f"https://127.0.0.1:{port}/"},
        "namespaceSelector": matches,
        "rules": [rule],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 10 if hangs else 1,
    }
    configuration = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": namespace},
        "webhooks": [webhook],
    }
    apply(kubectl, yaml.safe_dump(configuration))
    try:
        start(user="first", lease_namespace=namespace)
        apply(kubectl, manifest("TrainingJob", "train", namespace, image="x"))
        told = eventually(lambda: summary(read(kubectl, "-n", namespace, "trainingjob", "train")))
        assert told["status"] == "Unknown" and told["message"].startswith(f"Job {namespace}/train-1: "), told
        words = ("timeout", "failed calling webhook") if hangs else ("failed calling webhook",)
        assert any(each in told["message"].lower() for each in words), told
    finally:
        silent.close()
        kubectl("delete", "validatingwebhookconfiguration", namespace)
    eventually(lambda: read(kubectl, "-n", namespace, "jobs")["items"])
    eventually(lambda: summary(read(kubectl, "-n", namespace, "trainingjob", "train"))["reason"] == "Pending")


def patch_status(kubectl: Any, status: dict[str, Any], *what: str) -> None:
    ran = kubectl("patch", *what, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
    assert ran.returncode == 0, ran.stderr


def test_a_due_sweep_becomes_a_job_and_its_message_a_status(
    kubectl: Any, namespace: str, start: Start, eventually: Eventually
) -> None:
    team, now = f"team-{namespace}", rfc3339(datetime.now(UTC))
    start(user="first", lease_namespace=namespace)
    apply(kubectl, manifest("Workspace", team))
    eventually(lambda: summary(read(kubectl, "workspace", team)).get("status") == "True")
    apply(kubectl, manifest("TrainingJob", "train", team, image="x"))
    apply(kubectl, manifest("PipelineRun", "waits", team, pipeline="not-there"))
    job, run = (read(kubectl, "-n", team, *each)["metadata"] for each in (("trainingjob", "train"), ("nrun", "waits")))
    folders = [f"jobs/train-{job['uid'][:8]}", f"runs/waits-{run['uid'][:8]}"]
    patch_status(kubectl, {"phase": "Bound"}, "-n", team, "pvc", "noria-artifacts")
    patch_status(kubectl, {"retention": {"number": 3, "lastSweepTime": "2020-01-01T00:00:00Z"}}, "workspace", team)

    job = eventually(lambda: read(kubectl, "-n", team, "job", "noria-sweep-4"))
    template = job["spec"]["template"]
    order = json.loads(template["metadata"]["annotations"]["noria.dev/sweep"])
    assert order == {"asOf": "2020-01-02T00:00:00Z", "keep": folders}
    assert job["metadata"]["ownerReferences"][0]["kind"] == "Workspace"

    of = {"apiVersion": "batch/v1", "kind": "Job", "name": "noria-sweep-4", "uid": job["metadata"]["uid"]}
    metadata = {"name": "sweeper", "namespace": team, "labels": template["metadata"]["labels"]}
    metadata["ownerReferences"] = [of | {"controller": True}]
    apply(kubectl, yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}))
    told = json.dumps({"removed": 3, "bytes": 5_000_000_000, "kept": 1, "failed": []})
    ended = {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now, "message": told}
    container = {"name": "agent", "image": "x", "imageID": "", "ready": False, "restartCount": 0}
    container["state"] = {"terminated": ended}
    patch_status(kubectl, {"phase": "Succeeded", "containerStatuses": [container]}, "-n", team, "pod", "sweeper")
    done = [
        {"type": type, "status": "True", "lastTransitionTime": now, "lastProbeTime": now}
        for type in ("SuccessCriteriaMet", "Complete")
    ]
    status = {"conditions": done, "startTime": now, "completionTime": now, "succeeded": 1}
    patch_status(kubectl, status, "-n", team, "job", "noria-sweep-4")

    def retention() -> Any:
        found = read(kubectl, "workspace", team)["status"]["retention"]
        return None if found.get("state") else found

    assert eventually(retention) == {
        "number": 4,
        "lastSweepTime": now,
        "removedFolders": 3,
        "freedBytes": 5_000_000_000,
        "message": "removed 3 folders with 5000000000 bytes, kept 1",
    }
    events = read(kubectl, "-n", "default", "events", f"--field-selector=involvedObject.name={team},reason=Swept")
    assert len(events["items"]) == 1
    assert read(kubectl, "-n", team, "job", "noria-sweep-4"), "its log stays readable"
