"""The step log as it really comes: in pieces, truncated, replaced, malformed, enormous."""

import os
from pathlib import Path

import pytest
from agent.metrics import ProgressCollector
from agent.steps import Progress, StepLog
from prometheus_client import CollectorRegistry, generate_latest


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "steps.jsonl"


def append(file: Path, text: str) -> None:
    with file.open("a") as opened:
        opened.write(text)


def test_missing_file_is_no_progress(file: Path) -> None:
    assert StepLog(file).read(0.0) == Progress()


def test_numbers_and_eta(file: Path) -> None:
    log = StepLog(file)
    append(file, '{"step": 10, "total": 50, "epoch": 1, "loss": 0.5, "samplesPerSecond": 950.0}\n')
    assert log.read(100.0) == Progress(10, 50, 1, 0.5, 950.0, None, 0)
    append(file, '{"step": 20, "loss": 0.4}\n')
    assert log.read(105.0).eta_seconds == pytest.approx(15.0)
    append(file, '{"step": 50}\n')
    assert log.read(106.0).eta_seconds == 0.0


def test_line_in_pieces(file: Path) -> None:
    log = StepLog(file)
    append(file, '{"ste')
    assert log.read(0.0).step is None
    append(file, 'p": 3}\n{"step": 4}')
    assert log.read(0.0).step == 3
    assert log.read(0.0, final=True).step == 4


def test_truncated_and_replaced(file: Path) -> None:
    log = StepLog(file)
    append(file, '{"step": 100, "total": 200}\n')
    log.read(0.0)
    file.write_text('{"step": 1}\n')
    assert log.read(1.0).step == 1
    other = file.with_name("other")
    other.write_text('{"step": 2, "loss": 1.0}\n' + '{"step": 3}\n' * 10)
    other.rename(file)
    assert log.read(2.0).step == 3


def test_malformed_lines_are_counted(file: Path) -> None:
    append(
        file,
        'epoch 1\n[1]\n3\n\n{"step": "five", "loss": NaN, "epoch": true}\n{"step": 1e999}\n{"step": 7}\n'
        + "[" * 60_000
        + "\n",
    )
    progress = StepLog(file).read(0.0)
    assert (progress.step, progress.loss, progress.epoch, progress.invalid_lines) == (7, None, None, 4)


def test_integer_too_large_for_a_float(file: Path) -> None:
    append(file, '{"step": 1' + "0" * 400 + "}\n")
    assert StepLog(file).read(0.0).step is None


def test_enormous_line_costs_no_memory(file: Path) -> None:
    log = StepLog(file)
    append(file, "x" * (5 << 20))
    assert log.read(0.0).invalid_lines == 1
    append(file, "x" * 100 + '\n{"step": 9}\n')
    assert (log.read(0.0).step, log.progress.invalid_lines) == (9, 1)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_only_a_regular_file_is_read(file: Path, kind: str) -> None:
    if kind == "link":
        target = file.with_name("target")
        target.write_text('{"step": 1}\n')
        file.symlink_to(target)
    elif kind == "pipe":
        os.mkfifo(file)
    else:
        file.mkdir()
    assert StepLog(file).read(0.0) == Progress()


def test_metrics_show_only_what_is_known() -> None:
    registry = CollectorRegistry()
    registry.register(ProgressCollector("digits", 2, lambda: Progress(step=10, total=50, invalid_lines=1)))
    text = generate_latest(registry).decode()
    labels = '{attempt="2",trainingjob="digits"}'
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert samples == [
        f"noria_training_step{labels} 10.0",
        f"noria_training_steps{labels} 50.0",
        f"noria_training_invalid_lines_total{labels} 1.0",
    ]
