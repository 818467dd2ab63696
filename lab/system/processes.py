"""Processes of a lab: found by what they were started with, never by a number in a file.

A pid file lies as soon as its process is gone and the number is given to another. What a process was started with
(its command line holds a path inside the lab's own state directory) cannot belong to another one, so that is what
counts. Nothing is ever ended here but a process that was found in this way.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
POLL_S = 0.05
TERM_TIMEOUT_S = 10.0
KILL_TIMEOUT_S = 5.0
LISTENING = "0A"  # the state column of /proc/net/tcp


@dataclass(frozen=True)
class Process:
    """A process as the kernel shows it.

    Args:
        pid: Its number.
        started: Clock ticks since boot at its start; with the pid it names one process for ever.
        command: Its command line.
        parent: The number of its parent.
    """

    pid: int
    started: int
    command: tuple[str, ...]
    parent: int = 0

    @property
    def identity(self) -> str:
        """One life of a program, as text."""
        return f"{boot_id()}:{self.pid}:{self.started}"

    @property
    def alive(self) -> bool:
        """Whether it still runs (a zombie does not)."""
        now = inspect(self.pid)
        return now is not None and now.started == self.started


def boot_id() -> str:
    """The kernel's name for the time since its last start."""
    return (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8]


def inspect(pid: int) -> Process | None:
    """A running process by its number; None where there is none or only its zombie."""
    try:
        status = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        command = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return None
    # The name in parentheses may hold blanks and parentheses; the fields after it are counted from 3 (state).
    fields = status.rpartition(")")[2].split()
    state, parent, started = fields[0], int(fields[1]), int(fields[19])
    if state in ("Z", "X"):
        return None
    return Process(pid, started, tuple(part.decode(errors="replace") for part in command.split(b"\0") if part), parent)


def everything() -> list[Process]:
    """Every process of this machine that has a command line."""
    found = (inspect(int(entry.name)) for entry in PROC.iterdir() if entry.name.isdigit())
    return [process for process in found if process and process.command]


def orphans(directory: Path, keeper: str) -> list[Process]:
    """Processes that were started with a path below a directory and whose keeper is gone.

    Args:
        directory: Where their programs or scripts lie.
        keeper: The base name of the program that starts and ends them; below a living one they are left alone.
    """
    running = {process.pid: process for process in everything()}
    prefix = f"{directory}{os.sep}"

    def kept(process: Process | None) -> bool:
        while process:
            if Path(process.command[0]).name == keeper:
                return True
            process = running.get(process.parent)
        return False

    members = [process for process in running.values() if any(part.startswith(prefix) for part in process.command)]
    return [process for process in members if not kept(process)]


def age(process: Process) -> float:
    """Seconds since a process started."""
    uptime = float((PROC / "uptime").read_text(encoding="ascii").split()[0])
    return uptime - process.started / os.sysconf("SC_CLK_TCK")


def find(program: str, argument: str) -> list[Process]:
    """Every process of this program that was started with this argument.

    Args:
        program: The base name of its executable.
        argument: A text that stands in its command line as a whole argument or as the value of ``--name=value``.
    """
    return [
        process
        for process in everything()
        if Path(process.command[0]).name == program
        and any(part == argument or part.endswith(f"={argument}") for part in process.command[1:])
    ]


def stop(process: Process) -> None:
    """End a process: asked first, forced after ``TERM_TIMEOUT_S``; returns when it is gone.

    Raises:
        TimeoutError: The kernel does not let it go (it hangs in a device or a dead mount).
    """
    for signal_number, limit in ((signal.SIGTERM, TERM_TIMEOUT_S), (signal.SIGKILL, KILL_TIMEOUT_S)):
        if not process.alive:
            return
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal_number)
        deadline = time.monotonic() + limit
        while process.alive and time.monotonic() < deadline:
            reap(process.pid)
            time.sleep(POLL_S)
    if process.alive:
        raise TimeoutError(f"process {process.pid} ({process.command[0]}) does not end")


def reap(pid: int) -> None:
    """Take in the exit of a child of ours, if it is one."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def owner_of_port(port: int) -> str:
    """Who listens on a TCP port of this machine, in words; empty where it cannot be told.

    Other users' processes show their sockets to root only.
    """
    inodes = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (PROC / "net" / table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    for entry in PROC.iterdir():
        if not inodes or not entry.name.isdigit():
            continue
        with suppress(OSError):
            if any(_target(link) in inodes for link in (entry / "fd").iterdir()):
                process = inspect(int(entry.name))
                if process and process.command:
                    return f"{Path(process.command[0]).name} (pid {process.pid})"
    return ""


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""
