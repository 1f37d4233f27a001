"""A pipeline on the real cluster: data, trainings side by side, the best of them, a person's word, a version that is served."""

import yaml

from .conftest import ROOT, Kubectl, endpoint, says, until
from .test_serving import SMALL, serving

EXAMPLE = ROOT / "examples/pipeline/digits.yaml"


def test_the_example_ends_in_a_served_version(kubectl: Kubectl, workspace: str, images: dict[str, str]) -> None:
    text = EXAMPLE.read_text().replace("noria.dev/trainer:dev", images["trainer"])
    for manifest in yaml.safe_load_all(text):
        manifest["metadata"]["namespace"] = workspace
        if manifest["kind"] == "PipelineRun":
            manifest["spec"]["parameters"] = [{"name": "learning-rates", "value": ["0.001", "0.01"]}]
        kubectl.apply(manifest)
    asked = says(kubectl, "pipelinerun", "digits-1", workspace, "Succeeded", "Approval", 300)
    assert "Register a model with accuracy 0.9" in asked["message"]
    user = yaml.safe_load(kubectl.run("auth", "whoami", "-o", "yaml").stdout)["status"]["userInfo"]["username"]
    wish = [f"noria.dev/by={user}", "noria.dev/approve=ask"]
    kubectl.run("annotate", "pipelinerun", "digits-1", "-n", workspace, *wish)
    says(kubectl, "pipelinerun", "digits-1", workspace, "Succeeded", "Completed")
    version = kubectl.get("modelversion", "digits-1", workspace)["spec"]
    assert (version["lineage"]["pipelineRun"], version["lineage"]["step"]) == ("digits-1", "best")
    jobs = kubectl.list("trainingjobs", workspace)
    assert len(jobs) == 2 and len(kubectl.list("jobs", workspace)) == 4, "no step ran twice"
    predictor = {"resources": SMALL}
    kubectl.apply(endpoint("digits", workspace, model={"name": "digits", "track": "Latest"}, predictor=predictor))
    serving(kubectl, "digits", workspace, "digits-1")
    labels = kubectl.get("pipelinerun", "digits-1", workspace)["status"]
    assert all(each["state"] == "Succeeded" for each in labels["steps"]), labels["steps"]
    kubectl.run("delete", "modelendpoint", "digits", "-n", workspace)
    kubectl.run("delete", "pipelinerun", "digits-1", "-n", workspace)
    until(lambda: not kubectl.list("trainingjobs", workspace), "the run's trainings went with it")
