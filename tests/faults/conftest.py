"""One control plane for all faults, each scenario as it comes to its end undisturbed, and how many of the cases run."""

import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from ..apiserver.conftest import ControlPlane, kubectl_of, serving
from .scenarios import SCENARIOS
from .stage import Outcome, Play, playing

SEED = 7
RENEWALS_OF_30_SECONDS = 15


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "sample(count): of these cases only so many run, unless --every-fault is given")
    if config.getoption("--every-fault"):
        Play.renewals = RENEWALS_OF_30_SECONDS


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of the many cases of one test, a seeded sample; all of them where one is chosen by -k or --every-fault is given."""
    if config.getoption("--every-fault") or config.getoption("keyword"):
        return
    kept: list[pytest.Item] = []
    families: dict[str, list[pytest.Item]] = {}
    for each in items:
        if each.get_closest_marker("sample"):
            families.setdefault(each.nodeid.partition("[")[0], []).append(each)
        else:
            kept.append(each)
    for name, family in families.items():
        marker = family[0].get_closest_marker("sample")
        assert marker
        kept += random.Random(f"{SEED} {name}").sample(family, min(len(family), *marker.args))
    config.hook.pytest_deselected(items=[each for each in items if each not in kept])
    items[:] = [each for each in items if each in kept]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the tests counted and how long it took, whether they passed or not."""
    reports = (each for found in terminalreporter.stats.values() for each in found if hasattr(each, "user_properties"))
    figures = dict.fromkeys(value for each in reports for name, value in each.user_properties if name == "figure")
    if figures:
        terminalreporter.section("figures")
        terminalreporter.write_line("\n".join(figures))


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane of its own, which tests may kill and start anew."""
    with serving(tmp_path_factory.mktemp("faults")) as running:
        kubectl = kubectl_of(running)
        assert kubectl("apply", "-f", str(Path(__file__).parent / "definitions.yaml")).returncode == 0
        established = kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        assert established.returncode == 0, established.stderr
        yield running


KNOWN: dict[str, Outcome] = {}


@pytest.fixture
def undisturbed(plane: ControlPlane, tmp_path: Path) -> Callable[[str], Awaitable[Outcome]]:
    """What a scenario comes to without any harm; it is played once."""

    async def play(name: str) -> Outcome:
        if name not in KNOWN:
            (folder := tmp_path / "undisturbed").mkdir()
            async with playing(plane, SCENARIOS[name], folder) as undisturbed:
                KNOWN[name] = await Outcome.of(undisturbed)
        return KNOWN[name]

    return play
