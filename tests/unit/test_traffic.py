"""Where requests go in each stage of a rollout, and for how long it is watched: its own hold, and no less than any gate looks back."""

import pytest
from runs import SETTINGS
from variants import Variant

from noria.api import Endpoint
from noria.api.cycle import Cycle
from noria.api.endpoint import Served
from noria.plan.contract import Observed
from noria.plan.manifests import moment
from noria.plan.wheel.traffic import hold, route, stage_name
from noria.plan.wheel.view import Refusal, Turn, View

STEPS = [{"weight": 10, "holdSeconds": 60}, {"weight": 50, "holdSeconds": 600}]


def endpoint(*windows: int, mirror: bool = True) -> Endpoint:
    gates = [
        {"name": f"g{number}", "type": "ErrorRate", "limit": 0.1, "windowSeconds": window}
        for number, window in enumerate(windows)
    ]
    rollout = {"steps": STEPS, "gates": gates} | ({"mirror": {"percent": 20, "holdSeconds": 300}} if mirror else {})
    spec = {"model": {"name": "m", "track": "Latest"}, "rollout": rollout}
    return Endpoint.model_validate({"metadata": {"name": "e", "namespace": "n"}, "spec": spec})


def cycle(stage: str, step: int | None = None) -> Cycle:
    known = {"number": 1, "trigger": {"reason": "NewVersion"}, "challenger": "m-2", "startTime": "2026-11-24T12:00:00Z"}
    return Cycle.model_validate(known | {"stage": stage} | ({} if step is None else {"step": step}))


@pytest.mark.parametrize(
    ("stage", "step", "windows", "seconds"),
    [
        ("Mirroring", None, (), 300),
        ("Mirroring", None, (30,), 300),
        ("Mirroring", None, (30, 900), 900),
        ("Canary", 0, (), 60),
        ("Canary", 1, (), 600),
        ("Canary", 1, (700,), 700),
        ("Canary", 2, (), 0),
        ("Canary", 2, (30,), 30),
        ("Approval", None, (30,), 30),
        ("Starting", None, (), 0),
    ],
)
def test_hold(stage: str, step: int | None, windows: tuple[int, ...], seconds: float) -> None:
    assert hold(endpoint(*windows), cycle(stage, step)) == seconds


def test_a_mirror_that_was_taken_out_of_the_spec_holds_nothing() -> None:
    assert hold(endpoint(mirror=False), cycle("Mirroring")) == 0


def test_a_step_is_named_by_its_weight_also_when_the_spec_has_fewer_by_now() -> None:
    names = [stage_name(endpoint(), "Canary", number) for number in range(4)]
    assert names == ["Canary-10", "Canary-50", "Canary-50", "Canary-50"]
    assert stage_name(endpoint(), "Mirroring", None) == "Mirroring"


@pytest.mark.parametrize(
    ("stage", "step", "shares", "mirrored"),
    [
        ("Starting", None, {"m-1": 1}, None),
        ("Mirroring", None, {"m-1": 1}, 20),
        ("Canary", 0, {"m-1": 90, "m-2": 10}, None),
        ("Canary", 1, {"m-1": 50, "m-2": 50}, None),
        ("Canary", 9, {"m-1": 50, "m-2": 50}, None),
        ("Approval", None, {"m-1": 50, "m-2": 50}, None),
        ("Moving", None, {"m-2": 1}, None),
        ("RollingBack", None, {"m-1": 1}, None),
    ],
)
def test_requests_go_where_the_stage_says(
    stage: str, step: int | None, shares: dict[str, int], mirrored: int | None
) -> None:
    settings = SETTINGS.model_copy(update={"gateway_name": "g"})
    observed = Observed(settings=settings, now=moment("2026-11-24T12:00:00Z"))
    view = View(endpoint(), observed, (), Refusal("X", ""), [], frozenset())
    places = [Served(version=name, inference_service=name, since="2026-11-24T12:00:00Z") for name in ("m-1", "m-2")]
    wished = route(view, Turn(places[0], places[1], (), cycle(stage, step), 1, (), ()))
    assert wished
    (rule,) = wished["spec"]["rules"]
    assert {each["name"].removesuffix("-predictor"): each["weight"] for each in rule["backendRefs"]} == shares
    copies = [each["requestMirror"] for each in rule.get("filters", [])]
    assert [(each["backendRef"]["name"], each["percent"]) for each in copies] == (
        [("m-2-predictor", mirrored)] if mirrored else []
    )
    alone = route(view, Turn(places[0], None, (), None, 1, (), ()))
    assert alone and [each["name"] for each in alone["spec"]["rules"][0]["backendRefs"]] == ["m-1-predictor"]
    assert route(view, Turn(None, None, (), None, 0, (), ())) is None


