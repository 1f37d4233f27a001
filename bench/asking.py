"""What bench/predictions.py does inside the server's image: starts three servers for a model, asks them in turn, and prints a table."""

import argparse
import contextlib
import json
import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
ARMS = ("noria", "fastapi", "kserve")
SAME, CLIENTS, LIMIT_SECONDS, START_SECONDS = 300, 8, 30, 120
CORES = sorted(os.sched_getaffinity(0))
SERVERS, ASKING = CORES[0], CORES[-1]
"""The core of all servers, of which one works at a time, and that of the clients."""


class Connection:
    """One that is kept alive. Bytes go out and come in as they are: what a client does must not blur what a server does."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=LIMIT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._came, self._whole = b"", 0

    def send(self, request: bytes) -> None:
        self.socket.sendall(request)
        self._came, self._whole = b"", 0

    def receive(self) -> bytes | None:
        """The answer's body; None while some of it is still to come. Ends the bench if it is not a 200."""
        part = self.socket.recv(1 << 16)
        self._came += part
        if not self._whole and (end := self._came.find(b"\r\n\r\n")) >= 0:
            head = self._came[:end].lower()
            length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
            self._body, self._whole = end + 4, end + 4 + int(length.split(b":")[1])
        if not part or (self._whole and not self._came.startswith(b"HTTP/1.1 200 ")):
            sys.exit(f"not answered: {self._came!r}")
        return self._came[self._body :] if self._whole and len(self._came) >= self._whole else None

    def ask(self, request: bytes) -> bytes:
        """One request and its answer."""
        self.send(request)
        while (body := self.receive()) is None:
            pass
        return body


@dataclass
class Arm:
    """A server, and what was measured of it, two values a round: one on the way there, one on the way back."""

    name: str
    port: int
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    throughput: list[float] = field(default_factory=list)

    def one_client(self, requests: list[bytes], seconds: float) -> None:
        """One request after the other."""
        connection, waits = Connection(self.port), []
        until = time.perf_counter() + seconds
        while (began := time.perf_counter()) < until:
            connection.ask(requests[len(waits) % len(requests)])
            waits.append(time.perf_counter() - began)
        connection.socket.close()
        self.p50.append(statistics.median(waits))
        self.p99.append(statistics.quantiles(waits, n=100)[98])

    def many_clients(self, requests: list[bytes], seconds: float) -> None:
        """Each connection asks anew when it has its answer."""
        answered = 0
        with selectors.DefaultSelector() as selector:
            for number in range(CLIENTS):
                connection = Connection(self.port)
                selector.register(connection.socket, selectors.EVENT_READ, connection)
                connection.send(requests[number])
            began = time.perf_counter()
            while (now := time.perf_counter()) < began + seconds:
                ready = selector.select(LIMIT_SECONDS)
                if not ready:
                    sys.exit(f"{self.name} answers nobody any more")
                for key, _ in ready:
                    if key.data.receive() is not None:
                        answered += 1
                        key.data.send(requests[answered % len(requests)])
            for key in list(selector.get_map().values()):
                key.data.socket.close()
        self.throughput.append(answered / (now - began))


def request(name: str, instance: Any) -> bytes:
    """A prediction of one sample, as it goes over the wire."""
    body = json.dumps({"instances": [instance]}).encode()
    head = f"POST /v1/models/{name}:predict HTTP/1.1\r\nHost: {name}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(models: Path, name: str) -> Iterator[list[Arm]]:
    """The three servers of a model, all on one core; they end with the block."""
    job = models / name
    folder = job / "job/attempt-1"
    digest = json.loads((job / "message.json").read_text())["digest"]
    with contextlib.ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        told = {
            "NORIA_MODEL_DIGEST": digest,
            "NORIA_MODEL_VERSION": f"{name}-1",
            "NORIA_TERMINATION_LOG": str(logs / "end"),
        }
        arms = []
        for arm in (Arm(each, free_port()) for each in ARMS):
            peer = [str(HERE / "servers.py"), arm.name, name, str(folder), str(arm.port)]
            own = ["-m", "server", f"--model_name={name}", f"--model_dir={folder}", f"--http_port={arm.port}"]
            log = stack.enter_context((logs / arm.name).open("wb"))
            process = subprocess.Popen(
                [sys.executable, *(own if arm.name == "noria" else peer)],
                env=os.environ | told, stdout=log, stderr=log, preexec_fn=lambda: os.sched_setaffinity(0, {SERVERS}),
            )  # fmt: skip
            stack.callback(end, process)
            listens(arm.port, process, logs / arm.name)
            arms.append(arm)
        yield arms


def end(process: "subprocess.Popen[bytes]") -> None:
    """Ends a server as the kubelet does, with patience."""
    process.terminate()
    try:
        process.wait(LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def listens(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Waits until it does; ends the bench with what it said if it ends instead."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.1)
    sys.exit(f"no server listens on {port}: {log.read_text()}")


def agree(arms: list[Arm], requests: list[bytes]) -> bool:
    """Whether all give the same predictions."""
    connections = [Connection(arm.port) for arm in arms]
    wrong = 0
    for each in requests:
        answers = [json.loads(connection.ask(each))["predictions"] for connection in connections]
        wrong += any(answer != answers[0] for answer in answers)
    print(f"{len(requests) - wrong} of {len(requests)} samples: the same predictions of all three")
    return not wrong


def told(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def measure(models: Path, name: str, rounds: int, seconds: float) -> bool:
    """All of a model; False if the servers do not agree."""
    data = json.loads((models / name / "pod.json").read_text())["inputs"]["train"]
    with np.load(Path(data) / "test.npz") as test:
        requests = [request(name, instance) for instance in test["x"].tolist()]
    with serving(models, name) as arms:
        agreed = agree(arms, requests[:SAME])
        for _ in range(rounds):
            for arm in (*arms, *arms[::-1]):
                arm.one_client(requests, seconds)
                arm.many_clients(requests, seconds)
    print(f"{name}: {rounds} rounds there and back; each time {seconds} s of one client, then {seconds} s of {CLIENTS}")
    print("| server | p50, ms | p99, ms | requests a second |\n|---|---|---|---|")
    for arm in arms:
        waits = [told([value * 1e3 for value in values]) for values in (arm.p50, arm.p99)]
        print(f"| {arm.name} | {waits[0]} | {waits[1]} | {told(arm.throughput)} |")
    noria, bare, kserve = arms
    for what, of, to in (
        ("p50, Noria / FastAPI", noria.p50, bare.p50),
        ("p50, Noria / KServe", noria.p50, kserve.p50),
        ("throughput, Noria / KServe", noria.throughput, kserve.throughput),
        ("throughput, Noria / FastAPI", noria.throughput, bare.throughput),
    ):
        print(f"{what}: {told([one / other for one, other in zip(of, to, strict=True)])}", flush=True)
    return agreed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    given = parser.parse_args()
    os.sched_setaffinity(0, {ASKING})
    agreed = [measure(given.models, name, given.rounds, given.seconds) for name in given.names]
    return 0 if all(agreed) else 1


if __name__ == "__main__":
    sys.exit(main())
