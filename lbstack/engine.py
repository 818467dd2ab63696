"""Runs the real engine and listens to it: its events, and its record of what it told program and provider.

The events (``--event-log``) never show a secret. What the secrets of guestinfo are made of is read from the engine's
record of its calls (``PULUMI_DEBUG_GRPC``). Both come through pipes and stay in this process: nothing of it is
written to a disk, and no argument of a process holds anything but names. Nothing here changes a stack's state except
``up`` (``up.py``) and ``destroy``, which ``teardown.py`` guards.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from lbstack import engine_errors
from lbstack.engine_errors import EngineFailed
from lbstack.project import Stack

Event = dict[str, Any]
Progress = Callable[[str], None]
Notice = Callable[[Event], None]

TIMEOUT_S = 300.0  # where the caller says nothing else
GRACE_S = 10.0  # after an interrupt, for the engine to end its providers
# The same for one that changes the stack: it ends the steps that it has begun, of which a VM's reboot is the longest.
# Killed in the middle it would leave a locked state and a VM of which it knows nothing.
CHANGING_GRACE_S = 300.0
CHANGING = ("up", "destroy")
DRAIN_S = 5.0  # after its end, for a provider that still holds a pipe
TICK_S = 0.2
STILL_WORKING_S = 10.0  # between two lines of progress when the engine says nothing
# Calls whose content the report needs; all others are dropped unread.
WANTED_CALLS = (
    b"ResourceProvider/Check",
    b"ResourceProvider/Read",
    b"ResourceProvider/Invoke",
    b"LanguageRuntime/Run",
)


@dataclass(frozen=True, repr=False)
class Run:
    """One run of the engine that came to its end.

    Args:
        command: Its arguments, for messages.
        code: Its exit code.
        seconds: How long it took.
        events: Its events in order, without debug lines.
        calls: The calls that it made, answered ones only; they hold secrets.
        said: What it printed.
        cut_short: Why it was told to end before its time, where it was; only of what changes a stack.
    """

    command: str
    code: int
    seconds: float
    events: Sequence[Event]
    calls: Sequence[Event] = field(repr=False)
    said: str = ""
    cut_short: EngineFailed | None = None

    def __repr__(self) -> str:
        return f"Run({self.command!r}, code={self.code}, {len(self.events)} events)"

    def steps(self, kind: str = "resOutputsEvent") -> Iterator[Mapping[str, Any]]:
        """The metadata of every step of one kind."""
        for event in self.events:
            if kind in event:
                yield event[kind]["metadata"]

    def diagnostics(self, severity: str) -> list[str]:
        """What was said with a severity (``warning``, ``error``), each text once."""
        texts = (
            str(event["diagnosticEvent"]["message"]).strip()
            for event in self.events
            if event.get("diagnosticEvent", {}).get("severity") == severity
        )
        return list(dict.fromkeys(text for text in texts if text))

    @property
    def config(self) -> Mapping[str, str]:
        """The stack's configuration as the engine read it; secrets stand as ``[secret]``."""
        for event in self.events:
            if "preludeEvent" in event:
                return config_of(event)
        return {}

    def require_success(self) -> Run:
        """Itself.

        Raises:
            EngineFailed: It failed; with the engine's message and what to do.
        """
        if self.cut_short:
            raise self.cut_short
        if self.code != 0:
            raise engine_errors.explain(self.command, self.diagnostics("error"), self.said)
        return self


def config_of(event: Event) -> Mapping[str, str]:
    """The configuration that an event tells; nothing where it is another event."""
    return dict(event.get("preludeEvent", {}).get("config", {}))


def program() -> str:
    """The path of ``pulumi``.

    Raises:
        EngineFailed: It is not installed.
    """
    found = shutil.which("pulumi")
    if not found:
        raise EngineFailed(
            "no-engine",
            "There is no `pulumi` on PATH.",
            "Install it (https://www.pulumi.com/docs/install/), or put the one that there is on PATH.",
        )
    return found


def arguments_of(stack: Stack) -> list[str]:
    """The options that make every command mean this stack and this stack file."""
    options = ["--stack", stack.name, "--cwd", str(stack.program)]
    return options if stack.usual_file else [*options, "--config-file", str(stack.file.absolute())]


