"""The pod of one attempt of a `run` step: the user's container, and the agent beside it where there is something to tell."""

from noria.api.pipelinerun import PipelineRun
from noria.api.ports import VALUE_TYPES
from noria.api.step import Step
from noria.plan import pods
from noria.plan.contract import Manifest, Settings
from noria.plan.manifests import (
    ARTIFACT_CLAIM,
    CONTAINER_SECURITY,
    canonical,
    child,
    claim_of,
    digest,
    environment,
    placement,
    resources,
)
from noria.plan.pipelines.inputs import Inputs
from noria.plan.pipelines.ports import text
from noria.plan.pipelines.steps import variable
from noria.plan.pods import CONFIG, HOME, RESTRICTED, SHM, TMP, mounted, source, volume
from noria.plan.training import AGENT, AGENT_RESOURCES, ATTEMPT, MAIN, NODE_LOSS_TOLERATIONS, ROLE, folder_name

RUNS = "runs"
"""The artifact claim's folder of all runs."""
STEP, ITEM = "noria.dev/step", "noria.dev/item"
ORDER, CODE = "noria.dev/pod", "code.noria.dev"
INPUT, OUTPUT, VALUES = "/noria/input", "/noria/output", "/noria/values"
GRACE_SECONDS = 300
"""What the agent may take to digest what the step wrote; the user's container has ended by then."""
STATE = "NORIA_RUN_STATE"


def child_name(run: PipelineRun, step: Step, item: int | None, attempt: int = 1) -> str:
    """Name of a step's child: a hash tells runs, steps, items and attempts apart however their names are put together."""
    mark = digest([run.metadata.uid, step.name, item, attempt])[7:15]
    return f"{run.metadata.name[:20].rstrip('-')}-{step.name[:18].rstrip('-')}-{mark}"


def labels(step: Step, item: int | None, attempt: int) -> dict[str, str]:
    """By which a pod or a Job is known as a step's."""
    numbered = {} if item is None else {ITEM: str(item)}
    return {ROLE: "step", STEP: step.name, ATTEMPT: str(attempt)} | numbered


def folder(run: PipelineRun, step: Step, item: int | None, attempt: int) -> str:
    """Where on the artifact claim an attempt writes."""
    inner = step.name if item is None else f"{step.name}.{item}"
    return f"{RUNS}/{folder_name(run.metadata.name, run.metadata.uid)}/{inner}/{attempt}"


def artifact_uri(run: PipelineRun, step: Step, item: int | None, attempt: int, port: str) -> str:
    """Where an output lies."""
    return f"pvc://{ARTIFACT_CLAIM}/{folder(run, step, item, attempt)}/{port}"


def told(step: Step) -> bool:
    """Whether the agent has something to tell of the step."""
    return bool(step.outputs) or any(each.uri for each in step.inputs)


def pod(
    run: PipelineRun, step: Step, item: int | None, attempt: int, inputs: Inputs, state: str | None, settings: Settings
) -> Manifest:
    """The pod; `state` tells a step with onExit what came of the run. It is made without a Job: retries, the deadline and
    the record are the run's, and for each pod the Job controller would write eight times."""
    body = step.run
    assert body is not None
    where, marks = placement(body.placement), labels(step, item, attempt)
    mounts, volumes = _data(run, step, item, attempt, inputs)
    code = body.code or {}
    if code:
        mounts.append({"name": "code", "mountPath": "/noria/code", "readOnly": True})
        volumes.append(pods.told({name: f"{CODE}/{n}" for n, name in enumerate(sorted(code))}, "code"))
    main = {
        "name": MAIN,
        "image": body.image,
        "imagePullPolicy": "IfNotPresent",
        **({"command": body.command} if body.command else {}),
        **({"args": body.args} if body.args else {}),
        "env": _environment(step, inputs, state) + environment(body.env),
        "resources": resources(body.resources, body.gpus),
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [*mounts, TMP[0], SHM[0]],
    }
    spec: Manifest = {
        **where,
        "tolerations": where.get("tolerations", []) + NODE_LOSS_TOLERATIONS,
        **RESTRICTED,
        "containers": [main],
        "volumes": [*volumes, TMP[1], SHM[1]],
    }
    if body.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": secret} for secret in body.image_pull_secrets]
    annotations = {f"{CODE}/{n}": code[name] for n, name in enumerate(sorted(code))}
    if told(step):
        annotations[ORDER] = _order(step, inputs)
        spec["initContainers"] = [_agent(run, step, item, attempt, mounts, settings)]
        spec["volumes"].append(pods.told({"step.json": ORDER}))
        spec["terminationGracePeriodSeconds"] = GRACE_SECONDS
    if step.timeout_seconds:
        spec["activeDeadlineSeconds"] = step.timeout_seconds
    name = child_name(run, step, item, attempt)
    return child(run, "Pod", name, {"spec": spec}, labels=marks, annotations=annotations)


