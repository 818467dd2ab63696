"""Processes are known by what they were started with, so a number that was given to another one means nothing."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.system import processes
from tests import ports

PROGRAM = "lab-test-sleeper"


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
    assert processes.find(PROGRAM, str(tmp_path)) == []


def test_the_same_number_is_not_the_same_process() -> None:
    mine = processes.inspect(os.getpid())
    assert mine
    assert mine.alive
    earlier = processes.Process(mine.pid, mine.started - 1, mine.command)
    assert not earlier.alive
    processes.stop(earlier)  # must not end this test


def test_a_zombie_is_not_alive(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert child.stdout
    child.stdout.read()  # ends when the child does; until wait() it is a zombie
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert processes.inspect(child.pid) is None
    child.wait()
    child.stdout.close()


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
