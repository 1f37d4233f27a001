"""`make mutants`: how many small mistakes in plan/ the golden cases and unit tests notice. mutmut makes and runs them.

`python hack/mutants.py [COUNT] [--seed N]`: all (hours) or a random sample. Works in .mutants/, made anew. docs/faults.md: what is left out.
"""

import argparse
import json
import os
import random
import shutil
import sys
from math import sqrt
from pathlib import Path

from mutmut import __main__ as mutmut
from mutmut.stats import status_by_exit_code

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / ".mutants"
LAYOUT = {"src": "operator", **{same: same for same in ("tests", "docs", "examples", "pyproject.toml")}}
"""mutmut knows sources in src/ alone."""


def generate(jobs: int) -> list[str]:
    """The names of all mutants, sorted; they lie in .mutants/mutants/ afterwards."""
    shutil.rmtree(WORK, ignore_errors=True)
    (WORK / "mutants").mkdir(parents=True)
    for name, target in LAYOUT.items():
        (WORK / name).symlink_to(ROOT / target)
    os.chdir(WORK)
    mutmut.copy_src_dir()
    mutmut.create_mutants(jobs)
    return sorted(results())


def results() -> dict[str, int | None]:
    """The exit code of the tests by the mutant's name, None where it was not run."""
    metas = (json.loads(path.read_text()) for path in Path("mutants/src").rglob("*.meta"))
    return {name: code for meta in metas for name, code in meta["exit_code_by_key"].items()}


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The interval of 95 % for a share of which `hits` of `count` were drawn."""
    z = 1.96
    middle, half = hits + z * z / 2, z * sqrt(hits * (count - hits) / count + z * z / 4)
    return (middle - half) / (count + z * z), (middle + half) / (count + z * z)


GOAL = 0.9
"""The share that must be noticed."""


def main() -> int:
    """Ends with 1 if too few are noticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", help="how many, drawn at random; default: all")
    parser.add_argument("--seed", type=int, default=0, help="of the drawing; default 0")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many at once; default: one a core")
    asked = parser.parse_args()
    names = generate(asked.jobs)
    drawn = random.Random(asked.seed).sample(names, len(names))[: asked.count]  # a longer draw begins with the shorter
    mutmut._run(drawn, asked.jobs)
    codes = results()
    told = {name: status_by_exit_code[codes[name]] for name in drawn}
    missed = sorted(name for name, status in told.items() if status not in ("killed", "timeout"))
    for name in missed:
        print(f"# {name}: {told[name]}")
        print(mutmut.get_diff_for_mutant(name))
    noticed = len(drawn) - len(missed)
    low, high = wilson(noticed, len(drawn))
    late = sum(status == "timeout" for status in told.values())
    print(f"{noticed} of {len(drawn)} are noticed, {late} of them by time: {noticed / len(drawn):.1%}")
    print(f"of all {len(names)}, then, between {low:.1%} and {high:.1%} (95 %, seed {asked.seed})")
    return noticed < GOAL * len(drawn)


if __name__ == "__main__":
    sys.exit(main())