def _data(
    run: PipelineRun, step: Step, item: int | None, attempt: int, inputs: Inputs
) -> tuple[list[Manifest], list[Manifest]]:
    """Mounts of the user's container, and the volumes that they need."""
    uris = {name: each.uri for name, each in inputs.folders.items()} | inputs.data
    mounts = [mounted(uri, f"{INPUT}/{name}") for name, uri in uris.items()]
    claims = {claim_of(uri)[0] for uri in uris.values()}
    for each in step.outputs:
        if each.type not in VALUE_TYPES:
            claims.add(ARTIFACT_CLAIM)
            path = f"{folder(run, step, item, attempt)}/{each.name}"
            mounts.append({"name": volume(ARTIFACT_CLAIM), "mountPath": f"{OUTPUT}/{each.name}", "subPath": path})
    volumes: list[Manifest] = [
        {"name": volume(claim), "persistentVolumeClaim": source(claim)} for claim in sorted(claims, key=volume)
    ]
    if any(each.type in VALUE_TYPES for each in step.outputs):
        mounts.append({"name": "values", "mountPath": VALUES})
        volumes.append({"name": "values", "emptyDir": {"sizeLimit": "1Mi"}})
    return mounts, volumes


def _agent(
    run: PipelineRun, step: Step, item: int | None, attempt: int, mounts: list[Manifest], settings: Settings
) -> Manifest:
    """The agent sees what the step gives, and reads what it took from outside."""
    outside = {f"{INPUT}/{each.name}" for each in step.inputs if each.uri}
    seen = [
        each | {"readOnly": True}
        for each in mounts
        if each["mountPath"] in outside or each["mountPath"].startswith(OUTPUT) or each["mountPath"] == VALUES
    ]
    # A model's folder gets its manifest, which the server reads.
    written = {f"{OUTPUT}/{each.name}" for each in step.outputs if each.type == "model"}
    seen = [
        {key: value for key, value in each.items() if key != "readOnly"} if each["mountPath"] in written else each
        for each in seen
    ]
    return {
        "name": AGENT,
        "image": settings.agent_image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["step"],
        "env": [{"name": "NORIA_STEP_FILE", "value": "/noria/config/step.json"}],
        "resources": AGENT_RESOURCES,
        "restartPolicy": "Always",
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [CONFIG, *seen],
    }


def _order(step: Step, inputs: Inputs) -> str:
    """What the agent is told (docs/pipelines.md)."""
    given = {
        each.name: {"type": each.type, "path": f"{VALUES if each.type in VALUE_TYPES else OUTPUT}/{each.name}"}
        for each in step.outputs
    }
    return canonical({"outputs": given, "inputs": {name: f"{INPUT}/{name}" for name in inputs.data}})


def _environment(step: Step, inputs: Inputs, state: str | None) -> list[Manifest]:
    values = dict(HOME)
    # Kubernetes would expand $(NAME) in them; a doubled $ stands for one.
    values |= {
        f"NORIA_INPUT_{variable(name)}": text(value).replace("$", "$$") for name, (_, value) in inputs.values.items()
    }
    paths = {name.partition("/")[0] for name in inputs.folders} | inputs.data.keys()
    values |= {f"NORIA_INPUT_{variable(name)}": f"{INPUT}/{name}" for name in sorted(paths)}
    for each in step.outputs:
        values[f"NORIA_OUTPUT_{variable(each.name)}"] = f"{VALUES if each.type in VALUE_TYPES else OUTPUT}/{each.name}"
    if state is not None:
        values[STATE] = state
    users = {each.name for each in step.run.env} if step.run else set()
    return [{"name": name, "value": value} for name, value in values.items() if name not in users]
