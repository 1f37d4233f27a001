"""What one served version is made of: an InferenceService of KServe, and a disruption budget for its pods; and the HTTPRoute that
gives the Endpoint its address."""

from collections.abc import Sequence
from typing import NamedTuple

from noria.api.endpoint import Endpoint
from noria.api.modelversion import ModelVersion
from noria.plan.contract import Manifest, Settings
from noria.plan.manifests import CONTAINER_SECURITY, POD_SECURITY, child, digest, pinned, placement, resources

VERSION_LABEL, MODEL_VERSION = "noria.dev/version", "noria.dev/modelversion"
PREDICTOR_CONTAINER = "kserve-container"
FOLLOWING = ("nodeSelector", "tolerations", "affinity", "priorityClassName", "imagePullSecrets")
"""Fields of a live predictor that follow the spec, so that leaving one out removes it."""
POD_LABEL = "serving.kserve.io/inferenceservice"


def service_name(endpoint: Endpoint, version: ModelVersion) -> str:
    """Name of the InferenceService of a version; the hash keeps apart a number that was registered again, and another runtime."""
    runtime = endpoint.spec.predictor.runtime
    mark = digest([version.spec.model, version.metadata.uid, *([runtime] if runtime else [])])[7:12]
    return f"{endpoint.metadata.name}-{version.spec.version}-{mark}"


def backend(service: str) -> str:
    """Name of the Deployment and of the Service that KServe makes for an InferenceService."""
    return f"{service}-predictor"


def hostname(endpoint: Endpoint, settings: Settings) -> str:
    """The host that the Endpoint answers to."""
    return f"{endpoint.metadata.name}.{endpoint.metadata.namespace}.{settings.domain}"


def url(endpoint: Endpoint, settings: Settings, service: str) -> str:
    """Where clients reach the Endpoint: through the gateway, or without one the InferenceService of the current version."""
    if settings.gateway_name:
        return f"http://{hostname(endpoint, settings)}"
    return f"http://{backend(service)}.{endpoint.metadata.namespace}.svc"


def inference_service(
    endpoint: Endpoint, version: ModelVersion | None, live: Manifest | None, settings: Settings
) -> Manifest | None:
    """The InferenceService of a version. What was rendered when it was made stays; replicas, resources and placement follow the spec.

    With neither a version nor a live object there is nothing to make.
    """
    spec = endpoint.spec.predictor
    if live:
        service = pinned(live)
        predictor = {key: value for key, value in service["spec"]["predictor"].items() if key not in FOLLOWING}
    elif version:
        service = _new(endpoint, version)
        predictor = {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": POD_SECURITY,
            "terminationGracePeriodSeconds": 60,
            "model": _model(endpoint, version, settings),
        }
    else:
        return None
    predictor |= {"minReplicas": spec.replicas, "maxReplicas": spec.replicas} | placement(spec.placement)
    if spec.image_pull_secrets:
        predictor["imagePullSecrets"] = [{"name": name} for name in spec.image_pull_secrets]
    predictor["model"] = predictor["model"] | {"resources": resources(spec.resources, spec.gpus)}
    service["spec"] = {"predictor": predictor}
    return service


def _new(endpoint: Endpoint, version: ModelVersion) -> Manifest:
    return child(
        endpoint,
        "InferenceService",
        service_name(endpoint, version),
        {},
        labels={
            "networking.kserve.io/visibility": "cluster-local",
            MODEL_VERSION: version.metadata.name,
            VERSION_LABEL: str(version.spec.version),
        },
        annotations={
            "serving.kserve.io/deploymentMode": "Standard",
            "serving.kserve.io/autoscalerClass": "none",
            "prometheus.io/scrape": "true",
            "prometheus.io/port": "8080",
            "prometheus.io/path": "/metrics",
        },
    )


