"""What one attempt of a TrainingJob is made of: an Indexed Job, its pod with the agent beside the user's container, a Service for rendezvous."""

from noria.api.step import Run
from noria.api.trainingjob import TrainingJob, TrainingJobSpec
from noria.plan.contract import Manifest, Settings
from noria.plan.manifests import (
    ARTIFACT_CLAIM,
    CONTAINER_SECURITY,
    canonical,
    child,
    claim_of,
    digest,
    environment,
    owner_labels,
    placement,
    resources,
)
from noria.plan.pods import CONFIG, HOME, RESTRICTED, SHM, TMP, mounted, source, told, volume

MAIN, AGENT = "main", "agent"
JOBS = "jobs"
"""The artifact claim's folder of all jobs."""
ATTEMPT, ROLE = "noria.dev/attempt", "noria.dev/role"
POD_ANNOTATION = "noria.dev/pod"
MASTER_PORT = 29500
METRICS_PORT = 9464
INDEX_ANNOTATION = "batch.kubernetes.io/job-completion-index"
# A pod on a node that stopped answering fails after this long instead of the default 300 s.
NODE_LOSS_TOLERATIONS = [
    {"key": f"node.kubernetes.io/{taint}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}
    for taint in ("not-ready", "unreachable")
]
AGENT_RESOURCES = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}}


def job_name(job: TrainingJob, attempt: int, role: str = "training") -> str:
    """Name of the batch Job of an attempt, and of its Service; with role `publish` that of the Job that publishes."""
    return f"{job.metadata.name}-{attempt}" + ("" if role == "training" else f"-{role}")


def folder_name(name: str, uid: str) -> str:
    """Name of a job's folder in `jobs`; the uid keeps it apart from an earlier job of the same name."""
    return f"{name}-{uid[:8]}"


def folder(job: TrainingJob) -> str:
    """The job's folder on the artifact claim."""
    return f"{JOBS}/{folder_name(job.metadata.name, job.metadata.uid)}"


def artifact_uri(job: TrainingJob, attempt: int) -> str:
    """Where an attempt's output lies."""
    return f"pvc://{ARTIFACT_CLAIM}/{folder(job)}/attempt-{attempt}"


def image(job: TrainingJob, settings: Settings) -> str:
    """The image that the training runs in."""
    return job.spec.image or settings.trainer_image


def code_digest(body: TrainingJobSpec | Run) -> str:
    """Digest over what runs, beside the image: command, arguments and inline code, or the recipe's name."""
    recipe = body.recipe.name if isinstance(body, TrainingJobSpec) and body.recipe else None
    return digest({"recipe": recipe, "command": body.command, "args": body.args, "code": body.code})


def code_name(job: TrainingJob) -> str:
    """Name of the ConfigMap that holds inline code."""
    return f"{job.metadata.name}-code"


def code(job: TrainingJob) -> Manifest | None:
    """The ConfigMap with inline code."""
    if not job.spec.code:
        return None
    return child(job, "ConfigMap", code_name(job), {"data": job.spec.code, "immutable": True})


def rendezvous(job: TrainingJob, attempt: int) -> Manifest | None:
    """The headless Service under which the pods of an attempt find rank 0."""
    if job.spec.nodes == 1:
        return None
    name = job_name(job, attempt)
    body = {
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {"batch.kubernetes.io/job-name": name},
            "ports": [{"name": "rendezvous", "port": MASTER_PORT, "protocol": "TCP", "targetPort": MASTER_PORT}],
        }
    }
    return child(job, "Service", name, body, labels={ATTEMPT: str(attempt)})


