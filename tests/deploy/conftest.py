"""Fixtures of the deploy tier; what they can do is in ``harness.py``."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deploy import harness
from tests.deploy.harness import Harness


@pytest.fixture(scope="session")
def short_directory() -> Iterator[Callable[[], Path]]:
    """Makes directories with short names, because the names of sockets may have 107 bytes; removed at the end."""
    made: list[Path] = []

    def make() -> Path:
        made.append(Path(tempfile.mkdtemp(prefix="lab-")))
        return made[-1]

    yield make
    for directory in made:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def tools() -> None:
    """The engine and the simulated vCenter are built."""
    harness.require_tools()


@pytest.fixture(scope="package")
def tier_lab(tools: None, short_directory: Callable[[], Path]) -> Iterator[Harness]:
    """One lab for the whole tier: vCenter runs, the library is filled, the stack exists, nothing is deployed."""
    lab = Harness(short_directory() / "lab")
    try:
        lab.prepare()
        yield lab
    finally:
        lab.remove()


@pytest.fixture
def pair(tier_lab: Harness) -> Harness:
    """The tier's lab with the post's pair deployed and nothing else changed; a test may do to it what it likes."""
    tier_lab.converge()
    return tier_lab


@pytest.fixture
def new_lab(tools: None, short_directory: Callable[[], Path]) -> Iterator[Callable[[], Harness]]:
    """Makes labs that do not exist yet, for tests of the lab itself; whatever is left of them is removed."""
    made: list[Harness] = []

    def make() -> Harness:
        made.append(Harness(short_directory() / "lab"))
        return made[-1]

    yield make
    for lab in made:
        lab.remove()
