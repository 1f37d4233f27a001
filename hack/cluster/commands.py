"""Programs are run here, as argv arrays, so that a failure is always one sentence with the program's own words."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from progress import ClusterError

TAIL = 3000


def run(
    argv: list[str | Path],
    *,
    input: str | bytes | None = None,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    log: Path | None = None,
    seconds: float | None = None,
) -> str:
    """Run a program to its end; its stdout, or ClusterError. With `log`, everything it says goes there."""
    words = [str(word) for word in argv]
    data = input.encode() if isinstance(input, str) else input
    environment = os.environ | (env or {})
    try:
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("wb") as file:
                done = subprocess.run(
                    words,
                    input=data,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    cwd=cwd,
                    env=environment,
                    timeout=seconds,
                    check=False,
                )
            said = b"" if done.returncode == 0 else log.read_bytes()
        else:
            done = subprocess.run(
                words, input=data, capture_output=True, cwd=cwd, env=environment, timeout=seconds, check=False
            )
            said = done.stderr + (b"" if done.returncode == 0 else done.stdout)
    except FileNotFoundError as error:
        raise ClusterError(f"{words[0]} is not installed: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{' '.join(words[:6])}: no end after {seconds:.0f} s") from error
    if done.returncode != 0:
        raise ClusterError(
            f"{' '.join(words[:8])} ended with {done.returncode}: {said.decode(errors='replace')[-TAIL:].strip()}"
        )
    return "" if log is not None else done.stdout.decode(errors="replace")


def succeeds(argv: list[str | Path], **kwargs: Any) -> bool:
    try:
        run(argv, **kwargs)
    except ClusterError:
        return False
    return True


def read_json(argv: list[str | Path], **kwargs: Any) -> Any:
    return json.loads(run(argv, **kwargs) or "null")


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text)
    temporary.chmod(mode)
    temporary.replace(path)