def training(job: TrainingJob, attempt: int, settings: Settings) -> Manifest:
    """The Job of an attempt. It never retries by itself: causes decide, and each attempt writes to a folder of its own."""
    name = job_name(job, attempt)
    spec = job.spec
    pod = {
        "initContainers": [_agent(job, attempt, settings, mode="watch") | {"restartPolicy": "Always"}],
        "containers": [_main(job, attempt, settings)],
        "terminationGracePeriodSeconds": spec.termination_grace_period_seconds,
        **({"subdomain": name} if spec.nodes > 1 else {}),
        **(
            {"imagePullSecrets": [{"name": secret} for secret in spec.image_pull_secrets]}
            if spec.image_pull_secrets
            else {}
        ),
    }
    return _job(job, name, attempt, "training", spec.nodes, pod, settings)


def publishing(job: TrainingJob, attempt: int, settings: Settings) -> Manifest:
    """The one-shot Job that publishes an attempt's folder when the agent's message was lost."""
    pod = {"containers": [_agent(job, attempt, settings, mode="publish")], "terminationGracePeriodSeconds": 30}
    return _job(job, job_name(job, attempt, "publish"), attempt, "publish", 1, pod, settings)


def _job(
    job: TrainingJob, name: str, attempt: int, role: str, pods: int, pod: Manifest, settings: Settings
) -> Manifest:
    labels = {ATTEMPT: str(attempt), ROLE: role}
    where = placement(job.spec.placement)
    template: Manifest = {
        "metadata": {
            "labels": owner_labels(job) | labels,
            "annotations": {
                POD_ANNOTATION: pod_json(job, attempt),
                "prometheus.io/scrape": "true",
                "prometheus.io/port": str(METRICS_PORT),
            },
        },
        "spec": {
            **where,
            "tolerations": where.get("tolerations", []) + NODE_LOSS_TOLERATIONS,
            **RESTRICTED,
            "volumes": _volumes(job),
            **pod,
        },
    }
    body = {
        "spec": {
            "completionMode": "Indexed",
            "completions": pods,
            "parallelism": pods,
            # A training's retries are the plan's; hashing a folder may simply be done again.
            "backoffLimit": 6 if role == "publish" else 0,
            "template": template,
        }
    }
    return child(job, "Job", name, body, labels=labels)


def pod_json(job: TrainingJob, attempt: int) -> str:
    """What the pod is told (docs/pod-contract.md)."""
    spec = job.spec
    order = {
        "namespace": job.metadata.namespace,
        "trainingJob": job.metadata.name,
        "uid": job.metadata.uid,
        "attempt": attempt,
        "nodes": spec.nodes,
        "outputDir": spec.output.path,
        **({"checkpointDir": spec.checkpoint.path} if spec.checkpoint.enabled else {}),
        "stepsFile": "/noria/run/steps.jsonl",
        "inputs": {each.name: f"/noria/input/{each.name}" for each in spec.inputs},
        "resume": spec.checkpoint.enabled and spec.checkpoint.resume,
        "checkpointIntervalSeconds": spec.checkpoint.interval_seconds,
    }
    return canonical(order | ({"recipe": spec.recipe.manifest()} if spec.recipe else {}))


def _main(job: TrainingJob, attempt: int, settings: Settings) -> Manifest:
    spec = job.spec
    command = ["python3", "-m", "trainer"] if spec.recipe and spec.nodes == 1 else spec.command
    if spec.recipe and spec.nodes > 1:
        command = ["python3", "-m", "torch.distributed.run", "-m", "trainer"]
    mounts = [
        *_shared_mounts(job),
        {"name": "artifacts", "mountPath": spec.output.path, "subPath": f"{folder(job)}/attempt-{attempt}"},
        TMP[0],
        SHM[0],
    ]
    if spec.checkpoint.enabled:
        mounts.append({"name": "artifacts", "mountPath": spec.checkpoint.path, "subPath": f"{folder(job)}/checkpoint"})
    if spec.code:
        mounts.append({"name": "code", "mountPath": "/noria/code", "readOnly": True})
    return {
        "name": MAIN,
        "image": image(job, settings),
        "imagePullPolicy": "IfNotPresent",
        **({"command": command} if command else {}),
        **({"args": spec.args} if spec.args else {}),
        "env": environment(spec.env) + _contract_environment(job) + _torchrun_environment(job, attempt),
        "resources": resources(spec.resources, spec.gpus_per_node),
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }


