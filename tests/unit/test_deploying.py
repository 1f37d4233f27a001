"""The deploy step: what it asks for, and every way in which the wait for an Endpoint ends."""

from typing import Any

import pytest
from runs import World, inline, step

from noria.api import Endpoint, ModelVersion
from noria.plan.contract import Manifest
from noria.plan.wheel import serving, wishes

BEGAN, EARLIER, LATER = "2026-11-24T12:00:00Z", "2026-11-24T11:00:00Z", "2026-11-24T12:01:00Z"
WISH = {"endpoint": "e", "version": "m-2"}


def version(number: int, model: str = "m", format: str = "onnx") -> Manifest:
    spec = {"model": model, "version": number, "uri": "pvc://c/x", "format": format}
    return {
        "kind": "ModelVersion",
        "metadata": {"name": f"{model}-{number}", "namespace": "n", "uid": f"{model}{number}"},
        "spec": spec,
    }


def endpoint(track: str = "Deployed", **status: Any) -> Manifest:
    model = {"name": "m"} | ({"track": track} if track in ("Latest", "Deployed") else {"version": int(track)})
    return {"kind": "Endpoint", "metadata": {"name": "e", "namespace": "n"}, "spec": {"model": model}, "status": status}


def service(number: int) -> str:
    return serving.service_name(Endpoint.model_validate(endpoint()), ModelVersion.model_validate(version(number)))


def serves(number: int) -> Manifest:
    return {"current": {"version": f"m-{number}", "inferenceService": service(number), "since": EARLIER}}


def cycle(number: int, **fields: Any) -> Manifest:
    return {"number": 1, "trigger": {"reason": "Pipeline"}, "challenger": f"m-{number}", "startTime": BEGAN} | fields


def over(number: int, outcome: str, reason: str, at: str = LATER) -> Manifest:
    return {"history": [cycle(number, outcome=outcome, reason=reason, message="so it was", endTime=at)]}


def said(type: str, reason: str) -> Manifest:
    return {"type": type, "status": "False", "reason": reason, "message": "so it is", "lastTransitionTime": BEGAN}


def waiting(*others: Manifest, seconds: int = 0) -> World:
    """A run whose only step asks Endpoint e for m-2, before it has looked at what is there."""
    bound = {"inputs": [{"name": "version", "value": "m-2"}], "deploy": {"endpoint": "e"}}
    limit = {"timeoutSeconds": seconds} if seconds else {}
    world = World(inline({"name": "d", **bound, **limit}), others)
    for _ in range(2):
        world.look()
    assert world.step("d")["state"] == "Running" and world.step("d")["deploy"] == WISH
    return world


def test_the_wish_is_recorded_before_anything_is_looked_at_and_nothing_is_made() -> None:
    world = waiting(version(2), endpoint(**serves(1)))
    assert world.verdict() == ("Unknown", "Asked") and not world.live and world.settle().step("d")["state"] == "Running"


