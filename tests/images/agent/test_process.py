"""The agent as a process: metrics while it watches, a message on SIGTERM, exit code 0."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from concurrent.futures import Future
from pathlib import Path

import agent
import pytest
from agent.errors import EmptyInput
from agent.pod import read_pod
from agent.watch import at_the_end, input_digests
from workplace import Workplace, environment, pod_json

AGENT = Path(agent.__file__ or "").parents[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(workplace: Workplace, *arguments: str, rank: str = "0") -> subprocess.Popen[str]:
    told = environment(workplace.root) | {
        "JOB_COMPLETION_INDEX": rank,
        "PYTHONPATH": str(AGENT),
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-m", "agent", "watch", *arguments]
    return subprocess.Popen(command, env=os.environ | told, stdout=subprocess.PIPE, text=True)


def test_watch_serves_metrics_then_publishes_on_sigterm(workplace: Workplace) -> None:
    port = free_port()
    workplace.pod.steps_file.write_text('{"step": 3, "total": 9}\n')
    with start(workplace, "--port", str(port)) as process:
        assert process.stdout is not None and f"on port {port}" in process.stdout.readline()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
            text = response.read().decode()
        workplace.write("model.pt2", b"x")
        workplace.pod.steps_file.write_text('{"step": 3}\n{"step": 9, "total": 9}')
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert 'noria_training_step{attempt="2",trainingjob="digits"} 3.0' in text
    message = json.loads(workplace.pod.termination_log.read_bytes())
    assert (message["steps"], message["files"], len(message["inputs"]["train"])) == (9, 1, 71)


def test_data_that_came_after_the_agent_had_looked_are_data(workplace: Workplace) -> None:
    looked = Future[dict[str, str | None]]()
    looked.set_exception(EmptyInput("input 'train' holds no file"))
    assert at_the_end(workplace.pod, looked) == input_digests(workplace.pod)
    (workplace.root / "input/train/data.csv").unlink()
    with pytest.raises(EmptyInput):
        at_the_end(workplace.pod, looked)


def test_other_ranks_leave_nothing(workplace: Workplace) -> None:
    workplace.write("model.pt2", b"x")
    with start(workplace, rank="1") as process:
        assert process.stdout is not None and "rank 1 only waits" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert [path.name for path in workplace.pod.output.iterdir()] == ["model.pt2"]
    assert not workplace.pod.termination_log.exists()


def test_pod_json_of_the_contract(tmp_path: Path) -> None:
    (tmp_path / "pod.json").write_text(json.dumps(pod_json(tmp_path, inputs={})))
    pod = read_pod({"NORIA_POD_FILE": str(tmp_path / "pod.json"), "JOB_COMPLETION_INDEX": "3"})
    assert (pod.output, pod.rank, pod.attempt) == (Path("/noria/job/attempt-2"), 3, 2)
    assert pod.termination_log == Path("/dev/termination-log")
