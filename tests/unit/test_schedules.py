"""Schedules and limits of a Pipeline: no time starts two runs and no limit is passed, whatever the clock, the crashes and the order of writes."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import SETTINGS

from noria.api import Pipeline, PipelineRun
from noria.api.schedule import Schedule
from noria.plan import pipeline, pipelinerun
from noria.plan.contract import Manifest, Observed, Plan, Ref
from noria.plan.manifests import rfc3339
from noria.plan.pipelines import calendar, lint
from noria.plan.pipelines.scheduling import run_name

BEGIN = datetime(2026, 11, 24, 12, 0, 30, tzinfo=UTC)
ENDED = {"type": "Succeeded", "status": "True", "reason": "Completed", "message": "", "lastTransitionTime": rfc3339(BEGIN)}  # fmt: skip


def schedule(cron: str, zone: str = "Etc/UTC") -> Schedule:
    return Schedule(cron=cron, time_zone=zone)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        ("30 2 * * *", "Europe/Berlin", "2026-11-24T12:00:00Z", ["2026-11-25T01:30:00Z", "2026-11-26T01:30:00Z"]),
        # Spring: 02:30 does not exist, and the start comes at 03:00 of summer time.
        ("30 2 * * *", "Europe/Berlin", "2027-03-27T12:00:00Z", ["2027-03-28T01:00:00Z", "2027-03-29T00:30:00Z"]),
        # Autumn: 02:30 comes twice, and the start once.
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]),
        # In between, times that fall together are one, and none comes again.
        ("0,30 2-3 * * *", "Europe/Berlin", "2027-03-28T00:00:00Z", ["2027-03-28T01:00:00Z", "2027-03-28T01:30:00Z"]),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", ["2026-10-26T01:30:00Z", "2026-10-27T01:30:00Z"]),
        # A pace goes on as if the clock had not changed.
        ("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", ["2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z"]),
    ],
)
def test_times_are_those_of_debians_cron(cron: str, zone: str, after: str, expected: list[str]) -> None:
    found = calendar.times(schedule(cron, zone), moment(after))
    assert [next(found), next(found)] == [moment(each) for each in expected]


FIELDS = st.sampled_from(["*", "*/7", "0", "10", "2", "1-3", "0,20", "2-3"])
CRONS = st.builds(lambda minute, hour: f"{minute} {hour} * * *", FIELDS, FIELDS)
ZONES = st.sampled_from(["Etc/UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"])
MINUTES = st.integers(0, 60 * 24 * 400)


@settings(max_examples=300)
@given(CRONS, ZONES, MINUTES, st.integers(0, 60 * 40))
def test_the_newest_time_is_the_last_of_all(cron: str, zone: str, start: int, length: int) -> None:
    given, after = schedule(cron, zone), BEGIN + timedelta(minutes=start)
    now = after + timedelta(minutes=length)
    passed = list(takewhile(lambda each: each <= now, calendar.times(given, after)))
    assert passed == sorted(set(passed)) and all(each > after for each in passed)
    assert calendar.newest(given, after, now) == (passed[-1] if passed else None)
    assert calendar.count(given, after, now) == min(len(passed), calendar.COUNTED)


@settings(max_examples=500)
@given(
    CRONS
    | st.from_regex(r"[0-9A-Za-z*,/#-]{1,4}( [0-9A-Za-z*,/#-]{1,4}){4}", fullmatch=True)
    | st.from_regex(r"[0-9L*,/#W-]{1,6}( [0-9L*,/#W-]{1,6}){4}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9][-A-Za-z0-9_+/]{0,9}", fullmatch=True) | ZONES,
)
def test_whatever_is_written_is_followed_or_told(cron: str, zone: str) -> None:
    written = schedule(cron, zone)
    if calendar.fault(written) is None:
        assert calendar.following(written, BEGIN) is not None


@given(st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True), MINUTES)
def test_names_of_runs_are_such_as_runs_may_have(name: str, minutes: int) -> None:
    metadata = {"name": name, "namespace": "n", "uid": "u"}
    of = Pipeline.model_validate({"metadata": metadata, "spec": {"steps": [{"name": "a", "run": {"image": "i"}}]}})
    made = run_name(of, BEGIN + timedelta(minutes=minutes))
    assert len(made) <= 30 and made[0].isalpha() and made.replace("-", "").isalnum() and not made.endswith("-")


class World:
    """One Pipeline and its runs. A look and what it writes are two happenings, and others come between."""

    def __init__(self, limit: int, policy: str, deadline: int | None) -> None:
        self.now, self.limit, self.made = BEGIN, limit, 0
        told = {"cron": "* * * * *", "concurrencyPolicy": policy}
        told |= {"startingDeadlineSeconds": deadline} if deadline else {}
        spec = {"steps": [{"name": "a", "run": {"image": "i"}}], "schedule": told, "maxConcurrentRuns": limit}
        self.pipeline = self.object("Pipeline", "p", spec)
        self.runs: dict[str, Manifest] = {}
        self.under_way: dict[str, tuple[str, Any]] = {}
        self.started = Counter[str]()

    def object(self, kind: str, name: str, spec: Manifest) -> Manifest:
        """Who makes an object of an earlier one's name makes another."""
        self.made += 1
        metadata = {"name": name, "namespace": "n", "uid": f"uid-{self.made}", "generation": 1}
        metadata["creationTimestamp"] = rfc3339(self.now)
        return {"apiVersion": "noria.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec, "status": {}}

    def live(self, name: str) -> Manifest | None:
        return self.pipeline if name == "p" else self.runs.get(name)

    def look(self, name: str) -> None:
        """Plans; what comes of it is under way."""
        live = self.live(name)
        if live is None or name in self.under_way or "completionTime" in live["status"]:
            return
        runs = tuple(self.runs[each] for each in sorted(self.runs))
        planned: Plan
        if name == "p":
            resource = Pipeline.model_validate(live)
            related: Any = dict.fromkeys(pipeline.needs(resource, SETTINGS).selectors, runs)
            planned = pipeline.plan(resource, Observed(settings=SETTINGS, now=self.now, related=related))
        else:
            run = PipelineRun.model_validate(live)
            if run.status.frozen:
                return
            needs = pipelinerun.needs(run, SETTINGS)
            related = {each: runs if each.kind == "PipelineRun" else () for each in needs.selectors}
            related |= {each: (self.pipeline,) if each == Ref("Pipeline", "n", "p") else () for each in needs.refs}
            planned = pipelinerun.plan(run, Observed(settings=SETTINGS, now=self.now, related=related))
        self.under_way[name] = (str(live), planned)

    def write(self, name: str, written: bool) -> None:
        """Carries out what is under way; not `written`: the process dies before the status is."""
        if name not in self.under_way:
            return
        seen, planned = self.under_way.pop(name)
        for each in planned.creates:
            if each["metadata"]["name"] not in self.runs:
                self.started[each["metadata"]["labels"]["noria.dev/scheduled-at"]] += 1
                made = self.object("PipelineRun", each["metadata"]["name"], each["spec"])
                self.runs[each["metadata"]["name"]] = made | {"metadata": each["metadata"] | made["metadata"]}
        for each in planned.children:
            if each["metadata"]["name"] in self.runs:
                self.runs[each["metadata"]["name"]]["spec"]["cancel"] = True
        for each in planned.deletes:
            self.runs.pop(each["metadata"]["name"], None)
        live = self.live(name)
        # Whoever creates plans anew before the status is written; a status of what is no more as it was is a conflict.
        if written and not planned.creates and live and str(live) == seen:
            live["status"] = planned.status.manifest()
        open_ones = [each for each in self.runs.values() if "completionTime" not in each["status"]]
        assert sum("frozen" in each["status"] for each in open_ones) <= self.limit

    def end(self, number: int) -> None:
        """A run that has begun succeeds."""
        for each in [each for each in self.runs.values() if "frozen" in each["status"]][number : number + 1]:
            each["status"] |= {"completionTime": rfc3339(self.now), "conditions": [ENDED]}

    def delete(self, number: int) -> None:
        """Somebody deletes a run that the Pipeline's record tells of."""
        last = self.pipeline["status"].get("lastScheduleTime", "")
        for name, each in [*self.runs.items()][number : number + 1]:
            label = each["metadata"].get("labels", {}).get("noria.dev/scheduled-at")
            if label is None or rfc3339(moment(label)) <= last:
                del self.runs[name]


HAPPENINGS = st.one_of(
    st.tuples(st.just("look"), st.integers(0, 5)),
    st.tuples(st.just("write"), st.integers(0, 5)),
    st.tuples(st.just("turn"), st.integers(0, 5)),
    st.tuples(st.just("turn"), st.just(0)),
    st.tuples(st.just("die"), st.integers(0, 5)),
    st.tuples(st.just("clock"), st.integers(-200, 400)),
    st.tuples(st.just("end"), st.integers(0, 3)),
    st.tuples(st.just("delete"), st.integers(0, 5)),
    st.tuples(st.just("hand"), st.integers(0, 3)),
)


@settings(max_examples=300)
@given(
    st.integers(1, 2),
    st.sampled_from(["Allow", "Forbid", "Replace"]),
    st.sampled_from([None, 30]),
    st.lists(HAPPENINGS, min_size=20, max_size=80),
)
def test_no_time_starts_two_runs_and_no_limit_is_passed(
    limit: int, policy: str, deadline: int | None, happenings: list[tuple[str, int]]
) -> None:
    world = World(limit, policy, deadline)
    for what, number in happenings:
        names = ["p", *sorted(world.runs)]
        name = names[number % len(names)]
        if what == "look":
            world.look(name)
        elif what in ("write", "die"):
            world.write(name, what == "write")
        elif what == "turn":
            world.look(name)
            world.write(name, True)
        elif what == "clock":
            world.now += timedelta(seconds=number)
        elif what == "end":
            world.end(number)
        elif what == "delete":
            world.delete(number)
        else:
            world.runs[f"hand-{number}"] = world.object("PipelineRun", f"hand-{number}", {"pipeline": "p"})
        assert set(world.started.values()) <= {1}, world.started


def test_who_was_admitted_and_has_not_begun_keeps_its_place() -> None:
    world = World(1, "Allow", None)
    world.runs = {name: world.object("PipelineRun", name, {"pipeline": "p"}) for name in ("a", "b")}
    for _ in range(2):
        world.look("p")
        world.write("p", True)
        assert [each["name"] for each in world.pipeline["status"]["admitted"]] == ["a"]
        assert world.pipeline["status"]["queuedRuns"] == ["b"]
    world.look("a")  # it begins, and nobody knows yet
    world.look("p")
    world.write("p", True)
    world.look("b")
    world.write("b", True)
    world.write("a", True)
    assert "frozen" in world.runs["a"]["status"] and "frozen" not in world.runs["b"]["status"]


def test_a_run_that_took_a_wish_back_stays_until_its_endpoint_has_seen_that() -> None:
    """Deleted at once, as failed: 0 asks, it would take nothing back, and the Endpoint would go on to its version."""
    world = World(1, "Allow", None)
    world.pipeline["spec"] = {"steps": world.pipeline["spec"]["steps"], "historyLimits": {"failed": 0}}
    asked = {"name": "d", "state": "Failed", "cause": "Cancelled", "deploy": {"endpoint": "e", "version": "m-2"}}
    for name, steps in (("a", [asked]), ("b", [])):
        world.runs[name] = world.object("PipelineRun", name, {"pipeline": "p"})
        world.runs[name]["status"] = {"completionTime": rfc3339(world.now), "steps": steps}
    world.look("p")
    assert world.under_way["p"][1].requeue_after == 60
    world.write("p", True)
    assert list(world.runs) == ["a"]
    world.now += timedelta(seconds=60)
    world.look("p")
    world.write("p", True)
    assert not world.runs


def test_a_pipeline_with_faults_is_checked_once_and_anew_after_an_edit(monkeypatch: pytest.MonkeyPatch) -> None:
    checked, problems = list[int](), lint.problems
    monkeypatch.setattr(lint, "problems", lambda spec, known: checked.append(1) or problems(spec, known))

    def told(port: str) -> str:
        inputs = [{"name": "v", "from": f"a.{port}"}]
        steps = [{"name": name, "run": {"image": "once"}, "inputs": inputs if name == "b" else []} for name in "ab"]
        live = {"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {"steps": steps}}
        observed = Observed(settings=SETTINGS, now=BEGIN)
        return pipeline.plan(Pipeline.model_validate(live), observed).status.conditions[0].message

    assert told("x") == told("x") and len(checked) == 1
    assert told("y") != told("x") and len(checked) == 2
