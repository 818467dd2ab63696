"""The node that guest tests run on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.guest.host import PROGRAM, Endpoint, Host, Parts, Zygote, scratch


@pytest.fixture(scope="session")
def program() -> ModuleType:
    """The program as a module, for what needs no node."""
    loader = SourceFileLoader("lbstack_apply", str(PROGRAM))
    spec = spec_from_loader("lbstack_apply", loader)
    assert spec is not None
    module = module_from_spec(spec)
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    loader.exec_module(module)
    sys.dont_write_bytecode = writes
    return module


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """The process that runs the program under test."""
    process = Zygote()
    yield process
    process.close()


@pytest.fixture(scope="session")
def endpoint() -> Iterator[Endpoint]:
    """The health endpoint of the node that was made last."""
    server = Endpoint()
    yield server
    server.close()


@pytest.fixture
def base() -> Iterator[Path]:
    """Where a test's node is."""
    with scratch() as path:
        yield path


@pytest.fixture
def fresh(base: Path, zygote: Zygote, endpoint: Endpoint) -> Host:
    """A node before its first boot."""
    return Host(base, zygote, endpoint).build()


@pytest.fixture(scope="session")
def installed(zygote: Zygote, endpoint: Endpoint) -> Iterator[Host]:
    """A node that serves the set ``a``, to be copied."""
    with scratch() as path:
        host = Host(path, zygote, endpoint).build()
        host.install("a")
        yield host


@pytest.fixture
def node(installed: Host, base: Path) -> Host:
    """A node that serves the set ``a``."""
    return installed.clone(base)


@pytest.fixture
def served(node: Host) -> Parts:
    """What it serves."""
    return node.make("a")
