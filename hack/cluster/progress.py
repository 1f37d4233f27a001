"""Progress lines on stdout: one at the start of a step, one at its end, and one every 15 s between."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

BEGAN = time.monotonic()
INTERVAL = 15.0


class ClusterError(Exception):
    """Something that the user must know in one sentence."""


def say(text: str) -> None:
    print(f"[{time.monotonic() - BEGAN:6.1f} s] {text}", flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    start = time.monotonic()
    finished = threading.Event()

    def tick() -> None:
        while not finished.wait(INTERVAL):
            say(f"{text}: still running after {time.monotonic() - start:.0f} s")

    say(f"{text} ...")
    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    try:
        yield
    except BaseException:
        say(f"{text}: FAILED after {time.monotonic() - start:.1f} s")
        raise
    finally:
        finished.set()
        ticker.join()
    say(f"{text}: done in {time.monotonic() - start:.1f} s")


def wait_until(what: str, ready: Callable[[], object], seconds: float, pause: float = 0.3) -> None:
    """Ask until the answer is true. The wait is for a condition; `pause` only spaces the questions."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what}: not so after {seconds:.0f} s")
        time.sleep(pause)
