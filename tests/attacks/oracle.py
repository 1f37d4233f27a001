"""What no child may be or hold, whatever its owner's author wrote; it knows Kubernetes and PromQL, and nothing of how Noria renders."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import promql_parser as ast

from noria.plan.contract import KINDS, Manifest, Query

MADE = {
    "TrainingJob": {"Job", "Service", "ConfigMap"},
    "Endpoint": {
        "InferenceService", "PodDisruptionBudget", "HTTPRoute", "TrainingJob", "PipelineRun", "Job", "PrometheusRule", "PodMonitor",
    },
    "Pipeline": {"PipelineRun"},
    "PipelineRun": {"Pod", "Job", "TrainingJob", "ModelVersion"},
}  # fmt: skip
"""Kinds that an object of a tenant's may make."""
POD_FIELDS = {
    "containers", "initContainers", "volumes", "nodeSelector", "tolerations", "affinity", "priorityClassName", "restartPolicy",
    "serviceAccountName", "automountServiceAccountToken", "enableServiceLinks", "securityContext", "imagePullSecrets",
    "terminationGracePeriodSeconds", "subdomain", "activeDeadlineSeconds",
}  # fmt: skip
CONTAINER_FIELDS = {
    "name", "image", "imagePullPolicy", "command", "args", "env", "resources", "securityContext", "terminationMessagePolicy",
    "volumeMounts", "ports", "restartPolicy",
}  # fmt: skip
VOLUMES = {"emptyDir", "downwardAPI", "configMap", "persistentVolumeClaim"}
PREDICTOR_FIELDS = (POD_FIELDS - {"containers", "initContainers", "volumes", "serviceAccountName"}) | {
    "model", "minReplicas", "maxReplicas",
}  # fmt: skip
MODEL_FIELDS = {"modelFormat", "runtime", "storageUri", "args", "env", "securityContext", "resources"}
ACCOUNT = "noria-runner"
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


def faults(owner: Manifest, child: Manifest) -> Iterator[str]:
    """What is wrong with a child of `owner`, which is an object of a tenant's in a namespace."""
    name, kind, metadata = owner["metadata"]["name"], child["kind"], child["metadata"]
    if kind not in MADE[owner["kind"]]:
        yield f"{owner['kind']} {name} makes a {kind}"
    if not KINDS[kind].namespaced or metadata.get("namespace") != owner["metadata"]["namespace"]:
        yield f"it lies in namespace {metadata.get('namespace')}"
    referred = [each["uid"] for each in metadata.get("ownerReferences", ())]
    if referred != ([] if kind == "ModelVersion" else [owner["metadata"]["uid"]]):
        yield f"its owners are {referred}"
    if kind != "ModelVersion" and metadata["labels"].get("noria.dev/owner-uid") != owner["metadata"]["uid"]:
        yield "its labels name another owner"
    yield from (f"label {value!r}" for value in metadata["labels"].values() if not LABEL_VALUE.fullmatch(value))
    if kind in ("Job", "Pod"):
        yield from _pod(owner, child["spec"]["template"] if kind == "Job" else child)
    if kind == "InferenceService":
        yield from _predictor(child["spec"]["predictor"])
    if kind == "Service" and (
        child["spec"].get("externalName") or child["spec"].get("type", "ClusterIP") != "ClusterIP"
    ):
        yield "the Service leads elsewhere"
    if kind == "HTTPRoute":
        yield from _route(owner, child["spec"])
    if kind == "PodDisruptionBudget":
        yield from _budget(owner, child["spec"])
    if kind == "PodMonitor" and child["spec"]["selector"] != {
        "matchLabels": {"noria.dev/owner-uid": owner["metadata"]["uid"]}
    }:
        yield "it scrapes pods of others"
    if kind == "PrometheusRule":
        for rule in (rule for group in child["spec"]["groups"] for rule in group["rules"]):
            yield from unconfined(rule["expr"], owner["metadata"]["namespace"])
            if "{{" in json.dumps(rule):
                yield "a template in an alert"


def pods(child: Manifest, runtime: Manifest) -> Iterator[Manifest]:
    """The Pod that a child is or becomes, for the API server to judge: a step's, a Job's, or a predictor's as KServe has it of
    `runtime`, the ServingRuntime that the chart brings."""
    metadata = {"name": "judged", "namespace": child["metadata"]["namespace"]}
    if child["kind"] == "Job":
        template = child["spec"]["template"]
        yield _a_pod({**template["metadata"], **metadata}, template["spec"])
    if child["kind"] == "Pod":
        yield _a_pod({**child["metadata"], **metadata}, child["spec"])
    if child["kind"] == "InferenceService":
        predictor, (container,) = child["spec"]["predictor"], runtime["spec"]["containers"]
        model = {key: each for key, each in predictor["model"].items() if key in CONTAINER_FIELDS}
        pod = {key: each for key, each in predictor.items() if key in POD_FIELDS}
        yield _a_pod(metadata, {**pod, "containers": [container | model], "volumes": runtime["spec"]["volumes"]})