def _model(endpoint: Endpoint, version: ModelVersion, settings: Settings) -> Manifest:
    model: Manifest = {
        "modelFormat": {"name": version.spec.format},
        "runtime": endpoint.spec.predictor.runtime or settings.serving_runtime,
        "storageUri": version.spec.uri,
    }
    if endpoint.spec.predictor.runtime:
        return model
    return model | {
        "args": [f"--model_name={endpoint.metadata.name}"],
        "env": [
            {"name": "NORIA_MODEL_DIGEST", "value": version.spec.digest or ""},
            {"name": "NORIA_MODEL_FORMAT", "value": version.spec.format},
            {"name": "NORIA_MODEL_VERSION", "value": version.metadata.name},
        ],
        "securityContext": CONTAINER_SECURITY,
    }


def disruption_budget(endpoint: Endpoint, service: str) -> Manifest | None:
    """What lets a drained node have one pod of an InferenceService at a time; None where there is but one."""
    if endpoint.spec.predictor.replicas < 2:
        return None
    spec = {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",  # pods that do not answer hold no drain up
        "selector": {"matchLabels": {POD_LABEL: service, "component": "predictor"}},
    }
    return child(endpoint, "PodDisruptionBudget", service, {"spec": spec})


class Share(NamedTuple):
    """An InferenceService and its weight beside others; of a mirror the percentage of requests that are copied."""

    service: str
    weight: int


def route(endpoint: Endpoint, shares: Sequence[Share], mirror: Share | None, settings: Settings) -> Manifest | None:
    """The HTTPRoute that splits the traffic; None where no gateway is named."""
    if not settings.gateway_name:
        return None
    rule: Manifest = {
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "backendRefs": [_service(each.service) | {"weight": each.weight} for each in shares],
    }
    if mirror:
        copied = {"backendRef": _service(mirror.service), "percent": mirror.weight}
        rule["filters"] = [{"type": "RequestMirror", "requestMirror": copied}]
    parent = {
        "group": "gateway.networking.k8s.io",
        "kind": "Gateway",
        "name": settings.gateway_name,
        "namespace": settings.gateway_namespace,
    }
    body = {"spec": {"parentRefs": [parent], "hostnames": [hostname(endpoint, settings)], "rules": [rule]}}
    return child(endpoint, "HTTPRoute", endpoint.metadata.name, body)


def _service(service: str) -> Manifest:
    return {"group": "", "kind": "Service", "name": backend(service), "port": 80}


def settled(live: Manifest | None, wished: Manifest) -> bool:
    """Whether the gateway has accepted the live route's newest generation, and it sends requests where `wished` does."""
    if live is None or _targets(live) != _targets(wished):
        return False
    generation = live["metadata"].get("generation", 0)
    return any(_accepted(parent, generation) for parent in live.get("status", {}).get("parents", []))


def reaches(live: Manifest | None, service: str) -> bool:
    """Whether a route sends requests, or copies of them, to an InferenceService."""
    return live is not None and any(name == backend(service) and weight for name, weight, _ in _targets(live))


def _targets(route: Manifest) -> list[tuple[str, int, str]]:
    """Services with their weights, and what is mirrored."""
    targets = []
    for rule in route.get("spec", {}).get("rules", []):
        targets += [(each["name"], each.get("weight", 1), "") for each in rule.get("backendRefs", [])]
        for each in rule.get("filters", []):
            if mirror := each.get("requestMirror"):
                targets.append((mirror["backendRef"]["name"], mirror.get("percent", 100), "mirror"))
    return targets


def _accepted(parent: Manifest, generation: int) -> bool:
    held = {
        each["type"]
        for each in parent.get("conditions", [])
        if each["status"] == "True" and each.get("observedGeneration", 0) >= generation
    }
    return {"Accepted", "ResolvedRefs"} <= held


def rejection(live: Manifest | None) -> str | None:
    """Why the gateway does not take the route, in its own words."""
    for parent in (live or {}).get("status", {}).get("parents", []):
        for each in parent.get("conditions", []):
            if each["type"] in ("Accepted", "ResolvedRefs") and each["status"] == "False":
                return f"says {each.get('reason', each['type'])}: {each.get('message', '')}"
    return None
