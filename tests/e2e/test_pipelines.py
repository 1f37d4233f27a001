"""A pipeline on the real cluster: data, trainings side by side, the best, compared with the champion, a person's word, served."""

import json
import time
from typing import Any

import yaml

from .conftest import ROOT, Kubectl, Manifest, condition, says, until
from .test_retention import on_the_claim
from .test_serving import ask

EXAMPLE = ROOT / "examples/pipeline/digits.yaml"
REMOVE = """
import pathlib, shutil
for folder in pathlib.Path("/claim/runs").glob("numerals-1-*/data"):
    shutil.rmtree(folder)
"""


def made(kubectl: Kubectl, kind: str, workspace: str, run: str) -> list[str]:
    """Names of what a run made."""
    names = [str(each["metadata"]["name"]) for each in kubectl.list(kind, workspace)]
    return [each for each in names if each.startswith(f"{run}-")]


def begin(kubectl: Kubectl, workspace: str, name: str, *rates: str) -> None:
    """Starts the pipeline once more."""
    metadata = {"name": name, "namespace": workspace}
    spec = {"pipeline": "numerals", "parameters": [{"name": "learning-rates", "value": list(rates)}]}
    kubectl.apply({"apiVersion": "noria.dev/v1alpha1", "kind": "PipelineRun", "metadata": metadata, "spec": spec})


def wish(kubectl: Kubectl, workspace: str, kind: str, name: str, annotation: str) -> None:
    user = yaml.safe_load(kubectl.run("auth", "whoami", "-o", "yaml").stdout)["status"]["userInfo"]["username"]
    kubectl.run("annotate", kind, name, "-n", workspace, f"noria.dev/by={user}", annotation)


def approve(kubectl: Kubectl, workspace: str, run: str) -> None:
    wish(kubectl, workspace, "pipelinerun", run, "noria.dev/approve=ask")


def predict(kubectl: Kubectl, workspace: str, gateway: str) -> tuple[int, Any]:
    """What the Endpoint answers through the gateway."""
    url = kubectl.get("modelendpoint", "numerals", workspace)["status"]["url"]
    return ask(gateway, url.removeprefix("http://"), "/v1/models/numerals:predict", {"instances": [[0.0] * 64]})


def steps(kubectl: Kubectl, workspace: str, run: str) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in kubectl.get("pipelinerun", run, workspace)["status"]["steps"]}


def states(kubectl: Kubectl, workspace: str, run: str) -> dict[str, str]:
    return {name: each["state"] for name, each in steps(kubectl, workspace, run).items()}


