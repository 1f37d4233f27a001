"""Endpoint: the wanted version is started beside the current one, gets the traffic when it is ready, and then the old one goes.

next: started -> ready -> route names it -> gateway accepted -> current;   old current: retiring -> drained -> gone
"""

from typing import NamedTuple

from noria.api.endpoint import Endpoint, EndpointStatus, Replicas, Served
from noria.api.meta import Condition
from noria.api.modelversion import ModelVersion
from noria.plan import causes, serving
from noria.plan.conditions import condition
from noria.plan.contract import Controller, Event, Manifest, Needs, Observed, Plan, Selector, Settings
from noria.plan.manifests import moment, pinned, rfc3339


class Refusal(NamedTuple):
    """Why no version can be served as wanted."""

    reason: str
    message: str


class Places(NamedTuple):
    """Where the versions of an Endpoint stand."""

    current: Served | None
    next: Served | None
    retiring: Served | None


def needs(endpoint: Endpoint, settings: Settings) -> Needs:
    """The versions of the namespace: which of them is wanted is decided here."""
    return Needs(selectors=(_versions(endpoint),))


def _versions(endpoint: Endpoint) -> Selector:
    return Selector("ModelVersion", endpoint.metadata.namespace)


def plan(endpoint: Endpoint, observed: Observed) -> Plan:
    """What should be for one Endpoint."""
    if missing := _missing(observed):
        # What is served goes on being served: a kind that is gone for a moment must not take the others with it.
        kept = tuple(pinned(each) for each in observed.children if each["kind"] in CONTROLLER.owns)
        ready = condition(observed, "Ready", False, missing.reason, missing.message)
        others = [each for each in endpoint.status.conditions if each.type != "Ready"]
        status = endpoint.status.model_copy(update={"conditions": [ready, *others]})
        return Plan(status=status, children=kept, requeue_after=60)
    services = {each["metadata"]["name"]: each for each in observed.children if each["kind"] == "InferenceService"}
    versions = [ModelVersion.model_validate(each) for each in observed.related.get(_versions(endpoint), ())]
    wanted = _wanted(endpoint, versions)
    if isinstance(wanted, ModelVersion):
        wanted = _unservable(endpoint, wanted) or wanted
    places = _advance(endpoint, observed, services, wanted if isinstance(wanted, ModelVersion) else None)

    current, following, retiring = places

    # The route follows what is ready, a step before the status says so: the status waits for the gateway.
    moves = following and retiring is None and serving.ready(services.get(following.inference_service))
    target = following if moves else current
    by_service = {serving.service_name(endpoint, each): each for each in versions}
    made = [
        serving.inference_service(endpoint, by_service.get(name), services.get(name), observed.settings)
        for name in dict.fromkeys(each.inference_service for each in places if each)
    ]
    route = serving.route(endpoint, target.inference_service, observed.settings) if target else None
    status = EndpointStatus(
        conditions=_conditions(endpoint, observed, services, places, wanted),
        url=serving.url(endpoint, observed.settings, current.inference_service) if current else None,
        current=current,
        next=following,
        retiring=retiring,
        replicas=_replicas(endpoint, observed, current),
    )
    return Plan(
        status=status,
        children=tuple(each for each in (*made, route) if each),
        events=_events(endpoint, status),
        requeue_after=_drain_left(endpoint, observed, retiring) if retiring else None,
    )


def _missing(observed: Observed) -> Refusal | None:
    """What the cluster lacks."""
    if "InferenceService" in observed.absent:
        return Refusal(
            "KServeMissing",
            "the cluster does not know InferenceService (serving.kserve.io/v1beta1); install KServe in Standard mode",
        )
    if observed.settings.gateway_name and "HTTPRoute" in observed.absent:
        return Refusal(
            "GatewayAPIMissing",
            "the cluster does not know HTTPRoute (gateway.networking.k8s.io/v1); install a Gateway API implementation, or install Noria without gateway.name",
        )
    return None


