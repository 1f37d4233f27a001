"""Fixtures: one server a model for all tests, and writable copies of models."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from support import MODELS, Server, start


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Gives the server of a job's model, one for all tests."""
    running: dict[str, Server] = {}

    def of(job: str) -> Server:
        if job not in running:
            running[job] = start(job, tmp_path_factory.mktemp(job) / "termination-log")
        return running[job]

    yield of
    for server in running.values():
        server.stop()


@pytest.fixture
def copied(tmp_path: Path) -> Any:
    """Gives a writable copy of a job's published model."""

    def of(job: str) -> Path:
        return Path(shutil.copytree(MODELS / job / "job/attempt-1", tmp_path / job))

    return of