def quick(stack: Stack, *arguments: str, timeout_s: float = 60.0) -> str:
    """Run a short command of the engine, and return what it printed.

    Args:
        stack: Where it is run, in the directory of its program. A command about the stack has to name it itself: not
            every command takes the options of ``arguments_of``.
        arguments: The command and its options, without secrets.
        timeout_s: How long it may take, in seconds.

    Raises:
        EngineFailed: It failed or took too long.
    """
    command = [program(), *arguments, "--non-interactive", "--color", "never", "--cwd", str(stack.program)]
    try:
        result = subprocess.run(
            command,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise engine_errors.too_slow(" ".join(arguments), timeout_s, "") from None
    if result.returncode != 0:
        raise engine_errors.explain(" ".join(arguments), [], result.stderr or result.stdout)
    return result.stdout


def run(
    stack: Stack,
    *arguments: str,
    progress: Progress = lambda _line: None,
    notice: Notice = lambda _event: None,
    timeout_s: float = TIMEOUT_S,
    listen: bool = True,
) -> Run:
    """Run the engine to its end.

    Args:
        stack: The stack that is meant.
        arguments: The command and its options, without secrets.
        progress: Receives a line whenever there is something to tell a person who waits.
        notice: Receives each event while the engine is at work; the first is what it read of the configuration.
        timeout_s: How long it may take, in seconds; then it is interrupted, as with Ctrl-C.
        listen: Whether its calls are recorded too.

    Raises:
        EngineFailed: It is not installed, or took too long. A run that failed by itself is returned, and one that
            changes the stack always, with what it did until then.
    """
    command = [program(), *arguments, *arguments_of(stack), "--non-interactive", "--color", "never"]
    events, calls = _Pipe(_event), _Pipe(_call)
    variables = _environment()
    if listen:
        variables["PULUMI_DEBUG_GRPC"] = calls.path
    changing = arguments[0] in CHANGING
    begin = time.monotonic()
    # One that changes the stack is told to end once, whenever that is asked for: also while it is being started.
    with _interrupts() if changing else nullcontext(_Interrupts()) as interrupts:
        try:
            process = subprocess.Popen(
                [*command, "--event-log", events.path],
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(events.writer, calls.writer),
                # A second interrupt makes the engine drop everything, so one that changes the stack gets Ctrl-C from
                # here alone and not from the terminal too.
                process_group=0 if changing else None,
            )
        finally:
            events.close_writer()
            calls.close_writer()
        interrupts.process = process
        assert process.stdout is not None
        said = _Text(process.stdout.fileno())
        grace_s = CHANGING_GRACE_S if changing else GRACE_S
        cut_short: EngineFailed | None = None
        try:
            _watch(process, events, _Listener(progress, notice, arguments[0], interrupts), begin + timeout_s)
        except subprocess.TimeoutExpired:
            _stop(process, grace_s)
            cut_short = engine_errors.too_slow(" ".join(arguments), timeout_s, _last_activity(events.items))
            if not changing:
                raise cut_short from None
        except BaseException as error:
            _stop(process, grace_s)
            if not (changing and isinstance(error, KeyboardInterrupt)):
                raise
            cut_short = engine_errors.interrupted(" ".join(arguments), _last_activity(events.items))
        finally:
            for reader in (events, calls, said):
                reader.join()
            process.stdout.close()
    seconds = time.monotonic() - begin
    return Run(" ".join(arguments), process.returncode, seconds, events.items, calls.items, said.text, cut_short)


def _environment() -> dict[str, str]:
    # The engine keeps `--event-log` for those who ask for its debug commands.
    return os.environ | {"PULUMI_DEBUG_COMMANDS": "true", "PULUMI_SKIP_UPDATE_CHECK": "1"}


def _event(line: bytes) -> Event | None:
    event: Event = json.loads(line)
    return None if event.get("diagnosticEvent", {}).get("severity") == "debug" else event


def _call(line: bytes) -> Event | None:
    """One recorded call; each is recorded twice, and only the second time with its answer."""
    head = line[:2000] if line.startswith(b'{"method"') else line
    if not any(name in head for name in WANTED_CALLS):
        return None
    call: Event = json.loads(line)
    return call


class _Pipe:
    """A pipe that a child writes lines of JSON to; read by a thread, parsed, and kept in memory only."""

    def __init__(self, parse: Callable[[bytes], Event | None]) -> None:
        self.reader, self.writer = os.pipe()
        self.items: list[Event] = []
        self.arrived: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._parse = parse
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def path(self) -> str:
        """How the child opens it."""
        return f"/dev/fd/{self.writer}"

    def close_writer(self) -> None:
        os.close(self.writer)

    def _read(self) -> None:
        with os.fdopen(self.reader, "rb") as stream:
            for line in stream:
                try:
                    item = self._parse(line)
                except ValueError:
                    continue  # cut off by the end of an engine that was stopped
                if item is not None:
                    self.items.append(item)
                    self.arrived.put(item)

    def join(self) -> None:
        # A provider that outlives the engine may hold the pipe open; what it would say is no longer needed.
        self._thread.join(DRAIN_S)


class _Text:
    """What a child prints, read by a thread."""

    def __init__(self, descriptor: int) -> None:
        self.parts: list[str] = []
        self._descriptor = os.dup(descriptor)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with os.fdopen(self._descriptor, encoding="utf-8", errors="replace") as stream:
            self.parts.extend(stream)

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def join(self) -> None:
        self._thread.join(DRAIN_S)


@dataclass
class _Interrupts:
    """What a person (Ctrl-C) or a runner that cancels its job (SIGTERM) asked for while an engine was at work."""

    process: subprocess.Popen[bytes] | None = None
    seen: bool = False

    def note(self, number: int, _frame: object) -> None:
        """A signal came. The first is seen by who watches; a person who insists has the engine drop everything."""
        if self.seen and number == signal.SIGINT and self.process is not None:
            self.process.send_signal(number)
        self.seen = True


@contextmanager
def _interrupts() -> Iterator[_Interrupts]:
    """Note interrupts instead of being ended by them in the middle of a line. Only the main thread may choose that."""
    noted = _Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = {number: signal.signal(number, noted.note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class _Listener:
    """Who is told what happens: a person by lines, a caller by events."""

    progress: Progress
    notice: Notice
    what: str
    interrupts: _Interrupts


def _watch(process: subprocess.Popen[bytes], events: _Pipe, listener: _Listener, deadline: float) -> None:
    """Tell what happens until the process ends or the deadline passes."""
    begin = told = time.monotonic()
    while process.poll() is None:
        now = time.monotonic()
        if listener.interrupts.seen:
            raise KeyboardInterrupt
        if now >= deadline:
            raise subprocess.TimeoutExpired(listener.what, deadline - begin)
        try:
            event = events.arrived.get(timeout=min(TICK_S, max(deadline - now, 0.01)))
            listener.notice(event)
            line = _line_of(event)
        except queue.Empty:
            line = f"still at work after {now - begin:.0f} s" if now - told >= STILL_WORKING_S else ""
        if line:
            told = time.monotonic()
            listener.progress(f"{listener.what}: {line}")


def _line_of(event: Event) -> str:
    """What a step, or what the program says while it waits, is to a person who waits; empty for everything else."""
    if "resourcePreEvent" in event:
        metadata = event["resourcePreEvent"]["metadata"]
        if not str(metadata["type"]).startswith("pulumi:"):
            return f"{metadata['op']} {metadata['urn'].rpartition('::')[2]}"
    said = event.get("diagnosticEvent", {})
    if said.get("ephemeral") and said.get("severity") == "info":  # the gate's own words about a node
        return str(said["message"]).strip().partition("\n")[0]
    return ""


def _last_activity(events: Sequence[Event]) -> str:
    """The resource at which an engine that took too long had arrived."""
    for event in reversed(events):
        line = _line_of(event)
        if line:
            return line
    return ""


def _stop(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Interrupt the engine as a person would, twice, and kill it when that does not help."""
    for number, patience_s in ((signal.SIGINT, grace_s), (signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
        if process.poll() is None:
            process.send_signal(number)
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
        return
