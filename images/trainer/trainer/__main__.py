"""Runs the recipe that pod.json names.

Exit codes: 0 the model is written; 2 the parameters or the data can never work (one sentence says why);
143 ended by SIGTERM after a checkpoint; anything else is a failure that a retry may mend.
"""

import logging
import os
import sys
from importlib import import_module

from trainer.errors import TrainingInputError
from trainer.pod import read_pod

RECIPES = {"classifier": "classifier", "sklearn": "scikit_learn", "text-classifier": "text"}
"""Module of each recipe: only that of the one in use is imported, since each brings heavy libraries."""

log = logging.getLogger("trainer")


def main() -> int:
    """Trains, or becomes torchrun when several processes are wanted on this node (`PET_NPROC_PER_NODE` above 1)."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    if os.environ.get("PET_NPROC_PER_NODE", "1") != "1" and "LOCAL_RANK" not in os.environ:
        os.execv(sys.executable, [sys.executable, "-m", "torch.distributed.run", "-m", "trainer"])
    try:
        pod = read_pod()
        if pod.recipe not in RECIPES:
            raise TrainingInputError(f"there is no recipe {pod.recipe!r}; there are {', '.join(RECIPES)}")
        import_module(f"trainer.recipes.{RECIPES[pod.recipe]}").train(pod)
    except TrainingInputError as error:
        log.error("%s", error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
