"""The directory of one lab, and the lock that lets one run at a time change it.

Several labs can exist at the same time, each on its own ports. This module deletes only directories that a marker
identifies as a lab's.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO

from lab.errors import RUN, LabError
from lab.system.cache import CHECKOUT

DEFAULT_STATE = CHECKOUT / ".lab"
FORMAT = 1
PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700
# Logs, state and certificates of a lab take 5 MiB; below this something would be cut off in the middle.
FREE_MIB = 64


@dataclass(frozen=True)
class Paths:
    """The places inside a lab's state directory."""

    root: Path

    @property
    def marker(self) -> Path:
        """The file that makes a directory a lab's."""
        return self.root / "lab.json"

    @property
    def lock(self) -> Path:
        """Held by the run that changes this lab."""
        return self.root / "lock"

    @property
    def secrets(self) -> Path:
        """Everything that nobody else may read."""
        return self.root / "secrets"

    @property
    def tls(self) -> Path:
        """The lab's CA and the vCenter's certificate."""
        return self.root / "tls"

    @property
    def vcenter(self) -> Path:
        """What the simulated vCenter reports about itself."""
        return self.root / "vcenter"

    @property
    def logs(self) -> Path:
        """One file for each program."""
        return self.root / "logs"

    @property
    def pulumi_home(self) -> Path:
        """``PULUMI_HOME``: plugins and credentials of this lab alone."""
        return self.root / "pulumi" / "home"

    @property
    def engine_log(self) -> Path:
        """Where the engine would keep a log of its own, which it does not in a lab."""
        return self.pulumi_home / "logs"

    @property
    def backend(self) -> Path:
        """The directory of Pulumi's local backend."""
        return self.root / "pulumi" / "state"

    @property
    def stack_file(self) -> Path:
        """The lab's own copy of the stack file, with its secrets encrypted."""
        return self.root / "Pulumi.lab.yaml"


@dataclass
class Record:
    """What a lab remembers between runs.

    Args:
        port: The port of its vCenter; 0 before there is one.
        source: Digest of the stack file that the lab's copy was made from.
        deployed_on: Which life of the vCenter the last deployment went to.
        guests: Whether guests boot behind its VMs.
    """

    port: int = 0
    source: str = ""
    deployed_on: str = ""
    guests: bool = False
    format: int = field(default=FORMAT)


def read_record(paths: Paths) -> Record | None:
    """What this lab remembers, or None where there is no lab.

    Raises:
        LabError: The marker is there and is not one that this program wrote.
    """
    try:
        found = json.loads(paths.marker.read_text(encoding="utf-8"))
        if found["format"] == FORMAT:
            return Record(**found)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        found = {}
    raise LabError(
        f"{paths.marker} was not written by this version of the lab. If {paths.root} holds a lab that may go, remove "
        f"that directory; else choose another one with --state."
    )


def write_record(paths: Paths, record: Record) -> None:
    """Remember, atomically."""
    write_private(paths.marker, json.dumps(asdict(record), indent=1) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise


def prepare(paths: Paths) -> Record:
    """Make the directory a lab's, or take it as it is.

    Raises:
        LabError: It holds something else, or the disk is full.
    """
    record = read_record(paths)
    if record is None and paths.root.exists():
        others = [entry.name for entry in paths.root.iterdir() if entry.name not in (paths.lock.name, ".gitignore")]
        if [name for name in others if not name.startswith(f".{paths.marker.name}.")]:
            raise LabError(
                f"{paths.root} is not a lab's: it holds {', '.join(sorted(others)[:3])}. Choose an empty directory or "
                "one that does not exist yet with --state."
            )
    paths.root.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)
    check_disk(paths)
    for directory in (paths.secrets, paths.tls, paths.vcenter, paths.logs, paths.pulumi_home, paths.backend):
        directory.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)
    _keep_no_engine_log(paths.engine_log)
    if record is None:
        record = Record()
        write_record(paths, record)
    return record


def _keep_no_engine_log(place: Path) -> None:
    """Put a file where the engine would make the directory of its own log; it then goes on without one.

    That log repeats at the finest level what the engine, the program and the provider exchanged: 2 MB and an
    eighth of the time of each run of a pair, and it has no switch. A lab's own logs (``Paths.logs``) are for people.
    """
    if place.is_dir():  # of a lab that was made before
        shutil.rmtree(place)
    place.touch()


def check_disk(paths: Paths) -> None:
    """Stop while everything is still whole.

    Raises:
        LabError: Less than ``FREE_MIB`` is free.
    """
    free = shutil.disk_usage(paths.root).free >> 20
    if free < FREE_MIB:
        raise LabError(
            f"The disk of {paths.root} is full: {free} MiB free, a lab needs {FREE_MIB} MiB. Make room and "
            "run it again, or put the lab elsewhere with --state."
        )


@contextmanager
def exclusive(paths: Paths, action: str) -> Iterator[None]:
    """Change this lab alone. The kernel lets go of the lock when the process ends, however it ends.

    Args:
        paths: The lab.
        action: What the holder does, for the message that a second one sees.

    Raises:
        LabError: Another run holds it.
    """
    paths.root.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)
    with _open_lock(paths) as lock:
        lock.seek(0)
        lock.truncate()
        lock.write(f"`{RUN} {action}` (pid {os.getpid()})")
        lock.flush()
        yield


@contextmanager
def _open_lock(paths: Paths) -> Iterator[TextIO]:
    while True:
        with paths.lock.open("a+", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                lock.seek(0)
                holder = lock.read() or "another run"
                raise LabError(
                    f"{holder} is at work on this lab ({paths.root}). Wait until it has ended and run this again; "
                    f"`{RUN} logs` shows how far it is."
                ) from error
            if _same_file(lock, paths.lock):
                yield lock
                return
        # A `down` removed the directory between open and flock: the lock that we hold is nobody's any more.
        paths.root.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)


def _same_file(opened: TextIO, path: Path) -> bool:
    try:
        return os.fstat(opened.fileno()).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def remove(paths: Paths) -> None:
    """Remove a lab's directory with everything in it; called with the lock held.

    Raises:
        LabError: It is not a lab's.
    """
    if read_record(paths) is None and any(entry != paths.lock for entry in paths.root.iterdir()):
        raise LabError(f"{paths.root} is not a lab's; nothing was removed.")
    for entry in paths.root.iterdir():
        # The marker goes last but one: a killed `down` leaves something that the next one still knows for a lab's.
        if entry not in (paths.marker, paths.lock):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    paths.marker.unlink(missing_ok=True)
    paths.lock.unlink(missing_ok=True)
    with suppress(OSError):  # a mount point, or the person's own directory with other rights
        paths.root.rmdir()
