"""Command line of the agent: `watch` beside a training, `publish` alone when the message of a finished one was lost."""

import argparse
import logging
import sys

from agent.metrics import PORT
from agent.pod import read_pod
from agent.watch import publish_once, stop_on_signals, watch


def main() -> int:
    """Exit code 0 whenever a message was written, or none was due."""
    stopped = stop_on_signals()
    parser = argparse.ArgumentParser(prog="agent", description=__doc__)
    parser.add_argument("mode", choices=("watch", "publish"))
    parser.add_argument("--port", type=int, default=PORT, help="where watch serves metrics (default %(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    pod = read_pod()
    if arguments.mode == "watch":
        watch(pod, stopped, arguments.port)
    else:
        publish_once(pod)
    return 0


if __name__ == "__main__":
    sys.exit(main())
