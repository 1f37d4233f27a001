"""What the steps of a run make when they use all that a step may say, word by word in made.yaml."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from runs import World, inline, step
from test_golden import Plain

MADE = Path(__file__).parent / "made.yaml"
PLACEMENT = {
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "priorityClassName": "high",
}
RUN = {
    "image": "i",
    "command": ["python3", "/noria/code/main.py"],
    "args": ["--fast"],
    "env": [{"name": "MODE", "value": "full"}, {"name": "NORIA_INPUT_SECRET", "value": "mine"}],
    "code": {"main.py": "import other", "a-b_c.txt": "x"},
    "gpus": 1,
    "resources": {"cpu": "2", "memory": "4Gi"},
    "placement": PLACEMENT,
    "imagePullSecrets": ["pull"],
}
TRAIN = {
    "image": "t",
    "command": ["train"],
    "env": [{"name": "INPUT_RATE", "value": "0"}, {"name": "KEPT", "value": "1"}],
    "inputs": [{"name": "more", "uri": "pvc://elsewhere/more"}],
}
STEPS = (
    step("first-of-all", gives="rows:integer words:string list:json data:dataset", run=RUN, timeoutSeconds=60)
    | {"inputs": [{"name": "raw-data", "uri": "pvc://elsewhere/raw"}, *({"name": name, "value": "$(HOME)"} for name in ("secret", "price"))]},
    step("train", "data=first-of-all.data", "rate=first-of-all.words", train=TRAIN, timeoutSeconds=90),
    step("recipe", "data=first-of-all.data", "epochs=first-of-all.rows", train={"recipe": {"name": "classifier"}}),
    step("fan", gives="m:model x:json", foreach={"from": "first-of-all.list"})
    | {"inputs": [{"name": "item", "item": True}, {"name": "data", "from": "first-of-all.data"}]},
    step("gather", "models=fan.m", "xs=fan.x"),
    step("judge", "model=train.model", "champion=recipe.model", evaluate={
        "test": "pvc://elsewhere/held-out",
        "target": "y",
        "metrics": [{"name": "accuracy"}, {"name": "f1"}],
        "slices": {"columns": ["site"], "maxGap": 0.1},
        "resources": {"cpu": "3", "memory": "5Gi"},
        "deadlineSeconds": 100,
    }),
    step("last", "rows=first-of-all.rows", onExit=True),
)  # fmt: skip


def lived() -> World:
    """A run of them that has ended."""
    world = World(inline(*STEPS)).settle().succeed("first-of-all", {"rows": 3, "words": "$5", "list": [7]})
    trained = world.active()["train"]
    world.succeed("train", look=False)
    trained["status"]["output"]["digest"] = "sha256:" + "e" * 64
    for name in ("recipe", "fan[0]", "judge", "gather", "last"):
        world.settle().succeed(name)
    assert world.verdict() == ("False", "GateInconclusive"), "the scorer of this world knows no groups"
    return world


def made() -> list[Any]:
    """All that was made, in order, without what the API server adds."""
    world = lived()
    plain = [{key: value for key, value in each.items() if key != "status"} for each in world.live.values()]
    for each in plain:
        each["metadata"] = {key: value for key, value in each["metadata"].items() if key != "uid"}
    return plain


def test_what_is_made_is_made_word_by_word(request: pytest.FixtureRequest) -> None:
    text = yaml.dump_all(made(), Dumper=Plain, sort_keys=False, width=140)
    if request.config.getoption("--rewrite"):
        MADE.write_text(text)
    assert text == MADE.read_text()
