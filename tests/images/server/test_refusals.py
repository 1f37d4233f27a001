"""Artifacts that are not what was published, or could run code: the server ends with 1 and one line of why, and never listens."""

import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import safetensors.torch
import torch
from server.formats import UnsafeModel, UnsupportedModel, archive, onnx, torch_export
from server.signature import InvalidSignature, Signature, Tensor
from support import MODELS, digest_of, environment, start


def refused(job: str, folder: Path, log: Path, **changes: str) -> str:
    """The termination message of a server that ends with 1 before it listens."""
    command = [sys.executable, "-m", "server", f"--model_name={job}", f"--model_dir={folder}"]
    result = subprocess.run(
        command,
        env=environment(job, log, **changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert result.returncode == 1 and "Uvicorn" not in result.stdout, result.stdout
    return log.read_text()


@pytest.mark.parametrize(
    "change", ["content", "size", "missing", "extra", "link", "link to a folder", "manifest", "no manifest"]
)
def test_digest_mismatch(copied: Any, tmp_path: Path, change: str) -> None:
    folder: Path = copied("iris")
    model = folder / "model.onnx"
    match change:
        case "content":
            model.write_bytes(model.read_bytes()[:-1] + b"\0")
        case "size":
            model.write_bytes(model.read_bytes() + b"\0")
        case "missing":
            model.unlink()
        case "extra":
            (folder / "sub").mkdir()
            (folder / "sub/code.py").write_text("")
        case "link":
            model.unlink()
            model.symlink_to(MODELS / "iris/job/attempt-1/model.onnx")
        case "link to a folder":
            (folder / "sub").symlink_to(MODELS / "digits")
        case "manifest":
            manifest = json.loads((folder / "manifest.json").read_text())
            (folder / "manifest.json").write_text(json.dumps(manifest))
        case "no manifest":
            (folder / "manifest.json").unlink()
    named = {
        "extra": "sub/code.py",
        "link to a folder": "sub",
        "manifest": "manifest.json",
        "no manifest": "manifest.json",
    }.get(change, "model.onnx")
    assert refused("iris", folder, tmp_path / "log").startswith(f"DigestMismatch: {named}: ")


def test_other_version_than_expected(copied: Any, tmp_path: Path) -> None:
    message = refused("iris", copied("iris"), tmp_path / "log", NORIA_MODEL_DIGEST=digest_of("digits"))
    assert message == f"DigestMismatch: manifest.json: expected {digest_of('digits')}, found {digest_of('iris')}\n"


def test_without_a_digest_it_serves_and_says_unverified(tmp_path: Path) -> None:
    server = start("iris", tmp_path / "log", NORIA_MODEL_DIGEST="", NORIA_MODEL_FORMAT="onnx")
    assert 'noria_model_verified{modelendpoint="iris",version="iris-1"} 0.0' in server.get("/metrics")[1]
    server.stop()


def rewritten(source: Path, target: Path, **members: bytes) -> Path:
    """A copy of an archive in which members, named without their suffix, are replaced."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, members.get(name.split("/")[-1].split(".")[0], old.read(name)))
    return target


class Parts(NamedTuple):
    """A zip without comments, cut."""

    members: bytes
    directory: bytes
    end: bytes


def parts(path: Path) -> Parts:
    written = path.read_bytes()
    length, start = struct.unpack_from("<12x2L", written, len(written) - END)
    return Parts(written[:start], written[start : start + length], written[start + length :])


def shifted(directory: bytes, by: int) -> bytes:
    """The directory of members that lie so much further behind."""
    changed, entry = bytearray(directory), 0
    while entry < len(changed):
        lengths = struct.unpack_from("<3H", changed, entry + 28)
        (offset,) = struct.unpack_from("<L", changed, entry + 42)
        struct.pack_into("<L", changed, entry + 42, offset + by)
        entry += 46 + sum(lengths)
    return bytes(changed)


def crafted_pickle(command: str) -> bytes:
    class Crafted:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (command,)

    buffer = io.BytesIO()
    torch.save({"body": Crafted()}, buffer)
    return buffer.getvalue()


DIGITS = MODELS / "digits/job/attempt-1/model.pt2"
END = 22
"""Bytes of a zip's last record, without a comment."""


def test_legitimate_archive_passes() -> None:
    archive.check(DIGITS)


@pytest.mark.parametrize("member", ["serialized_state_dict", "serialized_constants", "serialized_example_inputs"])
def test_pickle_with_code(tmp_path: Path, member: str) -> None:
    ran = tmp_path / "ran"
    path = rewritten(DIGITS, tmp_path / "model.pt2", **{member: crafted_pickle(f"touch {ran}")})
    with pytest.raises(UnsafeModel, match=f"{member}.* holds more than plain tensors"):
        archive.check(path)
    assert not ran.exists()


@pytest.mark.parametrize(
    "member",
    [
        "../../x",
        "/tmp/x",
        "extra_files/../../x",
        "model/extra/../../../x",
        "model/data/aotinductor/model/code.so",
        "model/data/aotinductor/model/../../../../../x",
        "model/data/constants/opaque_obj_0",
        "model/data/constants/custom_obj_0",
        "code.py",
        "extra/",
    ],
)
def test_member_that_save_does_not_write(tmp_path: Path, member: str) -> None:
    path = Path(shutil.copy(DIGITS, tmp_path / "model.pt2"))
    with zipfile.ZipFile(path, "a") as archived:
        archived.writestr(member, b"")
    with pytest.raises(UnsafeModel) as refusal:
        archive.check(path)
    assert str(refusal.value).startswith(
        f"model.pt2: it holds {member!r}, a member that torch.export.save does not write"
    )


def test_of_two_directories_torch_reads_the_one_that_was_checked(tmp_path: Path) -> None:
    """zipfile takes what lies before the end of the file for the directory; torch, in some versions, what the end points to."""
    ran, path = tmp_path / "ran", tmp_path / "model.pt2"
    crafted = crafted_pickle(f"touch {ran}")
    honest = parts(rewritten(DIGITS, tmp_path / "honest.pt2"))
    bad = parts(rewritten(DIGITS, tmp_path / "bad.pt2", serialized_state_dict=crafted))
    # By the end's word the directory is the bad one. zipfile takes the other, and what lies between as put before the file.
    first = bytes(len(bad.directory)) + honest.members
    directory = shifted(bad.directory, len(first))
    end = bytearray(honest.end)
    struct.pack_into("<L", end, 16, len(first) + len(bad.members))
    path.write_bytes(first + bad.members + directory + honest.directory + end)

    assert crafted in path.read_bytes()
    with zipfile.ZipFile(path) as archived, zipfile.ZipFile(DIGITS) as source:
        assert {name: archived.read(name) for name in archived.namelist()} == {
            name: source.read(name) for name in source.namelist()
        }
    checked = archive.check(path)
    assert crafted not in checked.getvalue()
    torch.export.load(checked)
    assert not ran.exists()


def newer(path: Path, pickled: bool) -> Path:
    """The names of an archive of torch since 2.8, with a weight that looks like a pickle and is one if torch is told so."""
    config = {"config": {"weight": {"path_name": "weight_0", "use_pickle": pickled}}}
    with zipfile.ZipFile(path, "w") as archived:
        for name in ("archive_format", "archive_version", "byteorder", ".data/version", ".data/serialization_id"):
            archived.writestr(f"model/{name}", b"")
        archived.writestr("model/data/weights/model_weights_config.json", json.dumps(config))
        archived.writestr("model/data/weights/weight_0", b"\x80\x04N.")
        archived.writestr("model/data/constants/model_constants_config.json", '{"config": {}}')
        archived.writestr("model/data/sample_inputs/model.pt", b"")
        archived.writestr("model/models/model.json", "{}")
    return path


def test_weight_that_is_a_pickle(tmp_path: Path) -> None:
    archive.check(newer(tmp_path / "plain.pt2", pickled=False))
    with pytest.raises(UnsafeModel, match=r"model_weights_config\.json asks to unpickle a tensor"):
        archive.check(newer(tmp_path / "pickled.pt2", pickled=True))


def with_program(path: Path, old: str, new: str) -> Path:
    with zipfile.ZipFile(DIGITS) as archived:
        program = archived.read("serialized_exported_program.json").decode()
    assert old in program
    return rewritten(DIGITS, path, serialized_exported_program=program.replace(old, new).encode())


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('id')",
        "Symbol.__class__",
        "getattr(s0, 's0')",
        "(lambda: s0)()",
        "[s0 for s0 in s0]",
        "Symbol('os')",
        "s0 +",
    ],
)
def test_size_that_is_code(tmp_path: Path, expression: str) -> None:
    path = with_program(tmp_path / "model.pt2", "Symbol('s0', positive=True, integer=True)", expression)
    with pytest.raises(UnsafeModel, match="not arithmetic on dimensions"):
        archive.check(path)


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.hub.load",
        "torch.ops.load_library",
        "_operator.call",
        "_operator.attrgetter",
        "#os:system",
    ],
)
def test_node_that_calls_anything(tmp_path: Path, target: str) -> None:
    path = with_program(tmp_path / "model.pt2", "torch.ops.aten.argmax.default", target)
    with pytest.raises(UnsafeModel, match="no operator of PyTorch"):
        archive.check(path)


