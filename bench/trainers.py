"""The arms of the training bench: how each is installed and started, and how the same one-pod training is written for it."""

import base64
import shutil
import sys
from pathlib import Path
from typing import Any

import engines
import yaml
from engines import COMMAND, IMAGE, NAMESPACE, RESOURCES, says
from local import ROOT, until
from plane import QPS, Plane, Process, built, flags, free_ports, module

Manifest = dict[str, Any]
BATCH = f"apis/batch/v1/namespaces/{NAMESPACE}/jobs"
HOLDING = {"requests": RESOURCES, "limits": RESOURCES}


class Bare:
    """The batch Job itself: the floor. Nothing runs beside the Job controller."""

    name, path, kind, done, users = "bare Job", BATCH, "jobs", "Complete", ()

    def start(self, plane: Plane) -> list[Process]:
        return []

    def written(self, name: str) -> Manifest:
        container = {"name": "main", "image": IMAGE, "command": COMMAND, "resources": HOLDING}
        template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
        spec = {"completionMode": "Indexed", "completions": 1, "backoffLimit": 0, "template": template}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": _named(name), "spec": spec}


class Noria:
    """The operator as its own process, as the image starts it."""

    name, path, kind, done = (
        "Noria",
        f"apis/noria.dev/v1alpha1/namespaces/{NAMESPACE}/trainingjobs",
        "trainingjobs",
        "Succeeded",
    )
    users = ("engine",)

    def start(self, plane: Plane) -> list[Process]:
        plane.apply(*claim(NAMESPACE))
        return [engines.Noria().start(plane)]

    def written(self, name: str) -> Manifest:
        spec = {"image": IMAGE, "command": COMMAND, "resources": RESOURCES}
        return {"apiVersion": "noria.dev/v1alpha1", "kind": "TrainingJob", "metadata": _named(name), "spec": spec}


class Floor(Noria):
    """The writes of a TrainingJob as Noria makes them, by a process that decides nothing: what is left for an operator to lose."""

    name = "Noria's writes alone"

    def start(self, plane: Plane) -> list[Process]:
        plane.apply(*claim(NAMESPACE))
        plane.define(ROOT / "crds")
        until(lambda: _listed(plane, self.path), "TrainingJobs are listed", 60)
        words = [sys.executable, ROOT / "bench/floor.py", plane.server, "token-engine", NAMESPACE]
        process = plane.start("engine", *words, env={"PYTHONPATH": str(ROOT / "operator")})
        until(lambda: process.alive() or "watching" in process.log.read_text(), "the floor watches", 60)
        return [process]


