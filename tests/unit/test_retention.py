"""What is on the list of what a sweep keeps, for every mixture of jobs, runs, versions and served models."""

from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria.api.trainingjob import TrainingJob
from noria.api.workspace import Workspace
from noria.plan.contract import Manifest, Observed, Settings
from noria.plan.pipelines.frozen import Frozen, pack, unpack
from noria.plan.retention import ORDER_LIMIT, _texts, coarse, kept, selectors, step
from noria.plan.training import artifact_uri, folder
from noria.plan.workspace import CONTROLLER

SETTINGS = Settings(agent_image="a", trainer_image="t", serving_runtime="s", server_image="v")
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
CLAIM = "pvc://noria-artifacts/"
PREFIX = f"{CLAIM}jobs/"

names = st.from_regex(r"[a-z]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)
uids = st.uuids().map(str)
numbers = st.integers(1, 12)
folders = st.builds(lambda name, uid: f"{name}-{uid[:8]}", names, uids)
below = st.builds(
    lambda path, slash: path + slash,
    st.one_of(
        folders, st.builds("{}/attempt-{}".format, folders, numbers), st.builds("{}/checkpoint/x".format, folders)
    ),
    st.sampled_from(["", "/"]),
)
uris = st.one_of(
    below.map(PREFIX.__add__),
    below.map("pvc://noria-artifacts//jobs/./".__add__),
    below.map("pvc://elsewhere/jobs/".__add__),
    st.builds(f"{CLAIM}runs/{{}}/step/{{}}/data".format, folders, numbers),
    st.sampled_from(
        [CLAIM, CLAIM + "jobs", CLAIM + "runs", CLAIM + "runs/x", CLAIM + "data", "s3://b/jobs/a", "pvc://b/runs/a"]
    ),
)


@st.composite
def jobs(draw: Any) -> Manifest:
    succeeded = draw(st.sampled_from([None, "Unknown", "True", "False"]))
    attempts = draw(st.lists(st.sampled_from(["ExitCode", "Completed", None]), max_size=4))
    conditions = [{"type": "Succeeded", "status": succeeded, "reason": "X", "message": "", "lastTransitionTime": "x"}]
    status = {
        "conditions": conditions if succeeded else [],
        "attempts": [
            {"number": number + 1} | ({"cause": each} if each else {}) for number, each in enumerate(attempts)
        ],
    }
    inputs = [{"name": f"i{number}", "uri": uri} for number, uri in enumerate(draw(st.lists(uris, max_size=2)))]
    spec = {"image": "x", "inputs": inputs, "output": draw(st.sampled_from([{}, {"model": "m"}]))}
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": draw(names), "namespace": "n", "uid": draw(uids)},
        "spec": spec,
        "status": draw(st.sampled_from([status, status, {}])),
    }


versions = st.builds(lambda uri: {"spec": {"uri": uri}}, uris)
endpoints = st.builds(
    lambda test, train: {"spec": {"gate": {"test": test}, "retrain": {"template": {"inputs": [{"uri": train}]}}}},
    uris,
    uris,
)


@st.composite
def runs(draw: Any) -> Manifest:
    """A run whose steps gave folders of its own, or of others; with what its frozen copy reads."""
    name, uid, steps = draw(names), draw(uids), []
    for number in range(draw(st.integers(0, 3))):
        attempt, state = draw(numbers), draw(st.sampled_from(["Succeeded", "Cached", "Failed", "Skipped", "Running"]))
        own = f"{CLAIM}runs/{name}-{uid[:8]}/s{number}/{attempt}/data"
        uri = own if state == "Succeeded" else draw(uris)
        gave = {"outputs": [{"name": "data", "uri": uri}]} if state in ("Succeeded", "Cached") else {}
        steps.append({"name": f"s{number}", "state": state, "attempt": attempt, **gave})
    reads = {"name": "x", "uri": draw(uris.filter(lambda uri: uri.startswith("pvc://")))}
    frozen = Frozen.model_validate({"steps": [{"name": "a", "run": {"image": "i"}, "inputs": [reads]}]})
    status = {"frozen": pack(frozen), "steps": steps}
    ended = draw(st.sampled_from([{}, {"completionTime": "2026-11-24T12:00:00Z"}]))
    metadata = {"name": name, "namespace": "n", "uid": uid}
    return {"metadata": metadata, "spec": {"pipeline": "p"}, "status": draw(st.sampled_from([status | ended, {}]))}


pipelines = st.builds(lambda uri: {"spec": {"steps": [{"inputs": [{"uri": uri}]}]}}, uris)
services = st.builds(lambda uri: {"spec": {"predictor": {"model": {"storageUri": uri}}}}, uris)


