"""What a sweep takes from the claim, and what it never touches: kept, young and foreign folders, and whatever links point to."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import agent
import pytest
from agent.sweep import read_order, sweep

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY, MINUTE = 86400, 60
USER = 1000


class Claim:
    """A claim's folders of jobs and runs; what is made in them is a day old unless it is told otherwise."""

    def __init__(self, root: Path) -> None:
        self.root, self.jobs, self.runs = root, root / "jobs", root / "runs"
        self.jobs.mkdir()
        self.runs.mkdir()

    def folder(self, path: str, age: float = DAY, files: int = 1, place: str = "jobs") -> Path:
        made = self.root / place / path
        made.mkdir(parents=True, exist_ok=True)
        for number in range(files):
            (made / f"file-{number}").write_bytes(b"12345")
        for each in (made, *made.parents):
            if each.is_relative_to(self.root / place):
                self.age(each, age)
        return made

    def attempt(self, path: str, age: float = DAY) -> Path:
        """An attempt of a step, with a folder for its output `data`."""
        return self.folder(f"{path}/data", age, place="runs").parent

    def age(self, path: Path, seconds: float) -> None:
        moment = NOW.timestamp() - seconds
        os.utime(path, (moment, moment), follow_symlinks=False)

    def environment(self, *keep: str, **told: Any) -> dict[str, str]:
        order = {"asOf": "2026-11-24T12:00:00Z", "keep": list(keep)} | told
        (self.root / "sweep.json").write_text(json.dumps(order))
        names = {"SWEEP_FILE": "sweep.json", "ARTIFACTS_DIR": "", "TERMINATION_LOG": "message"}
        return {f"NORIA_{name}": str(self.root / path) for name, path in names.items()}

    def sweep(self, *keep: str) -> dict[str, Any]:
        """A sweep that keeps these paths on the claim, or below jobs."""
        paths = [each if each == "." or each.startswith("runs/") else f"jobs/{each}" for each in keep]
        sweep(read_order(self.environment(*paths)), threading.Event())
        content = (self.root / "message").read_bytes()
        assert len(content) <= 4096
        return dict(json.loads(content))

    def left(self) -> list[str]:
        """All folders of jobs, and what lies in them."""
        return sorted(str(path.relative_to(self.jobs)) for path in (*self.jobs.glob("*"), *self.jobs.glob("*/*")))

    def attempts(self) -> list[str]:
        """All attempts of steps."""
        return sorted(str(path.relative_to(self.runs)) for path in self.runs.glob("*/*/*"))


@pytest.fixture
def claim(tmp_path: Path) -> Claim:
    return Claim(tmp_path)


def test_what_is_not_kept_goes_and_the_rest_stays_with_its_files(claim: Claim) -> None:
    version = claim.folder("digits-1a2b3c4d/attempt-2", files=2)
    claim.folder("digits-1a2b3c4d/attempt-1")
    claim.folder("digits-1a2b3c4d/checkpoint", files=3)
    claim.folder("running-55555555/attempt-1")
    claim.folder("running-55555555/checkpoint")
    claim.folder("deleted-99999999/attempt-1")
    claim.folder("deleted-99999999/attempt-10")
    report = claim.sweep("digits-1a2b3c4d/attempt-2", "running-55555555")
    assert report == {"removed": 4, "bytes": 30, "kept": 3, "failed": []}
    assert claim.left() == [
        "digits-1a2b3c4d", "digits-1a2b3c4d/attempt-2",
        "running-55555555", "running-55555555/attempt-1", "running-55555555/checkpoint",
    ]  # fmt: skip
    assert sorted(path.name for path in version.iterdir()) == ["file-0", "file-1"]


def test_a_second_sweep_finds_nothing(claim: Claim) -> None:
    claim.folder("digits-1a2b3c4d/attempt-1")
    claim.folder("digits-1a2b3c4d/attempt-2")
    assert claim.sweep("digits-1a2b3c4d/attempt-2")["removed"] == 1
    assert claim.sweep("digits-1a2b3c4d/attempt-2") == {"removed": 0, "bytes": 0, "kept": 1, "failed": []}


@pytest.mark.parametrize(
    "keep", ["a-11111111/attempt-1/best", "a-11111111/attempt-1", "a-11111111", "a-11111111//attempt-1/./best", "."]
)
def test_what_lies_above_or_below_a_kept_path_is_kept(claim: Claim, keep: str) -> None:
    claim.folder("a-11111111/attempt-1/best/deep")
    claim.sweep(keep)
    assert (claim.jobs / "a-11111111/attempt-1/best/deep/file-0").exists()


def test_a_name_that_only_begins_alike_keeps_nothing(claim: Claim) -> None:
    claim.folder("a-11111111/attempt-1")
    claim.folder("a-11111111/attempt-10")
    claim.sweep("a-11111111/attempt-10")
    assert claim.left() == ["a-11111111", "a-11111111/attempt-10"]


