"""Run the real engine, and read its events and its record of the calls to program and provider.

The events (``--event-log``) never contain a secret. The content of guestinfo is read from the engine's record of its
calls (``PULUMI_DEBUG_GRPC``). Both stay in memory: nothing is written to a disk, and no process argument holds a
secret. Only ``up`` (``review/up.py``) and ``destroy`` (``teardown/destroy.py``) change a stack's state.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import nullcontext

from lbstack.engine import errors
from lbstack.engine.errors import EngineFailed
from lbstack.engine.events import Notice, Progress, Run, last_activity, parse_call, parse_event
from lbstack.engine.process import (
    GRACE_S,
    Interrupts,
    Kept,
    Observers,
    Tail,
    calls_in,
    interrupted_with_us,
    interrupts_noted,
    never_failing,
    stop,
    watch,
)
from lbstack.engine.stack import Stack
from lbstack.facts import limits

TIMEOUT_S = limits.LOOK_UPS_S  # unless the caller sets it
CHANGING = ("up", "destroy")


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
        raise errors.too_slow(" ".join(arguments), timeout_s, "") from None
    if result.returncode != 0:
        raise errors.explain(" ".join(arguments), [], result.stderr or result.stdout)
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
        progress: Receives a line whenever there is news for a person who waits.
        notice: Receives each event while the engine is at work; the first is what it read of the configuration.
        timeout_s: How long it may take, in seconds; then it is interrupted, as with Ctrl-C.
        listen: Whether its calls are recorded too.

    Raises:
        EngineFailed: It is not installed, or took too long. A run that failed by itself is returned, and one that
            changes the stack always, with what it did until then.
    """
    command = [program(), *arguments, *arguments_of(stack), "--non-interactive", "--color", "never"]
    changing = arguments[0] in CHANGING
    if changing:
        progress = never_failing(progress)
    begin = time.monotonic()
    # One that changes the stack is asked to end once, at whatever time: also while it is being started.
    noted = interrupts_noted() if changing else nullcontext(Interrupts())
    with Kept() as calls, Kept() as output, noted as interrupts, Tail(parse_event) as events:
        variables = _environment()
        if listen:
            variables["PULUMI_DEBUG_GRPC"] = calls.path
        process = subprocess.Popen(
            [*command, "--event-log", events.path],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output.writer,
            stderr=subprocess.STDOUT,
            pass_fds=(events.writer, calls.writer),
            # A second interrupt makes the engine drop everything, so one that changes the stack gets Ctrl-C from
            # here alone and not from the terminal too.
            process_group=0 if changing else None,
        )
        interrupts.process = process
        grace_s = limits.GRACE_S.get(arguments[0], GRACE_S)
        cut_short: EngineFailed | None = None
        try:
            with interrupted_with_us(process) if changing else nullcontext():
                watch(process, events, Observers(progress, notice, arguments[0], interrupts), begin + timeout_s)
        except subprocess.TimeoutExpired:
            stop(process, grace_s)
            cut_short = errors.too_slow(" ".join(arguments), timeout_s, last_activity(events.items))
            if not changing:
                raise cut_short from None
        except BaseException as error:
            stop(process, grace_s)
            if not (changing and isinstance(error, KeyboardInterrupt)):
                raise
            cut_short = errors.interrupted(" ".join(arguments), last_activity(events.items))
        seconds, recorded = time.monotonic() - begin, calls_in(calls.read(), parse_call)
        text = output.read().decode(errors="replace")
    return Run(" ".join(arguments), process.returncode, seconds, events.items, recorded, text, cut_short)


def _environment() -> dict[str, str]:
    # The engine keeps `--event-log` for those who ask for its debug commands.
    return os.environ | {"PULUMI_DEBUG_COMMANDS": "true", "PULUMI_SKIP_UPDATE_CHECK": "1"}