def is_safe(uri: str, keep: list[str]) -> bool:
    """Whether a sweep leaves what lies at `uri`: it is not swept, or it is a kept path or lies in one."""
    path, claim = PurePosixPath(uri.removeprefix("pvc://")), PurePosixPath("noria-artifacts")
    swept = [claim / "jobs", claim / "runs"]
    if not uri.startswith("pvc://") or not any(path.is_relative_to(each) or each == path / each.name for each in swept):
        return True
    return any(path.is_relative_to(claim / each) for each in keep)


@given(
    *(st.lists(each, max_size=3) for each in (jobs(), versions, endpoints, services, runs(), pipelines)), st.booleans()
)
def test_nothing_that_anybody_needs_is_outside_the_list(
    jobs: list[Manifest],
    versions: list[Manifest],
    endpoints: list[Manifest],
    services: list[Manifest],
    runs: list[Manifest],
    pipelines: list[Manifest],
    too_long: bool,
) -> None:
    keep = kept(jobs, versions, endpoints, services, runs, pipelines)
    keep = coarse(keep) if too_long else keep
    assert keep == sorted(set(keep))
    for pipeline in pipelines:
        assert is_safe(pipeline["spec"]["steps"][0]["inputs"][0]["uri"], keep)
    for run in runs:
        status, metadata = run["status"], run["metadata"]
        if "completionTime" not in status:
            assert is_safe(f"{CLAIM}runs/{metadata['name']}-{metadata['uid'][:8]}", keep)
        if status and "completionTime" not in status:
            assert is_safe(unpack(status["frozen"]).steps[0].inputs[0].uri or "", keep)
        for record in status.get("steps", []):
            assert all(is_safe(each["uri"], keep) for each in record.get("outputs", []))
    assert all(each and not each.startswith("/") and ".." not in each.split("/") for each in keep)
    for version in versions:
        assert is_safe(version["spec"]["uri"], keep)
    for service in services:
        assert is_safe(service["spec"]["predictor"]["model"]["storageUri"], keep)
    for endpoint in endpoints:
        assert is_safe(endpoint["spec"]["gate"]["test"], keep)
        assert is_safe(endpoint["spec"]["retrain"]["template"]["inputs"][0]["uri"], keep)
    for job in jobs:
        resource = TrainingJob.model_validate(job)
        succeeded = [each.status for each in resource.status.conditions]
        if succeeded != ["True"]:
            assert is_safe(f"pvc://noria-artifacts/{folder(resource)}", keep)
        elif resource.spec.output.model is None:
            completed = [each.number for each in resource.status.attempts if each.cause == "Completed"]
            whole = f"pvc://noria-artifacts/{folder(resource)}"
            assert is_safe(artifact_uri(resource, completed[-1]) if completed else whole, keep)
        if succeeded not in (["True"], ["False"]):
            assert all(is_safe(each.uri, keep) for each in resource.spec.inputs)


def test_what_nobody_needs_is_not_on_the_list() -> None:
    done = {"conditions": [{"type": "Succeeded", "status": "True"}], "attempts": [{"number": 1, "cause": "Completed"}]}
    job = {"metadata": {"name": "a", "uid": "11111111-0"}, "spec": {"output": {"model": "m"}}, "status": done}
    assert kept([job], [], [], []) == []
    assert kept([job], [{"spec": {"uri": PREFIX + "a-11111111/attempt-1"}}], [], []) == ["jobs/a-11111111/attempt-1"]
    job["spec"] = {}
    assert kept([job], [], [], []) == ["jobs/a-11111111/attempt-1"]


def run(*steps: Manifest, **status: Any) -> Manifest:
    told = {"completionTime": "2026-11-24T12:00:00Z", "steps": list(steps)} | status
    return {"metadata": {"name": "r", "uid": "11111111-0"}, "spec": {"pipeline": "p"}, "status": told}


def record(name: str, attempt: int = 1, state: str = "Succeeded", folder: str = "r-11111111") -> Manifest:
    uri = f"{CLAIM}runs/{folder}/{name}/{attempt}/data"
    gave = {"outputs": [{"name": "data", "uri": uri}]} if state != "Failed" else {}
    return {"name": name, "state": state, "attempt": attempt, **gave}


