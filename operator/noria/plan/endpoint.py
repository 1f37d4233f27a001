"""Endpoint: signals are judged, one step is made from what is recorded, and what is recorded has its effects."""

from collections.abc import Iterable, Iterator

from noria.api.cycle import Cycle
from noria.api.endpoint import Endpoint, EndpointStatus, Replicas, Served
from noria.api.modelversion import ModelVersion
from noria.plan.conditions import condition
from noria.plan.contract import Controller, Manifest, Needs, Observed, Plan, Query, Selector, Settings
from noria.plan.manifests import pinned
from noria.plan.wheel import (
    challengers,
    cycle,
    measures,
    monitors,
    probing,
    retraining,
    scoring,
    serving,
    signals,
    steady,
    story,
    traffic,
    wanted,
    wishes,
)
from noria.plan.wheel.trouble import deployment
from noria.plan.wheel.view import CYCLE, Refusal, Turn, View, served_record

JOBS_KEPT = 3


def needs(endpoint: Endpoint, settings: Settings) -> Needs:
    """The versions of the namespace, the runs whose deploy steps it follows, and what signals ask of Prometheus; gates ask
    only while they judge."""
    followed = (wishes.runs(endpoint),) if endpoint.spec.model.track == "Deployed" else ()
    selectors, flight = (_versions(endpoint), *followed), endpoint.status.cycle
    if not settings.prometheus_url:
        return Needs(selectors=selectors)
    judging = flight is not None and flight.stage in ("Mirroring", "Canary", "Approval")
    judged = _asked(endpoint, endpoint.spec.rollout.gates if judging else [])
    watched = _asked(endpoint, endpoint.spec.monitoring.signals)
    # A firing signal that has yet to set off a training waits for answers to all that a training depends on.
    held = {} if retraining.due(endpoint) else steady.steady(endpoint)
    return Needs(selectors=selectors, queries=tuple(watched | judged), fresh=tuple(judged), steady=held)