def test_the_example_from_data_to_traffic(
    kubectl: Kubectl, workspace: str, gateway: str, images: dict[str, str]
) -> None:
    """Once from nothing; again as it is; with one parameter changed, the operator killed between its steps; after what the
    first step made was removed by hand; and as the retraining of the Endpoint."""
    text = EXAMPLE.read_text().replace("noria.dev/trainer:dev", images["trainer"])
    for manifest in yaml.safe_load_all(text):
        manifest["metadata"]["namespace"] = workspace
        if manifest["kind"] == "PipelineRun":
            manifest["spec"]["parameters"] = [{"name": "learning-rates", "value": ["0.0001", "0.001"]}]
        kubectl.apply(manifest)
    asked = says(kubectl, "pipelinerun", "numerals-1", workspace, "Succeeded", "Approval", 300)
    assert "Serve a model with accuracy 0.9" in asked["message"]
    approve(kubectl, workspace, "numerals-1")
    says(kubectl, "pipelinerun", "numerals-1", workspace, "Succeeded", "Completed")
    assert kubectl.get("modelendpoint", "numerals", workspace)["status"]["current"]["version"] == "numerals-1"
    status, answer = predict(kubectl, workspace, gateway)
    assert status == 200 and len(answer["predictions"]) == 1, answer
    version = kubectl.get("modelversion", "numerals-1", workspace)["spec"]
    assert (version["lineage"]["pipelineRun"], version["lineage"]["step"]) == ("numerals-1", "best")
    counts = [len(made(kubectl, kind, workspace, "numerals-1")) for kind in ("trainingjobs", "jobs")]
    ran = kubectl.list("pods", workspace, "noria.dev/owner-name=numerals-1,noria.dev/role=step")
    assert counts == [2, 2] and len(ran) == 3, "no step ran twice"

    started = time.monotonic()
    begin(kubectl, workspace, "numerals-2", "0.0001", "0.001")
    says(kubectl, "pipelinerun", "numerals-2", workspace, "Succeeded", "Completed", 90)
    print(f"unchanged: {time.monotonic() - started:.0f} s")
    taken = ("data", "train", "train[0]", "train[1]", "best")
    found = states(kubectl, workspace, "numerals-2")
    assert {found[each] for each in taken if each != "train"} == {"Cached"}, found
    assert (found["compare"], found["ask"], found["deploy"]) == ("Succeeded", "Skipped", "Skipped")
    assert made(kubectl, "trainingjobs", workspace, "numerals-2") == [], "what is there as it was is not made again"

    begin(kubectl, workspace, "numerals-3", "0.0001", "0.01")
    killed: set[str] = set()

    def over_or_killed() -> Manifest:
        """Kills the operator whenever a step has ended."""
        run = kubectl.get("pipelinerun", "numerals-3", workspace)
        progress, now = run.get("status", {}).get("progress", ""), condition(run, "Succeeded")
        if now.get("reason") == "Approval":
            approve(kubectl, workspace, "numerals-3")
        if progress and progress not in killed and now.get("status") == "Unknown":
            killed.add(progress)
            label = "app.kubernetes.io/name=noria"
            kubectl.run("delete", "pod", "-n", "noria-system", "-l", label, "--grace-period=0", "--force")
        return now if now.get("status") in ("True", "False") else {}

    ended = until(over_or_killed, "it ended", 600)
    assert ended["reason"] == "Completed", ended
    assert len(killed) >= 4
    records = steps(kubectl, workspace, "numerals-3")
    assert {name for name, each in records.items() if each["state"] == "Cached"} >= {"data", "train[0]"}, records
    assert {each.get("attempt", 1) for each in records.values()} == {1}, "no step ran twice"
    assert len(made(kubectl, "trainingjobs", workspace, "numerals-3")) == 1
    versions = kubectl.list("modelversions", workspace, "noria.dev/model=numerals")
    assert [each["spec"]["version"] for each in versions] == [1, 2]
    assert kubectl.get("modelendpoint", "numerals", workspace)["status"]["current"]["version"] == "numerals-2"

    on_the_claim(kubectl, "remove", workspace, images["agent"], REMOVE)
    begin(kubectl, workspace, "numerals-4", "0.0001", "0.01")
    says(kubectl, "pipelinerun", "numerals-4", workspace, "Succeeded", "Completed")
    records = steps(kubectl, workspace, "numerals-4")
    assert records["data"]["state"] == "Succeeded"
    assert records["data"]["cache"]["reason"] == "ArtifactChanged"
    assert records["train[1]"]["state"] == "Cached", "the same data came of it"

    endpoint = kubectl.get("modelendpoint", "numerals", workspace)
    given = [{"name": "learning-rates", "value": ["0.01"]}, {"name": "epochs", "value": 30}]
    retrain = {"signals": ["errors"], "pipeline": {"name": "numerals", "parameters": given}}
    watched = {"signals": [{"name": "errors", "type": "ErrorRate", "threshold": 0.5}]}
    patch = json.dumps({"spec": {"monitoring": watched, "retrain": retrain}})
    kubectl.run("patch", "modelendpoint", "numerals", "-n", workspace, "--type=merge", "-p", patch)
    wish(kubectl, workspace, "modelendpoint", "numerals", "noria.dev/retrain=longer")
    cycles = endpoint["status"]["cycles"]

    def flight() -> str:
        return str(
            kubectl.get("modelendpoint", "numerals", workspace)["status"].get("cycle", {}).get("pipelineRun", "")
        )

    run = until(flight, "the Endpoint starts the pipeline")
    says(kubectl, "pipelinerun", run, workspace, "Succeeded", "Approval", 300)
    approve(kubectl, workspace, run)
    says(kubectl, "pipelinerun", run, workspace, "Succeeded", "Completed")
    status = until(
        lambda: (
            (found := kubectl.get("modelendpoint", "numerals", workspace)["status"])["cycles"] > cycles
            and not found.get("cycle")
            and found
        ),
        "the cycle is over",
    )
    newest = status["history"][0]
    assert (newest["trigger"]["reason"], newest["outcome"], newest["pipelineRun"]) == ("Manual", "Promoted", run)
    assert status["current"]["version"] == "numerals-3"
    assert predict(kubectl, workspace, gateway)[0] == 200
    for number in range(1, 5):
        kubectl.run("delete", "pipelinerun", f"numerals-{number}", "-n", workspace)
    until(lambda: not made(kubectl, "trainingjobs", workspace, "numerals-1"), "the run's trainings went with it")
