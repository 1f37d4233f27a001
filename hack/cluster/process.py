"""Commands and daemons: one way to run the first, one to start the second so that `down` finds and ends just those."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import layout

Argument = str | Path


class Failed(Exception):
    """A step failed; the text says which command, and its last words."""


def run(*argv: Argument, stdin: str | None = None, cwd: Path | None = None, env: Mapping[str, str] | None = None, check: bool = True) -> str:
    """Runs a command and gives its standard output."""
    ran = subprocess.run(
        [str(each) for each in argv], input=stdin, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
    )
    if check and ran.returncode:
        words = (ran.stderr.strip() or ran.stdout.strip())[-3000:]
        raise Failed(f"{' '.join(map(str, argv))} ended with {ran.returncode}:\n{words}")
    return ran.stdout


def inside(namespace: str) -> list[str]:
    """The prefix that runs a command in a network namespace; unlike `ip netns exec` it leaves /sys as it is."""
    return ["nsenter", f"--net=/run/netns/{namespace}"]


@contextlib.contextmanager
def progress(what: str) -> Iterator[None]:
    """Says what is being done, how long it takes, and that it still goes on."""
    began, over = time.monotonic(), threading.Event()

    def beat() -> None:
        while not over.wait(15):
            print(f"      {what}: {time.monotonic() - began:.0f} s", flush=True)

    print(f"  ... {what}", flush=True)
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
        print(f"  {time.monotonic() - began:4.0f} s  {what}", flush=True)
    finally:
        over.set()
        thread.join()


def until(look: Callable[[], object], what: str, seconds: float = 120) -> None:
    """Waits until `look` is true; Failed after `seconds`. An exception of its own counts as not yet."""
    deadline, last = time.monotonic() + seconds, ""
    while time.monotonic() < deadline:
        try:
            if look():
                return
        except (Failed, OSError) as error:
            last = str(error)
        time.sleep(0.3)
    raise Failed(f"not within {seconds:.0f} s: {what}. {last}")


def record() -> dict[str, Any]:
    """What was started: the checkout's folder and the daemons by name."""
    if not layout.RECORD.exists():
        return {"folder": str(layout.STATE), "daemons": {}}
    return dict(json.loads(layout.RECORD.read_text()))


def _write(what: dict[str, Any]) -> None:
    temporary = layout.RECORD.with_suffix(".tmp")
    temporary.write_text(json.dumps(what, indent=1))
    temporary.rename(layout.RECORD)


def started(pid: int) -> str | None:
    """When the process began, in clock ticks since boot: with the pid it names one process for good. None if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def alive(name: str) -> bool:
    """Whether the daemon of that name runs."""
    entry = record()["daemons"].get(name)
    return bool(entry) and started(entry["pid"]) == entry["started"]


def spawn(name: str, *argv: Argument, namespace: str | None = None, env: Mapping[str, str] | None = None) -> bool:
    """Starts a daemon in a session of its own, its words in the log folder; False if it runs already."""
    if alive(name):
        return False
    layout.LOGS.mkdir(parents=True, exist_ok=True)
    command = [*(inside(namespace) if namespace else []), *map(str, argv)]
    with (layout.LOGS / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env={**os.environ, **(env or {})}
        )
    what = record()
    what["folder"] = str(layout.STATE)
    what["daemons"][name] = {"pid": process.pid, "started": started(process.pid)}
    _write(what)
    return True


def end(names: list[str]) -> None:
    """Ends daemons that were started here: politely, and after ten seconds for good."""
    what = record()
    running = {name: entry for name in names if (entry := what["daemons"].get(name)) and started(entry["pid"]) == entry["started"]}
    for entry in running.values():
        os.kill(entry["pid"], signal.SIGTERM)
    deadline = time.monotonic() + 10
    while running and time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        running = {name: entry for name, entry in running.items() if started(entry["pid"]) == entry["started"]}
        time.sleep(0.05)
    for entry in running.values():
        os.kill(entry["pid"], signal.SIGKILL)
    for name in names:
        what["daemons"].pop(name, None)
    _write(what)


def fail(message: object) -> None:
    """Ends the command with a message."""
    sys.exit(f"hack/cluster: {message}")