def _wanted(endpoint: Endpoint, versions: list[ModelVersion]) -> ModelVersion | Refusal:
    """The version that the spec asks for."""
    model = endpoint.spec.model
    known = sorted(
        (each for each in versions if each.spec.model == model.name and not each.metadata.deletion_timestamp),
        key=lambda each: each.spec.version,
    )
    if model.version is None:
        return (
            known[-1]
            if known
            else Refusal(
                "ModelNotFound",
                f"there is no version of model {model.name} in this namespace yet; a TrainingJob with output.model {model.name} makes one",
            )
        )
    found = next((each for each in known if each.spec.version == model.version), None)
    have = ", ".join(str(each.spec.version) for each in known) or "none"
    return found or Refusal(
        "ModelVersionNotFound", f"ModelVersion {model.name}-{model.version} does not exist; versions: {have}"
    )


def _unservable(endpoint: Endpoint, version: ModelVersion) -> Refusal | None:
    if version.spec.format == "custom" and not endpoint.spec.predictor.runtime:
        return Refusal(
            "FormatUnknown",
            f"{version.metadata.name} has format custom, which Noria's server cannot load; name a runtime in predictor.runtime",
        )
    return None


def _advance(
    endpoint: Endpoint, observed: Observed, services: dict[str, Manifest], wanted: ModelVersion | None
) -> Places:
    """Current, next and retiring version after what was observed."""
    current, following, retiring = endpoint.status.current, endpoint.status.next, endpoint.status.retiring
    now = rfc3339(observed.now)
    if retiring and _drain_left(endpoint, observed, retiring) <= 0:
        retiring = None
    if (
        following
        and retiring is None
        and _routed(observed, following)
        and serving.ready(services.get(following.inference_service))
    ):
        retiring, current, following = (
            current and current.model_copy(update={"since": now}),
            following.model_copy(update={"since": now}),
            None,
        )
    if wanted is None and following and not _named(observed, following):
        following = None  # it is not wanted any more, or does not exist any more
    elif wanted and not (following and _named(observed, following)):
        name = serving.service_name(endpoint, wanted)
        if current and current.inference_service == name:
            following = None
        elif not following or following.inference_service != name:
            following = Served(version=wanted.metadata.name, inference_service=name, since=now)
    if retiring and following and retiring.inference_service == following.inference_service:
        retiring = None  # wanted again before it was gone
    return Places(current, following, retiring)


def _route(observed: Observed) -> Manifest | None:
    return next((each for each in observed.children if each["kind"] == "HTTPRoute"), None)


def _routed(observed: Observed, served: Served) -> bool:
    """Whether traffic goes to that version; without a gateway nothing stands between it and its clients."""
    return not observed.settings.gateway_name or serving.routed(_route(observed), served.inference_service)


def _named(observed: Observed, served: Served) -> bool:
    """Whether the route names that version already: then it takes over before another one may."""
    return serving.backends(_route(observed)) == [serving.backend(served.inference_service)]


def _drain_left(endpoint: Endpoint, observed: Observed, retiring: Served) -> float:
    """Seconds that the retiring version still has."""
    return (moment(retiring.since) - observed.now).total_seconds() + endpoint.spec.rollout.drain_seconds


def _conditions(
    endpoint: Endpoint,
    observed: Observed,
    services: dict[str, Manifest],
    places: Places,
    wanted: ModelVersion | Refusal,
) -> list[Condition]:
    current, _following, _ = places
    behind = _waits(observed, services, places) or (wanted if isinstance(wanted, Refusal) else None)
    if current and serving.ready(services.get(current.inference_service)):
        ready = condition(observed, "Ready", True, "Serving", f"{current.version} serves")
    elif current:
        why = _trouble(observed, services, current.inference_service)
        why = why or Refusal("Restarting", "it is being started again")
        ready = condition(observed, "Ready", False, why.reason, f"{current.version}: {why.message}")
    else:
        why = behind or Refusal("Starting", "nothing is served yet")
        ready = condition(observed, "Ready", False, why.reason, why.message)
    if behind:
        latest = condition(observed, "UpToDate", False, behind.reason, behind.message)
    else:
        latest = condition(observed, "UpToDate", True, "VersionServed", "the wanted version serves")
    return [ready, latest, *([_verified(endpoint, observed, services, current)] if current else [])]


