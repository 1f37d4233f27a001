"""A rougher world around one Endpoint: edits in flight, children that vanish, Prometheus that is silent, down or mad.

Edits in flight make the rules of wheel.py on stages untrue. In their place: neither plan nor needs raises, a signal sets
nothing off that was not measured now, a rollback by hand stays, requests go only to what is planned, records are whole and
small, and in a world that does its part every cycle ends.
"""

import dataclasses
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule
from wheel import SETTINGS, SPEC, Latest, explored, named

from noria.plan.contract import Answer, Look, Observed, Plan, Row
from noria.plan.endpoint import CONTROLLER
from noria.plan.manifests import canonical

ROUNDS = 150
"""Of a world that does its part; every cycle is over by then."""
STEPS = [[], [{"weight": 10, "holdSeconds": 10}], SPEC["rollout"]["steps"], [{"weight": 5, "holdSeconds": 10}]]


class Rough(Latest):
    """One Endpoint, in a world that keeps none of its promises until the end."""

    def __init__(self) -> None:
        super().__init__()
        self.prometheus, self.gateway, self.mirrors = "up", True, True
        self.known_at: dict[int, set[str]] = {}
        self.vanished: set[str] = set()

    @rule(how=st.sampled_from(["up", "up", "silent", "down", "mad"]))
    def prometheus_changes(self, how: str) -> None:
        self.prometheus = how

    @rule(steps=st.sampled_from(STEPS), mirror=st.booleans())
    def steps_change(self, steps: list[Any], mirror: bool) -> None:
        rollout = {key: each for key, each in self.spec["rollout"].items() if key not in ("mirror", "steps")} | {
            "steps": steps
        }
        self.spec = self.spec | {"rollout": rollout | ({"mirror": {"holdSeconds": 10}} if mirror else {})}

    @rule(gate=st.booleans(), retrain=st.booleans())
    def gate_changes(self, gate: bool, retrain: bool) -> None:
        spec = {key: each for key, each in self.spec.items() if key not in ("gate", "retrain")}
        track = "track" in self.spec["model"]
        self.spec = spec | ({"gate": SPEC["gate"]} if gate else {})
        self.spec |= {"retrain": SPEC["retrain"]} if retrain and track else {}

    @rule(runtime=st.sampled_from([None, "mine"]))
    def runtime_changes(self, runtime: str | None) -> None:
        self.spec = self.spec | {"predictor": {"runtime": runtime} if runtime else {}}

    @rule(gateway=st.booleans(), mirrors=st.booleans())
    def administrator_changes(self, gateway: bool, mirrors: bool) -> None:
        self.gateway, self.mirrors = gateway, mirrors

    @rule(data=st.data())
    def child_vanishes(self, data: st.DataObject) -> None:
        """Somebody deletes a child, or its time to live is over."""
        if self.live:
            kind, name = data.draw(st.sampled_from(sorted(self.live)))
            del self.live[kind, name]
            self.vanished.add(name)

    @rule()
    def pods_vanish(self) -> None:
        self.pods.clear()

    def observed(self, endpoint: Any) -> Observed:
        told = super().observed(endpoint)
        name = "noria" if self.gateway else ""
        told = dataclasses.replace(
            told, settings=SETTINGS.model_copy(update={"gateway_name": name, "gateway_mirrors": self.mirrors})
        )
        return dataclasses.replace(told, answers={}) if self.prometheus == "silent" else told

    def answer(self, promql: str) -> Answer:
        if self.prometheus == "down":
            return Answer(error="Prometheus does not answer")
        if self.prometheus == "mad":
            return Answer(
                (
                    *(Row({"version": f"m-{n}"}, float("nan")) for n in range(1, 5)),
                    Row({"version": "m-1"}, float("inf")),
                    Row({}, 1.0),
                )
            )
        return super().answer(promql)

    def judge(self, endpoint: Any, planned: Plan) -> None:
        if self.gateway:
            services = {each["metadata"]["name"] for each in planned.children if each["kind"] == "InferenceService"}
            route = next((each for each in planned.children if each["kind"] == "HTTPRoute"), None)
            self.tried["a route"] += bool(named(route))
            assert named(route) - self.vanished <= services, "requests are sent to what is not there"
        self.note(endpoint, planned)
        before, after = endpoint.status.cycle, planned.status.cycle
        answers, held = self.observed(endpoint).answers, CONTROLLER.needs(endpoint, SETTINGS).steady.values()
        looks = {judge.look(answers.get) for each in held for judge in each.judges}
        current, following = endpoint.status.current, planned.status.current
        stays = current and following and current.version == following.version
        if looks == {Look.NONE} and stays and current.version in self.versions:
            assert planned.status.signals == endpoint.status.signals, "what was to need no look"
        if before is None and after and after.trigger.reason == "Signal":
            assert self.prometheus == "up", f"a training on what was not measured: {self.prometheus}"
        if (
            before is None
            and after
            and after.trigger.reason == "NewVersion"
            and endpoint.status.history
            and "track" in self.spec["model"]
        ):
            last = endpoint.status.history[0]
            if last.trigger.reason == "Rollback" and last.outcome == "Promoted":
                known = self.known_at.get(last.number, set())
                self.tried["a way back that stays"] += 1
                another = after.challenger != last.challenger  # and not the same, served otherwise
                assert not another or after.challenger not in known or "retry" in str(self.annotations), (
                    f"went on from {last.challenger} to {after.challenger} by itself"
                )
        if after and after.trigger.reason == "Rollback" and before is None:
            self.known_at[after.number] = set(self.versions)
        if before and before.trigger.reason == "Rollback" and not after and self.spec["model"].get("track") != "Latest":
            self.known_at.pop(before.number, None)  # who follows the newest version from then on asks for it

    @invariant()
    def records_are_whole(self) -> None:
        history = self.status.get("history", [])
        assert len(history) <= 10 and len(canonical(self.status)) < 256 * 1024
        assert all(each.get("outcome") and each.get("endTime") for each in history)

    def teardown(self) -> None:
        self.prometheus, self.gateway, self.mirrors, self.drift, self.errors = "up", True, True, 0.0, 0.0
        for _ in range(ROUNDS):
            for _ in range(4):
                self.step()
            self.all_become_ready()
            self.trainings_end(True)
            self.scoring_ends(1.0, True)
            cycle = self.status.get("cycle") or {}
            if cycle.get("stage") == "Approval":
                self.annotations = {"noria.dev/approve": cycle["challenger"], "noria.dev/by": "ada"}
            self.now += timedelta(seconds=30)
            if not cycle:
                break
        assert not self.status.get("cycle"), f"this cycle never ends: {self.status['cycle']}"
        self.annotations = {}
        super().teardown()


def test_whatever_happens_in_a_rough_world() -> None:
    limits = settings(
        max_examples=250, stateful_step_count=30, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
    )
    explored(Rough, limits, "Signal", "Rollback", "NewVersion", "a route")
