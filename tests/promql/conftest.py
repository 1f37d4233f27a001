"""Asks a real Prometheus' own promtool, of the version that the local cluster runs: what a query means, and what it gives."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

TOOLS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "noria" / "tools"
Row = tuple[Mapping[str, str], float]
Values = str
"""One value a minute, as promtool writes it: 0+2x60 are 61 values from 0 in steps of 2."""


def series(metric: str, **labels: str) -> str:
    """A series' name; a trailing _ of a label is for Python's keywords."""
    return metric + "{" + ",".join(f'{name.rstrip("_")}="{value}"' for name, value in labels.items()) + "}"


@dataclass(frozen=True)
class Promtool:
    """promtool, and a folder for its files."""

    program: Path
    folder: Path

    def formatted(self, query: str) -> str:
        """The query as Prometheus reads it. Fails if it does not."""
        return self._run("--experimental", "promql", "format", "--", query)

    def with_namespace(self, query: str, namespace: str) -> str:
        """The query as Prometheus itself sets the matcher in every selector."""
        return self._run("--experimental", "promql", "label-matchers", "set", "--", query, "namespace", namespace)

    def check_rules(self, groups: object) -> None:
        """Fails if Prometheus would not load these groups of rules, or two of them are the same."""
        file = self.folder / "rules.yaml"
        file.write_text(yaml.safe_dump(groups))
        self._run("check", "rules", "--lint-fatal", str(file))

    def expect(self, data: Mapping[str, Values], query: str, rows: list[Row]) -> None:
        """The query after 60 minutes gives exactly these rows, each to a millionth."""
        wanted = {series("wanted", **labels): f"{value!r}x60" for labels, value in rows}
        near = [({**labels}, 1) for labels, _ in rows]
        self._expect({**data, **wanted}, f"abs(({query}) - wanted) <= bool 1e-6", near)
        self._expect(data, f"count({query})", [({}, len(rows))] if rows else [])

    def _expect(self, data: Mapping[str, Values], query: str, rows: list[Row]) -> None:
        samples = [{"labels": series("", **labels), "value": value} for labels, value in rows]
        group = {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in data.items()],
            "promql_expr_test": [{"expr": query, "eval_time": "60m", "exp_samples": samples}],
        }
        file = self.folder / "test.yaml"
        file.write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [group]}))
        self._run("test", "rules", str(file))

    def _run(self, *words: str) -> str:
        done = subprocess.run([self.program, *words], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="session")
def promtool(tmp_path_factory: pytest.TempPathFactory) -> Promtool:
    """Built by `make test-apiserver`, or named by NORIA_PROMTOOL. CI must have it."""
    named = os.environ.get("NORIA_PROMTOOL")
    found = [Path(named)] if named else sorted(TOOLS.glob("addons-*/promtool"))
    if not found:
        pytest.fail("promtool is not built; `make test-apiserver` builds it, or set NORIA_PROMTOOL")
    return Promtool(found[-1], tmp_path_factory.mktemp("promtool"))
