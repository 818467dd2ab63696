"""Find, enter, list and remove network namespaces as ``ip netns`` keeps them.

A name is a file in ``/run/netns``. The names of a lab begin with its own prefix; other names are never changed unless a
caller passes them. ``os.setns`` exists only from Python 3.12 on, so the C library's is called.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from lab.errors import RUN, LabError
from lab.system.debian import search_path
from lab.system.processes import PROC, Process, end, inspect

DIRECTORY = Path("/run/netns")
ETC = Path("/etc/netns")  # `ip netns exec` binds /etc/netns/NAME/* over /etc/*
CLONE_NEWUTS, CLONE_NEWNET = 0x04000000, 0x40000000  # linux/sched.h
ASK_TO_END_S = 1.0  # by then everything that can end has; a guest's systemd takes SIGTERM for something else
END_S = 5.0
ETC_TRIES = 100  # each is lost only when another lab removes the empty directory in the microseconds between two calls
COMMAND_TIMEOUT_S = 30.0  # ip answers in milliseconds; this is for a kernel that cannot end a namespace

_libc = ctypes.CDLL(None, use_errno=True)


def path(name: str) -> Path:
    """The file that stands for a namespace."""
    return DIRECTORY / name


def names(prefix: str, directory: Path = DIRECTORY) -> list[str]:
    """The namespaces whose names begin with a prefix, half-made ones included.

    Args:
        prefix: What the names begin with.
        directory: Where names are looked for; ``ETC`` gives those that have files of their own.
    """
    try:
        return sorted(entry.name for entry in directory.iterdir() if entry.name.startswith(prefix))
    except FileNotFoundError:
        return []


def identity(name: str) -> str:
    """The identity of a namespace: another one than that of an earlier namespace of the same name that is still held.

    Raises:
        LabError: There is none of this name.
    """
    try:
        return str(path(name).stat().st_ino)
    except OSError as error:
        raise LabError(f"There is no network namespace {name}; `{RUN} up` makes it.") from error


@contextmanager
def inside(name: str | None) -> Iterator[None]:
    """Put this thread into a namespace. A socket that is made here stays in it forever, wherever it is used.

    No other coroutine may run meanwhile: there must be no ``await`` inside.

    Args:
        name: The namespace; None stays where it is.

    Raises:
        LabError: There is no such namespace, or it may not be entered.
    """
    if name is None:
        yield
        return
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(name)
        try:
            yield
        finally:
            _setns(before, CLONE_NEWNET)
    finally:
        os.close(before)


@contextmanager
def inside_host_name_of(process: int) -> Iterator[None]:
    """Let this thread have the host name of another process.

    Args:
        process: A descriptor of it (``os.pidfd_open``).

    Raises:
        OSError: It has ended, or its name may not be had.
    """
    before = os.open("/proc/thread-self/ns/uts", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(process, CLONE_NEWUTS)
        try:
            yield
        finally:
            _setns(before, CLONE_NEWUTS)
    finally:
        os.close(before)


def enter(name: str) -> None:
    """Move this thread into a namespace for good.

    Raises:
        LabError: There is no such namespace, or it may not be entered.
    """
    try:
        target = os.open(path(name), os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(target, CLONE_NEWNET)
        finally:
            os.close(target)
    except OSError as error:
        raise LabError(
            f"The network namespace {name} cannot be entered ({error.strerror}). Its lab is down or half made: "
            "bring it up again, as root."
        ) from error


def _setns(descriptor: int, kind: int) -> None:
    if _libc.setns(descriptor, kind) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def processes_in(namespaces: Iterable[str]) -> list[Process]:
    """Every process that lives in one of these namespaces (not those that only hold a socket there)."""
    wanted = set()
    for name in namespaces:
        with suppress(OSError):
            wanted.add(_identity(path(name)))
    found = []
    for pid in psutil.pids():
        with suppress(OSError):
            if _identity(PROC / str(pid) / "ns/net") in wanted and (process := inspect(pid)):
                found.append(process)
    return found


def _identity(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_dev, status.st_ino


def end_processes(namespaces: Sequence[str]) -> None:
    """End every process that lives in these namespaces: asked first, forced after ``ASK_TO_END_S``.

    Raises:
        LabError: This process is one of them, or one does not end.
    """
    found = processes_in(namespaces)
    if any(process.pid == os.getpid() for process in found):
        raise LabError("This command runs inside the network that it is to take down; run it outside.")
    if left := end(found, ASK_TO_END_S, END_S):
        described = ", ".join(f"{process.pid} ({process.name})" for process in left)
        raise LabError(f"Processes inside the lab's network do not end: {described}. Look at `dmesg`.")


def ip(*arguments: str, namespace: str | None = None, batch: Sequence[str] = ()) -> str:
    """Run iproute2's ``ip``.

    Args:
        arguments: What to do.
        namespace: Do it there.
        batch: Or do all of these lines, in one process; the first that fails ends it.

    Returns:
        What it printed.

    Raises:
        LabError: ip is missing, or refused; with its own words.
    """
    where = ["-n", namespace] if namespace else []
    what = ["-batch", "-"] if batch else list(arguments)
    text = "".join(f"{line}\n" for line in batch)
    return run(["ip", *where, *what], text, " ; ".join(batch) if batch else "")


def run(command: Sequence[str], given: str = "", described: str = "") -> str:
    """Run a short system command of the network.

    Args:
        command: Its words; the program is looked for where daemons' programs are, too.
        given: Its standard input.
        described: What stands in the message for what it was to do, where the command alone does not show it.

    Returns:
        What it printed.

    Raises:
        LabError: It is missing, failed or did not end.
    """
    program = shutil.which(command[0], path=search_path())
    if program is None:
        raise LabError(f"`{command[0]}` is not installed; the lab's network is made with it: apt-get install iproute2")
    text = " ".join(command) + (f" ({described})" if described else "")
    try:
        result = subprocess.run(
            [program, *command[1:]], input=given, capture_output=True, text=True, check=False, timeout=COMMAND_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"`{text}` did not end within {COMMAND_TIMEOUT_S:.0f} s; look at `dmesg`.") from error
    if result.returncode != 0:
        raise LabError(f"`{text}` failed: {_reason(result.stderr or result.stdout)}")
    return result.stdout


def _reason(text: str) -> str:
    """The program's own words with what they mean here."""
    output = "; ".join(line.strip() for line in text.strip().splitlines() if line.strip()) or "without notice"
    if "Operation not permitted" in output or "Permission denied" in output:
        return f"{output}. The rehearsal's network needs root and a machine or container that may make namespaces."
    if "Unknown device type" in output or "not supported" in output:
        return f"{output}. This kernel lacks it: the rehearsal needs CONFIG_NET_NS, CONFIG_VETH and CONFIG_BRIDGE."
    return output


def write_etc(name: str, file: str, text: str) -> None:
    """Write a file that programs in a namespace see in the place of the one in /etc.

    Args:
        name: The namespace.
        file: The file's name below /etc.
        text: What it holds.

    Raises:
        OSError: It cannot be written.
    """
    for left in reversed(range(ETC_TRIES)):
        try:
            (ETC / name).mkdir(parents=True, exist_ok=True)
            (ETC / name / file).write_text(text, encoding="ascii")
        except FileNotFoundError:  # another lab's `remove` has found `ETC` empty
            if not left:
                raise
        else:
            return


def remove(name: str) -> None:
    """Take a namespace's name away; it goes with its last process and socket. One that is not there is fine."""
    if path(name).exists():
        ip("netns", "del", name)
    shutil.rmtree(ETC / name, ignore_errors=True)
    with suppress(OSError):  # other namespaces have files there, or it was never made
        ETC.rmdir()
