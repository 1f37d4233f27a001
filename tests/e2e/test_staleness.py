"""New data on the real cluster: a probe sees them where the training read them, one training learns them, and it is quiet again."""

import json
from typing import Any

import yaml

from .conftest import ROOT, Kubectl, Manifest, condition, endpoint, says, until
from .test_serving import SMALL, serving, train

URI = "pvc://noria-artifacts/data/fresh"


def write(kubectl: Kubectl, workspace: str, image: str, name: str, command: list[str]) -> None:
    """Runs a command in a Job that may write the claim's folder data."""
    job = yaml.safe_load((ROOT / "examples/quickstart/10-data.yaml").read_text())
    job["metadata"] = {"name": name, "namespace": workspace}
    job["spec"]["template"]["spec"]["containers"][0] |= {"image": image, "command": command}
    kubectl.apply(job)
    until(lambda: kubectl.get("job", name, workspace).get("status", {}).get("succeeded"), f"Job {name} ended")


def new_data(kubectl: Kubectl, workspace: str) -> dict[str, Any]:
    """The signal as the Endpoint shows it; empty before the first evaluation."""
    status: Manifest = kubectl.get("modelendpoint", "fresh", workspace).get("status", {})
    return next((dict(each) for each in status.get("signals", []) if each["name"] == "new-data"), {})


def test_new_data_are_noticed_and_learned_once(kubectl: Kubectl, workspace: str, images: dict[str, str]) -> None:
    write(
        kubectl,
        workspace,
        images["trainer"],
        "fresh-data",
        ["python3", "-m", "trainer.datasets", "iris", "/data/fresh"],
    )
    train(kubectl, workspace, "fresh", "sklearn", {}, "fresh", job="fresh-1")
    signal = {"name": "new-data", "type": "Staleness", "uri": URI, "threshold": 1, "windowSeconds": 60}
    template = {
        "recipe": {"name": "sklearn"},
        "inputs": [{"name": "train", "uri": URI}],
        "resources": {"cpu": "500m", "memory": "2Gi"},
    }
    kubectl.apply(
        endpoint(
            "fresh",
            workspace,
            model={"name": "fresh", "track": "Latest"},
            predictor={"resources": SMALL},
            monitoring={"signals": [signal]},
            retrain={"signals": ["new-data"], "template": template},
            rollout={"drainSeconds": 5},
        )
    )
    serving(kubectl, "fresh", workspace, "fresh-1")
    says(kubectl, "modelendpoint", "fresh", workspace, "Monitored", "SignalsKnown")
    assert (new_data(kubectl, workspace)["state"], new_data(kubectl, workspace)["value"]) == ("OK", 0)

    arrived = "import pathlib; pathlib.Path('/data/fresh/arrived.txt').write_text('a new site')"
    write(kubectl, workspace, images["trainer"], "more-data", ["python3", "-c", arrived])
    until(lambda: kubectl.get("trainingjob", "fresh-retrain-2", workspace), "new data set off a training")
    serving(kubectl, "fresh", workspace, "fresh-2", 400)
    until(lambda: new_data(kubectl, workspace).get("state") == "OK", "the signal is quiet after the retraining")

    status = kubectl.get("modelendpoint", "fresh", workspace)["status"]
    (probe,) = status["probes"]
    learned = kubectl.get("modelversion", "fresh-2", workspace)["spec"]["lineage"]["inputs"][0]
    assert (learned["uri"], learned["digest"]) == (URI, probe["digest"]), json.dumps(probe)
    assert (new_data(kubectl, workspace)["value"], "changedTime" in probe) == (0, False)
    newest = status["history"][0]
    assert (newest["outcome"], newest["trigger"]["reason"]) == ("Promoted", "Signal")
    assert condition(kubectl.get("modelendpoint", "fresh", workspace), "Monitored")["status"] == "True"
    labels = "noria.dev/role=probe,noria.dev/owner-name=fresh"
    until(lambda: len(kubectl.list("jobs", workspace, labels)) == 1, "only the newest probe stays")
