"""What every tier shares: markers by folder, loud skips, a line for each tier at the end."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from tests import tiers

TALLY = pytest.StashKey[tiers.Tally]()
TIER, REASON = "tier", "why skipped"  # what a test's report carries, also from a worker to the process that counts


class Counting:
    """Counts each test once, in the process that prints the summary."""

    def __init__(self, tally: tiers.Tally) -> None:
        self.tally = tally

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One phase of one test has ended."""
        carried = {name: str(value) for name, value in report.user_properties if name in (TIER, REASON)}
        if TIER in carried and (report.when == "call" or (report.when == "setup" and not report.passed)):
            self.tally.add(carried[TIER], report.outcome, carried.get(REASON, ""))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of all tiers."""
    parser.addoption(
        "--update-goldens",
        action="store_true",
        help="write what is rendered now into tests/goldens instead of comparing with it; review the diff",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, so that ``pytest -m native`` works and a wrong one is an error."""
    # A shell starts what it puts into the background with this signal ignored, which every child would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # The engine, the plugin and the simulated vCenter live for seconds, in memory that nobody else needs: with Go's own
    # limit they spend a tenth of that on looking for garbage.
    os.environ.setdefault("GOGC", "400")
    if hasattr(config, "workerinput"):
        from tests import scheduling  # noqa: PLC0415 - of xdist

        scheduling.give_way()
    for tier, needs in tiers.TIERS.items():
        config.addinivalue_line("markers", f"{tier}: a test of this tier, set by its folder; needs {needs}")
    config.stash[TALLY] = tiers.Tally()
    config.pluginmanager.register(Counting(config.stash[TALLY]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: a fifth of the time of the unit tests is spent waiting for children."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Whole files, in both directions; only where whole files are asked for (``make test``)."""
    if config.getvalue("dist") != "loadfile":
        return None
    from tests.scheduling import FromBothEnds  # noqa: PLC0415 - of xdist, which a run without workers does not need

    return FromBothEnds(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its tier, and begin with what takes long: workers take whole files, in this order."""
    for item in items:
        tier = tiers.tier_of(item.path)
        if tier is not None:
            item.add_marker(tier)
    items.sort(key=_turn)


def pytest_collection_finish() -> None:
    """Do not look for garbage among tests and modules, which stay until the end, and rarely among the rest."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


FIRST = (
    "test_first_boot",  # before anything has befallen the guests
    "test_rolls",  # what takes longest
    *("test_engine", "test_traffic", "test_tiers"),  # wait more than others do, and best while those are at work
)


def _turn(item: pytest.Item) -> tuple[int, int]:
    """The slowest tier first, and of it what has to be first."""
    order = list(tiers.TIERS)[::-1]
    tier = tiers.tier_of(item.path)
    place = FIRST.index(item.path.stem) if item.path.stem in FIRST else len(FIRST)
    return order.index(tier) if tier in order else len(order), place


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say which tier it was, and turn any skip into a failure under CI, however the test asked for it."""
    report = yield
    tier = tiers.tier_of(item.path)
    expected_failure = hasattr(report, "wasxfail")
    reason = ""
    if report.skipped and not expected_failure:
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        if tiers.in_ci():
            report.outcome = "failed"
            report.longrepr = f"skipped under CI, which is a failure: {reason}"
            reason = ""
    if tier is not None:
        report.user_properties.append((TIER, tier))
    if reason:
        report.user_properties.append((REASON, reason))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A file that is skipped as a whole is a failure under CI too."""
    report = yield
    if report.skipped and tiers.in_ci():
        report.outcome = "failed"
        report.longrepr = f"skipped as a whole under CI, which is a failure: {report.longrepr}"
    return report


@pytest.hookimpl(trylast=True)  # below the slowest tests, so that it is what one sees
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which tiers ran and why others did not."""
    terminalreporter.section("tiers")
    for line in config.stash[TALLY].lines(tiers.present_tiers()):
        terminalreporter.line(line)


@pytest.fixture
def require() -> Callable[..., None]:
    """``tiers.require`` for tests that would rather not import it."""
    return tiers.require


@pytest.fixture
def update_goldens(request: pytest.FixtureRequest) -> bool:
    """Whether goldens are to be written instead of compared."""
    return bool(request.config.getoption("--update-goldens"))


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of the checkout."""
    return tiers.TESTS.parent