def _waits(observed: Observed, services: dict[str, Manifest], places: Places) -> Refusal | None:
    """What the next version waits for: its own start, the drain of the one before, or the gateway's word on the route."""
    following, retiring = places.next, places.retiring
    if following is None:
        return None
    version = following.version
    if trouble := _trouble(observed, services, following.inference_service):
        return Refusal(trouble.reason, f"{version}: {trouble.message}")
    if not serving.ready(services.get(following.inference_service)):
        return Refusal("Starting", f"{version} is being started")
    if retiring:
        return Refusal("Draining", f"{version} is ready and follows when {retiring.version} has finished its requests")
    said = serving.rejection(_route(observed))
    gateway = f"Gateway {observed.settings.gateway_namespace}/{observed.settings.gateway_name}"
    reason, words = ("RouteRejected", said) if said else ("Routing", "has not accepted the route yet")
    return Refusal(reason, f"{version} is ready; {gateway} {words}")


def _verified(endpoint: Endpoint, observed: Observed, services: dict[str, Manifest], current: Served) -> Condition:
    """Whether the server checked the files against the version's digest before it loaded them."""
    model = services.get(current.inference_service, {}).get("spec", {}).get("predictor", {}).get("model", {})
    told = {each["name"]: each.get("value") for each in model.get("env", [])}
    if told.get("NORIA_MODEL_DIGEST"):
        return condition(observed, "Verified", True, "DigestMatches", f"the server loaded {told['NORIA_MODEL_DIGEST']}")
    if endpoint.spec.predictor.runtime:
        return condition(
            observed,
            "Verified",
            False,
            "ForeignRuntime",
            f"runtime {endpoint.spec.predictor.runtime} is not known to check digests",
        )
    return condition(
        observed, "Verified", False, "Unverified", f"{current.version} states no digest; register it with spec.digest"
    )


def _trouble(observed: Observed, services: dict[str, Manifest], name: str) -> Refusal | None:
    """Why an InferenceService is not ready, from its pods first, since they know best."""
    service = services.get(name)
    if service is None or serving.ready(service):
        return None
    pods = [
        each
        for each in observed.children
        if each["kind"] == "Pod" and each["metadata"]["labels"].get(serving.POD_LABEL) == name
    ]
    if cause := causes.crashed(pods, serving.PREDICTOR_CONTAINER) or causes.waiting(pods):
        return Refusal(*cause)
    deployment = _deployment(observed, name)
    if deployment and (cause := causes.refused(deployment)):
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


def _deployment(observed: Observed, service: str) -> Manifest | None:
    """The Deployment that KServe made for an InferenceService."""
    name = serving.backend(service)
    return next(
        (each for each in observed.children if each["kind"] == "Deployment" and each["metadata"]["name"] == name), None
    )


def _replicas(endpoint: Endpoint, observed: Observed, current: Served | None) -> Replicas | None:
    if current is None:
        return None
    deployment = _deployment(observed, current.inference_service) or {}
    return Replicas(
        ready=deployment.get("status", {}).get("readyReplicas", 0), desired=endpoint.spec.predictor.replicas
    )


def _events(endpoint: Endpoint, status: EndpointStatus) -> tuple[Event, ...]:
    """What changed against the recorded status. The cycles come from recorded times: told again after a crash, they are the same."""
    before = endpoint.status
    events = []
    if status.next and _service(status.next) != _service(before.next):
        cycle = f"{status.next.inference_service}-{before.current.since if before.current else 'first'}"
        events.append(Event("Normal", "RolloutStarted", f"{status.next.version} is being started", cycle))
    if status.current and _service(status.current) != _service(before.current):
        was = f" in place of {before.current.version}" if before.current else ""
        cycle = f"{status.current.inference_service}-{before.next.since if before.next else 'first'}"
        events.append(Event("Normal", "VersionServed", f"{status.current.version} serves{was}", cycle))
    return tuple(events)


def _service(served: Served | None) -> str | None:
    return served.inference_service if served else None


CONTROLLER = Controller(
    resource=Endpoint,
    owns=("InferenceService", "HTTPRoute"),
    watches=("Pod", "Deployment"),
    needs=needs,
    plan=plan,
)
