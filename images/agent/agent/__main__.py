"""Command line of the agent: `watch` beside a training, `publish` when its message was lost, `sweep` for the artifact claim,
`digest` for data that an Endpoint watches, `step` beside a step of a pipeline, `verify` for what an earlier run made."""

import argparse
import logging
import sys

from agent.metrics import PORT
from agent.pod import read_pod
from agent.probe import probe
from agent.step import accompany
from agent.step import read_order as read_step
from agent.sweep import read_order, sweep
from agent.verify import verify
from agent.watch import publish_once, stop_on_signals, watch


def main() -> int:
    """Exit code 0 whenever a message was written, or none was due."""
    stopped = stop_on_signals()
    parser = argparse.ArgumentParser(prog="agent", description=__doc__)
    parser.add_argument("mode", choices=("watch", "publish", "sweep", "digest", "step", "verify"))
    parser.add_argument("--port", type=int, default=PORT, help="where watch serves metrics (default %(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    if arguments.mode == "sweep":
        sweep(read_order(), stopped)
    elif arguments.mode == "digest":
        probe()
    elif arguments.mode == "verify":
        verify()
    elif arguments.mode == "step":
        accompany(read_step(), stopped)
    elif arguments.mode == "publish":
        publish_once(read_pod())
    else:
        watch(read_pod(), stopped, arguments.port)
    return 0


if __name__ == "__main__":
    sys.exit(main())