@pytest.mark.parametrize(
    ("steps", "keep"),
    [
        ([record("a"), record("b")], ["runs/r-11111111"]),
        ([record("a"), record("b", 2)], ["runs/r-11111111/a/1", "runs/r-11111111/b/2"]),
        ([record("a"), record("b", state="Failed")], ["runs/r-11111111/a/1"]),
        ([record("a", 2, "Cached", "q-22222222")], ["runs/q-22222222/a/2"]),
        ([record("a", 2, "Cached", "q-22222222"), record("b")], ["runs/q-22222222/a/2", "runs/r-11111111"]),
        ([], []),
    ],
)
def test_of_a_run_that_has_ended_what_it_names_is_kept_as_a_whole_where_nothing_is_superseded(
    steps: list[Manifest], keep: list[str]
) -> None:
    assert kept([], [], [], [], [run(*steps)]) == keep
    assert kept([], [], [], [], [run(*steps, completionTime=None)])[-1] == "runs/r-11111111"


@pytest.mark.parametrize(("succeeded", "keep"), [("False", ["runs/q-22222222/a/1"]), ("True", [])])
def test_what_the_copy_of_a_failed_run_reads_is_kept_for_a_rerun(succeeded: str, keep: list[str]) -> None:
    reads = {"name": "x", "uri": f"{CLAIM}runs/q-22222222/a/1/data"}
    frozen = Frozen.model_validate({"steps": [{"name": "a", "run": {"image": "i"}, "inputs": [reads]}]})
    told = run(
        record("a", state="Failed"), frozen=pack(frozen), conditions=[{"type": "Succeeded", "status": succeeded}]
    )
    assert kept([], [], [], [], [told]) == keep


@pytest.mark.parametrize(
    ("uri", "keep"),
    [
        (CLAIM, "."),
        (CLAIM + "jobs/../x", "."),
        (CLAIM + "jobs/", "jobs"),
        (CLAIM + "runs", "runs"),
        (CLAIM + "runs/r-11111111/a/1/model/file", "runs/r-11111111/a/1"),
    ],
)
def test_who_may_mean_all_of_it_keeps_all_of_it(uri: str, keep: str) -> None:
    assert kept([], [{"spec": {"uri": uri}}], [], []) == [keep]


def workspace(**retention: Any) -> Workspace:
    return Workspace.model_validate(
        {
            "metadata": {"name": "vision", "uid": "w", "creationTimestamp": "2026-11-20T12:00:00Z"},
            "spec": {},
            "status": {"retention": retention},
        }
    )


def test_other_objects_are_asked_for_only_when_a_sweep_is_due() -> None:
    assert CONTROLLER.needs(workspace(number=1, state="Running"), SETTINGS).selectors == ()
    assert CONTROLLER.needs(workspace(number=1), SETTINGS).selectors == ()
    due = workspace(number=1, state="Due")
    assert CONTROLLER.needs(due, SETTINGS).selectors == selectors(due)


def test_a_list_that_is_not_there_is_no_empty_list() -> None:
    due = workspace(number=1, state="Due")
    told = step(due, Observed(settings=SETTINGS, now=NOW), usable=True)
    assert not told.children and told.status and told.status.state == "Due"


def test_a_list_too_long_for_an_annotation_is_said_and_nothing_is_swept() -> None:
    due = workspace(number=1, state="Due")
    many = tuple({"spec": {"uri": f"{PREFIX}a-{number:08x}/attempt-1"}} for number in range(10_000))
    related = {each: many if each.kind == "ModelVersion" else () for each in selectors(due)}
    told = step(due, Observed(settings=SETTINGS, now=NOW, related=related), usable=True)
    assert not told.children and told.status and told.status.state is None
    assert "delete TrainingJobs, PipelineRuns and ModelVersions" in (told.status.message or "")
    assert told.wait == 86400


def test_where_the_list_would_be_too_long_runs_are_kept_as_a_whole() -> None:
    due = workspace(number=1, state="Due")
    runs = [
        run(*(record(f"step-{number}", 2, folder=f"q-{other:08x}") for number in range(500))) for other in range(20)
    ]
    related = {each: tuple(runs) if each.kind == "PipelineRun" else () for each in selectors(due)}
    (child,) = step(due, Observed(settings=SETTINGS, now=NOW, related=related), usable=True).children
    order = child["spec"]["template"]["metadata"]["annotations"]["noria.dev/sweep"]
    assert len(order) < 1000 < ORDER_LIMIT and '"runs/q-00000013"]' in order


def test_texts_are_found_however_deep_they_lie() -> None:
    deep: Any = ["pvc://noria-artifacts/data"]
    for _ in range(9_000):
        deep = {"a": deep}
    assert list(_texts(deep)) == ["pvc://noria-artifacts/data"]
