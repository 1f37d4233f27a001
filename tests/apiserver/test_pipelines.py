"""Pipelines on a real API server: what is refused with a sentence, who may approve, and how large a run of 500 steps is."""

import json
import signal
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from noria.__main__ import main

from .conftest import ControlPlane

Manifest = dict[str, Any]
RUN = {"image": "x"}
STEP = {"name": "a", "run": RUN}


def written(kind: str, name: str = "p", **spec: Any) -> Manifest:
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


@pytest.fixture
def namespace(namespace: str, kubectl: Any) -> str:
    """One in which steps may run, as a Workspace would have made it."""
    assert kubectl("create", "serviceaccount", "noria-runner", "-n", namespace).returncode == 0
    return namespace


def of_pods(plane: ControlPlane, namespace: str) -> list[tuple[str, str]]:
    """What the operator wrote to pods of a namespace: verb and name."""
    asked = ((each["verb"], each["objectRef"]) for each in plane.requests("first"))
    return [
        (verb, of["name"])
        for verb, of in asked
        if (of["resource"], of.get("namespace")) == ("pods", namespace) and verb in ("create", "patch", "delete")
    ]


def pipeline(*steps: Manifest, **spec: Any) -> Manifest:
    return written("Pipeline", steps=list(steps), **spec)


