"""The process: requests in flight end well, models without a card are asked themselves, threads follow the CPU limit."""

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from cores import cores
from support import held_out, start

SLOW = """
import threading
from server.formats import onnx
predict = onnx.Onnx.predict
def waiting(self, inputs):
    open({entered!r}, "w").close()
    with open({release!r}) as pipe:
        pipe.read()
    return predict(self, inputs)
onnx.Onnx.predict = waiting
"""


def test_sigterm_answers_requests_in_flight(tmp_path: Path) -> None:
    entered, release = tmp_path / "entered", tmp_path / "release"
    os.mkfifo(entered)
    os.mkfifo(release)
    (tmp_path / "sitecustomize.py").write_text(SLOW.format(entered=str(entered), release=str(release)))
    server = start("iris", tmp_path / "log", PYTHONPATH=f"{tmp_path}:/app")
    answers: list[Any] = []
    request = threading.Thread(target=lambda: answers.append(server.predict([[1, 2, 3, 4]])))
    request.start()
    entered.read_text()
    server.process.send_signal(signal.SIGTERM)
    server.wait_for("Waiting for")
    release.write_text("")
    request.join(30)
    assert server.process.wait(60) == 0
    assert answers[0][0] == 200, answers


@pytest.mark.parametrize(("job", "name"), [("digits", "x"), ("iris", "features")])
def test_model_without_a_card(copied: Any, tmp_path: Path, job: str, name: str) -> None:
    folder = copied(job)
    (folder / "noria.json").unlink()
    server = start(job, tmp_path / "log", folder, NORIA_MODEL_DIGEST="")
    x, _ = held_out(job)
    described = json.loads(server.get(f"/v2/models/{job}")[1])["inputs"]
    assert described == [{"name": name, "datatype": "FP32", "shape": [-1, x.shape[1]]}]
    status, answer = server.predict(x[:2].tolist())
    assert status == 200 and len(answer["predictions"]) == 2
    assert server.predict([[1]])[0] == 400
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
    ],
)
def test_cores_follow_the_limit(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    assert cores(tmp_path) == min(expected, cores(tmp_path / "none"))