class Trainer:
    """Kubeflow Trainer and JobSet, each its own process with the settings of its release; only where they listen, the webhooks'
    certificates and the namespace of the leases are the bench's. Tuned: requests a second as the Job controller has them, and
    25 TrainJobs at a time instead of 5."""

    path, kind, done = f"apis/trainer.kubeflow.org/v1alpha1/namespaces/{NAMESPACE}/trainjobs", "trainjobs", "Complete"
    users = ("trainer", "jobset")

    def __init__(self, tuned: bool) -> None:
        self.tuned = tuned
        self.name = "Trainer + JobSet, tuned" if tuned else "Trainer + JobSet"

    def start(self, plane: Plane) -> list[Process]:
        trainer = module("trainer", "github.com/kubeflow/trainer/v2") / "manifests/base"
        jobset = module("trainer", "sigs.k8s.io/jobset") / "config/components"
        plane.define(*trainer.glob("crds/trainer.*.yaml"), *jobset.glob("crd/bases/*.yaml"))
        processes = [self._jobset(plane, jobset), self._trainer(plane, trainer)]
        plane.kubectl("apply", "--server-side", "-f", str(trainer / "runtimes/torch_distributed.yaml"))
        return processes

    def _jobset(self, plane: Plane, source: Path) -> Process:
        hooks = [*yaml.safe_load_all((source / "webhook/manifests.yaml").read_text())]
        for each, patch in zip(hooks, ("mutating", "validating"), strict=True):
            # JobSet's own patch: its webhook for pods sees those of JobSets only.
            each["webhooks"][1] = yaml.safe_load((source / f"webhook/patches/{patch}-patch.yaml").read_text())[0][
                "value"
            ]
        program = built("trainer", "sigs.k8s.io/jobset")
        config = yaml.safe_load((source / "manager/controller_manager_config.yaml").read_text())
        config["internalCertManagement"] = {"enable": False}
        return self._serving(plane, "jobset", program, config, hooks)

    def _trainer(self, plane: Plane, source: Path) -> Process:
        hooks = [*yaml.safe_load_all((source / "webhook/manifests.yaml").read_text())]
        program = built("trainer", "github.com/kubeflow/trainer/v2/cmd/trainer-controller-manager")
        config = yaml.safe_load((source / "manager/controller_manager_config.yaml").read_text())
        config["certManagement"] = {"enable": False}
        if self.tuned:
            config["controller"]["groupKindConcurrency"]["TrainJob.trainer.kubeflow.org"] = 25
        return self._serving(plane, "trainer", program, config, hooks)

    def _serving(self, plane: Plane, user: str, program: Path, config: Manifest, hooks: list[Manifest]) -> Process:
        """Started once it is ready, and asked by the API server at loopback from then on."""
        hook, health, metrics = free_ports(3)
        config["webhook"] = {"port": hook, "host": "127.0.0.1"}
        config["health"] = {"healthProbeBindAddress": f"127.0.0.1:{health}"}
        config["metrics"] = {"bindAddress": f"127.0.0.1:{metrics}"}
        config["leaderElection"] |= {"resourceNamespace": NAMESPACE}
        if self.tuned:
            config["clientConnection"] = {"qps": QPS["kube-api-qps"], "burst": QPS["kube-api-burst"]}
        temporary = plane.folder / f"{user}-tmp"
        for folder in (temporary / "k8s-webhook-server/serving-certs", temporary / "metrics"):
            folder.mkdir(parents=True)
            shutil.copy(plane.folder / "server.crt", folder / "tls.crt")
            shutil.copy(plane.folder / "server.key", folder / "tls.key")
        if user == "jobset":
            config["metrics"]["certDir"] = str(temporary / "metrics")
        (path := plane.folder / f"{user}.yaml").write_text(yaml.safe_dump(config))
        environment = {"KUBECONFIG": str(plane.kubeconfig(user)), "TMPDIR": str(temporary)}
        process = plane.start(user, program, *flags(config=path, zap_log_level=2), env=environment)
        until(lambda: process.alive() or says(health, "ok", "readyz"), f"{user} is ready", 120)
        authority = base64.b64encode((plane.folder / "server.crt").read_bytes()).decode()
        for each in hooks:
            each["metadata"] = {"name": f"{user}-{each['kind'].lower()}"}
            for one in each["webhooks"]:
                url = f"https://127.0.0.1:{hook}{one['clientConfig']['service']['path']}"
                one["clientConfig"] = {"url": url, "caBundle": authority}
        plane.apply(*hooks)
        return process

    def written(self, name: str) -> Manifest:
        reference = {"apiGroup": "trainer.kubeflow.org", "kind": "ClusterTrainingRuntime", "name": "torch-distributed"}
        trainer = {"image": IMAGE, "command": COMMAND, "numNodes": 1, "resourcesPerNode": HOLDING}
        spec = {"runtimeRef": reference, "trainer": trainer}
        return {
            "apiVersion": "trainer.kubeflow.org/v1alpha1",
            "kind": "TrainJob",
            "metadata": _named(name),
            "spec": spec,
        }


Arm = Bare | Floor | Noria | Trainer
ARMS: list[Arm] = [Bare(), Floor(), Noria(), Trainer(tuned=False), Trainer(tuned=True)]


def _listed(plane: Plane, path: str) -> bool:
    """Right after its definition a kind is answered by 429."""
    try:
        return bool(plane.kubectl("get", f"--raw=/{path}"))
    except RuntimeError:
        return False


def _named(name: str) -> Manifest:
    return {"name": name, "namespace": NAMESPACE}


def claim(namespace: str) -> list[Manifest]:
    """The artifact claim that a Workspace makes, bound by hand: nothing here binds volumes."""
    name, modes, size = "noria-artifacts", ["ReadWriteMany"], {"storage": "1Gi"}
    volume = {"accessModes": modes, "capacity": size, "hostPath": {"path": "/nothing"}, "storageClassName": ""}
    annotations = {"pv.kubernetes.io/bind-completed": "yes"}
    metadata = {"name": name, "namespace": namespace, "annotations": annotations}
    spec = {
        "accessModes": modes,
        "resources": {"requests": size},
        "volumeName": f"{namespace}-{name}",
        "storageClassName": "",
    }
    return [
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"{namespace}-{name}"}, "spec": volume},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec},
    ]
