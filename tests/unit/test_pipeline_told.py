"""What a Pipeline tells of its faults, its schedule and its runs, and when it looks again."""

from datetime import timedelta
from typing import Any

import pytest
from variants import Variant

from noria.plan.contract import Manifest
from noria.plan.manifests import moment

STEP = {"name": "a", "run": {"image": "i"}}
COMPONENT = {
    "apiVersion": "noria.dev/v1alpha1",
    "kind": "Component",
    "metadata": {"name": "prepare-v1", "namespace": "n", "uid": "c"},
    "spec": {"run": {"image": "i"}},
}


def case(name: str) -> Variant:
    return Variant(f"pipeline/{name}")


def status(variant: Variant) -> Manifest:
    told = variant.plan().status.manifest()
    return {key: value for key, value in told.items() if key not in ("conditions", "observedGeneration", "checked")}


def test_a_pipeline_with_a_component_is_ready_when_that_is_there() -> None:
    variant = case("waits-for-its-component")
    variant.observed["related"][0]["objects"] = [COMPONENT]
    assert variant.told("Ready") == "True NotScheduled: it runs when a PipelineRun names it"
    variant.observed["related"] = []
    text = "there is no Component prepare-v1 in this namespace; create it"
    assert variant.told("Ready") == f"False ComponentNotFound: {text}" and variant.plan().requeue_after is None


def test_three_faults_are_told_and_how_many_more_there_are() -> None:
    variant = case("with-faults")
    variant.spec["steps"][0]["after"] = list("bcd")
    three = "\n".join(f"steps[a].after[{each}]: {each} is no step; there are: a" for each in "bcd")
    assert variant.told("Ready") == f"False InvalidPipeline: {three}"
    variant.spec["steps"][0]["after"] = list("bcdef")
    assert variant.told("Ready") == f"False InvalidPipeline: {three}\n(and 2 more; `noria lint` tells all)"


def test_a_pipeline_that_cannot_run_has_no_next_start_and_one_without_a_schedule_forgets_all_of_it() -> None:
    kept = {"schedule": "x", "since": "2026-11-20T08:00:00Z", "lastScheduleTime": "2026-11-23T01:30:00Z"}
    kept |= {"lastMissedTime": "2026-11-22T01:30:00Z", "missed": 1}
    variant = case("with-faults")
    variant.resource["status"] = kept | {"nextScheduleTime": "2026-11-25T01:30:00Z"}
    assert status(variant) == kept | {"active": 0, "queued": 0}
    del variant.spec["schedule"]
    assert status(variant) == {}
    variant.spec["steps"] = [STEP]
    assert status(variant) == {} and variant.told("Ready").startswith("True NotScheduled")


def test_a_schedule_that_is_added_later_counts_from_when_it_is_seen() -> None:
    variant = case("schedule-is-seen")
    assert status(variant)["since"] == "2026-11-24T11:59:59Z", "it was made with it"
    variant.resource["metadata"]["generation"] = 2
    assert status(variant)["since"] == "2026-11-24T12:00:00Z"
    variant.resource["metadata"]["generation"] = 1
    variant.resource["status"] = {
        "schedule": "0 0 * * * Etc/UTC",
        "missed": 3,
        "lastMissedTime": "2026-11-23T00:00:00Z",
    }
    told = status(variant)
    assert told["since"] == "2026-11-24T12:00:00Z" and not {"missed", "lastMissedTime"} & told.keys()


@pytest.mark.parametrize(
    ("now", "seconds"), [("2026-11-25T01:25:00Z", 300), ("2026-11-25T01:29:00Z", 60), ("2026-11-24T12:00:00Z", 300)]
)
def test_it_looks_again_when_the_next_start_is_due_and_every_five_minutes(now: str, seconds: float) -> None:
    variant = case("schedule-is-seen")
    variant.resource["status"] = {"schedule": "30 2 * * * Europe/Berlin", "since": "2026-11-24T12:00:00Z"}
    variant.observed["now"] = moment(now)
    assert variant.plan().requeue_after == seconds and not variant.plan().creates
    assert variant.told("Ready") == "True Scheduled: 30 2 * * * (Europe/Berlin)"


