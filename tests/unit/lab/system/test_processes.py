"""Processes are known by what they were started with, so a number that was given to another one means nothing."""

from __future__ import annotations

import copy
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lab.system import processes
from tests import ports

PROGRAM = "lab-test-sleeper"
LONG_S = 10.0  # far beyond what any of this takes
# It starts a program that waits for its end, prints the number, and never asks for its exit status.
NEGLECTS = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print(child.pid, flush=True)
sys.stdin.read()
"""
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); signal.pause()"


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of a program of our own, started with the path of a lab."""
    program = tmp_path / PROGRAM
    shutil.copy("/bin/sh", program)
    process = subprocess.Popen(
        [program, "-c", "echo ready; while :; do read line; done", f"--state={tmp_path}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


def test_a_process_is_found_by_its_program_and_its_lab(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    assert [process.pid for process in processes.find(PROGRAM, str(tmp_path))] == [sleeper.pid]
    assert processes.find(PROGRAM, str(tmp_path / "another")) == []
    assert processes.find("another-program", str(tmp_path)) == []


def test_a_life_ends_with_its_process(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    (process,) = processes.find(PROGRAM, str(tmp_path))
    assert process.alive
    assert process.identity == processes.inspect(sleeper.pid).identity  # type: ignore[union-attr]
    processes.stop(process)
    assert not process.alive
    assert not psutil.pid_exists(process.pid)  # its exit status was collected
    assert processes.find(PROGRAM, str(tmp_path)) == []
    processes.stop(process)


def test_an_identity_stays_the_same_when_the_clock_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    before = processes.inspect(os.getpid())
    assert before
    began = before.handle.create_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: 0.0)
    after = processes.inspect(os.getpid())
    assert after
    assert after.handle.create_time() != began
    assert after.identity == before.identity


def test_the_age_of_a_process_is_counted_in_seconds() -> None:
    began = time.time()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        process = processes.inspect(child.pid)
        assert process
        assert -1.0 <= process.age_s <= time.time() - began + 1.0  # boot time is known to the second
        child.kill()


def test_the_same_number_is_not_the_same_process() -> None:
    mine = processes.inspect(os.getpid())
    assert mine
    assert mine.alive
    earlier = processes.Process(copy.copy(mine.handle), mine.started - 1, mine.command)
    earlier.handle._ident = (mine.pid, 0.0)  # type: ignore[attr-defined]
    assert not earlier.alive
    processes.stop(earlier)  # must not end this test
    earlier.send(9)


@pytest.mark.parametrize("number", [-1, 0, 1 << 70])
def test_a_number_of_no_process_is_no_process(number: int) -> None:
    assert processes.inspect(number) is None


@pytest.mark.parametrize("reason", [psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied, FileNotFoundError])
def test_a_process_that_ends_while_it_is_read_or_is_hidden_is_left_out(
    monkeypatch: pytest.MonkeyPatch, reason: type[Exception]
) -> None:
    read = psutil.Process.cmdline

    def cmdline(process: psutil.Process) -> list[str]:
        if process.pid == os.getpid():
            raise reason(process.pid)
        return read(process)

    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        monkeypatch.setattr(psutil.Process, "cmdline", cmdline)
        assert processes.inspect(os.getpid()) is None
        found = [process.pid for process in processes.everything()]
        child.kill()
    assert child.pid in found
    assert os.getpid() not in found


def test_a_process_of_another_user_is_refused_as_the_system_does_it(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs the lab gets this in words, as every other refusal of the system."""

    def kill(pid: int, _number: int) -> None:
        assert pid == sleeper.pid
        raise PermissionError

    process = processes.inspect(sleeper.pid)
    assert process
    monkeypatch.setattr(os, "kill", kill)
    with pytest.raises(PermissionError, match=f"process {sleeper.pid} belongs to another user"):
        processes.stop(process)


def test_a_zombie_is_not_alive_and_not_waited_for_whoever_its_parent_is() -> None:
    with subprocess.Popen([sys.executable, "-c", NEGLECTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        process = processes.inspect(pid)
        assert process
        began = time.monotonic()
        assert processes.end([process], LONG_S, LONG_S) == []
        assert time.monotonic() - began < LONG_S
        assert psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        assert not process.alive
        assert processes.inspect(pid) is None


def test_a_process_that_ignores_the_first_signal_gets_the_second_and_no_exit_status_is_left() -> None:
    with (
        subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE) as stubborn,
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other,
    ):
        assert stubborn.stdout
        stubborn.stdout.readline()
        found = [processes.inspect(child.pid) for child in (stubborn, other)]
        left = processes.end([process for process in found if process], 0.2, LONG_S)
        remaining = [child for child in (stubborn, other) if psutil.pid_exists(child.pid)]
        for child in remaining:
            child.kill()
    assert left == []
    assert remaining == []


def test_a_process_that_the_kernel_does_not_end_is_returned(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    process = processes.inspect(sleeper.pid)
    assert process
    monkeypatch.setattr(os, "kill", lambda *_: None)
    assert processes.end([process], 0.0, 0.0) == [process]


def test_the_owner_of_a_port_is_named() -> None:
    with ports.reserved() as port:
        with socket.create_server((ports.HOST, port)):
            assert f"(pid {os.getpid()})" in processes.owner_of_port(port)
        assert processes.owner_of_port(port) == ""


def test_what_a_gone_keeper_left_is_found_and_what_a_living_one_keeps_is_not(tmp_path: Path) -> None:
    keeper, member = tmp_path / "keeper", tmp_path / "plugins" / "member"
    member.parent.mkdir()
    shutil.copy("/bin/sh", keeper)
    shutil.copy("/bin/sh", member)
    script = f"{member} -c 'echo $$; read line' <&3 & wait"
    with subprocess.Popen(
        [keeper, "-c", f"exec 3<&0; {script}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        pid = int(process.stdout.readline())
        assert processes.orphans(member.parent, "keeper") == []
        process.kill()
        process.wait()
        assert [orphan.pid for orphan in processes.orphans(member.parent, "keeper")] == [pid]
        (orphan,) = processes.orphans(member.parent, "keeper")
        processes.stop(orphan)
    assert processes.orphans(member.parent, "keeper") == []
