"""A world around one Endpoint for Hypothesis, which does with its children what it likes, and what must hold in it always."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from noria.api import Endpoint
from noria.plan.contract import Answer, Manifest, Observed, Plan, Row, Settings
from noria.plan.endpoint import CONTROLLER
from noria.plan.manifests import canonical, rfc3339
from noria.plan.wheel import measures, wishes
from noria.plan.wheel.traffic import stage_name

BEGIN = datetime(2026, 11, 24, 12, tzinfo=UTC)
SETTINGS = Settings(
    agent_image="a",
    trainer_image="t",
    serving_runtime="s",
    server_image="v",
    gateway_name="noria",
    gateway_namespace="g",
    gateway_mirrors=True,
    prometheus_url="http://p",
)
SPEC: Manifest = {
    "model": {"name": "m", "track": "Latest"},
    "monitoring": {"signals": [{"name": "drift", "type": "DataDrift", "threshold": 0.2, "minSamples": 10}]},
    "retrain": {
        "signals": ["drift"],
        "cooldownSeconds": 30,
        "budget": {"count": 20, "windowSeconds": 60},
        "maxFailures": 20,
        "template": {"recipe": {"name": "classifier"}},
    },
    "gate": {"test": "pvc://c/held-out", "metrics": [{"name": "accuracy"}], "minSamples": 10},
    "rollout": {
        "warmSeconds": 100,
        "deadlineSeconds": 100,
        "patienceSeconds": 50,
        "mirror": {"holdSeconds": 10},
        "steps": [{"weight": 10, "holdSeconds": 10}, {"weight": 50, "holdSeconds": 10}],
        "gates": [{"name": "errors", "type": "ErrorRate", "limit": 0.01, "windowSeconds": 10, "minSamples": 10}],
    },
}
BY_PIPELINE = {key: each for key, each in SPEC["retrain"].items() if key != "template"} | {"pipeline": {"name": "p"}}
OWNED = set(CONTROLLER.owns)
STEADY = 12
"""Plans in a row after which nothing may change any more while the world stands still."""


class Wheel(RuleBasedStateMachine):
    """One Endpoint, and a world that does with its children what it likes."""

    tried: ClassVar[Counter[str]] = Counter()
    """How often each of the rules met what it is about."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.spec, self.status = BEGIN, SPEC, dict[str, Any]()
        self.annotations: dict[str, str] = {}
        self.live: dict[tuple[str, str], Manifest] = {}
        self.pods: dict[str, Manifest] = {}
        self.versions: dict[str, Manifest] = {}
        self.runs: dict[str, Manifest] = {}
        self.drift, self.errors = 0.0, 0.0
        self.made = Counter[str]()

    @initialize()
    def first(self) -> None:
        self.register()

    @rule()
    def register(self) -> None:
        """A version is registered, by somebody or by a training."""
        number = max((each["spec"]["version"] for each in self.versions.values()), default=0) + 1
        self.version(number)

    def version(self, number: int) -> str:
        name = f"m-{number}"
        spec = {"model": "m", "version": number, "uri": f"pvc://noria-artifacts/jobs/{number}", "format": "onnx"}
        metadata = {"name": name, "namespace": "n", "uid": f"uid-{number}", "creationTimestamp": rfc3339(self.now)}
        self.versions[name] = {"metadata": metadata, "spec": spec}
        return name

    @precondition(lambda self: len(self.versions) > 1)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        del self.versions[data.draw(st.sampled_from(sorted(self.versions)))]

    @rule(seconds=st.sampled_from([1, 5, 11, 40, 120]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(data=st.data(), ready=st.booleans())
    def service_changes(self, data: st.DataObject, ready: bool) -> None:
        names = sorted(name for kind, name in self.live if kind == "InferenceService")
        if names:
            condition = {"type": "Ready", "status": "True" if ready else "False"}
            self.live["InferenceService", data.draw(st.sampled_from(names))]["status"] = {"conditions": [condition]}

    @rule()
    def all_become_ready(self) -> None:
        for (kind, _), each in self.live.items():
            if kind == "InferenceService":
                each["status"] = {"conditions": [{"type": "Ready", "status": "True"}]}
        self.gateway_accepts()

    @rule()
    def gateway_accepts(self) -> None:
        if route := self.live.get(("HTTPRoute", "e")):
            generation = route["metadata"]["generation"]
            held = [
                {"type": each, "status": "True", "observedGeneration": generation}
                for each in ("Accepted", "ResolvedRefs")
            ]
            route["status"] = {"parents": [{"conditions": held}]}

    @rule(succeeds=st.booleans())
    def trainings_end(self, succeeds: bool) -> None:
        for (kind, _), each in self.live.items():
            if kind in ("TrainingJob", "PipelineRun") and "conditions" not in each.get("status", {}):
                number = max((one["spec"]["version"] for one in self.versions.values()), default=0) + 1
                made = self.version(number) if succeeds and "status" not in each else None
                ended = {"type": "Succeeded", "status": str(succeeds), "reason": "Done", "message": "over"}
                over = {"conditions": [ended | {"lastTransitionTime": rfc3339(self.now)}]}
                if kind == "TrainingJob":
                    each["status"] = over | ({"modelVersion": made} if made else {})
                else:
                    given = {"outputs": [{"name": "version", "value": made}]} if made else {}
                    steps = [
                        {"name": "r", "state": "Succeeded"} | given,
                        *self.steps(each, "Succeeded" if succeeds else "Failed"),
                    ]
                    each["status"] = over | {"steps": steps, "completionTime": rfc3339(self.now)}

    @rule()
    def trainings_hand_over(self) -> None:
        """A run of retrain.pipeline registers a version and comes to its own deploy step."""
        for (kind, _), each in self.live.items():
            if kind == "PipelineRun" and "status" not in each:
                number = max((one["spec"]["version"] for one in self.versions.values()), default=0) + 1
                each["status"] = {"steps": [self.asking(self.version(number))]}

    @rule(number=st.integers(1, 6), name=st.sampled_from(["a", "b", "c"]))
    def somebody_deploys(self, number: int, name: str) -> None:
        self.runs[name] = {"metadata": {"name": name}, "status": {"steps": [self.asking(f"m-{number}")]}}

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), state=st.sampled_from(["Succeeded", "Failed", None]))
    def a_deploy_ends(self, data: st.DataObject, state: str | None) -> None:
        """It has its version, or is cancelled, or its run is deleted."""
        name = data.draw(st.sampled_from(sorted(self.runs)))
        if state is None:
            del self.runs[name]
        else:
            steps = self.steps(self.runs[name], state)
            self.runs[name] = {
                "metadata": {"name": name},
                "status": {"steps": steps, "completionTime": rfc3339(self.now)},
            }

    def asking(self, version: str) -> Manifest:
        asked = {"endpoint": "e", "version": version}
        return {"name": "d", "state": "Running", "startTime": rfc3339(self.now), "deploy": asked}

    @staticmethod
    def steps(run: Manifest, state: str) -> list[Manifest]:
        return [each | {"state": state} for each in run.get("status", {}).get("steps", [])]

    def wishes(self) -> list[Manifest]:
        """All PipelineRuns of the namespace."""
        return [*self.runs.values(), *(each for (kind, _), each in self.live.items() if kind == "PipelineRun")]

    @rule(accuracy=st.floats(0, 1), told=st.booleans())
    def scoring_ends(self, accuracy: float, told: bool) -> None:
        for (kind, name), each in self.live.items():
            if kind == "Job" and "status" not in each:
                scores = {"champion": {"accuracy": 0.5}, "challenger": {"accuracy": accuracy}}
                message = canonical({"samples": 100, "scores": scores}) if told else "not JSON"
                ended = {"exitCode": 0, "reason": "Completed", "message": message}
                state = [{"name": "scorer", "image": "", "imageID": "", "state": {"terminated": ended}}]
                labels = each["spec"]["template"]["metadata"]["labels"]
                status = {"phase": "Succeeded", "containerStatuses": state}
                owner = {"kind": "Job", "name": name, "uid": each["metadata"]["uid"], "controller": True}
                metadata = {"name": name, "labels": labels, "ownerReferences": [owner]}
                self.pods[name] = {"kind": "Pod", "metadata": metadata, "status": status}
                complete = {"type": "Complete", "status": "True", "lastTransitionTime": rfc3339(self.now)}
                each["status"] = {"conditions": [complete], "completionTime": rfc3339(self.now)}

    def turn(self, trained: bool = True, good: bool = True) -> None:
        """Time passes in a world that does its part."""
        for _ in range(4):
            self.step()
        self.all_become_ready()
        if trained:
            self.trainings_end(True)
        self.scoring_ends(1.0 if good else 0.0, True)
        self.now += timedelta(seconds=12)

    @rule(drift=st.sampled_from([0.0, 0.5, float("nan")]), errors=st.sampled_from([0.0, 0.0, 0.5]))
    def traffic_changes(self, drift: float, errors: float) -> None:
        self.drift, self.errors = drift, errors

    @rule(key=st.sampled_from(["retrain", "rollback-to", "retry", "approve"]), number=st.integers(1, 4))
    def somebody_asks(self, key: str, number: int) -> None:
        self.annotations = {f"noria.dev/{key}": f"m-{number}", "noria.dev/by": "ada"}

    @rule(
        manual=st.booleans(),
        model=st.sampled_from([{"track": "Latest"}, {"track": "Deployed"}])
        | st.builds(dict, version=st.integers(1, 3)),
        pipeline=st.booleans(),
    )
    def spec_changes(self, manual: bool, model: Manifest, pipeline: bool) -> None:
        rollout = SPEC["rollout"] | {"approval": "Manual" if manual else "Automatic"}
        retrain = {} if "version" in model else {"retrain": BY_PIPELINE if pipeline else SPEC["retrain"]}
        self.spec = {key: value for key, value in SPEC.items() if key != "retrain"} | retrain
        self.spec |= {"model": {"name": "m"} | model, "rollout": rollout}

    @rule(times=st.integers(1, 4))
    def plan(self, times: int) -> None:
        for _ in range(times):
            self.step()

    def step(self) -> bool:
        """One reconciliation; whether it changed anything."""
        endpoint = self.endpoint()
        planned = CONTROLLER.plan(endpoint, self.observed(endpoint))
        self.judge(endpoint, planned)
        changed = self.apply(planned)
        status = planned.status.manifest()
        if status != self.status:
            self.status, changed = status, True
        elif planned.clear_annotations:
            self.annotations = {k: v for k, v in self.annotations.items() if k not in planned.clear_annotations}
            changed = True
        return changed

    def endpoint(self) -> Endpoint:
        metadata = {"name": "e", "namespace": "n", "uid": "u", "annotations": self.annotations}
        return Endpoint.model_validate({"metadata": metadata, "spec": self.spec, "status": self.status})

    def observed(self, endpoint: Endpoint) -> Observed:
        needs = CONTROLLER.needs(endpoint, SETTINGS)
        return Observed(
            settings=SETTINGS,
            now=self.now,
            children=(*self.live.values(), *self.pods.values()),
            related=dict(zip(needs.selectors, (tuple(self.versions.values()), tuple(self.wishes())), strict=False)),
            answers={query: self.answer(query.promql) for query in needs.queries},
            absent=frozenset({"PodMonitor", "PrometheusRule"}),
        )

    def answer(self, promql: str) -> Answer:
        drift = measures.questions(
            Endpoint.model_validate({"metadata": {"name": "e"}, "spec": SPEC}).spec.monitoring.signals[0], "n"
        )
        value = self.drift if promql == drift.values.promql else self.errors if "5xx" in promql else 100.0
        return Answer(tuple(Row({"version": f"m-{number}"}, value) for number in range(1, 40)))

    def apply(self, planned: Plan) -> bool:
        wished = {(each["kind"], each["metadata"]["name"]): each for each in planned.children}
        changed = False
        for key in set(self.live) - set(wished):
            del self.live[key]
            changed = True
        for key, each in wished.items():
            before = self.live.get(key)
            if before is None:
                self.made[f"{key[0]} {key[1]}"] += 1
            if before is None or before["spec"] != each["spec"]:
                generation = before["metadata"]["generation"] + 1 if before else 1
                kept = {"status": before["status"]} if before and "status" in before else {}
                known = {"generation": generation, "uid": f"uid-of-{key[1]}"}
                self.live[key] = each | {"metadata": each["metadata"] | known} | kept
                changed = True
        return changed

    def judge(self, endpoint: Endpoint, planned: Plan) -> None:
        """What must hold for every single plan."""
        services = {each["metadata"]["name"] for each in planned.children if each["kind"] == "InferenceService"}
        live = self.live.get(("HTTPRoute", "e"))
        assert named(live) <= services, "a version that the gateway may send requests to is taken away"
        route = next((each for each in planned.children if each["kind"] == "HTTPRoute"), None)
        assert named(route) <= services, "requests are sent to what is not there"
        self.judge_wishes(endpoint, planned)
        self.note(endpoint, planned)
        cycle = endpoint.status.cycle
        challenger = endpoint.status.next.inference_service if endpoint.status.next else None
        if cycle and cycle.champion and challenger and cycle.trigger.reason != "Rollback":
            passed = {each.name for each in cycle.steps if each.result == "Pass"}
            if challenger in named(route):
                self.tried["a challenger with traffic"] += 1
                assert {"Scoring", "Starting"} <= passed, f"it has traffic without its gate: {cycle.steps}"
            if cycle.stage == "Moving":
                self.tried["a challenger that takes over"] += 1
                steps = {stage_name(endpoint, "Canary", number) for number in range(2)}
                assert {"Mirroring", *steps} <= passed, f"it gets all traffic without its steps: {cycle.steps}"

    def note(self, endpoint: Endpoint, planned: Plan) -> None:
        """What begins."""
        if endpoint.status.cycle is None and planned.status.cycle:
            self.tried[planned.status.cycle.trigger.reason] += 1

    def judge_wishes(self, endpoint: Endpoint, planned: Plan) -> None:
        """An Endpoint that follows deploy steps moves for them, for itself or for people, and to nothing else."""
        before, after = endpoint.status.cycle, planned.status.cycle
        if endpoint.spec.model.track != "Deployed":
            return
        asked = [each.version for each in wishes.of(endpoint, self.wishes())]
        if before is None and after and after.trigger.reason in ("NewVersion", "Pipeline"):
            current = endpoint.status.current
            assert after.challenger in (asked if after.trigger.reason == "Pipeline" else [current and current.version])
        if (
            before
            and before.trigger.reason == "Pipeline"
            and not asked
            and wishes.withdrawn(endpoint, before, self.wishes())
        ):
            first = endpoint.status.current is None and before.stage == "Moving"
            assert first or after is None or after.stage == "RollingBack", "what was taken back goes on"

    @invariant()
    def records_are_whole(self) -> None:
        history = self.status.get("history", [])
        assert len(history) <= 10
        assert all(each.get("outcome") and each.get("endTime") and "stage" not in each for each in history)
        numbers = [each["number"] for each in history]
        assert numbers == sorted(set(numbers), reverse=True)
        assert len(canonical(self.status)) < 256 * 1024
        assert all(
            count == 1 for what, count in self.made.items() if what.startswith(("TrainingJob", "PipelineRun"))
        ), self.made

    def teardown(self) -> None:
        """While the world stands still it comes to rest."""
        self.drift = 0.0
        changes = [self.step() for _ in range(STEADY)]
        assert not changes[-1], "it never comes to rest"


