"""Fixtures of the guest tests: a node in several states, and the processes next to it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.guest.host import Host, scratch
from tests.unit.guest.processes import PROGRAM, Endpoint, ForkServer
from tests.unit.guest.sets import Parts


def load_program(path: Path) -> ModuleType:
    """A guest program as a module, without a compiled file beside it."""
    loader = SourceFileLoader("lbstack_apply", str(path))
    spec = spec_from_loader("lbstack_apply", loader)
    assert spec is not None
    module = module_from_spec(spec)
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    loader.exec_module(module)
    sys.dont_write_bytecode = writes
    return module


@pytest.fixture(scope="session")
def program() -> ModuleType:
    """The applier as a module, for tests that need no node."""
    return load_program(PROGRAM)


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """The process that runs the program under test."""
    process = ForkServer()
    yield process
    process.close()


@pytest.fixture(scope="session")
def endpoint() -> Iterator[Endpoint]:
    """The health endpoint of the node that was created last."""
    server = Endpoint()
    yield server
    server.close()


@pytest.fixture
def base() -> Iterator[Path]:
    """The directory of a test's node."""
    with scratch() as path:
        yield path


@pytest.fixture
def fresh(base: Path, fork_server: ForkServer, endpoint: Endpoint) -> Host:
    """A node before its first boot."""
    return Host(base, fork_server, endpoint).build()


@pytest.fixture(scope="session")
def installed(fork_server: ForkServer, endpoint: Endpoint) -> Iterator[Host]:
    """A node that serves the set ``a``; tests use copies of it."""
    with scratch() as path:
        host = Host(path, fork_server, endpoint).build()
        host.install("a")
        yield host


@pytest.fixture
def node(installed: Host, base: Path) -> Host:
    """A node that serves the set ``a``."""
    return installed.clone(base)


@pytest.fixture
def served(node: Host) -> Parts:
    """The set that ``node`` serves."""
    return node.make("a")
