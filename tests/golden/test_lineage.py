"""Trees of lineage as the command prints them: golden/lineage/<case>.txt. `pytest tests/golden --rewrite` renews them."""

from pathlib import Path

import pytest
from lineages import D, endpoint, made_version, runs, told, training
from runs import ended
from test_made import lived

HERE = Path(__file__).parent / "lineage"
FIRST, SECOND, REGISTERED = runs()
BY_PIPELINE, BY_TRAINING = endpoint("digits-1"), endpoint("digits-13")
WRITTEN = {
    "uri": "pvc://noria-artifacts/jobs/digits-retrain-2-6f0c1d2e/attempt-1",
    "digest": D,
    "format": "onnx",
    "image": "t@sha256:1",
    "inputs": {"train": D},
}
CASES = {
    "steps-were-cached": [BY_PIPELINE, REGISTERED, SECOND, FIRST],
    "earlier-run-is-gone": [BY_PIPELINE, REGISTERED, SECOND],
    "run-is-gone": [BY_PIPELINE, REGISTERED],
    "training": [BY_TRAINING, made_version(), training()],
    "training-is-gone": [BY_TRAINING, made_version()],
    "version-is-gone": [BY_TRAINING, training(status={"output": WRITTEN})],
}
CHANGED = [each | {"key": "another"} for each in FIRST["status"]["steps"]]
USED_AGAIN = {
    "earlier-run-is-gone": FIRST | {"status": FIRST["status"] | {"steps": CHANGED}},
    "run-is-gone": SECOND | {"metadata": SECOND["metadata"] | {"uid": "another"}},
    "training-is-gone": training(uid="another"),
}


@pytest.mark.parametrize("case", CASES)
def test_tree(case: str, request: pytest.FixtureRequest) -> None:
    tree, expected = told("Endpoint", "digits", CASES[case]), HERE / f"{case}.txt"
    if request.config.getoption("--rewrite"):
        expected.write_text(tree)
    assert tree == expected.read_text()


def test_a_run_is_told_with_all_of_its_steps(request: pytest.FixtureRequest) -> None:
    tree, expected = told("PipelineRun", "r", [ended(lived(), "r")]), HERE / "run.txt"
    if request.config.getoption("--rewrite"):
        expected.write_text(tree)
    assert tree == expected.read_text()


@pytest.mark.parametrize("case", USED_AGAIN)
def test_an_object_of_the_same_name_is_not_taken_for_the_one_that_is_gone(case: str) -> None:
    objects = [*CASES[case], USED_AGAIN[case]]
    assert told("Endpoint", "digits", objects) == (HERE / f"{case}.txt").read_text()
