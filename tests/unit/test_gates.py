"""What gates say of a challenger, word by word, and on which side of its limit each number still passes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from variants import Variant

from noria.api.rollout import Gate, OnlineGate
from noria.plan import offline
from noria.plan.contract import Answer, Observed, Row, Settings
from noria.plan.wheel import gates
from noria.plan.wheel.measures import Reading, questions

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SETTINGS = Settings(
    agent_image="a", trainer_image="t", serving_runtime="s", server_image="v", prometheus_url="http://p"
)


def told(verdict: offline.Verdict) -> list[str]:
    return [f"{each.result} {each.name}: {each.message}" for each in verdict.gates]


def scored(champion: Any = None, challenger: Any = None, **more: Any) -> offline.Scored:
    given = {"champion": {"accuracy": 0.9} if champion is None else champion}
    given["challenger"] = {"accuracy": 0.9} if challenger is None else challenger
    return offline.Scored.model_validate({"samples": 100, "scores": given} | more)


def judged(found: offline.Scored, alone: bool = False, **rule: Any) -> offline.Verdict:
    asked = {"test": "pvc://c/x", "metrics": [{"name": "accuracy"}]} | rule
    return offline.judge(Gate.model_validate(asked), found, "spec.gate", alone)


def test_before_prometheus_was_asked_no_time_has_passed() -> None:
    """A new process has no answers: it rolled back what did well, its patience being over."""
    variant = Variant("endpoint/canary-held-next-step")
    assert variant.plan().status.manifest()["cycle"]["step"] == 1
    answers = variant.observed.pop("answers")
    for seconds in (0, 10_000):
        told = variant.later(seconds).plan().status.manifest()["cycle"]
        assert (told["stage"], told["step"]) == ("Canary", 0)
    variant.observed["answers"] = answers
    variant.observed["settings"] = {"prometheus_url": ""}
    assert variant.plan().status.manifest()["cycle"]["stage"] == "RollingBack"


def test_a_model_that_is_as_good_passes_and_one_a_little_worse_does_not() -> None:
    good = judged(scored())
    assert good[:3] == ("Pass", "GatePassed", "the challenger is good enough on held-out data")
    assert told(good) == ["Pass accuracy: champion 0.9, challenger 0.9, at least 0 better is wanted"]
    assert (good.gates[0].champion, good.gates[0].challenger) == (0.9, 0.9)
    worse = judged(scored(challenger={"accuracy": 0.899}))
    text = "champion 0.9, challenger 0.899, at least 0 better is wanted"
    assert worse[:3] == ("Fail", "GateFailed", f"accuracy: {text}") and told(worse) == [f"Fail accuracy: {text}"]
    assert (worse.gates[0].champion, worse.gates[0].challenger) == (0.9, 0.899)


@pytest.mark.parametrize(
    ("metric", "champion", "challenger", "wanted", "result"),
    [
        ("accuracy", 0.9, 0.91, 0.01, "Pass"),
        ("accuracy", 0.9, 0.909, 0.01, "Fail"),
        ("log_loss", 0.5, 0.4, 0.1, "Pass"),
        ("log_loss", 0.5, 0.41, 0.1, "Fail"),
        ("mae", 2.0, 2.5, 0, "Fail"),
        ("rmse", 2.5, 2.0, 0, "Pass"),
        ("f1", 0.5, 0.4999999999, 0, "Pass"),
    ],
)
def test_a_model_must_be_better_by_what_is_asked_for(
    metric: str, champion: float, challenger: float, wanted: float, result: str
) -> None:
    found = scored({metric: champion}, {metric: challenger})
    assert judged(found, metrics=[{"name": metric, "minEffect": wanted}]).result == result


def test_too_few_samples_conclude_nothing() -> None:
    assert judged(scored(samples=100)).result == "Pass"
    few = "99 held-out samples, at least 100 are needed (spec.gate.minSamples)"
    assert judged(scored(samples=99)) == ("Inconclusive", "TooFewSamples", few, [])


def test_a_metric_that_was_not_computed_concludes_nothing() -> None:
    text = "the scorer could not compute it for both models; choose a metric that fits them in spec.gate.metrics"
    for found in (scored(champion={"f1": 1}), scored(challenger={"f1": 1})):
        verdict = judged(found)
        assert verdict[:3] == ("Inconclusive", "GateInconclusive", f"accuracy: {text}")
        (gate,) = verdict.gates
        assert {gate.champion, gate.challenger} == {None, 0.9} and gate.message == text
        assert (gate.champion is None) == ("accuracy" not in found.scores["champion"])


def test_one_that_fails_is_told_before_one_that_concludes_nothing() -> None:
    three = [{"name": "f1"}, {"name": "accuracy"}, {"name": "precision"}]
    verdict = judged(scored(challenger={"accuracy": 0.5}), metrics=three)
    assert verdict.reason == "GateFailed" and verdict.message.startswith("accuracy: ") and ";" not in verdict.message
    assert [each.result for each in verdict.gates] == ["Inconclusive", "Fail", "Inconclusive"]


def test_of_many_that_fail_three_are_told() -> None:
    names = ["accuracy", "f1", "precision", "recall"]
    found = scored(dict.fromkeys(names, 1.0), dict.fromkeys(names, 0.5))
    verdict = judged(found, metrics=[{"name": each} for each in names])
    assert [each.partition(":")[0] for each in verdict.message.split("; ")] == names[:3] and len(verdict.gates) == 4


def test_what_went_wrong_is_whose_fault_it_is() -> None:
    def fault(**more: Any) -> offline.Verdict:
        return judged(scored(error="UnsafeModel", message="so it is", **more))

    compared = "nothing can be compared: UnsafeModel, so it is"
    assert fault(whose="champion") == ("Inconclusive", "ChampionUnscorable", compared, [])
    assert fault(whose="data") == ("Inconclusive", "DataUnscorable", compared, [])
    assert fault(whose="challenger") == fault() == ("Fail", "UnsafeModel", "so it is", [])
    assert judged(scored(error="UnsafeModel")) == ("Fail", "UnsafeModel", "UnsafeModel", [])


def test_a_message_that_is_none_is_told() -> None:
    found = offline.read("{")
    assert found.error == "InvalidMessage" and found.message
    assert found.message.startswith("the scorer's message cannot be read: Invalid JSON")
    assert offline.read('{"error": "no word"}').error == "InvalidMessage"


def group(champion: float | None, challenger: float | None, samples: int = 20) -> dict[str, Any]:
    given = {"champion": champion, "challenger": challenger}
    return {"samples": samples} | {who: {"accuracy": value} for who, value in given.items() if value is not None}


GROUPS = {"site=a": group(0.9, 0.9), "site=b": group(0.9, 0.8), "site=c": group(0.9, 0.1, samples=19)}


def sliced(groups: Any, alone: bool = False, omitted: Any = None, **limits: Any) -> list[str]:
    found = scored(slices=groups, omitted=omitted or {})
    return told(judged(found, alone, slices={"columns": ["site", "day"]} | limits))[1:]


def test_no_group_may_become_much_worse() -> None:
    assert sliced(GROUPS, maxDrop=0.1) == [
        "Pass accuracy site=a: champion 0.9, challenger 0.9, at most 0.1 worse is allowed",
        "Pass accuracy site=b: champion 0.9, challenger 0.8, at most 0.1 worse is allowed",
    ]
    assert sliced(GROUPS, maxDrop=0.09)[1] == (
        "Fail accuracy site=b: champion 0.9, challenger 0.8, at most 0.09 worse is allowed"
    )
    (_, one, other) = judged(scored(slices=GROUPS), slices={"columns": ["site"], "maxDrop": 0}).gates
    assert (one.champion, one.challenger, other.champion, other.challenger) == (0.9, 0.9, 0.9, 0.8)


def test_groups_may_not_lie_far_apart() -> None:
    assert sliced(GROUPS, maxGap=0.1) == ["Pass accuracy gap: site=b 0.8, site=a 0.9, at most 0.1 apart is allowed"]
    far = sliced(GROUPS, maxGap=0.09)
    assert far == ["Fail accuracy gap: site=b 0.8, site=a 0.9, at most 0.09 apart is allowed"]
    gap = judged(scored(slices=GROUPS), slices={"columns": ["site"], "maxGap": 0}).gates[-1]
    assert (gap.champion, gap.challenger) == (None, 0.1)


def test_a_model_that_stands_alone_is_held_against_no_champion() -> None:
    lone = judged(scored({}), alone=True)
    assert lone[:3] == ("Pass", "GatePassed", "there is no champion to compare with")
    assert told(lone) == ["Pass accuracy: challenger 0.9; there is no champion to compare with"]
    assert (lone.gates[0].champion, lone.gates[0].challenger) == (None, 0.9)
    it = "the scorer could not compute it for the model; choose a metric that fits it in spec.gate.metrics"
    assert told(judged(scored({}, {}), alone=True)) == [f"Inconclusive accuracy: {it}"]
    groups = {name: group(None, value) for name, value in (("site=a", 0.9), ("site=b", 0.8))}
    gap = "Fail accuracy gap: site=b 0.8, site=a 0.9, at most 0 apart is allowed"
    assert sliced(groups, alone=True, maxDrop=0, maxGap=0) == [gap]


def test_groups_without_a_number_or_too_small_conclude_nothing() -> None:
    lacking = {f"site={name}": group(0.9, None) for name in "dcba"} | {"site=e": group(None, 0.9)}
    text = "the scorer could not compute it for site=a, site=b, site=c; choose another metric, or a larger spec.gate.slices.minSamples"
    assert sliced(lacking, maxDrop=0, maxGap=0) == [f"Inconclusive accuracy slices: {text}"]
    few = "Inconclusive accuracy slices: no group of site, day has 21 samples in the held-out data"
    assert sliced(GROUPS, maxDrop=0, maxGap=0, minSamples=21) == [few]


def test_a_group_that_was_left_out_may_be_a_worse_one() -> None:
    text = (
        "3 groups were left out, the largest with 20 samples; "
        "name fewer columns or metrics, or set a larger spec.gate.slices.minSamples"
    )
    told = sliced(GROUPS, omitted={"groups": 3, "largest": 20}, maxGap=1)
    assert told[1:] == [f"Inconclusive slices left out: {text}"]
    assert not sliced(GROUPS, omitted={"groups": 3, "largest": 19}, maxGap=1)[1:]


def asked(
    champion: float, challenger: float, samples: float = 50, at: datetime = NOW, mirrored: bool = False, **gate: Any
) -> tuple[str, str | None]:
    """What a gate says of m-2 beside m-1."""
    given = {"name": "g", "type": "ErrorRate"} | gate
    rule = OnlineGate.model_validate(given)
    values, counts = questions(rule, "n")
    rows = [(values, (champion, challenger)), (counts, (samples, samples))]
    answers = {
        query: Answer(tuple(Row({"version": f"m-{place + 1}"}, each) for place, each in enumerate(found)), at=at)
        for query, found in rows
        if query
    }
    observed = Observed(settings=SETTINGS, now=NOW, answers=answers)
    (said,) = gates.online([rule], "n", "m-1", "m-2", observed, mirrored)
    assert said.name == "g" and said.champion in (champion, None) and said.challenger in (challenger, None)
    return said.result, said.message


@pytest.mark.parametrize(
    ("values", "gate", "result", "message"),
    [
        ((0, 0.01), {"limit": 0.01}, "Pass", "0.01, at most 0.01 is allowed"),
        ((0, 0.011), {"limit": 0.01}, "Fail", "0.011, at most 0.01 is allowed"),
        ((0.1, 0.125), {"tolerance": 0.25}, "Pass", "0.125, at most 0.125 is allowed"),
        ((0.1, 0.126), {"tolerance": 0.25}, "Fail", "0.126, at most 0.125 is allowed"),
        ((0.1, 0.12), {"limit": 0.11, "tolerance": 0.25}, "Fail", "0.12, at most 0.11 is allowed"),
        ((0.1, 0.12), {"limit": 0.2, "tolerance": 0.1}, "Fail", "0.12, at most 0.11 is allowed"),
        ((-2, -1.5), {"type": "Custom", "query": "x", "tolerance": 0.25}, "Pass", "-1.5, at most -1.5 is allowed"),
        ((0.9, 0.8), {"type": "Performance", "metric": "accuracy", "limit": 0.8}, "Pass", "0.8, at least 0.8 is allowed"),
        ((0.9, 0.79), {"type": "Performance", "metric": "f1", "limit": 0.8}, "Fail", "0.79, at least 0.8 is allowed"),
        ((0.8, 0.6), {"type": "Performance", "metric": "f1", "tolerance": 0.25}, "Pass", "0.6, at least 0.6 is allowed"),
        ((0.8, 0.6), {"type": "Performance", "metric": "f1", "tolerance": 0.25, "limit": 0.7}, "Fail", "0.6, at least 0.7 is allowed"),
        ((2, 2.5), {"type": "Performance", "metric": "mae", "tolerance": 0.25}, "Pass", "2.5, at most 2.5 is allowed"),
    ],
)  # fmt: skip
def test_what_a_challenger_does_is_held_against_its_bound(values: Any, gate: Any, result: str, message: str) -> None:
    assert asked(*values, **gate) == (result, message)


def test_a_gate_that_knows_too_little_says_whose_number_is_missing() -> None:
    few = "49 of at least 50 samples within 300 s"
    assert asked(0, 0, samples=49, limit=1) == ("Inconclusive", f"challenger: {few}")
    nothing = float("nan")
    assert asked(nothing, 0, tolerance=1) == ("Inconclusive", "champion: Prometheus answers with no number")
    assert asked(nothing, 0, limit=1)[0] == "Pass", "the champion does not matter"
    rule = OnlineGate.model_validate({"name": "g", "type": "ErrorRate", "limit": 1})
    (said,) = gates.online([rule], "n", "m-1", "m-2", Observed(settings=SETTINGS, now=NOW), False)
    assert (said.result, said.message) == ("Inconclusive", "challenger: Prometheus has not been asked yet")


def test_what_cannot_be_judged_is_not() -> None:
    performance = {"type": "Performance", "metric": "f1", "limit": 0.8}
    assert asked(1, 0, mirrored=True, **performance) == ("Skipped", "mirrored requests get no labels")
    assert asked(1, 0, mirrored=True, limit=0.1) == ("Pass", "0, at most 0.1 is allowed")
    rules = [OnlineGate.model_validate({"name": name, "type": "ErrorRate", "limit": 1}) for name in "ab"]
    said = gates.online(rules, "n", "m-1", "m-1", Observed(settings=SETTINGS, now=NOW), False)
    assert [(each.name, each.result) for each in said] == [("a", "Inconclusive"), ("b", "Inconclusive")]
    text = (
        "m-1 serves already, under another runtime or with other files, and metrics by version cannot tell the two apart; "
        "register a version of another number, or take rollout.gates away for this change"
    )
    assert {each.message for each in said} == {text}


def test_numbers_are_told_to_four_digits() -> None:
    rule = OnlineGate.model_validate({"name": "g", "type": "Custom", "query": "x", "limit": 1.23456})
    (query,) = questions(rule, "n").all()
    rows = tuple(Row({"version": f"m-{each}"}, each + 0.23456) for each in (1, 2))
    observed = Observed(settings=SETTINGS, now=NOW, answers={query: Answer(rows)})
    (said,) = gates.online([rule], "n", "m-1", "m-2", observed, False)
    assert (said.champion, said.challenger, said.message) == (1.235, 2.235, "2.235, at most 1.235 is allowed")


def test_time_passes_as_far_as_the_oldest_answer_tells() -> None:
    rules = [OnlineGate.model_validate({"name": name, "type": "Custom", "query": name, "limit": 1}) for name in "ab"]
    keys = [questions(each, "n").all()[0] for each in rules]
    at = [NOW - timedelta(seconds=each) for each in (30, 60)]
    answers = {key: Answer(at=when) for key, when in zip(keys, at, strict=True)}
    assert gates.asked(rules, "n", Observed(settings=SETTINGS, now=NOW, answers=answers)) == at[1]
    assert gates.asked([], "n", Observed(settings=SETTINGS, now=NOW)) == NOW


@pytest.mark.parametrize(("value", "result"), [(0.5, "Fail"), (0.01, "Inconclusive"), (0.001, "Inconclusive")])
def test_a_limit_counts_whatever_is_known_of_the_champion(value: float, result: str) -> None:
    """Half of all answers are errors: that too few came from the champion to compare with must not hold the rollback up."""
    gate = OnlineGate.model_validate({"name": "errors", "type": "ErrorRate", "limit": 0.01, "tolerance": 0.2})
    (found,) = [
        gates._online(gate, Reading(samples=12, reason="TooFewSamples", message="12 of 50"), Reading(value, 1000))
    ]
    assert (found.result, found.message) == (
        result,
        "0.5, at most 0.01 is allowed" if value == 0.5 else "champion: 12 of 50",
    )