def _asked(endpoint: Endpoint, measured: Iterable[measures.Measured]) -> dict[Query, None]:
    """What is asked, each query once."""
    return {query: None for each in measured for query in measures.queries(each, endpoint.metadata.namespace or "")}


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
    view = _view(endpoint, observed)
    before = Turn.recorded(endpoint)
    turn = cycle.advance(view)
    retrain = retraining.status(view, before, turn)
    current = turn.current
    told_of = before.current.version if before.current else None
    probes = probing.step(endpoint, view.served, observed)
    status = EndpointStatus(
        conditions=story.conditions(view, turn),
        url=serving.url(endpoint, observed.settings, current.inference_service) if current else None,
        current=current,
        next=turn.next,
        retiring=list(turn.retiring),
        cycle=turn.cycle,
        cycles=turn.cycles,
        history=list(turn.history),
        rejected=list(turn.rejected),
        replicas=_replicas(endpoint, observed, current),
        signals=view.signals if current is None or current.version == told_of else [],
        probes=probes.records,
        worst_signal=signals.worst(endpoint, view.signals),
        retrain=retrain,
    )
    waits = [*traffic.requeue(view, turn), *retraining.requeue(view, turn, retrain), *scoring.requeue(view, turn)]
    timed = (signals.requeue(endpoint, view.served, view.signals, observed.now), probes.wait)
    waits += [wait for wait in timed if wait is not None]
    return Plan(
        status=status,
        children=tuple(_effects(view, before)),
        events=story.events(view, before, turn),
        requeue_after=min(waits, default=None),
        clear_annotations=story.done(view, before),
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


def _view(endpoint: Endpoint, observed: Observed) -> View:
    # Of the other models' versions, which may be many, nothing is read.
    known = (
        each
        for each in observed.related.get(_versions(endpoint), ())
        if each["spec"]["model"] == endpoint.spec.model.name
    )
    versions = tuple(ModelVersion.model_validate(each) for each in known)
    runs = observed.related.get(wishes.runs(endpoint), ())
    asked, wish = wanted.wanted(endpoint, versions, runs)
    judged = signals.judge(endpoint, served_record(endpoint.status.current, versions), observed)
    return View(endpoint, observed, versions, asked, *judged, wish, runs)


def _effects(view: View, recorded: Turn) -> Iterator[Manifest]:
    """What the record asks for. Nothing has an effect before it is recorded, so that no crash does anything twice."""
    endpoint, settings = view.endpoint, view.observed.settings
    by_service = {view.service_name(each): each for each in view.versions}
    if route := traffic.route(view, recorded):  # first, since it brings back requests, whatever else may be refused
        yield route
    places = [recorded.current, recorded.next, *recorded.retiring]
    for name in dict.fromkeys(each.inference_service for each in places if each):
        live = view.child("InferenceService", name)
        if made := serving.inference_service(endpoint, by_service.get(name), live, settings):
            yield made
            if budget := serving.disruption_budget(endpoint, name):
                yield budget
    yield from _jobs(view, recorded.cycle)
    yield from probing.jobs(endpoint, view.observed)
    yield from monitors.monitors(view, recorded)  # last, since others' webhooks may refuse them


def _jobs(view: View, flight: Cycle | None) -> Iterator[Manifest]:
    """What makes or scores the challenger in flight as it was made, and the newest of earlier cycles, for their logs."""
    live = {
        (each["kind"], each["metadata"]["name"]): each
        for each in view.observed.children
        if CYCLE in each["metadata"].get("labels", ()) and each["kind"] in ("TrainingJob", "PipelineRun", "Job")
    }
    wished = {(each["kind"], each["metadata"]["name"]): each for each in (_wished_job(view, flight) if flight else ())}
    for name, manifest in wished.items():
        if name not in live:
            yield manifest
        elif not scoring.outdated(live[name], manifest):
            yield pinned(live[name])
    cycles = [*([flight] if flight else []), *view.endpoint.status.history]
    handed_over = {each.pipeline_run for each in cycles if each.challenger}  # such a run tells what came of it
    newest = {str(number) for number in range(view.endpoint.status.cycles + 1)[-JOBS_KEPT:]}
    for name, each in live.items():
        stays = _ended(each) or name[1] in handed_over
        if name not in wished and stays and each["metadata"]["labels"][CYCLE] in newest:
            yield pinned(each)


def _wished_job(view: View, flight: Cycle) -> Iterator[Manifest]:
    endpoint, gate = view.endpoint, view.endpoint.spec.gate
    if flight.stage == "Training":
        # One that was there and is gone was deleted by hand: it is not made again.
        made = None if challengers.recorded(flight) else challengers.made_for(endpoint, flight)
        if found := challengers.live(view, flight) or made:
            yield found
    champion, challenger = view.served, view.version(flight.challenger)
    if flight.stage == "Scoring" and gate and champion and challenger:
        yield from scoring.jobs(endpoint, gate, champion, challenger, flight.number, view.observed.settings)


def _ended(live: Manifest) -> bool:
    conditions = live.get("status", {}).get("conditions", [])
    held = {each["type"] for each in conditions if each["status"] == "True"}
    decided = any(each["type"] == "Succeeded" and each["status"] != "Unknown" for each in conditions)
    return bool(held & {"Complete", "Failed"}) or decided


def _replicas(endpoint: Endpoint, observed: Observed, current: Served | None) -> Replicas | None:
    if current is None:
        return None
    live = deployment(observed, current.inference_service) or {}
    return Replicas(ready=live.get("status", {}).get("readyReplicas", 0), desired=endpoint.spec.predictor.replicas)


CONTROLLER = Controller(
    resource=Endpoint,
    owns=(
        "InferenceService",
        "PodDisruptionBudget",
        "HTTPRoute",
        "TrainingJob",
        "PipelineRun",
        "Job",
        "PrometheusRule",
    ),
    watches=("PodMonitor", "Pod", "Deployment", "Event"),
    needs=needs,
    plan=plan,
)
