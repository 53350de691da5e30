"""Two regions, load, and the figures of every drill at the end."""

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

import pytest

from addrmesh.binaries import find
from addrmesh.client.replies import ParseResult
from addrmesh.errors import ConfigError
from support import edges
from support.lab import RPS, Lab, Up, answers_of, two_regions
from support.links import Network
from support.load import Door, Figures, Load, edge, machine

CLEAN_S, FAULT_S, HEALED_S = 2.0, 3.5, 2.0
MEASURED = pytest.StashKey[list[tuple[str, Figures, str]]]()
FAILED = pytest.StashKey[bool]()
Fleet = TypeVar("Fleet", Lab, Up)


@dataclass
class Drill:
    """Load on a fleet, and what a test learns from it."""

    answers: dict[str, ParseResult]
    edges: dict[str, Door]
    measured: Callable[[Figures, str], None]

    def load(self, *doors: Door, rps: float = RPS) -> Load:
        """Load through both edges, or through `doors`."""
        return Load(doors or tuple(self.edges.values()), self.answers, rps)

    def run(self, fault: AbstractContextManager[object], *doors: Door, rps: float = RPS) -> Load:
        """Steady state, a fault, and healing, under load; no request may fail."""
        with self.load(*doors, rps=rps) as load:
            load.goes_on(CLEAN_S)
            with load.fault(), fault:
                load.goes_on(FAULT_S)
            load.goes_on(HEALED_S)
        self.report(load)
        return load

    def report(self, load: Load, remark: str = "") -> None:
        """Keep the figures, and fail on the first failed request."""
        self.measured(load.figures(), remark)
        print(load.story())
        assert load.failures == []


@pytest.fixture(scope="session")
def engines() -> None:
    """Skip, visibly, where there is no Envoy or no Redis."""
    edges.require("envoy")
    try:
        find("redis-server")
    except ConfigError as error:
        if os.environ.get("ADDRMESH_REQUIRE_ENGINES"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def lab_fleet(engines: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Network() as network:
        yield from _running(Lab(tmp_path_factory.mktemp("lab"), two_regions(), network))


@pytest.fixture(scope="module")
def up_fleet(engines: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    yield from _running(Up(tmp_path_factory.mktemp("up"), two_regions()))


def _running(fleet: Fleet) -> Iterator[Fleet]:
    try:
        fleet.start()
        yield fleet
    except BaseException:
        print(fleet.logs())
        raise
    finally:
        fleet.stop()


@pytest.fixture
def lab(lab_fleet: Lab, request: pytest.FixtureRequest) -> Iterator[Lab]:
    yield from _watched(lab_fleet, request)


@pytest.fixture
def up(up_fleet: Up, request: pytest.FixtureRequest) -> Iterator[Up]:
    yield from _watched(up_fleet, request)


def _watched(fleet: Fleet, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Hand out a fleet that is well; print the logs of its components when the test fails."""
    try:
        fleet.settle()
        yield fleet
    finally:
        if request.node.stash.get(FAILED, True):
            print(fleet.logs())


@pytest.fixture
def drill(request: pytest.FixtureRequest) -> Drill:
    """Load on the fleet that the test asks for."""
    fleet = request.getfixturevalue("lab" if "lab" in request.fixturenames else "up")
    answers = answers_of(fleet.spec.url(fleet.spec.regions[0].nodes[0]))
    name = request.node.name
    kept = request.config.stash.setdefault(MEASURED, [])
    made = Drill(
        answers,
        {region: edge(url) for region, url in fleet.edges.items()},
        lambda figures, remark: kept.append((name, figures, remark)),
    )
    with made.load() as warming:
        warming.goes_on(1.0)
    assert warming.failures == []
    return made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.when == "call":
        item.stash[FAILED] = report.failed
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what was measured, as the table in `docs/explanation/failure-modes.md` has it."""
    if not (kept := config.stash.get(MEASURED, [])):
        return
    terminalreporter.section("measured in the lab")
    terminalreporter.line(f"{machine()}; {RPS:g} requests a second")
    terminalreporter.line(
        "| test | requests | failed | p99 before, ms | p50, ms | p99, ms | p99 after, ms | slow | last slow, s | |"
    )
    terminalreporter.line("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    for name, f, remark in kept:
        terminalreporter.line(
            f"| {name} | {f.requests} | {f.failed} | {f.before_p99_ms:g} | {f.fault_p50_ms:g} | {f.fault_p99_ms:g} "
            f"| {f.after_p99_ms:g} | {f.slow} | {f.last_slow_s:g} | {remark} |"
        )
