"""Secrets in the objects of a training, a pipeline's run and an Endpoint, looked for afterwards in all that the cluster tells."""

import json
import urllib.parse
import urllib.request

from ..rights.planted import LITERAL, PARAMETER, SECRET, found, leaked, variables
from .conftest import Kubectl, Manifest, condition, endpoint, finished, says, training, until

SEEN = f"import os; assert len(os.environ['TOKEN']) == {len(SECRET)} and len(os.environ['LITERAL']) == {len(LITERAL)}"
"""The pods have what they were promised."""
GIVE = "; import pathlib; pathlib.Path(os.environ['{folder}'], 'model.onnx').write_text('weights')"
TINY = {"cpu": "100m", "memory": "128Mi"}


def run(name: str, workspace: str, image: str, type: str) -> Manifest:
    """A run that is given a token as a parameter of a type."""
    given = [{"name": "token", "parameter": "token"}]
    command = ["python3", "-c", SEEN + GIVE.format(folder="NORIA_OUTPUT_MODEL")]
    container = {"image": image, "command": command, "env": variables(), "resources": TINY}
    steps = [
        {"name": "give", "inputs": given, "run": container, "outputs": [{"name": "model", "type": "model"}]},
        {"name": "keep", "inputs": [{"name": "model", "from": "give.model"}], "register": {"model": name}},
    ]
    inline = {"parameters": [{"name": "token", "type": type}], "steps": steps}
    spec = {"inline": inline, "parameters": [{"name": "token", "value": PARAMETER}]}
    metadata = {"name": name, "namespace": workspace}
    return {"apiVersion": "noria.dev/v1alpha1", "kind": "PipelineRun", "metadata": metadata, "spec": spec}


def everything(kubectl: Kubectl, workspace: str) -> list[Manifest]:
    """All objects of the namespace but Secrets, and what cluster-wide objects are told of it."""
    kinds = kubectl.run("api-resources", "--namespaced", "--verbs=list", "-o", "name").stdout.split()
    objects = kubectl.list(",".join(sorted(set(kinds) - {"secrets"})), workspace)
    return [*objects, *kubectl.list("events", "default"), *kubectl.list("workspaces")]


def text(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return str(answer.read().decode())


def logs(kubectl: Kubectl, workspace: str) -> dict[str, str]:
    """What containers wrote in all pods, by name, before their last restart too. Not `main`, which is the user's own code."""
    written: dict[str, str] = {}
    for pod in kubectl.list("pods", workspace):
        status, name = pod["status"], pod["metadata"]["name"]
        for each in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
            if each["name"] == "main" or not each.get("containerID"):
                continue
            for previous in ("false", "true"):
                words = ["logs", name, "-c", each["name"], "-n", workspace, f"--previous={previous}"]
                ran = kubectl.run(*words, check=False)
                assert ran.returncode == 0 or "not found" in ran.stderr, f"{name}: {ran.stderr}"
                written[each["name"]] = written.get(each["name"], "") + ran.stdout
    return written


def test_no_secret_leaves_where_it_was_put(kubectl: Kubectl, workspace: str, images: dict[str, str]) -> None:
    metadata = {"name": "planted", "namespace": workspace}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"token": SECRET}}
    common = {"image": images["trainer"], "env": variables(), "resources": TINY}
    good = ["python3", "-c", SEEN + GIVE.format(folder="NORIA_OUTPUT_DIR")]
    again = common | {"command": good}
    watched = {"signals": [{"name": "errors", "type": "ErrorRate", "threshold": 0.5}]}
    model = {"name": "planted", "track": "Latest"}
    objects = [
        secret,
        training("planted", workspace, **common, command=good, output={"model": "planted"}),
        training("planted-bad", workspace, **common, command=["false"], retry={"limit": 0}),
        run("planted", workspace, images["trainer"], "string"),
        run("planted-bad", workspace, images["trainer"], "integer"),
        endpoint(
            "planted", workspace, model=model, monitoring=watched, retrain={"signals": ["errors"], "template": again}
        ),
    ]
    for each in objects:  # not `apply`, which writes all that it was given into an annotation
        kubectl.run("create", "-f", "-", stdin=json.dumps(each))
    assert condition(finished(kubectl, "planted", workspace), "Succeeded")["status"] == "True"
    assert condition(finished(kubectl, "planted-bad", workspace), "Succeeded")["reason"] == "ExitCode"
    says(kubectl, "pipelinerun", "planted", workspace, "Succeeded", "Completed")
    until(
        lambda: condition(kubectl.get("pipelinerun", "planted-bad", workspace), "Succeeded").get("status") == "False",
        "a parameter of the wrong type ends its run",
    )
    says(kubectl, "modelendpoint", "planted", workspace, "Ready", "UnsupportedModel")

    live = everything(kubectl, workspace)
    assert {"PipelineRun", "TrainingJob", "Endpoint", "ModelVersion", "Job", "Pod", "Event"} <= {
        each["kind"] for each in live
    }
    assert [path for path in found(live, LITERAL) if path.startswith("Pod.spec.containers")]
    assert [path for path in found(live, PARAMETER) if path.startswith("PipelineRun.status.frozen.parameters")]
    assert leaked(live) == []
    written = logs(kubectl, workspace)
    assert "published" in written["agent"] and "model.onnx" in written["kserve-container"], written
    log = kubectl.run("logs", "deployment/noria", "-n", "noria-system", "--tail=-1").stdout
    address = kubectl.get("service", "prometheus", "monitoring")["spec"]["clusterIP"]
    query = urllib.parse.urlencode({"match[]": '{__name__=~".+"}'})
    series = text(f"http://{address}:9090/api/v1/series?{query}")
    operator = text(f"http://{kubectl.get('service', 'noria', 'noria-system')['spec']['clusterIP']}:8080/metrics")
    assert log and "noria_leader" in operator and workspace in series
    told = {**written, "operator": log, "series": series, "metrics": operator}
    assert [
        (place, value) for place, text in told.items() for value in (SECRET, LITERAL, PARAMETER) if value in text
    ] == []
