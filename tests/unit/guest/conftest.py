"""The node that guest tests run on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.guest.host import Host, Parts, Zygote


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """The process that runs the program under test."""
    process = Zygote()
    yield process
    process.close()


@pytest.fixture
def fresh(tmp_path: Path, zygote: Zygote) -> Iterator[Host]:
    """A node before its first boot."""
    host = Host(tmp_path, zygote)
    yield host
    host.close()


@pytest.fixture
def node(fresh: Host) -> Host:
    """A node that serves the set ``a``."""
    fresh.install("a")
    return fresh


@pytest.fixture
def served(node: Host) -> Parts:
    """What it serves."""
    return node.make("a")