BAD = {
    "a step without a kind": (
        pipeline({"name": "a"}),
        "set exactly one of component, run, train, evaluate, register, approve and deploy",
    ),
    "a step of two kinds": (pipeline({"name": "a", "run": RUN, "approve": {}}), "set exactly one of component"),
    "no steps": (pipeline(), "spec.steps"),
    "a deploy step for each of several": (
        pipeline({"name": "a", "deploy": {"endpoint": "e"}, "foreach": {"items": ["m-1"]}}),
        "foreach belongs to run, train and component",
    ),
    "a deploy step that is retried": (
        pipeline({"name": "a", "deploy": {"endpoint": "e"}, "retry": {"limit": 1}}),
        "retry belongs to run",
    ),
    "a deploy step to an endpoint of a long name": (
        pipeline({"name": "a", "deploy": {"endpoint": "e" * 31}}),
        "deploy.endpoint: Too long: may not be more than 30",
    ),
    "a name twice": (pipeline({"name": "a", "run": RUN}, {"name": "a", "run": RUN}), "Duplicate value"),
    "two sources": (
        pipeline({"name": "a", "run": RUN, "inputs": [{"name": "x", "parameter": "p", "item": True}]}),
        "set exactly one of from, parameter, value, uri and item",
    ),
    "a reference that is none": (
        pipeline({"name": "a", "run": RUN, "inputs": [{"name": "x", "from": "bcd"}]}),
        "inputs[0].from in body should match",
    ),
    "a claim of another scheme": (
        pipeline({"name": "a", "run": RUN, "inputs": [{"name": "x", "uri": "s3://b/c"}]}),
        """inputs[0].uri in body should match '^pvc://""",
    ),
    "outputs of a training": (
        pipeline({"name": "a", "train": {"recipe": {"name": "sklearn"}}, "outputs": [{"name": "x", "type": "json"}]}),
        "outputs belong to run",
    ),
    "an evaluation by nothing": (
        pipeline({"name": "a", "evaluate": {"test": "pvc://c/d", "metrics": []}}),
        "evaluate.metrics",
    ),
    "an evaluation by a metric that is none": (
        pipeline({"name": "a", "evaluate": {"metrics": [{"name": "bleu"}]}}),
        'Unsupported value: "bleu"',
    ),
    "an evaluation that is retried": (
        pipeline({"name": "a", "evaluate": {"metrics": [{"name": "f1"}]}, "retry": {"limit": 1}}),
        "retry belongs to run",
    ),
    "an unknown field": (pipeline({"name": "a", "run": RUN, "retries": 3}), 'unknown field "spec.steps[0].retries"'),
    "a component of two kinds": (
        written("Component", run=RUN, train={"recipe": {"name": "sklearn"}}),
        "set exactly one of run and train",
    ),
    "a run of nothing": (written("PipelineRun"), "set exactly one of pipeline, inline and rerunOf"),
    "a rerun of a pipeline": (written("PipelineRun", pipeline="p", rerunOf="q"), "set exactly one of pipeline, inline"),
    "a rerun with parameters": (
        written("PipelineRun", rerunOf="q", parameters=[{"name": "x", "value": 1}]),
        "a rerun has the parameters of the run that it names",
    ),
    "a rerun of itself": (written("PipelineRun", "r", rerunOf="r"), "a run is no rerun of itself"),
    "a run with a long name": (written("PipelineRun", "r" * 31, pipeline="p"), "at most 30 characters"),
    "a schedule of six fields": (pipeline(STEP, schedule={"cron": "0 0 * * * *"}), "spec.schedule.cron"),
    "a schedule with a zone inside": (pipeline(STEP, schedule={"cron": "TZ=UTC * * * *"}), "spec.schedule.cron"),
    "no run at a time": (pipeline(STEP, maxConcurrentRuns=0), "spec.maxConcurrentRuns"),
    "a schedule of one run's pipeline": (
        written("PipelineRun", inline={"steps": [STEP], "schedule": {"cron": "* * * * *"}}),
        'unknown field "spec.inline.schedule"',
    ),
    "secrets for Noria's variables": (
        pipeline({"name": "a", "run": RUN | {"env": [{"name": "NORIA_X", "value": "1"}]}}),
        "are set by Noria",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_pipelines_are_refused_with_a_sentence(kubectl: Any, case: str) -> None:
    manifest, sentence = BAD[case]
    answer = kubectl("apply", "-f", "-", "--dry-run=server", stdin=json.dumps(manifest))
    assert answer.returncode != 0 and sentence in answer.stderr, answer.stderr


def test_what_the_design_shows_is_accepted(kubectl: Any, repository: Path) -> None:
    text = (repository / "docs" / "pipelines.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    for document in yaml.safe_load_all(text):
        document["metadata"]["namespace"] = "default"
        answer = kubectl("apply", "-f", "-", "--dry-run=server", stdin=json.dumps(document))
        assert answer.returncode == 0, answer.stderr


def test_components_and_begun_runs_do_not_change(kubectl: Any) -> None:
    for before, after, sentence in (
        (written("Component", "c", run=RUN), written("Component", "c", run={"image": "y"}), "a Component is immutable"),
        (
            written("PipelineRun", "r", pipeline="p"),
            written("PipelineRun", "r", pipeline="q"),
            "pipeline cannot change",
        ),
        (written("PipelineRun", "t", rerunOf="q"), written("PipelineRun", "t", rerunOf="p"), "rerunOf cannot change"),
        (
            written("PipelineRun", "s", pipeline="p", cancel=True),
            written("PipelineRun", "s", pipeline="p", cancel=False),
            "a run that was cancelled does not come back",
        ),
    ):
        assert kubectl("apply", "-f", "-", stdin=json.dumps(before)).returncode == 0
        answer = kubectl("apply", "-f", "-", stdin=json.dumps(after))
        assert answer.returncode != 0 and sentence in answer.stderr, answer.stderr


def test_a_run_of_500_steps_is_stored_below_a_mebibyte(kubectl: Any) -> None:
    steps = [{"name": "s0", "run": RUN, "outputs": [{"name": "data", "type": "dataset"}]}]
    digest = "sha256:" + "d" * 64
    for number in range(1, 500):
        container = {
            "image": f"registry.example.com/team/image@{digest}",
            "command": ["python3", "-m", "step", str(number)],
        }
        bound = [{"name": "data", "from": f"s{number - 1}.data"}]
        steps.append({"name": f"s{number}", "run": container, "inputs": bound, "outputs": steps[0]["outputs"]})  # type: ignore[dict-item]
    run = written("PipelineRun", "large", inline={"steps": steps})
    answer = kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(run))
    assert answer.returncode == 0, answer.stderr
    gave = [{"name": "data", "uri": "pvc://noria-artifacts/runs/large-12345678/s499/1/data", "digest": digest}]
    moment = "2026-11-24T12:00:00Z"
    ended = {"state": "Succeeded", "attempt": 1, "startTime": moment, "endTime": moment, "outputs": gave}
    status = [
        {"name": each["name"], "job": "a-job-with-a-name-of-about-forty-letters", "image": container["image"]} | ended
        for each in steps
    ]
    told = {key: run[key] for key in ("apiVersion", "kind", "metadata")} | {
        "status": {"steps": status, "frozen": "x" * 30_000}
    }
    answer = kubectl(
        "apply", "--server-side", "--subresource=status", "--field-manager=noria", "-f", "-", stdin=json.dumps(told)
    )
    assert answer.returncode == 0, answer.stderr
    stored = kubectl("get", "--raw", "/apis/noria.dev/v1alpha1/namespaces/default/pipelineruns/large").stdout
    print(f"{len(stored.encode()):,} bytes")
    assert len(json.loads(stored)["status"]["steps"]) == 500 and len(stored.encode()) < 1 << 20
    assert "large" in kubectl("get", "nrun", "large", "-o", "wide").stdout


@pytest.fixture
def policies(kubectl: Any, repository: Path, built: Any) -> None:
    """The chart's policies about pipelines, in force."""
    template = [built("helm"), "template", "noria", str(repository / "charts/noria"), "-n", "noria-system"]
    rendered = subprocess.run(
        [*template, "-s", "templates/admission-pipelines.yaml"], check=True, capture_output=True, text=True
    )
    assert kubectl("apply", "-f", "-", stdin=rendered.stdout).returncode == 0
    rules = {"runner": "create,get,patch", "approver": "get,patch,approve"}
    for role, verbs in rules.items():
        kubectl(
            "create",
            "role",
            role,
            f"--verb={verbs}",
            "--resource=pipelineruns.noria.dev,pipelines.noria.dev",
            "-n",
            "default",
        )
        kubectl("create", "rolebinding", role, f"--role={role}", f"--user={role}", "-n", "default")
    kubectl("create", "role", "pods", "--verb=create", "--resource=pods", "-n", "default")
    kubectl("create", "rolebinding", "pods", "--role=pods", "--user=runner", "-n", "default")


def test_who_may_approve_and_whose_secrets_a_pipeline_may_name(kubectl: Any, policies: None, eventually: Any) -> None:
    secret = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
    greedy = written("PipelineRun", "greedy", inline={"steps": [{"name": "a", "run": RUN | {"env": secret}}]})
    plain = written("PipelineRun", "asks", inline={"steps": [{"name": "ask", "approve": {}}]})

    def apply(manifest: Manifest, user: str) -> Any:
        return kubectl("create", "-f", "-", "--as", user, stdin=json.dumps(manifest))

    eventually(lambda: "may not read every Secret" in apply(greedy, "runner").stderr, 20)
    assert apply(plain, "runner").returncode == 0

    def annotate(user: str, *marks: str) -> Any:
        return kubectl("annotate", "nrun", "asks", "-n", "default", "--as", user, *marks)

    assert "set annotation noria.dev/by=approver" in annotate("approver", "noria.dev/approve=ask").stderr
    assert "runner may not approve" in annotate("runner", "noria.dev/approve=ask", "noria.dev/by=runner").stderr
    assert annotate("approver", "noria.dev/approve=ask", "noria.dev/by=approver").returncode == 0
    assert "not done with yet" in annotate("runner", "noria.dev/by=runner", "--overwrite").stderr


def test_a_run_becomes_pods_one_after_the_other_and_ends_them(
    control_plane: Any, kubectl: Any, namespace: str, start: Any, eventually: Any
) -> None:
    operator = start(user="first", lease_namespace=namespace)
    eventually(operator.leads)
    training = {"recipe": {"name": "sklearn"}}
    bound = [{"name": "x", "from": "a.x"}]
    steps = [
        {"name": "a", "run": RUN | {"code": {"a.py": "1"}}, "outputs": [{"name": "x", "type": "integer"}]},
        {"name": "b", "run": RUN, "inputs": bound},
        {"name": "t", "train": training, "inputs": bound},
    ]
    for each in (pipeline(*steps), written("PipelineRun", "r", pipeline="p")):
        each["metadata"]["namespace"] = namespace
        assert kubectl("apply", "-f", "-", stdin=json.dumps(each)).returncode == 0

    def read(*what: str) -> Any:
        ran = kubectl("get", "-n", namespace, *what, "-o", "json")
        return json.loads(ran.stdout) if ran.returncode == 0 else None

    def pods(*steps: str) -> Any:
        found = {each["metadata"]["labels"].get("noria.dev/step"): each for each in read("pods")["items"]}
        return found if set(steps) <= found.keys() else None

    complete(kubectl, namespace, eventually(lambda: pods("a"))["a"], {"outputs": {"x": {"value": 7}}, "inputs": {}})
    pod = eventually(lambda: pods("b"))["b"]
    env = {each["name"]: each["value"] for each in pod["spec"]["containers"][0]["env"]}
    assert env["NORIA_INPUT_X"] == "7"
    shown = eventually(lambda: (text := kubectl("get", "nrun", "-n", namespace).stdout) and "1/3" in text and text)
    assert "b, t" in shown
    kubectl("patch", "nrun", "r", "-n", namespace, "--type=merge", "-p", json.dumps({"spec": {"suspend": True}}))
    eventually(lambda: "b" not in pods())
    eventually(lambda: all(each["spec"].get("suspend") for each in read("trainingjobs")["items"]))
    kubectl("patch", "nrun", "r", "-n", namespace, "--type=merge", "-p", json.dumps({"spec": {"suspend": False}}))
    eventually(lambda: [each for each in read("trainingjobs")["items"] if not each["spec"].get("suspend")])
    assert eventually(lambda: pods("b"))["b"]["metadata"]["name"] != pod["metadata"]["name"]
    kubectl("patch", "nrun", "r", "-n", namespace, "--type=merge", "-p", json.dumps({"spec": {"cancel": True}}))
    run = eventually(lambda: (found := read("nrun", "r")) and found["status"].get("completionTime") and found)
    assert run["status"]["conditions"][0]["reason"] == "Cancelled"
    eventually(lambda: list(pods()) == ["a"])
    writes = of_pods(control_plane, namespace)
    assert len(writes) == len(set(writes)), "each pod is created once"
    assert [verb for verb, _ in writes].count("delete") == 2, "and two are deleted once, to end them"

    again = written("PipelineRun", "again", rerunOf="r")
    again["metadata"]["namespace"] = namespace
    assert kubectl("apply", "-f", "-", stdin=json.dumps(again)).returncode == 0

    def of_rerun() -> Any:
        marks = [each["metadata"]["labels"] for each in read("pods")["items"]]
        found = {each["noria.dev/step"] for each in marks if each["noria.dev/owner-name"] == "again"}
        return "b" in found and found

    assert eventually(of_rerun) == {"b"}, "what succeeded is not made again"
    assert eventually(
        lambda: [each for each in read("trainingjobs")["items"] if each["metadata"]["name"][:5] == "again"]
    )
    run = eventually(lambda: (found := read("nrun", "again")) and found["status"].get("running") == "b, t" and found)
    assert run["status"]["steps"][0]["cache"] == {"result": "Hit", "run": "r"}
    shown = kubectl("get", "nrun", "again", "-n", namespace, "-o", "wide").stdout.splitlines()
    assert shown[1].split()[5:7] == ["p", "r"], shown


def test_lineage_and_graph_read_what_the_operator_has_recorded(
    control_plane: Any,
    kubectl: Any,
    namespace: str,
    start: Any,
    eventually: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    operator = start(user="first", lease_namespace=namespace)
    eventually(operator.leads)
    digest = "sha256:" + "d" * 64
    raw, model = [{"name": "raw", "uri": "pvc://noria-artifacts/data"}], [{"name": "model", "type": "model"}]
    steps = [
        {"name": "a", "run": RUN, "inputs": raw, "outputs": model},
        {"name": "b", "register": {"model": "m"}, "inputs": [{"name": "model", "from": "a.model"}]},
    ]
    for each in (
        pipeline(*steps),
        written("PipelineRun", "r", pipeline="p"),
        written("Endpoint", "e", model={"name": "m", "track": "Latest"}),
    ):
        each["metadata"]["namespace"] = namespace
        assert kubectl("apply", "-f", "-", stdin=json.dumps(each)).returncode == 0

    def items(kind: str) -> Any:
        return json.loads(kubectl("get", kind, "-n", namespace, "-o", "json").stdout)["items"]

    made = {"digest": digest, "files": 1, "bytes": 1, "format": "onnx"}
    told = {"outputs": {"model": made}, "inputs": {"raw": digest}}
    complete(kubectl, namespace, eventually(lambda: items("pods"))[0], told)
    eventually(lambda: items("nrun")[0]["status"].get("completionTime"))
    operator.signal(signal.SIGTERM)
    eventually(lambda: operator.process.poll() is not None)
    served = {"version": "m-1", "inferenceService": "i", "since": "2026-11-24T12:00:00Z"}
    patch(kubectl, namespace, "mep", "e", {"current": served})

    def says(*command: str, user: str = "admin") -> str:
        monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig(user)))
        code = main([*command, "-n", namespace])
        shown = capsys.readouterr()
        return shown.out if code == 0 else f"{code}: {shown.err}"

    assert "s_a -->|model| s_b" in says("graph", "nrun/r") and ":::Succeeded" in says("graph", "pipelineruns/r")
    assert ":::" not in says("graph", "npl/p")
    lines = says("lineage", "mep/e").splitlines()
    assert lines[:2] == ["Endpoint e", "└── serves ModelVersion m-1 (since 2026-11-24T12:00:00Z, format onnx)"]
    assert "made by Step r/a (state Succeeded" in lines[5] and lines[-1].endswith(
        f"raw pvc://noria-artifacts/data {digest}"
    )
    maker = json.loads(says("lineage", "mv/m-1", "-o", "json"))["origins"][-1]["origins"][0]["origins"][0]
    code = next(each["digest"] for each in maker["origins"] if each["role"] == "code")
    kubectl("delete", "nrun", "r", "-n", namespace)
    lines = says("lineage", "mep/e").splitlines()
    assert lines[3:] == [
        "    └── made by PipelineRun r (step a, attempt 1): gone",
        "        ├── image x x",
        f"        ├── code {code}",
        f"        └── input raw pvc://noria-artifacts/data {digest}",
    ]
    assert f"1: noria: PipelineRun {namespace}/r:" in says("lineage", "nrun/r")
    assert "2: noria:" in says("graph", "nrun/r")
    assert "cannot get resource" in says("lineage", "mep/e", user="nobody")


def test_a_model_is_scored_once_and_what_it_gave_is_told(
    control_plane: Any, kubectl: Any, namespace: str, start: Any, eventually: Any
) -> None:
    operator = start(user="first", lease_namespace=namespace)
    eventually(operator.leads)
    rule = {"endpoint": "digits", "test": "pvc://noria-artifacts/data/held-out", "metrics": [{"name": "accuracy"}]}
    steps = [
        {"name": "a", "run": RUN, "outputs": [{"name": "model", "type": "model"}]},
        {"name": "judge", "evaluate": rule, "inputs": [{"name": "model", "from": "a.model"}]},
    ]
    serves = written("Endpoint", "digits", model={"name": "digits", "track": "Latest"})
    for each in (serves, pipeline(*steps), written("PipelineRun", "r", pipeline="p")):
        each["metadata"]["namespace"] = namespace
        assert kubectl("apply", "-f", "-", stdin=json.dumps(each)).returncode == 0

    def read(*what: str) -> Any:
        return json.loads(kubectl("get", "-n", namespace, *what, "-o", "json").stdout)

    def pod(step: str) -> Any:
        return next(
            (each for each in read("pods")["items"] if each["metadata"]["labels"]["noria.dev/step"] == step), None
        )

    made = {"digest": "sha256:" + "d" * 64, "files": 2, "bytes": 1, "format": "onnx"}
    complete(kubectl, namespace, eventually(lambda: pod("a")), {"outputs": {"model": made}, "inputs": {}})
    scored = {"samples": 720, "test": "sha256:" + "e" * 64, "scores": {"challenger": {"accuracy": 0.95}}}
    complete(kubectl, namespace, eventually(lambda: pod("judge")), scored, "scorer")
    run = eventually(lambda: (found := read("nrun", "r"))["status"].get("completionTime") and found)
    assert run["status"]["conditions"][0]["reason"] == "Completed", run["status"]
    judged = run["status"]["steps"][1]
    assert judged["outputs"] == [
        {"name": "passed", "value": True},
        {"name": "changed", "value": True},
        {"name": "metrics", "value": {"accuracy": 0.95}},
        {"name": "champion", "value": {}},
    ]
    assert judged["message"] == "there is no champion to compare with" and judged["key"].startswith("sha256:")
    writes = of_pods(control_plane, namespace)
    assert len(writes) == len(set(writes)) == 2, writes


def test_a_missed_start_is_made_up_for_and_the_limits_hold(
    control_plane: Any, kubectl: Any, namespace: str, start: Any, eventually: Any
) -> None:
    limits = {"maxConcurrentRuns": 1, "historyLimits": {"failed": 0}}
    yearly = pipeline(STEP, schedule={"cron": "0 0 1 1 *", "timeZone": "Europe/Berlin"}, **limits)
    for each in (yearly, *(written("PipelineRun", name, pipeline="p") for name in ("by-hand-1", "by-hand-2"))):
        each["metadata"]["namespace"] = namespace
        assert kubectl("apply", "-f", "-", stdin=json.dumps(each)).returncode == 0
    recorded = {"schedule": "0 0 1 1 * Europe/Berlin", "since": "2020-01-01T12:00:00Z"}
    patch(kubectl, namespace, "npl", "p", recorded | {"lastScheduleTime": "2022-12-31T23:00:00Z"})
    operator = start(user="first", lease_namespace=namespace)
    eventually(operator.leads)

    def read(*what: str) -> Any:
        ran = kubectl("get", "-n", namespace, *what, "-o", "json")
        return json.loads(ran.stdout) if ran.returncode == 0 else None

    def runs(status: str) -> list[str]:
        found = {each["metadata"]["name"]: each.get("status", {}) for each in read("nrun")["items"]}
        return [name for name, told in found.items() if told and told["conditions"][0]["reason"] == status]

    def settled(**expected: Any) -> Any:
        told = read("npl", "p")["status"]
        return told if expected.items() <= told.items() else None

    told = eventually(lambda: settled(active=1, queued=2, activeRuns=["by-hand-1"]))
    newest = f"{datetime.now(UTC).year - 1}-12-31T23:00:00Z"
    assert told["lastScheduleTime"] == newest and told["missed"] == datetime.now(UTC).year - 2024
    (made,) = {each["metadata"]["name"] for each in read("nrun")["items"]} - {"by-hand-1", "by-hand-2"}
    assert told["queuedRuns"] == ["by-hand-2", made]
    eventually(lambda: sorted(runs("Queued")) == sorted(["by-hand-2", made]))
    shown = kubectl("get", "npl", "-n", namespace).stdout
    assert "Scheduled" in shown and "0 0 1 1 *" in shown and f"{datetime.now(UTC).year}-12-31T23:00:00Z" in shown
    for name, after in (("by-hand-1", "by-hand-2"), ("by-hand-2", made)):
        eventually(lambda name=name: name in runs("Running"))
        cancel = json.dumps({"spec": {"cancel": True}})
        kubectl("patch", "nrun", name, "-n", namespace, "--type=merge", "-p", cancel)
        eventually(lambda name=name: read("nrun", name) is None)
        eventually(lambda after=after: after in runs("Running"))
    kubectl("delete", "nrun", made, "-n", namespace)
    eventually(lambda: settled(active=0, queued=0))
    writes = [each for each in control_plane.writes("first") if namespace in each and "/pipelineruns" in each]
    assert len([each for each in writes if each.startswith("create ")]) == 1, (
        "what is deleted by hand is not made again"
    )


def test_what_is_replaced_ends_before_the_next_begins(
    kubectl: Any, namespace: str, start: Any, eventually: Any
) -> None:
    schedule = {"cron": "0 0 1 1 *", "concurrencyPolicy": "Replace", "startingDeadlineSeconds": 400 * 86400}
    yearly = pipeline(STEP, schedule=schedule)
    yearly["metadata"]["namespace"] = namespace
    uid = json.loads(kubectl("create", "-o", "json", "-f", "-", stdin=json.dumps(yearly)).stdout)["metadata"]["uid"]
    owner = {"apiVersion": "noria.dev/v1alpha1", "kind": "Pipeline", "name": "p", "uid": uid, "controller": True}
    before = written("PipelineRun", "before", pipeline="p")
    before["metadata"] |= {"namespace": namespace, "ownerReferences": [owner]}
    assert kubectl("create", "-f", "-", stdin=json.dumps(before)).returncode == 0
    patch(kubectl, namespace, "npl", "p", {"schedule": "0 0 1 1 * Etc/UTC", "since": "2020-01-01T12:00:00Z"})
    eventually(start(user="first", lease_namespace=namespace).leads)

    def runs() -> dict[str, Any]:
        found = json.loads(kubectl("get", "nrun", "-n", namespace, "-o", "json").stdout)["items"]
        return {each["metadata"]["name"]: each for each in found}

    found = eventually(lambda: len(found := runs()) == 2 and found)
    replaced = found.pop("before")
    assert replaced["status"]["conditions"][0]["reason"] == "Cancelled"
    assert [replaced["metadata"]["annotations"]["noria.dev/replaced-by"]] == [*found]
    told = json.loads(kubectl("get", "events", "-n", namespace, "-o", "json").stdout)["items"]
    assert {"Replacing"} <= {each["reason"] for each in told if each["involvedObject"]["kind"] == "Pipeline"}


def test_a_deploy_step_waits_for_its_endpoint_and_tells_what_it_says(
    kubectl: Any, namespace: str, start: Any, eventually: Any
) -> None:
    operator = start(user="first", lease_namespace=namespace)
    eventually(operator.leads)
    step = {"name": "d", "deploy": {"endpoint": "e"}, "inputs": [{"name": "version", "value": "m-1"}]}

    def apply(manifest: Manifest) -> None:
        manifest["metadata"]["namespace"] = namespace
        assert (made := kubectl("apply", "-f", "-", stdin=json.dumps(manifest))).returncode == 0, made.stderr

    def told() -> Any:
        run = json.loads(kubectl("get", "nrun", "r", "-n", namespace, "-o", "json").stdout)
        return run.get("status", {}).get("steps", [{}])[0]

    apply(written("PipelineRun", "r", inline={"steps": [step]}))
    eventually(lambda: told().get("cause") == "EndpointNotFound")
    assert told()["deploy"] == {"endpoint": "e", "version": "m-1"} and told()["state"] == "Running"
    apply(written("Endpoint", "e", model={"name": "m", "track": "Deployed"}))
    eventually(lambda: told().get("cause") == "ModelVersionNotFound")
    apply(written("Endpoint", "e", model={"name": "m", "version": 2}))
    eventually(lambda: (told()["state"], told()["cause"]) == ("Failed", "Pinned"))


def complete(kubectl: Any, namespace: str, pod: Manifest, message: Manifest, container: str = "agent") -> None:
    """The kubelet: the pod ends well, and `container`, the agent or the scorer, has told `message`."""
    main = "main" if container == "agent" else container
    ended = {"image": "x", "imageID": "x", "ready": False, "restartCount": 0}
    over = {name: {"terminated": {"exitCode": 0}} for name in ("agent", main)}
    over[container]["terminated"]["message"] = json.dumps(message)
    status = {"phase": "Succeeded", "containerStatuses": [ended | {"name": main, "state": over[main]}]}
    if "initContainers" in pod["spec"]:
        status["initContainerStatuses"] = [ended | {"name": "agent", "state": over["agent"]}]
    patch(kubectl, namespace, "pod", pod["metadata"]["name"], status)


def patch(kubectl: Any, namespace: str, kind: str, name: str, status: Manifest) -> None:
    told = json.dumps({"status": status})
    ran = kubectl("patch", kind, name, "-n", namespace, "--subresource=status", "--type=merge", "-p", told)
    assert ran.returncode == 0, ran.stderr