def test_container_that_imports_a_module(tmp_path: Path) -> None:
    path = with_program(tmp_path / "model.pt2", "builtins.dict", "collections.defaultdict")
    with pytest.raises(UnsafeModel, match=r"holds the container 'collections\.defaultdict'"):
        archive.check(path)


def test_second_member_of_the_same_name(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(DIGITS.read_bytes())
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archived:
        archived.writestr("serialized_state_dict.pt", crafted_pickle("true"))
    with pytest.raises(UnsafeModel):
        archive.check(path)


def test_server_refuses_a_crafted_archive(copied: Any, tmp_path: Path) -> None:
    folder = copied("digits")
    ran = tmp_path / "ran"
    rewritten(DIGITS, folder / "model.pt2", serialized_state_dict=crafted_pickle(f"touch {ran}"))
    message = refused("digits", folder, tmp_path / "log", NORIA_MODEL_DIGEST="")
    assert message.startswith("UnsafeModel: model.pt2: serialized_state_dict.pt holds more than plain tensors")
    assert not ran.exists()


def field(number: int, content: bytes) -> bytes:
    """A field of protobuf, shorter than 128 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content


def with_external_data(folder: Path, location: str) -> None:
    """Adds an output of one byte, kept in the file `location`, to model.onnx: appended messages are merged."""
    file = field(13, field(1, b"location") + field(2, location.encode()))
    tensor = b"\x08\x01\x10\x02" + field(8, b"external") + file + b"\x70\x01"
    node = field(1, b"external") + field(2, b"byte") + field(4, b"Identity")
    kind = field(1, b"\x08\x02" + field(2, field(1, b"\x08\x01")))
    graph = field(5, tensor) + field(1, node) + field(12, field(1, b"byte") + field(2, kind))
    with (folder / "model.onnx").open("ab") as model:
        model.write(field(7, graph))


def test_external_data_in_the_folder_are_served(copied: Any) -> None:
    folder = copied("iris")
    (folder / "data").write_bytes(b"x")
    with_external_data(folder, "data")
    onnx.load(folder, None, 1)


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "link", "folder/secret", "missing"])
def test_external_data_outside_the_folder(copied: Any, tmp_path: Path, location: str) -> None:
    folder = copied("iris")
    (tmp_path / "secret").write_bytes(b"x")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "folder").symlink_to(tmp_path)
    with_external_data(folder, location)
    with pytest.raises(UnsupportedModel, match=r"(?i)model\.onnx: onnxruntime refuses it, .* external data "):
        onnx.load(folder, None, 1)


def test_server_refuses_external_data_outside_the_folder(copied: Any, tmp_path: Path) -> None:
    folder = copied("iris")
    with_external_data(folder, "/etc/hostname")
    message = refused("iris", folder, tmp_path / "log", NORIA_MODEL_DIGEST="")
    assert message.startswith("UnsupportedModel: model.onnx: onnxruntime refuses it, export it anew with all its data")
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("job", "change", "message"),
    [
        ("iris", {"name": "pixels"}, "noria.json: input 'pixels': model.onnx has 'features'"),
        (
            "iris",
            {"datatype": "FP64"},
            "noria.json: input 'features' is FP64 [-1, 4], of model.onnx it is FP32 [-1, 4]",
        ),
    ],
)
def test_a_signature_of_another_model(
    copied: Any, tmp_path: Path, job: str, change: dict[str, Any], message: str
) -> None:
    """It served, and failed on each request."""
    folder = copied(job)
    card = json.loads((folder / "noria.json").read_text())
    card["signature"]["inputs"][0] |= change
    (folder / "noria.json").write_text(json.dumps(card))
    assert refused(job, folder, tmp_path / "log", NORIA_MODEL_DIGEST="") == f"InvalidSignature: {message}\n"


def test_weights_that_are_not_there(copied: Any, tmp_path: Path) -> None:
    """transformers draws them at random, in each process others."""
    folder = copied("docs")
    path = folder / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    name = next(each for each in weights if each.startswith("classifier."))
    del weights[name]
    safetensors.torch.save_file(weights, path, {"format": "pt"})
    message = refused("docs", folder, tmp_path / "log", NORIA_MODEL_DIGEST="")
    assert (
        message == f"UnsupportedModel: model.safetensors: it lacks {name}: save the whole model, with save_pretrained\n"
    )


class Named(torch.nn.Module):
    """Gives its outputs by name."""

    def __init__(self, kind: type[dict[str, torch.Tensor]]) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """The sum of each row, and the largest of it."""
        return self.kind([("total", x.sum(1)), ("largest", x.amax(1))])


@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_outputs_that_a_program_names_keep_their_names(tmp_path: Path, kind: type[dict[str, torch.Tensor]]) -> None:
    """They were named by their order in noria.json."""
    torch.export.save(torch.export.export(Named(kind), (torch.zeros(2, 3),)), tmp_path / "model.pt2")
    x = Tensor("x", "FP32", (-1, 3))
    told = Signature((x,), (Tensor("largest", "FP32", (-1,)), Tensor("total", "FP32", (-1,))))
    made = torch_export.load(tmp_path, told, 1).predict({"x": np.array([[1, 2, 3], [4, 5, 6]], np.float32)})
    assert {name: value.tolist() for name, value in made.items()} == {"total": [6, 15], "largest": [3, 6]}
    other = Signature((x,), (Tensor("largest", "FP32", (-1,)), Tensor("sum", "FP32", (-1,))))
    with pytest.raises(InvalidSignature, match=r"its outputs are largest, sum, those of model\.pt2 largest, total"):
        torch_export.load(tmp_path, other, 1)
    with pytest.raises(InvalidSignature, match=r"it tells of 1 outputs, model\.pt2 has 2"):
        torch_export.load(tmp_path, Signature((x,), told.outputs[:1]), 1)
    with pytest.raises(InvalidSignature, match=r"it tells of 2 inputs, model\.pt2 has 1"):
        torch_export.load(tmp_path, Signature((x, x), told.outputs), 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"auto_map": {"AutoConfig": "code.Config"}}, "UnsafeModel: config.json: 'auto_map'"),
        (
            {"architectures": ["LlamaForCausalLM"]},
            "UnsupportedModel: config.json: this server runs *ForSequenceClassification",
        ),
    ],
)
def test_transformers_configuration(copied: Any, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    folder = copied("docs")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    assert refused("docs", folder, tmp_path / "log", NORIA_MODEL_DIGEST="").startswith(message)