def _a_pod(metadata: Manifest, spec: Manifest) -> Manifest:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _pod(owner: Manifest, template: Manifest) -> Iterator[str]:
    spec = template["spec"]
    yield from (f"field {each} of a pod" for each in sorted(spec.keys() - POD_FIELDS))
    if spec.get("serviceAccountName") != ACCOUNT or spec.get("automountServiceAccountToken") is not False:
        yield f"it runs as {spec.get('serviceAccountName')}, or with a token"
    if template["metadata"]["labels"].get("noria.dev/owner-uid") != owner["metadata"]["uid"]:
        yield "the pod's labels name another owner"
    for each in spec["volumes"]:
        yield from _volume(owner, each)
    for container in (*spec.get("initContainers", ()), *spec["containers"]):
        yield from _container(container)


def _volume(owner: Manifest, volume: Manifest) -> Iterator[str]:
    (kind,) = volume.keys() - {"name"}
    if kind not in VOLUMES:
        yield f"a volume of kind {kind}"
    if kind == "configMap" and volume[kind]["name"] != f"{owner['metadata']['name']}-code":
        yield f"ConfigMap {volume[kind]['name']} of somebody else"
    for item in volume.get("downwardAPI", {}).get("items", ()):
        yield from _inside(item["path"])
        if not item.get("fieldRef", {}).get("fieldPath", "").startswith("metadata.annotations['"):
            yield f"the pod is told {item}"


def _container(container: Manifest) -> Iterator[str]:
    yield from (f"field {each} of a container" for each in sorted(container.keys() - CONTAINER_FIELDS))
    for each in container.get("volumeMounts", ()):
        yield from _inside(each.get("subPath", ""))
        yield from (f"field {field} of a mount" for field in each.keys() & {"subPathExpr", "mountPropagation"})
    for each in container.get("env", ()):
        yield from _variable(each)
    yield from (f"host port {each}" for each in container.get("ports", ()) if "hostPort" in each)


def _variable(variable: Manifest) -> Iterator[str]:
    source = variable.get("valueFrom", {})
    if source.keys() - {"secretKeyRef", "fieldRef"} or source.get("secretKeyRef", {}).keys() - {"name", "key"}:
        yield f"a variable from {source}"


def _inside(path: str) -> Iterator[str]:
    if path.startswith("/") or ".." in path.split("/"):
        yield f"path {path} leads out of its volume"


def _predictor(spec: Manifest) -> Iterator[str]:
    yield from (f"field {each} of a predictor" for each in sorted(spec.keys() - PREDICTOR_FIELDS))
    model = spec["model"]
    yield from (f"field {each} of a model" for each in sorted(model.keys() - MODEL_FIELDS))
    yield from (fault for each in model.get("env", ()) for fault in _variable(each))
    if spec.get("automountServiceAccountToken") is not False:
        yield "the server has a token"
    if not re.match(r"(pvc|s3|hf)://[A-Za-z0-9]", model["storageUri"]) or ".." in model["storageUri"].split("/"):
        yield f"it loads {model['storageUri']}"


def _route(owner: Manifest, spec: Manifest) -> Iterator[str]:
    name, namespace = owner["metadata"]["name"], owner["metadata"]["namespace"]
    if any(not each.startswith(f"{name}.{namespace}.") for each in spec["hostnames"]):
        yield f"it answers to {spec['hostnames']}"
    for rule in spec["rules"]:
        mirrors = [each["requestMirror"]["backendRef"] for each in rule.get("filters", ())]
        for each in (*rule["backendRefs"], *mirrors):
            if "namespace" in each or not each["name"].startswith(f"{name}-"):
                yield f"it sends requests to {each}"


def _budget(owner: Manifest, spec: Manifest) -> Iterator[str]:
    chosen = spec["selector"].get("matchLabels", {}).get("serving.kserve.io/inferenceservice", "")
    if not chosen.startswith(f"{owner['metadata']['name']}-"):
        yield f"it keeps the pods of {chosen or 'others'}"
    if (spec.get("maxUnavailable"), spec.get("minAvailable")) != (1, None):
        yield "it lets no pod be evicted"


def leaks(query: Query, namespace: str) -> Iterator[str]:
    """What a question to Prometheus reads of others: it names its namespace in every selector, or asks of Noria's own
    series for all objects at once, of which each gets its own rows."""
    if not query.label:
        yield from unconfined(query.promql, namespace)
    else:
        for each in _selectors(ast.parse(query.promql)):
            names = [each.name or "", *(one.value for one in each.matchers.matchers if one.name == "__name__")]
            if not any(name.startswith("noria_") for name in names):
                yield f"{query.promql} reads {names}"


def unconfined(promql: str, namespace: str) -> Iterator[str]:
    """Selectors that read another namespace."""
    for each in _selectors(ast.parse(promql)):
        held = [one.value for one in each.matchers.matchers if one.name == "namespace" and one.op == ast.MatchOp.Equal]
        if set(held) != {namespace} or each.matchers.or_matchers:
            yield f"{promql} reads {each.name} of {held}"


def _selectors(node: Any) -> Iterator[Any]:
    if isinstance(node, ast.VectorSelector):
        yield node
    if isinstance(node, ast.MatrixSelector):
        yield node.vector_selector
    parts: Iterable[Any] = (getattr(node, each, None) for each in ("expr", "lhs", "rhs", "param"))
    for part in (*parts, *getattr(node, "args", ())):
        if part is not None:
            yield from _selectors(part)
