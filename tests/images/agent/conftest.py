"""A pod of its own for every test of the agent."""

import json
import sys
from pathlib import Path

import pytest
from agent.pod import read_pod

sys.path.insert(0, str(Path(__file__).parent))
from workplace import Workplace, environment, pod_json


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    """Attempt 2 of job `digits` with one input and an empty output folder."""
    for folder in ("job/attempt-1", "job/attempt-2", "run", "input/train"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "input/train/data.csv").write_text("a,b\n1,2\n")
    (tmp_path / "pod.json").write_text(json.dumps(pod_json(tmp_path)))
    return Workplace(tmp_path, read_pod(environment(tmp_path)))
