"""Chooses what can run here: the agent's tests anywhere, the trainer's and server's only inside their images (run.py)."""

import sys
from importlib.util import find_spec
from pathlib import Path

IMAGES = Path(__file__).parents[2] / "images"

if (IMAGES / "agent").is_dir():
    sys.path.insert(0, str(IMAGES / "agent"))

collect_ignore = [name for name in ("agent", "trainer", "server") if find_spec(name) is None]
