"""What a probe says of the data at a path: the digest that a training's lineage would hold, or why there is none."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import agent
import agent.digest
import pytest
from agent.digest import input_digest
from agent.probe import probe
from workplace import Workplace


def told(root: Path, path: Path) -> dict[str, str]:
    (root / "probe.json").write_text(json.dumps({"path": str(path)}))
    return {"NORIA_PROBE_FILE": str(root / "probe.json"), "NORIA_TERMINATION_LOG": str(root / "message")}


def answer(root: Path, path: Path) -> dict[str, Any]:
    probe(told(root, path))
    content = (root / "message").read_bytes()
    assert len(content) <= 4096
    return dict(json.loads(content))


def test_the_digest_is_the_one_that_a_training_records(workplace: Workplace) -> None:
    recorded = workplace.publish() if workplace.write("model.onnx", "x") else {}
    data = workplace.root / "input/train"
    assert answer(workplace.root, data) == {"digest": recorded["inputs"]["train"]}
    (data / "more.csv").write_text("a,b\n3,4\n")
    assert answer(workplace.root, data)["digest"] != recorded["inputs"]["train"]
    assert sorted(each.name for each in data.iterdir()) == ["data.csv", "more.csv"], (
        "nothing is written beside the data"
    )


def test_a_single_file_is_digested_under_its_name(tmp_path: Path) -> None:
    file = tmp_path / "train"
    file.write_text("a,b\n1,2\n")
    assert answer(tmp_path, file) == {"digest": input_digest("train", file)}


def test_an_empty_folder_and_one_that_is_not_there_say_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert answer(tmp_path, tmp_path / "empty")["error"] == "EmptyInput"
    missing = answer(tmp_path, tmp_path / "missing")
    assert missing["error"] == "NotDigested" and "missing" in missing["message"]


def test_links_and_too_many_bytes_are_not_digested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "a").write_text("12345")
    monkeypatch.setattr(agent.digest, "MAX_INPUT_BYTES", 4)
    assert answer(tmp_path, data)["error"] == "NotDigested"
    monkeypatch.undo()
    (data / "link").symlink_to("/etc/passwd")
    assert answer(tmp_path, data) == {
        "error": "NotDigested",
        "message": "link is a symbolic link: only regular files may lie here, copy the content instead",
    }


def test_the_mode_leaves_a_message_and_ends_well(workplace: Workplace) -> None:
    environment = told(workplace.root, workplace.root / "input/train")
    package = str(Path(agent.__file__ or "").parents[1])
    command = [sys.executable, "-m", "agent", "digest"]
    subprocess.run(command, env=os.environ | environment | {"PYTHONPATH": package}, check=True)
    assert json.loads((workplace.root / "message").read_bytes())["digest"].startswith("sha256:")
