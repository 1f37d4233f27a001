"""Following the step log: a file that training code appends to, truncates or never writes at all."""

import json
import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_LINE = 64 << 10
CHUNK = 1 << 20
HEAD = 64
NUMBERS = ("step", "total", "epoch", "loss", "samplesPerSecond")


@dataclass
class Progress:
    """The newest value of each number; None until a line has told it."""

    step: float | None = None
    total: float | None = None
    epoch: float | None = None
    loss: float | None = None
    samples_per_second: float | None = None
    eta_seconds: float | None = None
    """Seconds to the end at the pace of the steps seen by this agent."""
    invalid_lines: int = 0
    """Lines that were no JSON object, or longer than 64 KiB."""


class StepLog:
    """Reads what was appended since the last call; starts over when the file was truncated or replaced."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.progress = Progress()
        self._identity: tuple[int, int] | None = None
        self._offset = 0
        self._head = b""
        self._rest = b""
        self._skipping = False
        self._first: tuple[float, float] | None = None

    def read(self, now: float, final: bool = False) -> Progress:
        """Takes in new lines at the monotonic time `now` (seconds); `final` takes in a last line without its newline too."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return self.progress
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            return self.progress
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            identity = (status.st_dev, status.st_ino)
            head = file.read(HEAD)
            if identity != self._identity or status.st_size < self._offset or not head.startswith(self._head):
                self._identity, self._offset, self._rest, self._skipping = identity, 0, b"", False
            self._head = head
            file.seek(self._offset)
            end = status.st_size
            while self._offset < end and (chunk := file.read(min(CHUNK, end - self._offset))):
                self._offset += len(chunk)
                self._split(chunk)
        if final and self._rest:
            self._take(self._rest)
            self._rest = b""
        self._estimate(now)
        return self.progress

    def _split(self, chunk: bytes) -> None:
        *lines, rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if not self._skipping:
                self._take(line)
            self._skipping = False
        if len(rest) > MAX_LINE and not self._skipping:
            self.progress.invalid_lines += 1
            self._skipping = True
        self._rest = b"" if self._skipping else rest

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            value: Any = json.loads(line) if len(line) <= MAX_LINE else None
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            self.progress.invalid_lines += 1
            return
        for name in NUMBERS:
            number = value.get(name)
            if isinstance(number, int | float) and not isinstance(number, bool) and _finite(number):
                setattr(self.progress, "samples_per_second" if name == "samplesPerSecond" else name, float(number))

    def _estimate(self, now: float) -> None:
        step, total = self.progress.step, self.progress.total
        if step is None or total is None:
            return
        if self._first is None or step < self._first[0]:
            self._first = (step, now)
        first_step, first_time = self._first
        if step >= total:
            self.progress.eta_seconds = 0.0
        elif step > first_step:
            self.progress.eta_seconds = (total - step) * (now - first_time) / (step - first_step)


def _finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:
        return False
