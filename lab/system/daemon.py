"""Background programs of a lab: start them, wait until they serve, find them again, end them.

A daemon is ``python -m MODULE --mark DIRECTORY ...``. It is found by this command line, never by a pid file. When it
serves, it writes a line to a pipe that it inherits. If it fails before, its messages reach the user. It may be tied to
the process that started it; then it ends with that process.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.errors import LabError
from lab.system.cache import CHECKOUT
from lab.system.processes import Process, everything, inspect, stop
from lab.system.waiting import until

READY_S = 20.0  # they serve after 0.2 s; a machine that builds something next to it needs longer
TAIL_LINES = 15
MARK, READY_FD, PARENT = "--mark", "--ready-fd", "--parent"


@dataclass(frozen=True)
class Daemon:
    """One background program of one lab.

    Args:
        module: The module that is run.
        mark: A directory of this lab alone, which stands in the command line.
    """

    module: str
    mark: Path

    @property
    def _signature(self) -> tuple[str, ...]:
        return ("-m", self.module, MARK, str(self.mark.resolve()))

    def find(self) -> list[Process]:
        """The running ones: one, none, or more after an accident."""
        length = len(self._signature)
        return [process for process in everything() if process.command[1 : 1 + length] == self._signature]

    def ensure(self, arguments: Sequence[str], log: Path, *, tied: bool = False) -> Process:
        """Let exactly one run with these arguments: the one that does, or a new one in the place of any other.

        Args:
            arguments: As for ``start``; they have to name everything that makes a running one stale.
            log: As for ``start``.
            tied: As for ``start``.

        Raises:
            LabError: An old one does not end, or the new one does not start.
        """
        running = self.find()
        if len(running) == 1 and self._arguments(running[0]) == tuple(arguments):
            return running[0]
        self.stop()
        return self.start(arguments, log, tied=tied)

    def _arguments(self, process: Process) -> tuple[str, ...]:
        rest = process.command[1 + len(self._signature) :]
        while rest[:1] in ((READY_FD,), (PARENT,)):
            rest = rest[2:]
        return rest

    def start(self, arguments: Sequence[str], log: Path, *, tied: bool = False, limit_s: float = READY_S) -> Process:
        """Start it and wait until it serves.

        Args:
            arguments: What it needs to know besides its mark.
            log: The file that takes its output, appended.
            tied: It ends with this process, however this process ends.
            limit_s: For how long to wait, in seconds.

        Raises:
            LabError: It ended or did not serve in time; with the end of its log.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        mine, its = os.pipe()
        own = [READY_FD, str(its), *([PARENT, str(os.getpid())] if tied else [])]
        with log.open("ab") as output:
            begin = output.tell()
            try:
                child = subprocess.Popen(
                    [sys.executable, *self._signature, *own, *arguments],
                    cwd=CHECKOUT,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # a Ctrl-C at the terminal is not for it
                    pass_fds=(its,),
                )
            finally:
                os.close(its)
        try:
            readable, _, _ = select.select([mine], [], [], limit_s)
            if readable and os.read(mine, 1):
                process = inspect(child.pid)
                if process is not None:
                    child.returncode = 0  # it outlives this object on purpose, which Popen would complain about
                    return process
        finally:
            os.close(mine)
        child.kill()
        child.wait()
        with log.open("rb") as written:
            written.seek(begin)
            tail = written.read().decode(errors="replace").strip().splitlines()[-TAIL_LINES:]
        what = "did not serve in time" if not readable else "ended at once"
        raise LabError(
            f"`python -m {self.module}` {what}:\n" + "\n".join(f"  {line}" for line in tail or ["(no word)"])
        )

    def wait(self, limit_s: float) -> None:
        """Let it end by itself.

        Raises:
            LabError: It does not.
        """
        for process in self.find():
            until(partial(_has_ended, process), limit_s, f"the end of `python -m {self.module}`")
            process.reap()

    def stop(self) -> None:
        """End it; none is fine.

        Raises:
            LabError: It does not end.
        """
        for process in self.find():
            try:
                stop(process)
            except TimeoutError as error:
                raise LabError(f"{error}. Look at `dmesg`, and at {self.mark}.") from error


def _has_ended(process: Process) -> bool:
    return not process.alive


def parser(description: str) -> argparse.ArgumentParser:
    """The options that every daemon has."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument(MARK, type=Path, required=True, help="the directory of the lab's that this program belongs to")
    made.add_argument(READY_FD, type=int, help="descriptor to write to once it serves")
    made.add_argument(PARENT, type=int, help="end with this process")
    return made


class Ending:
    """How a daemon learns of its end. It is something to ``select`` on, readable when the program has to end.

    That is when it is asked to (SIGTERM, SIGINT), and when the process that it is tied to has ended. Use it with
    ``with``, in the main thread.

    Args:
        options: Of this program, from ``parser``.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._epoll = select.epoll()
        self._reported, self._tell = os.pipe()
        self._epoll.register(self._reported, select.EPOLLIN)
        self._parent = -1
        self._ready: int | None = options.ready_fd
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        if options.parent is not None:
            try:
                self._parent = os.pidfd_open(options.parent)
                self._epoll.register(self._parent, select.EPOLLIN)
            except ProcessLookupError:  # it has ended meanwhile
                self._on_signal()

    def _on_signal(self, *_: object) -> None:
        os.write(self._tell, b"x")

    def announce(self) -> None:
        """Report once to the program that started this one that it serves."""
        if self._ready is not None:
            os.write(self._ready, b"ready\n")
            os.close(self._ready)
            self._ready = None

    def fileno(self) -> int:
        """The descriptor."""
        return self._epoll.fileno()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        self._epoll.close()
        for descriptor in (self._reported, self._tell, self._parent):
            if descriptor >= 0:
                os.close(descriptor)