class Latest(Wheel):
    """One Endpoint that follows the newest version, often enough on its way that what happens meets every stage."""

    @precondition(lambda self: len(self.versions) < 6)
    @rule(turns=st.integers(1, 12), good=st.booleans())
    def a_version_makes_its_way(self, turns: int, good: bool = True) -> None:
        """So that states beside a champion, and after several promotions, are reached."""
        self.errors, self.drift = 0.0, 0.0
        self.register()
        for _ in range(turns):
            self.turn(good=good)

    @rule(turns=st.integers(1, 12))
    def drift_sets_off_a_training(self, turns: int) -> None:
        self.annotations, self.errors, self.drift = {}, 0.0, 0.9
        self.now += timedelta(seconds=120)
        self.step()
        self.step()
        self.drift = 0.0
        for _ in range(turns):
            self.turn()

    def earlier(self) -> list[str]:
        """Versions that served, exist, and may be gone back to: while no cycle is in flight."""
        served = {each["challenger"] for each in self.status.get("history", []) if each.get("outcome") == "Promoted"}
        there = served & self.versions.keys() - {self.status.get("current", {}).get("version")}
        return [] if "cycle" in self.status else sorted(there)

    @precondition(lambda self: self.earlier())
    @rule(data=st.data(), turns=st.integers(4, 8), newer=st.sampled_from([True, True, False]))
    def somebody_goes_back(self, data: st.DataObject, turns: int, newer: bool) -> None:
        self.annotations = {"noria.dev/rollback-to": data.draw(st.sampled_from(self.earlier())), "noria.dev/by": "ada"}
        for _ in range(turns):
            self.turn()
        if newer:
            self.register()
            self.turn()


def explored(machine: type[Wheel], limits: settings, *tried: str) -> None:
    """Runs it, and fails where one of the rules that it is for was never tried."""
    machine.tried.clear()
    run_state_machine_as_test(machine, settings=limits)
    missing = [each for each in tried if not machine.tried[each]]
    assert not missing, f"never tried: {missing}; {machine.tried}"


def named(route: Manifest | None) -> set[str]:
    """InferenceServices whose answers clients get by a route."""
    rules = (route or {}).get("spec", {}).get("rules", [])
    return {each["name"].removesuffix("-predictor") for one in rules for each in one["backendRefs"]}