def test_a_clock_may_go_back_for_five_minutes() -> None:
    variant = case("schedule-is-seen")
    variant.resource["status"] = {"schedule": "30 2 * * * Europe/Berlin", "since": "2026-11-24T12:05:00Z"}
    assert variant.told("Ready").startswith("True Scheduled")
    variant.later(-1)
    text = "nothing starts before 2026-11-24T12:05:00Z, which is over and yet lies ahead of the clock; "
    text += "correct the clock, or edit the schedule, and it counts from now on"
    assert variant.told("Ready") == f"False ClockWentBack: {text}" and not variant.plan().creates


def due(policy: str, **more: Any) -> Variant:
    variant = case("schedule-forbids-a-second")
    variant.spec["schedule"] |= {"concurrencyPolicy": policy, **more}
    return variant


def test_a_start_that_waits_says_so_once() -> None:
    variant = due("Forbid")
    text = "the start for 2026-11-24T01:30:00Z waits for the end of p-29923290-1bbfc5 (Forbid)"
    assert variant.told("Ready") == f"True Waiting: {text}" and variant.events() == [f"Normal Waiting: {text}"]
    variant.status["conditions"] = variant.plan().status.manifest()["conditions"]
    assert variant.events() == [] and variant.told("Ready") == f"True Waiting: {text}"


def test_a_start_waits_until_its_deadline() -> None:
    variant = due("Forbid", startingDeadlineSeconds=60)
    variant.observed["now"] = moment("2026-11-24T01:30:00Z") + timedelta(seconds=50)
    assert variant.told("Ready").startswith("True Waiting") and variant.plan().requeue_after == 10
    variant.later(10)
    assert variant.told("Ready").startswith("True Waiting") and variant.plan().requeue_after == 300
    variant.later(1)
    missed = "no run was started for 2026-11-24T01:30:00Z"
    why = "nothing could start within startingDeadlineSeconds (60); raise it, or see what held it up"
    assert variant.events() == [f"Warning MissedStart: {missed}: {why}"]
    assert variant.told("Ready") == f"True MissedStart: {missed} (missed so far: 1); the Events tell why"
    assert status(variant).items() >= {"lastMissedTime": "2026-11-24T01:30:00Z", "missed": 1}.items()


def test_what_is_replaced_is_named_and_cancelled() -> None:
    variant = due("Replace")
    (cancelled,) = variant.plan().children
    assert cancelled["spec"]["cancel"] and "noria.dev/replaced-by" in cancelled["metadata"]["annotations"]
    name = cancelled["metadata"]["annotations"]["noria.dev/replaced-by"]
    text = f"p-29923290-1bbfc5 is cancelled, then {name} starts (Replace)"
    assert variant.told("Ready") == f"True Replacing: {text}" and variant.events() == [f"Normal Replacing: {text}"]


def test_with_allow_the_next_one_starts_beside_the_first_with_the_schedules_parameters() -> None:
    variant = due("Allow", parameters=[{"name": "x", "value": 3}])
    variant.spec["parameters"] = [{"name": "x", "type": "integer", "default": 1}]
    (made,) = variant.plan().creates
    assert made["spec"] == {"pipeline": "p", "parameters": [{"name": "x", "value": 3}]}
    assert made["metadata"]["labels"]["noria.dev/scheduled-at"] == "20261124T0130Z"
    assert variant.told("Ready") == "True Scheduled: 30 2 * * * (Europe/Berlin)"


def test_of_runs_that_wait_the_oldest_is_admitted_whatever_its_name() -> None:
    variant = case("limit-admits-the-oldest")
    ages = {"second": "2026-11-24T11:02:00Z", "third": "2026-11-24T11:01:00Z"}
    for each in variant.related("PipelineRun"):
        each["metadata"]["creationTimestamp"] = ages.get(each["metadata"]["name"], "2026-11-24T11:00:00Z")
    assert [each["name"] for each in status(variant)["admitted"]] == ["third"]
    assert status(variant)["queuedRuns"] == ["second"]
