"""What a training's end looks like from outside: manifest, digest, message, and every output that is refused."""

import hashlib
import json
import os
from pathlib import Path

import agent.digest
import pytest
from agent.folder import entries
from workplace import Workplace


def test_manifest_bytes_are_the_digest(workplace: Workplace) -> None:
    workplace.write("model.pt2", b"weights")
    workplace.write("notes/b.txt", "b")
    workplace.write("notes-a.txt", "ü")
    message = workplace.publish()
    content = (workplace.pod.output / "manifest.json").read_bytes()
    sha256 = {
        name: hashlib.sha256(data).hexdigest()
        for name, data in (("model", b"weights"), ("b", b"b"), ("a", "ü".encode()))
    }
    assert (
        content
        == (
            f'{{"files":[{{"path":"model.pt2","sha256":"{sha256["model"]}","size":7}},'
            f'{{"path":"notes-a.txt","sha256":"{sha256["a"]}","size":2}},'
            f'{{"path":"notes/b.txt","sha256":"{sha256["b"]}","size":1}}]}}\n'
        ).encode()
    )
    assert message["digest"] == "sha256:" + hashlib.sha256(content).hexdigest()
    assert (message["files"], message["bytes"], message["format"]) == (3, 10, "torch-export")


def test_publishing_again_gives_the_same_digest(workplace: Workplace) -> None:
    workplace.write("model.onnx", b"1")
    first = workplace.publish()
    workplace.write(".manifest.json.tmp", "left by a killed agent")
    assert workplace.publish() == first
    assert sorted(path.name for path in workplace.pod.output.iterdir()) == ["manifest.json", "model.onnx"]


def test_message_holds_the_card(workplace: Workplace) -> None:
    card = {
        "format": "custom",
        "seed": 7,
        "parameters": {"epochs": 5},
        "baseModel": None,
        "signature": {"inputs": [], "outputs": []},
    }
    workplace.write("noria.json", json.dumps(card))
    workplace.write("metrics.json", '{"accuracy": 0.97}')
    baseline = workplace.write("baseline.json", "{}")
    workplace.pod.steps_file.write_text('{"step": 1, "total": 500}\n{"step": 500, "total": 500}')
    message = workplace.publish()
    content = b"a,b\n1,2\n"
    listed = f'{{"files":[{{"path":"data.csv","sha256":"{hashlib.sha256(content).hexdigest()}","size":8}}]}}\n'
    assert message | {"digest": "", "bytes": 0} == {
        "digest": "", "files": 3, "bytes": 0, "format": "custom", "metrics": {"accuracy": 0.97},
        "signature": {"inputs": [], "outputs": []}, "seed": 7, "parameters": {"epochs": "5"}, "baseModel": None,
        "baseline": {"path": "baseline.json", "digest": "sha256:" + hashlib.sha256(baseline.read_bytes()).hexdigest()},
        "inputs": {"train": "sha256:" + hashlib.sha256(listed.encode()).hexdigest()}, "steps": 500,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("files", "format"),
    [
        (("config.json", "model.safetensors"), "safetensors"),
        (("model.pt2",), "torch-export"),
        (("model.onnx",), "onnx"),
        (("w.bin",), "custom"),
    ],
)
def test_format_by_file_names(workplace: Workplace, files: tuple[str, ...], format: str) -> None:
    for name in files:
        workplace.write(name, "{}")
    assert workplace.publish()["format"] == format


def test_message_shortens_in_order(workplace: Workplace) -> None:
    workplace.write("model.pt2", b"")
    card = {"signature": {"inputs": ["x" * 3000]}, "parameters": {"p": "x" * 2000}}
    workplace.write("noria.json", json.dumps(card))
    message = workplace.publish()
    assert "signature" not in message and message["parameters"] == card["parameters"]
    workplace.write("noria.json", json.dumps(card | {"parameters": {"p": "x" * 5000}}))
    workplace.write("metrics.json", json.dumps({f"m{number:02}": 0.1 for number in range(17)}))
    message = workplace.publish()
    assert "parameters" not in message and len(message["metrics"]) == 17
    workplace.write("metrics.json", json.dumps({f"m{number:03}": 0.1 for number in range(900)}))
    assert list(workplace.publish()["metrics"]) == [f"m{number:03}" for number in range(16)]
    workplace.write("metrics.json", json.dumps({"ü" * 200 + str(number): 0.1 for number in range(40)}))
    message = workplace.publish()
    assert "metrics" not in message and message["digest"].startswith("sha256:")


def test_empty_output(workplace: Workplace) -> None:
    (workplace.pod.output / "folder").mkdir()
    assert workplace.publish()["error"] == "EmptyOutput"
    assert not (workplace.pod.output / "manifest.json").exists()


