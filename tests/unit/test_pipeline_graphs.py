"""Random graphs, and reruns of those that fail, against a simple model of what must run, and in what order, with a process
that may die behind every start."""

import os
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from runs import World, ended, inline, step

GRAPHS = int(os.environ.get("NORIA_GRAPHS", "300"))
"""10,000 take two minutes."""


@st.composite
def graphs(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Steps in some order, each with bindings to and `after` of steps drawn before it, conditions, items, exits."""
    count, made = draw(st.integers(1, 9)), list[dict[str, Any]]()
    for number in range(count):
        exits = bool(made) and draw(st.integers(0, 5)) == 0
        known = [each for each in made if exits or not each.get("onExit")]
        feeding = (
            draw(st.lists(st.sampled_from(known), max_size=3, unique_by=lambda each: each["name"])) if known else []
        )
        after = draw(st.lists(st.sampled_from(known), max_size=2, unique_by=lambda each: each["name"])) if known else []
        inputs = [f"i{n}={each['name']}.x" for n, each in enumerate(feeding)]
        fields: dict[str, Any] = {"after": [each["name"] for each in after]} | ({"onExit": True} if exits else {})
        plain = [f"i{n}" for n, each in enumerate(feeding) if "foreach" not in each]
        if plain and draw(st.integers(0, 2)) == 0:
            fields["when"] = f"inputs.{plain[0]} > 0"
        if draw(st.integers(0, 4)) == 0:
            fields["foreach"] = {
                "items": draw(st.lists(st.integers(0, 3), max_size=3)),
                "parallelism": draw(st.integers(1, 3)),
            }
        made.append(step(f"s{number}", *inputs, gives="x:integer", **fields))
    return draw(st.permutations(made))


class Model:
    """What must come of each step, told in a few lines: `works` and `value` say how its container ends."""

    def __init__(self, steps: list[dict[str, Any]], works: dict[str, bool], value: dict[str, int]) -> None:
        self.steps = {each["name"]: each for each in steps}
        self.works, self.value, self.known = works, value, dict[str, str]()

    def needs(self, name: str) -> tuple[list[str], list[str]]:
        each = self.steps[name]
        data = [one["from"].partition(".")[0] for one in each.get("inputs", [])]
        return data, [one for one in each.get("after", []) if one not in data]

    def broken(self, name: str) -> bool:
        """Whether it failed, or was skipped since something failed."""
        return self.state(name) == "Failed" or self.state(name) == "Broken"

    def state(self, name: str) -> str:
        if name not in self.known:
            self.known[name] = self._state(name)
        return self.known[name]

    def _state(self, name: str) -> str:
        each, (data, order) = self.steps[name], self.needs(name)
        counts = [one for one in (*data, *order) if not each.get("onExit") or self.steps[one].get("onExit")]
        if any(self.broken(one) for one in [*counts, *(one for one in data if one not in counts)]):
            return "Broken"
        if any(self.state(one) != "Succeeded" for one in data):
            return "Skipped"
        if "when" in each and self.value[data[int(each["when"][8])]] <= 0:
            return "Skipped"
        return "Succeeded" if self.works[name] or each.get("foreach", {}).get("items") == [] else "Failed"

    def before(self, name: str) -> set[str]:
        """All that must have ended before it starts."""
        ordinary = {one for one, each in self.steps.items() if not each.get("onExit")}
        data, order = self.needs(name)
        return {*data, *order, *(ordinary if self.steps[name].get("onExit") else ())}


ENDED = {"Succeeded", "Skipped", "Failed"}


@settings(max_examples=GRAPHS)
@given(graphs(), st.integers(0, 2**32), st.booleans())
def test_what_must_run_runs_once_and_in_order(steps: list[dict[str, Any]], seed: int, dying: bool) -> None:
    chance = random.Random(seed)
    names = [each["name"] for each in steps]
    works = {name: chance.random() > 0.2 for name in names}
    value = {name: chance.randint(0, 1) for name in names}
    model, world = Model(steps, works, value), World(inline(*steps))
    if all(each.get("onExit") for each in steps):
        assert world.settle().verdict() == ("False", "InvalidPipeline")
        return
    started = set[str]()

    def look() -> None:
        for _ in range(60):
            if dying and chance.random() < 0.4:
                world.look(written=False)
            changed = world.look()
            states = world.states()
            for name in {each.partition("[")[0] for each in world.active()} - started:
                started.add(name)
                assert all(states[one] in ENDED for one in model.before(name)), f"{name} starts too early: {states}"
            if not changed:
                return
        raise AssertionError("it never comes to rest")

    look()
    while active := sorted(world.active()):
        for name in chance.sample(active, chance.randint(1, len(active))):
            top = name.partition("[")[0]
            limit = model.steps[top].get("foreach", {}).get("parallelism", 1)
            assert sum(each.partition("[")[0] == top for each in active) <= limit
            (world.succeed(name, {"x": value[top]}, look=False) if works[top] else world.fail(name, look=False))
        look()
    states = {name: state for name, state in world.states().items() if "[" not in name}
    expected = {name: model.state(name) for name in names}
    assert states == {name: "Skipped" if state == "Broken" else state for name, state in expected.items()}
    assert set(world.made.values()) <= {1} and set(attempts(world)) <= {1}, "something ran twice"
    ran = {name for name in names if expected[name] in ("Succeeded", "Failed")}
    assert started == {name for name in ran if model.steps[name].get("foreach", {}).get("items") != []}
    exits = any(state == "Failed" for state in expected.values())
    assert world.verdict()[0] == ("False" if exits else "True")


@settings(max_examples=GRAPHS)
@given(graphs(), st.integers(0, 2**32), st.booleans())
def test_a_rerun_does_what_had_not_succeeded_and_nothing_else(
    steps: list[dict[str, Any]], seed: int, dying: bool
) -> None:
    chance = random.Random(seed)
    names = [each["name"] for each in steps]
    works = {name: chance.random() > 0.3 for name in names}
    value = {name: chance.randint(0, 1) for name in names}
    before, model = Model(steps, works, value), Model(steps, dict.fromkeys(names, True), value)
    first = World(inline(*steps)).settle()
    while active := sorted(first.active()):
        top = active[0].partition("[")[0]
        first = first.succeed(active[0], {"x": value[top]}) if works[top] else first.fail(active[0])
    if first.verdict() == ("True", "Completed") or "frozen" not in first.status:
        return
    world = World({"rerunOf": "earlier"}, [ended(first, "earlier")], "87654321-0000")
    world.look(written=not dying)
    world.look(written=not dying)
    ran = set[str]()
    while active := sorted(world.settle().active()):
        ran |= {each.partition("[")[0] for each in active}
        world.succeed(active[0], {"x": value[active[0].partition("[")[0]]})
    kept = {name for name in names if before.state(name) == "Succeeded" and not model.steps[name].get("onExit")}
    expected = {name: model.state(name) for name in names}
    assert ran == {
        name
        for name in names
        if expected[name] == "Succeeded"
        and name not in kept
        and model.steps[name].get("foreach", {}).get("items") != []
    }
    assert {name: world.states()[name].replace("Cached", "Succeeded") for name in names} == expected
    taken = {name.partition("[")[0] for name, state in world.states().items() if state == "Cached"}
    assert taken == {name for name in kept if model.steps[name].get("foreach", {}).get("items") != []}
    assert set(world.made.values()) <= {1} and set(attempts(world)) <= {1} and world.verdict() == ("True", "Completed")


def attempts(world: World) -> list[int]:
    """How many objects each attempt of a step or item had."""
    return [count for (_, step, _), count in world.attempts.items() if step]
