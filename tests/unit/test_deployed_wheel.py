"""The world of wheel.py around an Endpoint that follows deploy steps, often enough on its way that wishes meet every stage."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule
from wheel import Wheel, explored


class Deployed(Wheel):
    """One Endpoint with model.track: Deployed, and retrain by a Pipeline or a TrainingJob."""

    @initialize(pipeline=st.booleans())
    def begins_with_a_version(self, pipeline: bool) -> None:
        self.follow(False, pipeline)
        self.somebody_deploys(1, "first")
        self.goes_on(10)

    @rule(manual=st.booleans(), pipeline=st.booleans())
    def follow(self, manual: bool, pipeline: bool) -> None:
        self.spec_changes(manual, {"track": "Deployed"}, pipeline)

    @rule(turns=st.integers(1, 8), trained=st.booleans(), good=st.booleans())
    def goes_on(self, turns: int, trained: bool = True, good: bool = True) -> None:
        """Time passes in a world that does its part."""
        for _ in range(turns):
            self.turn(trained, good)
            if "cycle" not in self.status:
                self.runs.clear()  # the steps have seen what came of it, and their runs went by their TTL

    @rule(turns=st.integers(0, 4))
    def the_newest_is_cancelled(self, turns: int) -> None:
        if run := self.runs.get("newest"):
            self.runs["newest"] = run | {"status": {"steps": self.steps(run, "Failed")}}
        self.goes_on(turns)

    @rule(turns=st.integers(0, 8))
    def a_new_version_is_deployed(self, turns: int) -> None:
        self.register()
        self.somebody_deploys(max(each["spec"]["version"] for each in self.versions.values()), "newest")
        self.goes_on(turns)

    @rule(turns=st.integers(0, 4))
    def somebody_trains(self, turns: int) -> None:
        self.annotations = {"noria.dev/retrain": "new labels", "noria.dev/by": "ada"}
        for _ in range(3):
            self.step()
        self.trainings_hand_over()
        self.goes_on(turns, trained=False)


def test_whatever_happens_around_an_endpoint_that_follows_deploy_steps() -> None:
    limits = settings(
        max_examples=100, stateful_step_count=30, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
    )
    explored(Deployed, limits, "a challenger with traffic", "a challenger that takes over", "Pipeline", "Manual")
