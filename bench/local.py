"""What benches on the local cluster (`make up`) share: a Workspace with data and a model, trainings, and what is to be waited for."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
KUBECONFIG = ROOT / ".cluster/kubeconfig"
FLOWER = [5.1, 3.5, 1.4, 0.2]
SMALL = {"cpu": "500m", "memory": "1Gi"}


def run(program: str, *words: str, stdin: str | None = None) -> str:
    """What a program of the cluster prints."""
    command = [ROOT / ".cluster/bin" / program, "--kubeconfig", KUBECONFIG, *words]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout


def kubectl(*words: str, stdin: str | None = None) -> str:
    return run("kubectl", *words, stdin=stdin)


def apply(*manifests: dict[str, Any]) -> None:
    kubectl("apply", "-f", "-", stdin="\n---\n".join(json.dumps(each) for each in manifests))


def until(look: Callable[[], Any], what: str, seconds: float = 300) -> Any:
    """What `look` gives once it is true; ends the bench after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            sys.exit(f"not within {seconds} s: {what}")
        time.sleep(0.2)
    return found


def user() -> str:
    """Who asks, as the API server knows them."""
    return str(json.loads(kubectl("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"])


@dataclass(frozen=True)
class Place:
    """A Workspace of the bench's own, and the Endpoint and model of one name in it."""

    namespace: str
    name: str

    def read(self, kind: str, name: str) -> dict[str, Any]:
        """The object; empty while it does not exist."""
        text = kubectl("get", kind, name, "-n", self.namespace, "-o", "json", "--ignore-not-found")
        return dict(json.loads(text)) if text.strip() else {}

    def make(self, kind: str, name: str, **spec: Any) -> None:
        """An object of Noria's."""
        metadata = {"name": name} | ({} if kind == "Workspace" else {"namespace": self.namespace})
        apply({"apiVersion": "noria.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})

    def condition(self, kind: str, name: str, type: str) -> dict[str, Any]:
        """Its condition of that type; empty while there is none."""
        conditions = self.read(kind, name).get("status", {}).get("conditions", [])
        return next((dict(each) for each in conditions if each["type"] == type), {})

    def holds(self, kind: str, name: str, type: str) -> bool:
        return self.condition(kind, name, type).get("status") == "True"

    @property
    def status(self) -> dict[str, Any]:
        """The Endpoint's status."""
        return dict(self.read("modelendpoint", self.name).get("status", {}))

    def serves(self, number: int) -> bool:
        """Whether that version has the traffic and nothing is under way."""
        status = self.status
        return "cycle" not in status and status.get("current", {}).get("version") == f"{self.name}-{number}"

    def train(self, number: int) -> None:
        """Version `number` of the model."""
        self.make(
            "TrainingJob",
            f"train-{number}",
            recipe={"name": "sklearn", "parameters": {"seed": str(number)}},
            inputs=[{"name": "train", "uri": "pvc://noria-artifacts/data/iris"}],
            resources=SMALL,
            output={"model": self.name},
        )
        until(lambda: self.holds("trainingjob", f"train-{number}", "Succeeded"), f"training {number}")

    def prepare(self, rollout: dict[str, Any], **workspace: Any) -> None:
        """The Workspace, its data, and one version that serves."""
        self.make("Workspace", self.namespace, deletionPolicy="Delete", storage={"size": "1Gi"}, **workspace)
        until(lambda: self.holds("workspace", self.namespace, "Ready"), "workspace")
        trainer = json.loads((ROOT / ".cluster/images.json").read_text())["trainer"]
        example = str(ROOT / "examples/quickstart/10-data.yaml")
        job = json.loads(kubectl("create", "--dry-run=client", "-f", example, "-o", "json"))
        job["metadata"] = {"name": "data", "namespace": self.namespace}
        container = job["spec"]["template"]["spec"]["containers"][0]
        container |= {"image": trainer, "command": ["python3", "-m", "trainer.datasets", "iris", "/data/iris"]}
        apply(job)
        until(lambda: self.read("job", "data").get("status", {}).get("succeeded"), "data")
        self.train(1)
        model = {"name": self.name, "track": "Latest"}
        self.make("Endpoint", self.name, model=model, predictor={"resources": SMALL}, rollout=rollout)
        until(lambda: self.serves(1), "the first version serves")

    def remove(self) -> None:
        """The Workspace with all that is in it."""
        kubectl("delete", "workspace", self.namespace, "--wait=false")
