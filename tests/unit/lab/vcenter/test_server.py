"""Labs that are started in the same moment do not stumble over each other's port."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest

from lab.errors import LabError
from lab.home import stackfile
from lab.home.state import Paths, Record
from lab.toolchain.tools import Tools
from lab.vcenter import server

STARTED = object()


@pytest.fixture
def others() -> Iterator[ExitStack]:
    """What other labs hold; let go at the end."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Record:
    """A lab that runs no vCenter and would like a port that is free."""
    monkeypatch.setattr(server, "running", lambda _: None)
    monkeypatch.setattr(server, "stop", lambda _: None)
    with socket.create_server((stackfile.HOST, 0)) as free:
        return cast("Record", type("Remembered", (), {"port": int(free.getsockname()[1]), "guests": False})())


def ensure(record: Record, port: int | None = None) -> object:
    """Start a vCenter for that lab."""
    return server.ensure(Paths(Path("/lab")), record, cast("Tools", None), "", port=port, progress=lambda _: None)


def taken_meanwhile(others: ExitStack, ports: list[int]) -> Any:
    """A start before which another lab takes the port, the first time."""

    def start(_paths: Paths, record: Record, *_: object) -> object:
        ports.append(record.port)
        if len(ports) > 1:
            return STARTED
        others.enter_context(socket.create_server((stackfile.HOST, record.port)))
        raise LabError("bind: address already in use")

    return start


def test_a_port_that_another_lab_took_in_the_same_moment_is_given_up_for_another(
    record: Record, others: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports: list[int] = []
    monkeypatch.setattr(server, "_start", taken_meanwhile(others, ports))
    assert ensure(record) is STARTED
    assert ports[0] != ports[1] == record.port


def test_a_port_that_was_asked_for_is_not_given_up(
    record: Record, others: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports: list[int] = []
    monkeypatch.setattr(server, "_start", taken_meanwhile(others, ports))
    with pytest.raises(LabError, match=f"Port {record.port} is taken by"):
        ensure(record, record.port)
    assert len(ports) == 1


def test_a_start_that_fails_for_another_reason_is_not_tried_again(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def start(_paths: Paths, record: Record, *_: object) -> None:
        tried.append(record.port)
        raise LabError("no such certificate")

    monkeypatch.setattr(server, "_start", start)
    with pytest.raises(LabError, match="no such certificate"):
        ensure(record)
    assert len(tried) == 1
