"""Find the processes of a lab by their command lines, never by a pid file, and end them.

A pid file is wrong as soon as its process has ended and the number belongs to another one. The command line of a lab's
process holds a path inside the lab's state directory, which no other process has. Only processes that were found in
this way are ever ended.

psutil reads the processes. It leaves out those that end while they are read, and refuses to signal a number that was
given to another process.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

PROC = Path("/proc")
POLL_S = 0.05
TERM_TIMEOUT_S = 10.0
KILL_TIMEOUT_S = 5.0
GONE = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


@dataclass(frozen=True)
class Process:
    """A process and what it was started with.

    Args:
        handle: The same for psutil, which distinguishes it from a later process of the same number.
        started: Clock ticks from the machine's boot to its start.
        command: Its command line.
    """

    handle: psutil.Process
    started: int
    command: tuple[str, ...]

    @property
    def pid(self) -> int:
        """Its number."""
        return self.handle.pid

    @property
    def name(self) -> str:
        """The base name of its program, fit to be printed."""
        return Path(self.command[0]).name.encode(errors="replace").decode() if self.command else ""

    @property
    def parent(self) -> int:
        """The number of its parent; 0 when it has ended."""
        try:
            return self.handle.ppid()
        except psutil.Error:
            return 0

    @property
    def identity(self) -> str:
        """One life of a program as text, which other commands compare later."""
        return f"{boot_id()}:{self.pid}:{self.started}"

    @property
    def age_s(self) -> float:
        """Seconds since it started."""
        return time.time() - self.handle.create_time()

    @property
    def alive(self) -> bool:
        """Whether it still runs (a zombie does not)."""
        try:
            return self.handle.is_running() and self.handle.status() not in GONE
        except (psutil.NoSuchProcess, FileNotFoundError):
            return False

    def send(self, number: int) -> None:
        """Send a signal; nothing happens where the process has ended, whatever process has its number now.

        Raises:
            PermissionError: It belongs to another user.
        """
        try:
            self.handle.send_signal(number)
        except psutil.NoSuchProcess:
            pass
        except psutil.AccessDenied as error:
            raise PermissionError(errno.EPERM, f"process {self.pid} belongs to another user", self.name) from error

    def reap(self) -> None:
        """Collect its exit status, if it has ended and is a child of this process."""
        self.wait(0)

    def wait(self, limit_s: float) -> None:
        """Wait for its end, no longer than a limit. For a zombie of another parent it always lasts that long."""
        with suppress(psutil.TimeoutExpired):
            self.handle.wait(limit_s)


def boot_id() -> str:
    """The kernel's name for the time since its last start."""
    return (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8]


def inspect(pid: int) -> Process | None:
    """A running process by its number; None where there is none, or only its zombie, or one that this user cannot see.

    Args:
        pid: Any number, also one of a damaged file.
    """
    try:
        handle = psutil.Process(pid)
        # Asked for the command line of a zombie, psutil raises an error too.
        return Process(handle, _started(pid), tuple(handle.cmdline()))
    except (psutil.Error, OSError, ValueError):  # it ended meanwhile, is hidden, or the number is none of a process
        return None


def _started(pid: int) -> int:
    """Clock ticks from the machine's boot to the start of a process (proc_pid_stat(5), field 22).

    psutil's ``create_time()`` is no replacement in a text that outlives this command: it is the time of day, which is
    another one after the clock was set.
    """
    text = (PROC / str(pid) / "stat").read_bytes()
    return int(text.rpartition(b")")[2].split()[19])  # the name before may hold blanks and parentheses


def everything() -> list[Process]:
    """Every process of this machine that has a command line."""
    # Not psutil.process_iter, which returns an object from an earlier call for a number that was given away since.
    found = (inspect(pid) for pid in psutil.pids())
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
            if process.name == keeper:
                return True
            process = running.get(process.parent)
        return False

    members = [process for process in running.values() if any(part.startswith(prefix) for part in process.command)]
    return [process for process in members if not kept(process)]


def find(program: str, argument: str) -> list[Process]:
    """Every process of this program that was started with this argument.

    Args:
        program: The base name of its executable.
        argument: A text that stands in its command line as a whole argument or as the value of ``--name=value``.
    """
    return [
        process
        for process in everything()
        if process.name == program
        and any(part == argument or part.endswith(f"={argument}") for part in process.command[1:])
    ]


def end(processes: Iterable[Process], term_s: float = TERM_TIMEOUT_S, kill_s: float = KILL_TIMEOUT_S) -> list[Process]:
    """End processes: SIGTERM for all of them first, SIGKILL later; returns when they have ended.

    Not by psutil's ``wait_procs``, which counts zombies as running: in a container without an init they stay forever.

    Args:
        processes: Those that have ended already are left out.
        term_s: How long to wait after SIGTERM, in seconds.
        kill_s: How long to wait after SIGKILL, in seconds.

    Returns:
        Those that still run: the kernel cannot end them (they hang in a device or a dead mount).

    Raises:
        PermissionError: One belongs to another user.
    """
    members = list(processes)
    left = members
    for number, limit_s in ((signal.SIGTERM, term_s), (signal.SIGKILL, kill_s)):
        left = [process for process in left if process.alive]
        for process in left:
            process.send(number)
        deadline = time.monotonic() + limit_s
        while left and time.monotonic() < deadline:
            left[0].wait(POLL_S)
            left = [process for process in left if process.alive]
    for process in members:
        process.reap()
    return left


def stop(process: Process) -> None:
    """End a process; returns when it has ended.

    Raises:
        TimeoutError: The kernel cannot end it.
        PermissionError: It belongs to another user.
    """
    if end([process]):
        raise TimeoutError(f"process {process.pid} ({process.command[0]}) does not end")


def owner_of_port(port: int) -> str:
    """Who listens on a TCP port of this machine, in words; empty where it is not known.

    Other users' processes show their sockets to root only.
    """
    for socket in psutil.net_connections("tcp"):
        if socket.status == psutil.CONN_LISTEN and socket.laddr and socket.laddr.port == port and socket.pid:
            process = inspect(socket.pid)
            if process and process.command:
                return f"{process.name} (pid {process.pid})"
    return ""
