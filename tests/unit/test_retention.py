"""What is on the list of what a sweep keeps, for every mixture of jobs, versions and served models."""

from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria.api.trainingjob import TrainingJob
from noria.api.workspace import Workspace
from noria.plan.contract import Manifest, Observed, Settings
from noria.plan.retention import kept, selectors, step
from noria.plan.training import artifact_uri, folder
from noria.plan.workspace import CONTROLLER

SETTINGS = Settings(agent_image="a", trainer_image="t", serving_runtime="s", server_image="v")
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PREFIX = "pvc://noria-artifacts/jobs/"

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
    st.sampled_from(
        ["pvc://noria-artifacts", "pvc://noria-artifacts/jobs", "pvc://noria-artifacts/data", "s3://b/jobs/a"]
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
services = st.builds(lambda uri: {"spec": {"predictor": {"model": {"storageUri": uri}}}}, uris)


def is_safe(uri: str, keep: list[str]) -> bool:
    """Whether a sweep leaves what lies at `uri`: it does not lie in `jobs`, or it is, or lies in, or holds a kept path."""
    path = PurePosixPath(uri.removeprefix("pvc://"))
    jobs_folder = PurePosixPath("noria-artifacts/jobs")
    if not uri.startswith("pvc://") or not (path.is_relative_to(jobs_folder) or jobs_folder.is_relative_to(path)):
        return True
    places = [jobs_folder / each for each in keep]
    return any(path.is_relative_to(each) or each == jobs_folder for each in places)


@given(*(st.lists(each, max_size=4) for each in (jobs(), versions, endpoints, services)))
def test_nothing_that_anybody_needs_is_outside_the_list(
    jobs: list[Manifest], versions: list[Manifest], endpoints: list[Manifest], services: list[Manifest]
) -> None:
    keep = kept(jobs, versions, endpoints, services)
    assert keep == sorted(set(keep))
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
    assert kept([job], [{"spec": {"uri": PREFIX + "a-11111111/attempt-1"}}], [], []) == ["a-11111111/attempt-1"]
    job["spec"] = {}
    assert kept([job], [], [], []) == ["a-11111111/attempt-1"]


@pytest.mark.parametrize(
    "uri", ["pvc://noria-artifacts", "pvc://noria-artifacts/jobs/", "pvc://noria-artifacts/jobs/../x"]
)
def test_who_may_mean_all_of_it_keeps_all_of_it(uri: str) -> None:
    assert kept([], [{"spec": {"uri": uri}}], [], []) == ["."]


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
    assert "delete TrainingJobs and ModelVersions" in (told.status.message or "")
    assert told.wait == 86400
