"""What a step of a pipeline gave, as its message tells: folders by digest, values by type, and every output that is refused."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import agent
import pytest
from agent.step import accompany, read_order


def tell(root: Path, inputs: dict[str, str] | None = None, **types: str) -> dict[str, str]:
    """The environment of a step with outputs `name=type`, each at a path of its own."""
    outputs = {name: {"type": type, "path": str(root / name)} for name, type in types.items()}
    (root / "step.json").write_text(json.dumps({"outputs": outputs, "inputs": inputs or {}}))
    return {"NORIA_STEP_FILE": str(root / "step.json"), "NORIA_TERMINATION_LOG": str(root / "message")}


def message(root: Path, inputs: dict[str, str] | None = None, **types: str) -> dict[str, Any]:
    stopped = threading.Event()
    stopped.set()
    content = accompany(read_order(tell(root, inputs, **types)), stopped)
    assert len(content) <= 4096 and (root / "message").read_bytes() == content
    return dict(json.loads(content))


@pytest.mark.parametrize(
    ("type", "text", "value"),
    [("string", "a b\n", "a b"), ("integer", "7\n", 7), ("number", "0.5", 0.5), ("number", "3", 3), ("boolean", "true", True),
     ("json", '{"a": [1]}', {"a": [1]})],
)  # fmt: skip
def test_values_are_read_by_their_type(tmp_path: Path, type: str, text: str, value: Any) -> None:
    (tmp_path / "x").write_text(text)
    assert message(tmp_path, x=type)["outputs"] == {"x": {"value": value}}


@pytest.mark.parametrize(
    ("type", "text"),
    [("integer", "7.5"), ("integer", "true"), ("number", "NaN"), ("boolean", "yes"), ("json", "{"), ("json", "null"),
     ("integer", "9" * 400), ("number", "9" * 400), ("number", "1e999"), ("json", "[1e999]"), ("json", '{"a": [' + "9" * 30 + "]}"), ("string", "x" * 1026)],
)  # fmt: skip
def test_a_value_of_another_type_is_refused_with_the_ports_name(tmp_path: Path, type: str, text: str) -> None:
    (tmp_path / "x").write_text(text)
    told = message(tmp_path, x=type)
    assert told["error"] == "InvalidOutput" and "output x" in told["message"] and "NORIA_OUTPUT_X" in told["message"]


def test_what_was_not_written_is_told(tmp_path: Path) -> None:
    assert message(tmp_path, rows="integer")["error"] == "EmptyOutput"
    (tmp_path / "data").mkdir()
    assert message(tmp_path, data="dataset")["error"] == "EmptyOutput"


def test_a_folder_is_digested_and_nothing_is_written_into_it_unless_it_is_a_model(tmp_path: Path) -> None:
    for name in ("data", "model"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.onnx").write_text("x")
    outputs = message(tmp_path, data="dataset", model="model")["outputs"]
    assert outputs["data"]["digest"] == outputs["model"]["digest"] and outputs["model"]["format"] == "onnx"
    assert [each.name for each in (tmp_path / "data").iterdir()] == ["model.onnx"]
    manifest = (tmp_path / "model" / "manifest.json").read_bytes()
    assert outputs["model"]["digest"] == "sha256:" + hashlib.sha256(manifest).hexdigest()


def test_a_file_that_no_digest_would_hold_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "manifest.json").write_text('{"labels": {}}')
    told = message(tmp_path, data="dataset")
    assert told["error"] == "InvalidOutput" and "output data holds manifest.json" in told["message"]


def test_a_link_in_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").symlink_to("/etc/passwd")
    assert message(tmp_path, data="dataset")["error"] == "UnsafeOutput"


def test_more_than_the_message_holds_is_refused(tmp_path: Path) -> None:
    names = [f"x{number}" for number in range(5)]
    for name in names:
        (tmp_path / name).write_text("x" * 1000)
    assert message(tmp_path, **dict.fromkeys(names, "string"))["error"] == "InvalidOutput"


def blocks_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    blocked = next(line.split()[1] for line in status.splitlines() if line.startswith("SigBlk"))
    return bool(int(blocked, 16) >> (signal.SIGTERM - 1) & 1)


def test_a_container_that_ends_before_the_agent_is_up_is_not_waited_for(tmp_path: Path) -> None:
    told = tell(tmp_path, rows="integer")
    (tmp_path / "rows").write_text("3")
    path = Path(agent.__file__ or "").parents[1]
    command = ["env", "--block-signal=TERM", sys.executable, "-m", "agent", "step"]  # as in its Dockerfile
    with subprocess.Popen(command, env=os.environ | told | {"PYTHONPATH": str(path)}) as process:
        while not blocks_sigterm(process.pid):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert json.loads((tmp_path / "message").read_bytes())["outputs"] == {"rows": {"value": 3}}


def test_it_waits_for_the_end_of_the_container_and_digests_what_came_from_outside(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("1")
    told = tell(tmp_path, {"in": str(tmp_path / "in")}, rows="integer")
    path = Path(agent.__file__ or "").parents[1]
    with subprocess.Popen(
        [sys.executable, "-m", "agent", "step"], env=os.environ | told | {"PYTHONPATH": str(path)}
    ) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        (tmp_path / "rows").write_text("3")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    told = json.loads((tmp_path / "message").read_bytes())
    assert told["outputs"] == {"rows": {"value": 3}} and told["inputs"]["in"].startswith("sha256:")
