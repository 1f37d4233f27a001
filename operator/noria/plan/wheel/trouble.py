"""Why an InferenceService is not ready, from its pods first, since they know best."""

from noria.plan import causes
from noria.plan.contract import Manifest, Observed
from noria.plan.wheel import serving
from noria.plan.wheel.view import Refusal


def trouble(observed: Observed, name: str) -> Refusal | None:
    """The cause; None if it is ready, not there yet, or simply on its way."""
    service = _child(observed, "InferenceService", name)
    if service is None or serving.ready(service):
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