@pytest.mark.parametrize("age", [0, 9 * MINUTE, -DAY])
def test_a_job_that_began_after_the_list_was_made_is_left_alone(claim: Claim, age: float) -> None:
    claim.folder("new-11111111/attempt-1", age)
    claim.folder("old-22222222/attempt-1", 11 * MINUTE)
    assert claim.sweep() == {"removed": 1, "bytes": 5, "kept": 1, "failed": []}
    assert claim.left() == ["new-11111111", "new-11111111/attempt-1"]


def test_one_young_folder_keeps_its_siblings(claim: Claim) -> None:
    claim.folder("a-11111111/attempt-1")
    claim.folder("a-11111111/attempt-2", 0)
    claim.age(claim.jobs / "a-11111111", DAY)
    claim.sweep()
    assert claim.left() == ["a-11111111", "a-11111111/attempt-1", "a-11111111/attempt-2"]


def test_young_siblings_of_a_version_stay_until_the_next_sweep(claim: Claim) -> None:
    claim.folder("a-11111111/attempt-1", MINUTE)
    claim.folder("a-11111111/attempt-2")
    assert claim.sweep("a-11111111/attempt-2")["removed"] == 0


def test_foreign_names_are_not_touched(claim: Claim) -> None:
    for path in ("data", "data-1234567", "data-1234567g/attempt-1", "1a2b3c4d/attempt-1"):
        claim.folder(path)
    claim.folder("a-11111111/notes")
    claim.folder("a-11111111/attempt-x")
    claim.folder("a-11111111/attempt-1")
    (claim.jobs / "file-11111111").write_bytes(b"x")
    (claim.jobs / "b-22222222").mkdir()
    (claim.jobs / "b-22222222/checkpoint").write_bytes(b"a file, not a folder")
    for each in ("file-11111111", "b-22222222", "b-22222222/checkpoint", "a-11111111"):
        claim.age(claim.jobs / each, DAY)
    before = claim.left()
    assert claim.sweep() == {"removed": 1, "bytes": 5, "kept": 0, "failed": []}
    assert claim.left() == [path for path in before if path != "a-11111111/attempt-1"]


def test_an_empty_folder_of_a_job_goes(claim: Claim) -> None:
    claim.folder("a-11111111", files=0)
    claim.sweep()
    assert claim.left() == []


def test_of_a_run_superseded_attempts_go_and_what_is_kept_stays_with_all_its_outputs(claim: Claim) -> None:
    for path in ("r-11111111/prepare/1", "r-11111111/prepare/2", "r-11111111/fan.0/1", "r-11111111/fan.1/1"):
        claim.attempt(path)
    claim.attempt("whole-22222222/prepare/1")
    claim.attempt("gone-33333333/prepare/1")
    report = claim.sweep("runs/r-11111111/prepare/2", "runs/r-11111111/fan.0/1", "runs/whole-22222222")
    assert report == {"removed": 3, "bytes": 15, "kept": 3, "failed": []}
    assert claim.attempts() == ["r-11111111/fan.0/1", "r-11111111/prepare/2", "whole-22222222/prepare/1"]
    assert sorted(path.name for path in claim.runs.iterdir()) == ["r-11111111", "whole-22222222"]
    assert not (claim.runs / "r-11111111/fan.1").exists(), "what is left empty goes too"


@pytest.mark.parametrize("keep", [".", "runs/r-11111111/prepare/1/data", "runs/r-11111111/prepare", "runs/r-11111111"])
def test_what_lies_above_or_below_what_is_kept_of_a_run_is_kept(claim: Claim, keep: str) -> None:
    claim.attempt("r-11111111/prepare/1")
    assert claim.sweep(keep)["removed"] == 0 and claim.attempts() == ["r-11111111/prepare/1"]


def test_one_young_folder_anywhere_keeps_a_run_of_which_nothing_is_known(claim: Claim) -> None:
    claim.attempt("r-11111111/prepare/1")
    claim.attempt("r-11111111/train/1")
    young = claim.attempt("r-11111111/train/2")
    claim.age(young, 0)
    assert claim.sweep() == {"removed": 0, "bytes": 0, "kept": 3, "failed": []}
    assert claim.sweep("runs/r-11111111/train/1")["removed"] == 1, "of one that is known only its own age counts"
    assert claim.attempts() == ["r-11111111/train/1", "r-11111111/train/2"]


