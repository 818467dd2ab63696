"""The lab's vCenter binds its port itself, and the lab learns from it which one that is.

A stand-in takes the place of the simulated vCenter: a process with its options, its exit codes and its readiness file.
That the real one does the same is shown in ``lab/vcenter/simulator/main_test.go`` and ``tests/deploy/test_lab.py``.
"""

from __future__ import annotations

import os
import shlex
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.home import state
from lab.home.credentials import credentials_of
from lab.home.state import Paths, Record
from lab.toolchain.tools import Tools
from lab.vcenter import server
from tests import ports

# With a file `rival` in its directory another program takes the port in the last moment before the bind, and lets it go
# when the stand-in ends; with a file `broken` it fails for another reason.
STAND_IN = f"""
import json, os, signal, socket, sys
print("start", flush=True)
at = next(part for part in sys.argv if part.startswith("{server.LISTEN}")).partition("=")[2]
host, _, port = at.rpartition(":")
if os.path.exists("broken"):
    sys.exit("vcenter: no such certificate")
rival = socket.create_server((host, int(port))) if os.path.exists("rival") else None
try:
    server = socket.create_server((host, int(port)))
except OSError:
    if "{server.FALLBACK}" not in sys.argv:
        sys.exit({server.PORT_TAKEN})
    server = socket.create_server((host, 0))
ready = sys.argv[sys.argv.index("-ready") + 1]
with open(ready + ".new", "w") as file:
    json.dump({{"server": "%s:%d" % server.getsockname(), "pid": os.getpid()}}, file)
os.rename(ready + ".new", ready)
signal.pause()
"""


@dataclass
class Lab:
    """A lab without anything but its vCenter.

    Args:
        paths: Its directory.
        record: Its memory.
        tools: Its programs; there is only the stand-in.
        lines: What it printed.
    """

    paths: Paths
    record: Record
    tools: Tools
    lines: list[str] = field(default_factory=list)

    def ensure(self, port: int | None = None) -> server.VCenter:
        """Start its vCenter."""
        return server.ensure(self.paths, self.record, self.tools, "uuid", port=port, progress=self.lines.append)

    def stop(self) -> None:
        """End its vCenter."""
        server.stop(self.paths)

    def break_off(self, how: str) -> None:
        """Let the next start meet a ``rival``, or be ``broken``."""
        (self.paths.vcenter / how).touch()

    def starts(self) -> int:
        """How often its vCenter was started."""
        return len(server.log_file(self.paths).read_text().splitlines())


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A lab that was never up."""
    paths = Paths(tmp_path / "lab")
    record = state.prepare(paths)
    credentials_of(paths).ensure([])
    script, program = tmp_path / "stand_in.py", tmp_path / server.PROGRAM
    script.write_text(STAND_IN)
    # A process is known by the name that it was started with. Python would look for its library next to that name.
    program.write_text(
        f"#!/bin/bash\nexport PYTHONHOME={shlex.quote(sys.base_prefix)}\n"
        f'exec -a "$0" {shlex.quote(sys.executable)} {shlex.quote(str(script))} "$@"\n'
    )
    program.chmod(0o700)
    made = Lab(paths, record, Tools(Path(), None, Path(), program, Path()))
    yield made
    made.stop()


def answers(port: int) -> bool:
    """Whether somebody listens on a port."""
    with socket.socket() as client:
        return client.connect_ex((ports.HOST, port)) == 0


def test_a_preferred_port_that_is_free_is_taken_without_a_word(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    with ports.reserved() as port:
        monkeypatch.setattr("lab.home.stackfile.wanted_port", lambda: port)  # what a lab that was never up prefers
        assert lab.ensure().port == lab.record.port == port
        assert lab.lines == []


def test_the_port_of_its_last_run_is_what_a_lab_prefers(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.home.stackfile.wanted_port", lambda: pytest.fail("it was asked for"))
    with ports.reserved() as port:
        lab.record.port = port
        for _ in range(2):
            assert lab.ensure().port == lab.record.port == port
            lab.stop()


def test_where_the_preferred_port_is_taken_the_lab_has_the_one_that_the_vcenter_reports(lab: Lab) -> None:
    with socket.create_server((ports.HOST, 0)) as taken:
        port = lab.record.port = taken.getsockname()[1]
        started = lab.ensure()
        assert server.running(lab.paths) == started
        assert answers(started.port)
    assert lab.record.port == started.port != port
    assert started.server == f"{ports.HOST}:{started.port}"
    (line,) = lab.lines
    assert line.startswith(f"Port {port} is taken by ")
    assert line.endswith(f" (pid {os.getpid()}); the lab's vCenter takes {started.port}")


def test_a_port_that_is_taken_between_the_choice_and_the_bind_is_given_up_for_another(lab: Lab) -> None:
    lab.break_off("rival")
    with ports.reserved() as port:
        lab.record.port = port
        started = lab.ensure()
    assert lab.record.port == started.port != port
    assert lab.starts() == 1


def test_a_port_that_was_asked_for_is_not_given_up(lab: Lab) -> None:
    lab.record.port = 4711
    with socket.create_server((ports.HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LabError) as refused:
            lab.ensure(port)
    assert str(refused.value).startswith(f"Port {port} is taken by ")
    assert f"(pid {os.getpid()}). Choose another one with --port" in str(refused.value)
    assert lab.record.port == 4711
    assert lab.starts() == 1


def test_a_port_that_was_asked_for_and_is_free_is_the_labs_from_then_on(lab: Lab) -> None:
    lab.record.port = 4711
    with ports.reserved() as port:
        assert lab.ensure(port).port == lab.record.port == port
    assert lab.lines == []


def test_a_start_that_fails_for_another_reason_is_reported_with_its_last_lines_and_not_tried_again(lab: Lab) -> None:
    lab.break_off("broken")
    with pytest.raises(LabError, match=r"exit code 1. Its last lines:\n  start\n  vcenter: no such certificate"):
        lab.ensure()
    assert server.running(lab.paths) is None
    assert server.log_file(lab.paths).read_text().count("start") == 1