@pytest.mark.parametrize(
    "kind", ["file link", "folder link", "dangling link", "pipe", "manifest link", "manifest folder"]
)
def test_unsafe_output(workplace: Workplace, kind: str) -> None:
    workplace.write("model.pt2", b"")
    secret = workplace.root / "secret.txt"
    secret.write_text("s")
    output = workplace.pod.output
    match kind:
        case "file link":
            (output / "a").symlink_to(secret)
        case "folder link":
            (output / "a").symlink_to(workplace.root)
        case "dangling link":
            (output / "a").symlink_to("nowhere")
        case "pipe":
            os.mkfifo(output / "a")
        case "manifest link":
            (output / "manifest.json").symlink_to(secret)
        case "manifest folder":
            workplace.write("manifest.json/x", "x")
    message = workplace.publish()
    assert message["error"] == "UnsafeOutput"
    assert ("manifest.json" if "manifest" in kind else "a ") in message["message"]
    assert secret.read_text() == "s"


def test_output_folder_that_is_a_link(workplace: Workplace) -> None:
    workplace.pod.output.rmdir()
    workplace.pod.output.symlink_to(workplace.root / "input/train")
    assert workplace.publish()["error"] == "UnsafeOutput"
    assert not (workplace.root / "input/train/manifest.json").exists()


def test_folder_swapped_for_a_link_after_listing(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    workplace.write("sub/model.pt2", b"x")
    elsewhere = workplace.root / "elsewhere"

    def swap(directory: int) -> list[object]:
        found = entries(directory)
        (workplace.pod.output / "sub").rename(elsewhere)
        (workplace.pod.output / "sub").symlink_to(elsewhere)
        return list(found)

    monkeypatch.setattr("agent.publish.entries", swap)
    assert workplace.publish()["error"] == "ReadError"


def test_file_that_vanishes_while_hashing(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    file = workplace.write("model.pt2", b"x")
    monkeypatch.setattr("agent.publish.read_card", lambda *_: file.unlink())
    message = workplace.publish()
    assert message["error"] == "ReadError" and "model.pt2" in message["message"]


def test_file_that_grows_while_hashing(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    file = workplace.write("model.pt2", b"x")
    monkeypatch.setattr(agent.digest.Progress, "add", lambda *_: file.write_bytes(b"xy"))
    message = workplace.publish()
    assert message["error"] == "ReadError" and "changed" in message["message"]


def test_missing_output_folder(workplace: Workplace) -> None:
    workplace.pod.output.rmdir()
    assert workplace.publish()["error"] == "ReadError"


@pytest.mark.parametrize(
    ("path", "content", "part"),
    [
        ("noria.json", "{", "noria.json: not valid JSON"),
        ("noria.json", "[]", "must be a JSON object"),
        ("noria.json", '{"format": "pickle"}', "must be one of safetensors"),
        ("noria.json", '{"seed": "7"}', "'seed' must be of type int"),
        ("noria.json", "[" * 200_000, "not valid JSON"),
        ("metrics.json", '{"accuracy": NaN}', "'accuracy' must be a finite number"),
        ("metrics.json", '{"accuracy": "high"}', "must be a finite number"),
        ("metrics.json", '{"accuracy": ' + "9" * 400 + "}", "must be a finite number"),
        ("baseline.json", "x", "baseline.json: not valid JSON"),
    ],
)
def test_invalid_output(workplace: Workplace, path: str, content: str, part: str) -> None:
    workplace.write(path, content)
    message = workplace.publish()
    assert message["error"] == "InvalidOutput" and part in message["message"]


def test_inputs_that_have_no_digest(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    workplace.write("model.pt2", b"x")
    monkeypatch.setattr("agent.digest.MAX_INPUT_BYTES", 7)
    assert workplace.publish()["inputs"] == {"train": None}
    (workplace.root / "input/train/data.csv").unlink()
    (workplace.root / "input/train/data.csv").symlink_to("/etc/passwd")
    monkeypatch.setattr("agent.digest.MAX_INPUT_BYTES", 1 << 40)
    assert workplace.publish()["inputs"] == {"train": None}


def test_input_that_is_one_file(workplace: Workplace, tmp_path: Path) -> None:
    file = tmp_path / "data.csv"
    file.write_bytes(b"a,b\n1,2\n")
    assert agent.digest.input_digest("train", file) == agent.digest.input_digest(
        "train", workplace.root / "input/train"
    )


def test_an_empty_input_is_refused(workplace: Workplace) -> None:
    workplace.write("model.onnx", b"x")
    (workplace.root / "input/train/data.csv").unlink()
    message = workplace.publish()
    assert message["error"] == "EmptyInput"
    assert "spec.inputs[name=train]" in message["message"]


def test_a_seed_that_no_record_can_hold_is_left_out(workplace: Workplace) -> None:
    workplace.write("model.onnx", b"x")
    workplace.write("noria.json", json.dumps({"seed": 2**63}))
    assert workplace.publish()["seed"] is None
    workplace.write("noria.json", json.dumps({"seed": 2**63 - 1}))
    assert workplace.publish()["seed"] == 2**63 - 1


@pytest.mark.parametrize(
    "card", ['{"parameters": {"x": NaN}, "signature": {"inputs": [1e999]}}', '{"baseModel": "\\ud800"}']
)
def test_a_card_that_no_record_can_hold_is_refused(workplace: Workplace, card: str) -> None:
    workplace.write("model.onnx", b"x")
    workplace.write("noria.json", card)
    message = workplace.publish()
    assert message["error"] == "InvalidOutput"
    assert message["message"].startswith("noria.json: ")
