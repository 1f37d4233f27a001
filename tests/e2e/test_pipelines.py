"""A pipeline on the real cluster: data, trainings side by side, the best of them, a person's word, a version that is served."""

import yaml

from .conftest import ROOT, Kubectl, endpoint, says, until
from .test_serving import SMALL, serving

EXAMPLE = ROOT / "examples/pipeline/digits.yaml"


def made(kubectl: Kubectl, kind: str, workspace: str, run: str) -> list[str]:
    """Names of what a run made."""
    names = [str(each["metadata"]["name"]) for each in kubectl.list(kind, workspace)]
    return [each for each in names if each.startswith(f"{run}-")]


def test_the_example_ends_in_a_served_version(kubectl: Kubectl, workspace: str, images: dict[str, str]) -> None:
    text = EXAMPLE.read_text().replace("noria.dev/trainer:dev", images["trainer"])
    for manifest in yaml.safe_load_all(text):
        manifest["metadata"]["namespace"] = workspace
        if manifest["kind"] == "PipelineRun":
            manifest["spec"]["parameters"] = [{"name": "learning-rates", "value": ["0.001", "0.01"]}]
            run = manifest
        kubectl.apply(manifest)
    asked = says(kubectl, "pipelinerun", "digits-1", workspace, "Succeeded", "Approval", 300)
    assert "Register a model with accuracy 0.9" in asked["message"]
    user = yaml.safe_load(kubectl.run("auth", "whoami", "-o", "yaml").stdout)["status"]["userInfo"]["username"]
    wish = [f"noria.dev/by={user}", "noria.dev/approve=ask"]
    kubectl.run("annotate", "pipelinerun", "digits-1", "-n", workspace, *wish)
    says(kubectl, "pipelinerun", "digits-1", workspace, "Succeeded", "Completed")
    version = kubectl.get("modelversion", "digits-1", workspace)["spec"]
    assert (version["lineage"]["pipelineRun"], version["lineage"]["step"]) == ("digits-1", "best")
    counts = [len(made(kubectl, kind, workspace, "digits-1")) for kind in ("trainingjobs", "jobs")]
    assert counts == [2, 4], "no step ran twice"
    predictor = {"resources": SMALL}
    kubectl.apply(endpoint("digits", workspace, model={"name": "digits", "track": "Latest"}, predictor=predictor))
    serving(kubectl, "digits", workspace, "digits-1")
    kubectl.run("delete", "modelendpoint", "digits", "-n", workspace)

    again = {"pipeline": "digits", "parameters": run["spec"]["parameters"]}
    kubectl.apply(run | {"metadata": {"name": "digits-2", "namespace": workspace}, "spec": again})
    says(kubectl, "pipelinerun", "digits-2", workspace, "Succeeded", "Approval", 90)
    steps = {each["name"]: each for each in kubectl.get("pipelinerun", "digits-2", workspace)["status"]["steps"]}
    taken = {name: each["cache"] for name, each in steps.items() if each["state"] == "Cached"}
    assert taken.keys() >= {"data", "train[0]", "train[1]", "best"}, steps
    assert made(kubectl, "trainingjobs", workspace, "digits-2") == [], "what is there as it was is not made again"
    for name in ("digits-1", "digits-2"):
        kubectl.run("delete", "pipelinerun", name, "-n", workspace)
    until(lambda: not made(kubectl, "trainingjobs", workspace, "digits-1"), "the run's trainings went with it")