AGAIN = (
    "kubectl annotate mep e noria.dev/retry=m-2 noria.dev/by=<you>, and start the run again, to let it try once more"
)
BEFORE = "m-2 did not earn the traffic before (status.history says why)"
PINNED = "Endpoint e is pinned to m-1 by model.version; set model.track: Deployed instead"
CASES: dict[str, tuple[Manifest, str, str | None, str]] = {
    "it serves": (endpoint(**serves(2)), "Succeeded", None, ""),
    "it was promoted": (endpoint(**serves(2), **over(2, "Promoted", "Promoted")), "Succeeded", None, ""),
    "it was promoted and another is on its way": (
        endpoint(**serves(2), cycle=cycle(1, stage="Starting"), **over(2, "Promoted", "Promoted")),
        "Succeeded",
        None,
        "",
    ),
    "it serves, and a cycle is to take it away": (endpoint(**serves(2), cycle=cycle(1, stage="Canary")), "Running", "Asked", ""),
    "it is on its way": (endpoint(**serves(1), cycle=cycle(2, stage="Starting")), "Running", "Asked", ""),
    "it was on its way before and failed then": (
        endpoint(**serves(1), **over(2, "RolledBack", "GateFailed", EARLIER)),
        "Running",
        "Asked",
        "",
    ),
    "it was rolled back": (
        endpoint(**serves(1), rejected=[service(2)], **over(2, "RolledBack", "GateFailed")),
        "Failed",
        "RolledBack",
        f"Endpoint e: so it was; {AGAIN}",
    ),
    "it was rejected": (
        endpoint(**serves(1), rejected=[service(2)], **over(2, "Rejected", "GateFailed")),
        "Failed",
        "Rejected",
        f"Endpoint e: so it was; {AGAIN}",
    ),
    "it failed": (endpoint(**serves(1), rejected=[service(2)], **over(2, "Failed", "NotReady")), "Failed", "NotReady", f"Endpoint e: so it was; {AGAIN}"),
    "it was rejected before": (endpoint(**serves(1), rejected=[service(2)]), "Failed", "Rejected", f"Endpoint e: {BEFORE}; {AGAIN}"),
    "it failed for want of a node and is tried again": (
        endpoint(**serves(1), **over(2, "RolledBack", "Unschedulable")),
        "Running",
        "Unschedulable",
        "Endpoint e: so it was; it is tried again",
    ),
    "the endpoint is pinned": (endpoint("1", **serves(1)), "Failed", "Pinned", PINNED),
    "the endpoint is pinned to it": (endpoint("2", **serves(1)), "Running", "Asked", ""),
    "the endpoint wants the newest, which it is": (endpoint("Latest", **serves(1)), "Running", "Asked", ""),
    "the endpoint said that nothing was deployed, before it was asked": (
        endpoint(conditions=[said("UpToDate", "NothingDeployed"), said("Ready", "NothingDeployed")]),
        "Running",
        "Asked",
        "",
    ),
    "the endpoint can serve nothing": (
        endpoint(conditions=[said("Ready", "KServeMissing")]),
        "Running",
        "KServeMissing",
        "Endpoint e: so it is",
    ),
    "the endpoint's words are told": (
        endpoint(
            **serves(1),
            cycle=cycle(2, stage="Approval"),
            conditions=[{"type": "UpToDate", "status": "False", "reason": "ApprovalNeeded", "message": "ask ada", "lastTransitionTime": BEGAN}],
        ),
        "Running",
        "ApprovalNeeded",
        "Endpoint e: ask ada",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_the_endpoint_says_is_what_becomes_of_the_step(case: str) -> None:
    found, state, cause, message = CASES[case]
    world = waiting(version(1), version(2), found).settle()
    told = world.step("d")
    assert (told["state"], told.get("cause")) == (state, cause)
    soon = "Endpoint e is about to begin" if state == "Running" else None
    assert told.get("message") == (message or soon)
    if state == "Succeeded":
        outcome = "Promoted" if "history" in found["status"] else "AlreadyServed"
        assert told["outputs"] == [{"name": "version", "value": "m-2"}, {"name": "outcome", "value": outcome}]
        assert world.verdict() == ("True", "Completed")
    elif state == "Failed":
        assert world.verdict() == ("False", cause) and "endTime" in told
    else:
        assert world.verdict() == ("Unknown", cause)


def test_a_version_whose_number_another_had_is_not_called_served() -> None:
    """The run registered m-2, and what serves is an m-2 that was deleted."""
    for uri, state in (("pvc://c/x", "Succeeded"), ("pvc://c/old", "Running")):
        status = serves(2)
        status["current"]["uri"] = uri
        assert waiting(version(2), endpoint(**status)).settle().step("d")["state"] == state


def test_an_endpoint_that_wants_a_newer_version_says_so() -> None:
    world = waiting(version(2), version(3), endpoint("Latest", **serves(1))).settle()
    assert world.verdict() == ("False", "Superseded")
    text = "Endpoint e wants m-3 (model.track: Latest); set model.track: Deployed to choose"
    assert world.step("d")["message"] == text


def test_an_endpoint_of_another_model_and_one_that_cannot_load_it_say_so() -> None:
    other = endpoint()
    other["spec"]["model"]["name"] = "digits"
    told = waiting(version(2), other).settle().step("d")
    text = "Endpoint e serves model digits; m-2 is no version of it"
    assert (told["state"], told["cause"], told["message"]) == ("Failed", "OtherModel", text)
    told = waiting(version(2, format="custom"), endpoint()).settle().step("d")
    text = "Endpoint e: m-2 has format custom, which Noria's server cannot load; name a runtime in predictor.runtime"
    assert (told["state"], told["cause"], told["message"]) == ("Failed", "FormatUnknown", text)


def test_an_endpoint_whose_newest_version_is_gone_serves_no_older_one() -> None:
    told = waiting(version(1), version(2), endpoint("Latest", **serves(3))).settle().step("d")
    text = "m-3 was deleted and only older versions are left: 1, 2; name one in model.version to go back to it"
    assert (told["cause"], told["message"]) == ("OnlyOlderVersions", f"Endpoint e: {text}")


def test_an_endpoint_that_is_missing_is_waited_for_until_the_time_is_over() -> None:
    world = waiting(version(2), seconds=100).settle()
    assert world.verdict() == ("Unknown", "EndpointNotFound") and world.wait == 100
    text = "there is no Endpoint e in this namespace; create it, and the step goes on"
    assert world.status["conditions"][0]["message"] == f"step d: {text}"
    world.others.append(endpoint(**serves(1)))
    assert world.settle().verdict() == ("Unknown", "Asked")
    assert world.later(99).wait == 1 and world.later(1).verdict() == ("False", "DeadlineExceeded")
    told = world.step("d")
    assert told["message"] == "m-2 was not served within timeoutSeconds (100): Endpoint e is about to begin"
    assert told["endTime"] == "2026-11-24T12:01:40Z"


def test_a_version_whose_record_is_not_there_is_waited_for_a_minute() -> None:
    world = waiting(endpoint(**serves(1))).settle()
    assert world.step("d")["cause"] == "ModelVersionNotFound" and world.wait == 60
    assert world.later(59).wait == 1 and world.later(1).verdict() == ("False", "ModelVersionNotFound")
    assert world.step("d")["message"] == "ModelVersion m-2 does not exist; versions: none"


def another(version: str, began: str, name: str = "other") -> Manifest:
    asked = {"name": "d", "state": "Running", "startTime": began, "deploy": {"endpoint": "e", "version": version}}
    return {
        "kind": "PipelineRun",
        "metadata": {"name": name, "namespace": "n"},
        "spec": {},
        "status": {"steps": [asked]},
    }


@pytest.mark.parametrize(
    ("other", "superseded"),
    [
        (another("m-1", LATER), True),
        (another("m-2", LATER), False),
        (another("m-1", EARLIER), False),
        (another("m-1", BEGAN, "z"), True),
        (another("m-1", BEGAN, "a"), False),
        (another("m-9", LATER), False),
        (another("x-1", LATER), False),
    ],
    ids=[
        "newer",
        "newer for the same",
        "older",
        "by name",
        "by name older",
        "for what is not there",
        "of another model",
    ],
)
def test_of_two_runs_the_newer_wins(other: Manifest, superseded: bool) -> None:
    world = waiting(version(1), version(2), endpoint(**serves(1), cycle=cycle(2, stage="Canary")), other).settle()
    assert world.verdict() == (("False", "Superseded") if superseded else ("Unknown", "Asked"))


def test_a_run_that_is_being_deleted_wishes_nothing_any_more_however_long_that_takes() -> None:
    other = another("m-1", LATER)
    other["metadata"]["deletionTimestamp"] = LATER
    world = waiting(version(1), version(2), endpoint(**serves(1), cycle=cycle(2, stage="Canary")), other).settle()
    assert world.verdict() == ("Unknown", "Asked")
    assert not wishes.of(Endpoint.model_validate(endpoint()), [other])


def test_what_serves_is_not_called_deployed_before_an_older_wish_for_another_version_has_ended() -> None:
    """Else the step would be done, its wish gone, and the older one would move the Endpoint away from what it had asked for later."""
    world = waiting(version(2), version(3), endpoint(**serves(2)), another("m-3", EARLIER)).settle()
    text = "Endpoint e serves it; step d of PipelineRun other asks for m-3, and ends when it sees this wish"
    assert world.verdict() == ("Unknown", "Asked") and world.step("d")["message"] == text
    del world.others[-1]
    assert world.settle().verdict() == ("True", "Completed")


def test_a_wish_that_no_newer_one_ends_is_not_waited_for() -> None:
    """Of a version without a record, or of an Endpoint that follows no wishes, no step is superseded."""
    others = endpoint(**serves(2)), another("m-3", EARLIER)
    assert waiting(version(3), *others).settle().verdict() == ("True", "Completed")
    latest = endpoint("Latest", **serves(2)), another("m-1", EARLIER)
    assert waiting(version(1), version(2), *latest).settle().verdict() == ("True", "Completed")


def test_suspending_leaves_the_wish_and_cancelling_takes_it_back() -> None:
    world = waiting(version(2), endpoint(**serves(1)))
    world.spec = world.spec | {"suspend": True}
    assert world.settle().step("d")["state"] == "Running" and world.verdict() == ("Unknown", "Suspended")
    world.others[1] = {**world.others[1], **endpoint(**serves(2))}
    assert world.settle().verdict() == ("True", "Completed")
    world = waiting(version(2), endpoint(**serves(1)))
    world.spec = world.spec | {"cancel": True}
    assert world.settle().step("d")["state"] == "Failed" and world.verdict() == ("False", "Cancelled")


def test_what_a_later_step_takes_of_it_and_what_is_registered_before() -> None:
    steps = (
        step("t", train={"recipe": {"name": "classifier"}}),
        step("reg", "model=t.model", register={"model": "m"}),
        {"name": "d", "inputs": [{"name": "version", "from": "reg.version"}], "deploy": {"endpoint": "e"}},
        step("tell", "version=d.version", "outcome=d.outcome"),
    )
    world = World(inline(*steps), [endpoint()]).settle().succeed("t")
    assert world.step("d")["deploy"] == {"endpoint": "e", "version": "m-1"}
    world.others[0] = {**world.others[0], **endpoint(**serves(1), **over(1, "Promoted", "Promoted"))}
    (job,) = world.settle().active().values()
    env = {each["name"]: each["value"] for each in job["spec"]["containers"][0]["env"]}
    assert (env["NORIA_INPUT_VERSION"], env["NORIA_INPUT_OUTCOME"]) == ("m-1", "Promoted")


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ([], "steps[d].inputs: deploy takes the input version"),
        ([{"name": "version", "value": 3}], "steps[d].inputs[version]: it is of type integer"),
        ([{"name": "version", "uri": "pvc://c/x"}], "steps[d].inputs[version]: it is of type dataset"),
    ],
)
def test_what_it_takes_is_checked_before_anything_runs(inputs: list[Any], sentence: str) -> None:
    world = World(inline({"name": "d", "inputs": inputs, "deploy": {"endpoint": "e"}})).settle()
    assert world.verdict() == ("False", "InvalidPipeline") and sentence in world.status["conditions"][0]["message"]