def test_what_is_no_attempt_of_a_step_stays_below_runs(claim: Claim) -> None:
    for path in ("data/1", "r-11111111/Notes/1", "r-11111111/prepare/mine", "r-11111111/prepare/1"):
        claim.folder(path, place="runs")
    (claim.runs / "r-11111111/prepare/2").symlink_to(claim.jobs)
    for each in ("r-11111111/prepare/2", "r-11111111/prepare"):
        claim.age(claim.runs / each, DAY)
    assert claim.sweep()["removed"] == 1
    assert sorted(str(each.relative_to(claim.runs)) for each in claim.runs.glob("*/*/*")) == [
        "data/1/file-0", "r-11111111/Notes/1", "r-11111111/prepare/2", "r-11111111/prepare/mine",
    ]  # fmt: skip


def test_links_are_never_followed(claim: Claim) -> None:
    outside = claim.root / "outside"
    (outside / "attempt-1").mkdir(parents=True)
    (outside / "attempt-1/precious").write_bytes(b"x")
    old = claim.folder("a-11111111/attempt-1")
    (old / "link").symlink_to(outside / "attempt-1")
    (old / "file").symlink_to(outside / "attempt-1/precious")
    claim.age(old, DAY)
    (claim.jobs / "b-22222222").symlink_to(outside)
    claim.folder("c-33333333", files=0)
    (claim.jobs / "c-33333333/attempt-1").symlink_to(outside / "attempt-1")
    for each in ("a-11111111", "b-22222222", "c-33333333", "c-33333333/attempt-1"):
        claim.age(claim.jobs / each, DAY)
    assert claim.sweep() == {"removed": 1, "bytes": 5, "kept": 0, "failed": []}
    assert (outside / "attempt-1/precious").read_bytes() == b"x"
    assert claim.left() == ["b-22222222", "b-22222222/attempt-1", "c-33333333", "c-33333333/attempt-1"]


@pytest.fixture
def unprivileged() -> Iterator[Claim]:
    """A claim of a user for whom permissions count; the tests may run as root."""
    with tempfile.TemporaryDirectory() as folder:
        root = os.geteuid() == 0
        Path(folder).chmod(0o755)
        if root:
            os.chown(folder, USER, USER)
            os.seteuid(USER)
        try:
            yield Claim(Path(folder))
        finally:
            if root:
                os.seteuid(0)
            for each in sorted(Path(folder).rglob("locked")):
                each.chmod(0o755)


def test_what_cannot_be_removed_is_told_and_the_rest_goes_on(unprivileged: Claim) -> None:
    claim = unprivileged
    for number in range(6):
        stuck = claim.folder(f"a{number}-11111111/attempt-1/locked")
        stuck.chmod(0)
        (stuck.parent / "large").write_bytes(b"x" * 100)
        claim.age(stuck.parent, DAY)
    claim.folder("b-22222222/attempt-1")
    report = claim.sweep()
    assert (report["removed"], report["bytes"]) == (1, 5)
    assert len(report["failed"]) == 5
    assert report["failed"][0] == "jobs/a0-11111111/attempt-1: Permission denied (locked)"
    assert not (claim.jobs / "b-22222222").exists()
    assert not list(claim.jobs.glob("*/attempt-1/large")), "what can go of a stuck folder goes"


def test_long_names_leave_a_message_that_fits(unprivileged: Claim) -> None:
    claim = unprivileged
    for number in range(5):
        stuck = claim.folder(f"{number}{chr(1) * 200}-11111111/attempt-1/locked")
        stuck.chmod(0)
        claim.age(stuck.parent, DAY)
    assert 0 < len(claim.sweep()["failed"]) < 5


@pytest.mark.parametrize(
    "told",
    [
        {"keep": ["../data"]},
        {"keep": ["/noria/artifacts/jobs/a-11111111"]},
        {"keep": [""]},
        {"keep": "a-11111111"},
        {"keep": [7]},
        {"asOf": "2026-11-24T12:00:00"},
        {"asOf": "yesterday"},
    ],
)
def test_an_order_that_is_none_removes_nothing(claim: Claim, told: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        read_order(claim.environment(**told))


def test_the_process_sweeps_and_ends(claim: Claim) -> None:
    claim.folder("a-11111111/attempt-1")
    environment = os.environ | claim.environment() | {"PYTHONPATH": str(Path(agent.__file__ or "").parents[1])}
    command = [sys.executable, "-m", "agent", "sweep"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "removed jobs/a-11111111/attempt-1: 5 bytes" in ran.stdout
    assert json.loads((claim.root / "message").read_bytes())["removed"] == 1
    (claim.root / "sweep.json").write_text("{}")
    assert subprocess.run(command, env=environment, capture_output=True).returncode == 1


def test_it_stops_between_two_folders_when_it_is_told_to(claim: Claim) -> None:
    claim.folder("a-11111111/attempt-1")
    stopped = threading.Event()
    stopped.set()
    assert sweep(read_order(claim.environment()), stopped).removed == 0
    assert claim.left() == ["a-11111111", "a-11111111/attempt-1"]
