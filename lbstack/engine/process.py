"""The engine's process: what it writes, its interrupts, and how it is stopped."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Self

from lbstack.engine.events import Event, Notice, Progress, line_of

GRACE_S = 10.0  # after an interrupt, for the engine to end its providers
TICK_S = 0.2
LOOK_S, BLOCK = 0.02, 1 << 16  # between two looks for more of a growing file, and how many bytes at once
STILL_WORKING_S = 10.0  # between two lines of progress when the engine is silent
ALWAYS = (signal.SIGINT, signal.SIGTERM)
END_SIGNALS = (*ALWAYS, signal.SIGHUP, signal.SIGQUIT)
WATCH = 'trap "" HUP INT QUIT TERM; read -r _; kill -INT "$1"'
LINUX = sys.platform == "linux"


class Kept:
    """A file in memory that a child writes to, read when the child has ended.

    Unlike a pipe it stays writable when this process dies: an engine that may not write its output dies too, and one
    that may not record a call takes a step that was done for one that failed.
    """

    def __init__(self) -> None:
        # Elsewhere than on Linux a file without a name; what the engine prints has no secret in it.
        self._file = os.fdopen(os.memfd_create("lbstack"), "rb") if LINUX else tempfile.TemporaryFile()  # noqa: SIM115
        self.writer = self._file.fileno()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it."""
        self._file.close()

    @property
    def path(self) -> str:
        """How the child opens it."""
        return f"/dev/fd/{self.writer}"

    def read(self) -> bytes:
        """Everything that was written until now."""
        self._file.seek(0)
        return self._file.read()


class Tail:
    """A file of lines of JSON that a child writes, read by a thread while it grows, parsed, and kept in memory only."""

    def __init__(self, parse: Callable[[bytes], Event | None]) -> None:
        self.items: list[Event] = []
        self.arrived: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._parse = parse
        self._kept = Kept()
        self.writer, self.path = self._kept.writer, self._kept.path
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        offset, rest = 0, b""
        while True:
            last = self._ended.is_set()  # before the read: what was written until then is read in any case
            while block := os.pread(self.writer, BLOCK, offset):
                offset += len(block)
                *lines, rest = (rest + block).split(b"\n")
                for line in lines:
                    self._take(line)
            if last:
                return
            self._ended.wait(LOOK_S)

    def _take(self, line: bytes) -> None:
        with suppress(ValueError):  # cut off by the end of an engine that was stopped
            item = self._parse(line)
            if item is not None:
                self.items.append(item)
                self.arrived.put(item)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Read what is left, once the child has ended."""
        self._ended.set()
        self._thread.join()
        self._kept.close()


def calls_in(text: bytes, parse: Callable[[bytes], Event | None]) -> list[Event]:
    """What a child recorded, a line each; a last line that was cut off is left out."""
    found = []
    for line in text.splitlines():
        with suppress(ValueError):
            item = parse(line)
            if item is not None:
                found.append(item)
    return found


@contextmanager
def interrupted_with_us(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Have a child interrupted, as by Ctrl-C, when this process dies without a word.

    A shell waits for the end of a pipe that this process alone holds open. The kernel's own way (PR_SET_PDEATHSIG)
    may signal once for each thread that dies here, and a second interrupt makes the engine drop everything.
    """
    reader, writer = os.pipe()
    try:
        watcher = subprocess.Popen(
            ["/bin/sh", "-c", WATCH, "lbstack", str(process.pid)],
            stdin=reader,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # what is meant for a terminal's processes is not meant for it
        )
    finally:
        os.close(reader)
    try:
        yield
    finally:
        watcher.kill()
        watcher.wait()
        os.close(writer)


@dataclass
class Interrupts:
    """What was asked for while an engine was at work.

    A person asks with Ctrl-C or SIGQUIT, a runner that cancels its job with SIGTERM, a terminal or ssh session that is
    gone with SIGHUP.
    """

    process: subprocess.Popen[bytes] | None = None
    seen: bool = False

    def note(self, number: int, _frame: object) -> None:
        """A signal came. The first is seen by who watches; a person who insists has the engine drop everything."""
        if self.seen and number == signal.SIGINT and self.process is not None:
            self.process.send_signal(number)
        self.seen = True


@contextmanager
def interrupts_noted() -> Iterator[Interrupts]:
    """Note interrupts instead of being ended by them in the middle of a line. Only the main thread may choose that."""
    noted = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    # What nohup or a shell has this process ignore stays ignored, so that it outlives its terminal as asked.
    wanted = [number for number in END_SIGNALS if number in ALWAYS or signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, noted.note) for number in wanted}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Observers:
    """Who is informed: a person by lines, a caller by events."""

    progress: Progress
    notice: Notice
    what: str
    interrupts: Interrupts


def never_failing(progress: Progress) -> Progress:
    """Progress of which a reader that is gone (`| head`, a closed terminal) does not end the work."""

    def tell(line: str) -> None:
        with suppress(OSError):
            progress(line)

    return tell


def watch(process: subprocess.Popen[bytes], events: Tail, observers: Observers, deadline: float) -> None:
    """Report what happens until the process ends or the deadline passes."""
    begin = reported = time.monotonic()
    while process.poll() is None:
        now = time.monotonic()
        if observers.interrupts.seen:
            raise KeyboardInterrupt
        if now >= deadline:
            raise subprocess.TimeoutExpired(observers.what, deadline - begin)
        try:
            event = events.arrived.get(timeout=min(TICK_S, max(deadline - now, 0.01)))
            observers.notice(event)
            line = line_of(event)
        except queue.Empty:
            line = f"still at work after {now - begin:.0f} s" if now - reported >= STILL_WORKING_S else ""
        if line:
            reported = time.monotonic()
            observers.progress(f"{observers.what}: {line}")


def stop(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Interrupt the engine as a person would, twice, and kill it when that does not help."""
    for number, patience_s in ((signal.SIGINT, grace_s), (signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
        if process.poll() is None:
            process.send_signal(number)
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
        return