@pytest.mark.parametrize(
    ("past", "waits"),
    [
        ({"challenger": "digits-2", "outcome": "RolledBack"}, True),
        ({"challenger": "digits-2", "outcome": "Promoted"}, True),
        ({"challenger": "digits-3", "champion": "digits-2", "outcome": "Promoted"}, True),
        ({"challenger": "digits-2", "outcome": "Failed"}, False),
        ({"challenger": "digits-3", "outcome": "RolledBack"}, False),
    ],
)
def test_a_version_that_may_try_again_gets_no_traffic_while_its_gates_would_judge_the_try_before(
    past: dict[str, str], waits: bool
) -> None:
    variant = Variant("endpoint/challenger-ready-is-mirrored")
    times = {"startTime": "2026-11-24T11:30:00Z", "endTime": "2026-11-24T11:59:40Z"}
    cycle = {"number": 1, "trigger": {"reason": "NewVersion"}, "reason": "x", "message": "x"} | times | past
    variant.status["history"].insert(0, cycle)
    status = variant.plan().status.manifest()
    assert (status["cycle"]["stage"] == "Starting") is waits
    if waits:
        told = "digits-2 is ready; until 2026-11-24T12:00:40Z its gates would judge what it did before"
        assert variant.told("UpToDate") == f"False Starting: {told}" and variant.plan().requeue_after == 40
        assert variant.later(40).plan().status.manifest()["cycle"]["stage"] == "Mirroring"
        variant.later(-40).status["cycle"]["trigger"] = {"reason": "Rollback"}
        assert variant.plan().status.manifest()["cycle"]["stage"] != "Starting", "nothing judges the way back"


@pytest.mark.parametrize("seconds", [0, 30, 301, 2000])
@pytest.mark.parametrize(
    "case", ["canary-held-the-answer-is-older", "canary-inconclusive-waits", "challenger-ready-is-mirrored"]
)
def test_what_is_over_is_not_waited_for(case: str, seconds: int) -> None:
    """A wait of no seconds would be a look after the other, as fast as they go, until Prometheus has told more."""
    variant = Variant(f"endpoint/{case}").later(seconds)
    variant.spec["rollout"] |= {"deadlineSeconds": 600, "patienceSeconds": 0}
    for each in variant.spec["rollout"]["gates"]:
        each["windowSeconds"] = 7200
    past = {"challenger": "digits-2", "outcome": "RolledBack", "endTime": "2026-11-24T11:59:40Z"}
    told = {"number": 1, "trigger": {"reason": "NewVersion"}, "startTime": "2026-11-24T11:30:00Z"}
    variant.status["history"].insert(0, told | past)
    after = variant.plan().requeue_after
    assert after is None or after > 0


def test_another_weight_is_held_from_when_the_gateway_has_taken_it() -> None:
    """Who wants less traffic must not get all of it, for a hold that was another weight's."""
    variant = Variant("endpoint/canary-last-step-held-moves")
    assert variant.plan().status.manifest()["cycle"]["stage"] == "Moving"
    variant.spec["rollout"]["steps"] = [{"weight": 1}, {"weight": 2}]
    cycle = variant.plan().status.manifest()["cycle"]
    assert cycle["stage"] == "Canary" and "settledTime" not in cycle


def test_a_challenger_is_judged_while_the_gateway_has_not_taken_another_weight() -> None:
    """Errors rise, somebody lowers the weight, and the gateway is away: it has the traffic of before."""
    variant = Variant("endpoint/canary-gate-fails-rolls-back")
    assert variant.plan().status.manifest()["cycle"]["stage"] == "RollingBack"
    variant.spec["rollout"]["steps"] = [{"weight": 1}, {"weight": 2}]
    del variant.status["cycle"]["settledTime"]
    assert variant.plan().status.manifest()["cycle"]["stage"] == "RollingBack"
