"""Whether an InferenceService is ready, and why it is not: from its pods first, since they know best."""

from noria.plan import causes
from noria.plan.contract import Manifest, Observed
from noria.plan.wheel import serving
from noria.plan.wheel.view import Refusal


def ready(observed: Observed, name: str) -> bool:
    """Whether KServe calls it ready, and its Deployment has a pod that is: while KServe is gone, its last word stays."""
    service, live = _child(observed, "InferenceService", name), deployment(observed, name)
    conditions = (service or {}).get("status", {}).get("conditions", [])
    called = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return called and (live is None or live.get("status", {}).get("readyReplicas", 0) > 0)


def trouble(observed: Observed, name: str) -> Refusal | None:
    """The cause; None if it is ready, not there yet, or simply on its way."""
    service = _child(observed, "InferenceService", name)
    if service is None or ready(observed, name):
        return None
    pods = [
        each
        for each in observed.children
        if each["kind"] == "Pod" and each["metadata"]["labels"].get(serving.POD_LABEL) == name
    ]
    if cause := causes.crashed(pods, serving.PREDICTOR_CONTAINER) or causes.waiting(pods):
        return Refusal(*cause)
    live = deployment(observed, name)
    if live and (cause := causes.refused(live)):
        return Refusal(*cause)
    info = service.get("status", {}).get("modelStatus", {}).get("lastFailureInfo", {})
    if info.get("message"):
        return Refusal(info.get("reason") or "ModelLoadFailed", info["message"])
    failed = [
        each
        for each in service.get("status", {}).get("conditions", [])
        # That pods are not there yet is no trouble: it is how every start begins.
        if each["status"] == "False" and each.get("message") and each.get("reason") != "MinimumReplicasUnavailable"
    ]
    return Refusal("NotReady", failed[0]["message"]) if failed else None


def deployment(observed: Observed, service: str) -> Manifest | None:
    """The Deployment that KServe made for an InferenceService."""
    return _child(observed, "Deployment", serving.backend(service))


def _child(observed: Observed, kind: str, name: str) -> Manifest | None:
    return next((each for each in observed.children if each["kind"] == kind and each["metadata"]["name"] == name), None)
