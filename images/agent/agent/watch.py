"""Watching: follows the step log until SIGTERM, digests the inputs meanwhile, then publishes."""

import logging
import signal
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

from prometheus_client import CollectorRegistry, start_http_server

from agent.digest import input_digest
from agent.errors import EmptyInput
from agent.metrics import PORT, ProgressCollector
from agent.pod import Pod
from agent.publish import publish
from agent.steps import StepLog

POLL_SECONDS = 1.0

log = logging.getLogger("agent")


def input_digests(pod: Pod) -> dict[str, str | None]:
    """Digests of all inputs by name."""
    return {name: input_digest(name, path) for name, path in pod.inputs.items()}


def watch(pod: Pod, stopped: threading.Event, port: int = PORT) -> None:
    """Serves metrics on `port` until `stopped`, then publishes; on ranks above 0 it only waits.

    The inputs are hashed while the training runs, so that only the output is left to hash in the grace period.
    """
    if pod.rank != 0:
        log.info("rank %d only waits: rank 0 publishes", pod.rank)
        stopped.wait()
        return
    steps = StepLog(pod.steps_file)
    registry = CollectorRegistry()
    registry.register(ProgressCollector(pod.training_job, pod.attempt, lambda: steps.progress))
    server, thread = start_http_server(port, registry=registry)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="inputs") as pool:
        digests = pool.submit(input_digests, pod)
        steps.read(time.monotonic())
        log.info("watching %s on port %d", pod.steps_file, port)
        while not stopped.wait(POLL_SECONDS):
            steps.read(time.monotonic())
        server.shutdown()
        server.server_close()
        thread.join()
        publish(pod, lambda: at_the_end(pod, digests), _last_step(steps))


def at_the_end(pod: Pod, digests: Future[dict[str, str | None]]) -> dict[str, str | None]:
    """The digests made beside the training; made anew if an input was still empty then, since the data may have come later."""
    try:
        return digests.result()
    except EmptyInput:
        return input_digests(pod)


def publish_once(pod: Pod) -> None:
    """Publishes at once: for an attempt whose first message was lost."""
    publish(pod, lambda: input_digests(pod), _last_step(StepLog(pod.steps_file)))


def _last_step(steps: StepLog) -> int | None:
    step = steps.read(time.monotonic(), final=True).step
    return None if step is None else int(step)


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM or SIGINT sets, also one that came before and was blocked (images/agent/Dockerfile)."""
    stopped, numbers = threading.Event(), (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        signal.signal(number, lambda *_: stopped.set())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    return stopped
