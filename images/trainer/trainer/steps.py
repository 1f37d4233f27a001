"""The step log: one line of JSON for each training step."""

import json
import time
from pathlib import Path


class StepLog:
    """Appends steps to the file; `enabled` only in the process of rank 0."""

    def __init__(self, path: Path, total: int, enabled: bool = True) -> None:
        self.total, self.enabled = total, enabled
        self._file = path.open("a", encoding="utf-8", buffering=1) if enabled else None
        self._last = time.monotonic()

    def write(self, step: int, epoch: int, loss: float, samples: int) -> None:
        """Step number `step`, counted from 1 over the whole training, took `samples` samples over all processes."""
        if self._file is None:
            return
        now = time.monotonic()
        pace = samples / max(now - self._last, 1e-9)
        self._last = now
        line = {
            "step": step,
            "total": self.total,
            "epoch": epoch,
            "loss": round(loss, 6),
            "samplesPerSecond": round(pace, 1),
        }
        self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
