"""What a pipeline would take from an earlier run: which of it is not as it was."""

import json
from pathlib import Path

from agent.digest import content_digest, input_digest
from agent.step import given
from agent.verify import verify


def wrong(root: Path, *checks: dict[str, str]) -> list[int]:
    steps = [{"name": "a", "run": "r", "checks": checks[:1]}, {"name": "b", "run": "r", "checks": checks[1:]}]
    (root / "look.json").write_text(json.dumps({"steps": steps}))
    told = {"NORIA_LOOK_FILE": str(root / "look.json"), "NORIA_TERMINATION_LOG": str(root / "message")}
    verify(told | {"NORIA_ARTIFACTS_DIR": str(root)})
    return list(json.loads((root / "message").read_bytes())["wrong"])


def test_what_steps_gave_and_read_is_as_it_was_until_it_changes(tmp_path: Path) -> None:
    for name in ("data", "model", "outside"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.onnx").write_text("x")
    (tmp_path / "file.csv").write_text("1")
    (tmp_path / "train").write_text("1")
    checks = [
        {"path": "data", "digest": given("data", "dataset", tmp_path / "data")["digest"], "called": ""},
        {"path": "model", "digest": given("model", "model", tmp_path / "model")["digest"], "called": ""},
        {"path": "outside", "digest": str(input_digest("raw", tmp_path / "outside")), "called": "raw"},
        {"path": "file.csv", "digest": content_digest("train", tmp_path / "train"), "called": "train"},
    ]
    assert (tmp_path / "model" / "manifest.json").exists()
    assert wrong(tmp_path, *checks) == []
    (tmp_path / "data" / "more").write_text("y")
    (tmp_path / "file.csv").write_text("2")
    assert wrong(tmp_path, *checks) == [0, 3]
    (tmp_path / "model" / "model.onnx").unlink()
    (tmp_path / "outside").rename(tmp_path / "gone")
    assert wrong(tmp_path, *checks) == [0, 1, 2, 3]


def test_held_out_data_are_known_by_the_digest_that_the_scorer_tells(tmp_path: Path) -> None:
    (tmp_path / "held" / "sub").mkdir(parents=True)
    (tmp_path / "held" / "test.csv").write_text("x,target\n1,2\n")
    (tmp_path / "held" / "sub" / "notes").write_text("n\n")
    folder = "sha256:b35f860486d097f6eba8188c88168450ac791e3c7486db72f4b3a2ff77526dac"
    file = "sha256:0aaf57877fa7d7cbc1eb3c0ae540651dab3291a35e6291521ecc8924d6b1b50a"
    checks = [{"path": "held", "digest": folder}, {"path": "held/test.csv", "digest": file}]
    assert wrong(tmp_path, *({**each, "called": "test"} for each in checks)) == []


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").write_text("x")
    digest = given("data", "dataset", tmp_path / "data")["digest"]
    (tmp_path / "data").rename(tmp_path / "real")
    (tmp_path / "data").symlink_to(tmp_path / "real")
    assert wrong(tmp_path, {"path": "data", "digest": digest, "called": ""}) == [0]
