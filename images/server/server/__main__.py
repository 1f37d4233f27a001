"""Verifies, loads, then serves: nothing listens before the model is whole. Exit code 1 and one line of why if it never is."""

import asyncio
import logging
import os
import sys
import time

from cores import cores

from server.baseline import outcome_of, read_baseline
from server.formats import UnsafeModel, UnsupportedModel, detect, load
from server.settings import Settings, read_settings
from server.signature import InvalidSignature, read_card, read_signature
from server.verify import DigestMismatch, verify

log = logging.getLogger("server")


def main() -> int:
    """Command line."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    settings = read_settings(sys.argv[1:])
    threads = cores()
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    try:
        serve(settings, threads)
    except (DigestMismatch, UnsafeModel, UnsupportedModel, InvalidSignature) as error:
        line = f"{type(error).__name__}: {error}"
        log.error("%s", line)
        settings.termination_log.write_text(line + "\n", encoding="utf-8")
        return 1
    return 0


def serve(settings: Settings, threads: int) -> None:
    """Serves until SIGTERM; requests in flight are answered first."""
    started = time.monotonic()
    if settings.digest:
        log.info("verified %d files of %s", verify(settings.folder, settings.digest), settings.digest)
    else:
        log.warning("NORIA_MODEL_DIGEST is empty: nothing was verified")
    format = settings.format or detect(settings.folder)
    baseline = read_baseline(settings.folder)
    runtime = load(format, settings.folder, read_signature(read_card(settings.folder)), threads)
    log.info("loaded %s after %.1f s, %d threads", format, time.monotonic() - started, threads)

    import uvloop
    from kserve import ModelServer  # only now: a model that is refused is refused without waiting for it
    from kserve.model_server import app
    from prometheus_client import REGISTRY

    from server import metrics
    from server.counts import Counts
    from server.feedback import Feedback
    from server.ids import Ids, Slices
    from server.model import ServedModel
    from server.web import Door, feedback_route, told_apart

    metrics.start(settings.name, settings.version, format, settings.digest, bool(settings.digest))
    outcome, slices = outcome_of(runtime.signature, baseline), Slices()
    counts = Counts((settings.name, settings.version), runtime.signature, baseline, outcome)
    REGISTRY.register(counts)
    model = ServedModel(settings.name, settings.version, runtime, counts, Ids(settings.version, outcome), slices)
    app.include_router(feedback_route(Feedback(settings.name, settings.version, outcome, slices)))
    inside = app.build_middleware_stack
    app.build_middleware_stack = lambda: Door(inside(), model, settings.most_bytes)  # type: ignore[method-assign]
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.set_event_loop(asyncio.new_event_loop())  # which ModelServer asks for before it runs its own
    server = ModelServer(http_port=settings.port, enable_grpc=False, enable_latency_logging=False)
    server.dataplane.decode_inference_request = told_apart(server.dataplane.decode_inference_request)
    log.info("serving %s on port %d after %.1f s", settings.name, settings.port, time.monotonic() - started)
    server.start([model])


if __name__ == "__main__":
    sys.exit(main())
