"""Probes in any order of events: what is not known never counts as new data, and no probe is made twice or unrecorded."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from noria.api import Endpoint, ModelVersion
from noria.plan.contract import Manifest, Observed, Settings
from noria.plan.manifests import canonical, rfc3339
from noria.plan.wheel import probing

BEGIN = datetime(2026, 11, 24, 12, tzinfo=UTC)
SETTINGS = Settings(agent_image="a", trainer_image="t", serving_runtime="s", server_image="v")
URI, WINDOW = "pvc://datasets/digits", 60
SIGNAL = {"name": "new-data", "type": "Staleness", "uri": URI, "threshold": 100, "windowSeconds": WINDOW}
CONTENTS = st.sampled_from("abc")


def digest(content: str) -> str:
    return "sha256:" + content * 64


class Probes(RuleBasedStateMachine):
    """One uri, whose content, probes and learner change as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.content, self.learned = BEGIN, "a", "a"
        self.input = "train"
        self.records: list[Manifest] = []
        self.live: dict[str, Manifest] = {}
        self.pods: dict[str, Manifest] = {}
        self.found = dict[str, str]()
        """What probes that answered saw, by the name of their input."""
        self.born = 0

    @rule(content=CONTENTS)
    def data_change(self, content: str) -> None:
        self.content = content

    @rule(content=CONTENTS | st.just(""), input=st.sampled_from(["train", "data"]))
    def another_version_serves(self, content: str, input: str) -> None:
        """Trained on that content; on data without a digest where it is empty."""
        self.learned, self.input = content, input

    @rule(seconds=st.sampled_from([1, 30, 61, 200]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.live)
    @rule(outcome=st.sampled_from(["digest", "error", "crash", "lost"]))
    def probes_end(self, outcome: str) -> None:
        for name, job in self.live.items():
            if "status" in job:
                continue
            at = rfc3339(self.now)
            ended = {"type": "Failed" if outcome == "crash" else "Complete", "status": "True", "lastTransitionTime": at}
            job["status"] = {"conditions": [ended], "completionTime": at}
            said = {"digest": digest(self.content)} if outcome == "digest" else {"error": "EmptyInput", "message": "x"}
            state = {"terminated": {"exitCode": 0, "message": canonical(said), "finishedAt": at}}
            owner = [{"kind": "Job", "name": name, "uid": job["metadata"]["uid"], "controller": True}]
            if outcome in ("digest", "error"):
                status = {"phase": "Succeeded", "containerStatuses": [{"name": "agent", "state": state}]}
                metadata = {"name": name, "labels": job["metadata"]["labels"], "ownerReferences": owner}
                self.pods[name] = {"kind": "Pod", "metadata": metadata, "status": status}

    @precondition(lambda self: self.live)
    @rule()
    def somebody_deletes_the_jobs(self) -> None:
        self.live.clear()

    @rule()
    def plan(self) -> None:
        recorded = {each["number"] for each in self.records}
        endpoint, version, observed = self.endpoint(), self.version(), self.observed()
        step = probing.step(endpoint, version, observed)
        assert step.wait is None or step.wait > 0, "it looks again at once, for nothing"
        wished = {each["metadata"]["name"]: each for each in probing.jobs(endpoint, observed)}
        assert len(wished) <= 1, "one uri is looked at by one Job"
        assert {int(name.rpartition("-")[2]) for name in wished} <= recorded, "a Job before its record"
        for name, each in wished.items():
            if name not in self.live:
                self.born += 1
                self.live[name] = each | {"metadata": each["metadata"] | {"uid": f"uid-{self.born}"}}
        self.live = {name: each for name, each in self.live.items() if name in wished}
        newest = max(recorded, default=0)
        for each in step.records:
            assert each.number >= newest, "a number is used again"
            if each.failure is None and each.digest:
                self.found[each.input] = each.digest
        self.records = [each.manifest() for each in step.records]

    def endpoint(self) -> Endpoint:
        spec = {"model": {"name": "m", "track": "Latest"}, "monitoring": {"signals": [SIGNAL]}}
        metadata = {"name": "e", "namespace": "n", "uid": "u"}
        return Endpoint.model_validate({"metadata": metadata, "spec": spec, "status": {"probes": self.records}})

    def version(self) -> ModelVersion:
        told = {"digest": digest(self.learned)} if self.learned else {}
        read: list[dict[str, Any]] = [{"name": self.input, "uri": URI} | told]
        lineage = {"trainingJob": "t", "uid": "t", "attempt": 1, "image": "i", "inputs": read}
        spec = {"model": "m", "version": 1, "uri": "pvc://c/x", "format": "onnx", "lineage": lineage}
        return ModelVersion.model_validate({"metadata": {"name": "m-1"}, "spec": spec})

    def observed(self) -> Observed:
        return Observed(settings=SETTINGS, now=self.now, children=(*self.live.values(), *self.pods.values()))

    @invariant()
    def only_a_known_difference_is_a_value(self) -> None:
        read = probing.reading(self.endpoint(), URI, self.version(), self.now)
        assert (read.value is None) == (read.reason is not None)
        if read.value is None:
            assert read.message
            return
        assert self.learned, "without a digest there is nothing to compare"
        seen = next(each for each in self.records if each["uri"] == URI)
        assert "failure" not in seen and seen["input"] == self.input
        assert seen["digest"] == self.found[self.input]
        if read.value > 0:
            assert seen["digest"] != digest(self.learned), "the same data count as new"
            assert self.now - timedelta(seconds=read.value) >= BEGIN
        if seen["digest"] != digest(self.learned) and self.now > datetime.fromisoformat(seen["digestTime"]):
            assert read.value > 0, "new data do not count"

    def teardown(self) -> None:
        """Time alone leads to what is there now, in one look more than the first probe that ends well needs."""
        self.learned = self.learned or "a"
        for _ in range(8):
            self.plan()
            self.probes_end("digest")
            self.now += timedelta(seconds=WINDOW)
        read = probing.reading(self.endpoint(), URI, self.version(), self.now)
        assert read.value is not None, read
        assert (read.value > 0) == (self.content != self.learned), read


TestProbes = Probes.TestCase
TestProbes.settings = settings(max_examples=300, stateful_step_count=40, derandomize=True)


def test_of_two_inputs_at_the_uri_the_one_with_a_digest_is_compared() -> None:
    inputs = [{"name": "a", "uri": URI}, {"name": "b", "uri": f"{URI}/", "digest": digest("b")}]
    for order in (inputs, inputs[::-1]):
        lineage = {"uid": "u", "attempt": 1, "image": "i", "inputs": order}
        spec = {"model": "m", "version": 1, "uri": "pvc://c/m", "format": "onnx", "lineage": lineage}
        version = ModelVersion.model_validate({"metadata": {"name": "m-1", "namespace": "n"}, "spec": spec})
        found = probing.trained_on(version, URI)
        assert found and found.digest == digest("b")
        assert probing.trained_on(version, "pvc://datasets/others") is None
