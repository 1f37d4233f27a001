"""What somebody writes into a pipeline costs the operator of all little, however it is written."""

import time
from typing import Any

import pytest
from runs import World, inline, step

from noria.api.pipeline import PipelineSpec
from noria.plan.pipelines import when
from noria.plan.pipelines.lint import MOST, problems

LETTERS = "['0123456789']"


@pytest.mark.parametrize(
    "expression",
    [
        LETTERS + ".map(a, a+a+a+a)" * 9 + "[0].size() > 0",
        "[inputs.s + inputs.s].exists(a, [a + a].exists(b, b == 'x'))",
        LETTERS + ".map // x\n (a, a+a)[0] == ''",
        LETTERS + ".filter(a, a+a != '').size() > 0",
        LETTERS + ".all(a, a+a != '')",
        "[[1]" + ".map(a, [a, a, a, a, a, a, a, a])" * 9 + "].exists(a, a == a)",
        "[1].map(a, {'a': a, 'b': a}).exists(a, a == a)",
    ],
)
def test_a_condition_whose_values_could_grow_is_refused(expression: str) -> None:
    """Nine steps of 24 letters each made a gigabyte, and ended the operator of all."""
    assert "which may make values of any size" in (when.fault(expression, {"s": "string"}) or "")
    assert "which may make values of any size" in str(when.holds(expression, {"s": ("string", "x")}))


def test_whether_a_value_could_grow_is_told_at_once() -> None:
    """62 characters took 20 s."""
    for text in ("1 + all" + "// " * 330 + "x", "map" + " //\n" * 200, "all" + " " * 1000):
        began = time.process_time()
        assert when.fault(text, {}) is not None
        assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "expression", ["inputs.s + 'b' == 'xb'", "inputs.j.exists(a, a == 'x')", "inputs.j.size() + 1 == 2"]
)
def test_sums_and_lists_by_themselves_are_judged(expression: str) -> None:
    assert when.holds(expression, {"s": ("string", "x"), "j": ("json", ["x"])}) is True


def test_of_a_pipeline_that_is_wrong_everywhere_a_hundred_faults_are_told() -> None:
    """Near names were looked for for each of 50,000, which took minutes."""
    names = [f"abcdefghijklmnop{number:04}" for number in range(500)]
    steps = [step(name, after=[f"abcdefghijklmnox{number:04}" for number in range(100)]) for name in names]
    began = time.process_time()
    assert len(problems(PipelineSpec.model_validate({"steps": steps}), {})) == MOST
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    ("message", "values", "text"),
    [
        ("{a}{a}", {"a": "{b}", "b": "x"}, "{b}{b}: kubectl"),
        ("{a} of {b}, {c}", {"a": 1, "b": "x{a}"}, "1 of x{a}, {c}: kubectl"),
        ("{a}" * 300, {"a": "y" * 1000}, "... "),
    ],
)
def test_what_an_approval_shows_is_put_in_once(message: str, values: dict[str, Any], text: str) -> None:
    """A value that names another was taken for a place, again and again: three of a kilobyte made 39 GB."""
    bound = [{"name": name, "value": value} for name, value in values.items()]
    world = World(inline(step("ask", approve={"message": message}) | {"inputs": bound})).settle()
    assert world.step("ask")["message"].startswith(text)