def _agent(job: TrainingJob, attempt: int, settings: Settings, mode: str) -> Manifest:
    return {
        "name": AGENT,
        "image": settings.agent_image,
        "imagePullPolicy": "IfNotPresent",
        "args": [mode],
        "env": [{"name": "NORIA_POD_FILE", "value": "/noria/config/pod.json"}],
        "ports": [{"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"}],
        "resources": AGENT_RESOURCES,
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [
            *_shared_mounts(job),
            {"name": "artifacts", "mountPath": "/noria/job", "subPath": folder(job)},
        ],
    }


def _shared_mounts(job: TrainingJob) -> list[Manifest]:
    inputs = (mounted(each.uri, f"/noria/input/{each.name}") for each in job.spec.inputs)
    return [CONFIG, {"name": "run", "mountPath": "/noria/run"}, *inputs]


def _volumes(job: TrainingJob) -> list[Manifest]:
    claims = {claim_of(each.uri)[0] for each in job.spec.inputs} | {ARTIFACT_CLAIM}
    volumes: list[Manifest] = [
        told({"pod.json": POD_ANNOTATION}),
        {"name": "run", "emptyDir": {"sizeLimit": "1Gi"}},
        TMP[1],
        SHM[1],
        *({"name": volume(claim), "persistentVolumeClaim": source(claim)} for claim in sorted(claims, key=volume)),
    ]
    return volumes + ([{"name": "code", "configMap": {"name": code_name(job)}}] if job.spec.code else [])


def _contract_environment(job: TrainingJob) -> list[Manifest]:
    spec = job.spec
    values = {
        **HOME,
        "NORIA_POD_FILE": "/noria/config/pod.json",
        "NORIA_OUTPUT_DIR": spec.output.path,
        "NORIA_STEPS_FILE": "/noria/run/steps.jsonl",
        **({"NORIA_CHECKPOINT_DIR": spec.checkpoint.path} if spec.checkpoint.enabled else {}),
        "NORIA_CHECKPOINT_INTERVAL_SECONDS": str(spec.checkpoint.interval_seconds),
        **({"NORIA_CODE_DIR": "/noria/code"} if spec.code else {}),
        **{f"NORIA_INPUT_{each.name.upper().replace('-', '_')}": f"/noria/input/{each.name}" for each in spec.inputs},
    }
    users = {variable.name for variable in spec.env}
    return [{"name": name, "value": value} for name, value in values.items() if name not in users]


def _torchrun_environment(job: TrainingJob, attempt: int) -> list[Manifest]:
    """torchrun reads its options from PET_*; a plain process per node reads the names that torch.distributed reads."""
    spec = job.spec
    processes = spec.processes_per_node or max(1, spec.gpus_per_node)
    values: dict[str, str] = {}
    ranks: list[Manifest] = []
    if spec.nodes > 1:
        name, port = job_name(job, attempt), str(MASTER_PORT)
        master, index = f"{name}-0.{name}", f"metadata.annotations['{INDEX_ANNOTATION}']"
        rank = {"valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": index}}}
        ranks = [{"name": "PET_NODE_RANK", **rank}, {"name": "RANK", **rank}]
        values = {
            "PET_NNODES": str(spec.nodes),
            "PET_NPROC_PER_NODE": str(processes),
            "PET_MASTER_ADDR": master,
            "PET_MASTER_PORT": port,
            "MASTER_ADDR": master,
            "MASTER_PORT": port,
            "WORLD_SIZE": str(spec.nodes),
        }
    elif processes > 1:
        values = {"PET_NPROC_PER_NODE": str(processes)}
    users = {variable.name for variable in spec.env}
    named = [{"name": key, "value": value} for key, value in values.items()] + ranks
    return [each for each in named if each["name"] not in users]
