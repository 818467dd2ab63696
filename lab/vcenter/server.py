"""Start, find, query and stop the lab's simulated vCenter.

It runs in the background and keeps its inventory in memory. It is found by its command line, which holds paths of this
lab, so a stale pid file cannot mislead.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.home import certificates, stackfile
from lab.home.credentials import credentials_of
from lab.home.state import Paths, Record
from lab.system import processes
from lab.toolchain.tools import Tools
from lab.vcenter import role
from lab.vcenter.control import check_socket_path, control, control_socket

PROGRAM = "vcenter"  # the name of its executable
READY_TIMEOUT_S = 30.0  # it answers after 0.3 s; a machine that builds something next to it needs longer
ALIVE_TIMEOUT_S = 5.0  # a living one answers within milliseconds, also during a build
POLL_S = 0.05
# Its exit code where its port is taken and it may use no other one (exitTaken in lab/vcenter/simulator/main.go)
PORT_TAKEN = 3
LISTEN, FALLBACK = "-listen=", "-fallback"  # options for the place where it listens, and nothing else about it
TAIL_LINES = 15

Progress = Callable[[str], None]


@dataclass(frozen=True)
class VCenter:
    """A running simulated vCenter.

    Args:
        process: Its process.
        port: Its port on 127.0.0.1.
    """

    process: processes.Process
    port: int

    @property
    def server(self) -> str:
        """Address and port, as ``vsphere:vsphereServer`` takes them."""
        return f"{stackfile.HOST}:{self.port}"


def ready_file(paths: Paths) -> Path:
    """Written by the vCenter when it serves."""
    return paths.vcenter / "ready.json"


def library_directory(paths: Paths) -> Path:
    """Where the vCenter keeps the files of its content libraries."""
    return paths.vcenter / "library"


def log_file(paths: Paths) -> Path:
    """What the vCenter printed."""
    return paths.logs / "vcenter.log"


def running(paths: Paths) -> VCenter | None:
    """The vCenter of this lab, if one runs and serves."""
    for process in processes.find(PROGRAM, str(ready_file(paths))):
        try:
            ready = json.loads(ready_file(paths).read_text(encoding="utf-8"))
            if ready["pid"] == process.pid:
                return VCenter(process, int(str(ready["server"]).rpartition(":")[2]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def stop(paths: Paths) -> bool:
    """End every vCenter of this lab, half-started ones too.

    Returns:
        Whether there was one.
    """
    found = processes.find(PROGRAM, str(ready_file(paths)))
    for process in found:
        processes.stop(process)
    ready_file(paths).unlink(missing_ok=True)
    control_socket(paths).unlink(missing_ok=True)
    return bool(found)


def ensure(paths: Paths, record: Record, tools: Tools, uuid: str, *, port: int | None, progress: Progress) -> VCenter:
    """The lab's vCenter, started where none runs or where the one that runs is not the one wanted.

    Args:
        paths: The lab.
        record: Its memory; ``port`` is preferred where it is free, and updated; ``guests`` states who reports what is
            known of guests.
        tools: The programs.
        uuid: The instance UUID that the stack file pins.
        port: The port that it must have, or None for any.
        progress: Receives a line for what is worth reporting.

    Raises:
        LabError: The port is taken, or it does not start.
    """
    check_socket_path(paths)
    current = running(paths)
    if current is not None and (port in (None, current.port)):
        reason = _unfit(current, _command(paths, tools, uuid, record), paths)
        if not reason:
            record.port = current.port
            return current
        progress(f"The lab's vCenter is started again: {reason}")
    stop(paths)
    preferred = record.port or stackfile.wanted_port()
    command = _command(paths, tools, uuid, record)
    started = _start(paths, [*command, *_where(port, preferred)], pinned=port)
    if port is None and started.port != preferred:
        progress(f"Port {preferred} is taken by {_owner(preferred)}; the lab's vCenter takes {started.port}")
    record.port = started.port
    return started


def _where(port: int | None, preferred: int) -> list[str]:
    """The options for the place where the vCenter listens.

    It binds its port itself: a port that was found free here could be taken by another program before that.

    Args:
        port: The port that it must have, or None for any.
        preferred: The port that it takes where any will do and this one is free.
    """
    if port is not None:
        return [f"{LISTEN}{stackfile.HOST}:{port}"]
    return [f"{LISTEN}{stackfile.HOST}:{preferred}", FALLBACK]


def _owner(port: int) -> str:
    """Who has a port, in words."""
    return processes.owner_of_port(port) or "another program"


def _command(paths: Paths, tools: Tools, uuid: str, record: Record) -> list[str]:
    """Its command line, without where it listens."""
    return [
        str(tools.vcenter),
        "-uuid",
        uuid,
        "-cert",
        str(certificates.server_certificate(paths)),
        "-key",
        str(certificates.server_key(paths)),
        "-ready",
        str(ready_file(paths)),
        "-control",
        str(control_socket(paths)),
        "-state",
        str(library_directory(paths)),
        "-guests",
        "agent" if record.guests else "self",
        "-privileges",
        ",".join(role.privileges()),
    ]


def _unfit(current: VCenter, command: list[str], paths: Paths) -> str:
    """Why the running one will not do; empty where it will."""
    if [part for part in current.process.command if part != FALLBACK and not part.startswith(LISTEN)] != command:
        return "its program, its UUID, its role or who reports its guests has changed"
    try:
        control(paths, "GET", "/vms", timeout=ALIVE_TIMEOUT_S)
    except LabError:
        return "it does not answer any more"
    return ""


def _start(paths: Paths, command: list[str], *, pinned: int | None) -> VCenter:
    """Start it and wait until it reports where it serves.

    Args:
        paths: The lab.
        command: Its command line.
        pinned: The port that it must have, or None where it may fall back to another one.

    Raises:
        LabError: The pinned port is taken, or it does not start.
    """
    certificates.ensure(paths)
    # The catalogue of the files in there went with the last vCenter.
    shutil.rmtree(library_directory(paths), ignore_errors=True)
    library_directory(paths).mkdir(parents=True)
    credentials = credentials_of(paths)
    user = str(stackfile.read(stackfile.SOURCE)["config"].get(stackfile.USER, ""))
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(paths.vcenter)}
    environment |= {"VCENTER_USER": stackfile.ADMINISTRATOR, "VCENTER_PASSWORD": credentials.administrator_password}
    environment |= {"VCENTER_ROLE_USER": user, "VCENTER_ROLE_PASSWORD": credentials.vcenter_password}
    with log_file(paths).open("ab") as log:
        child = subprocess.Popen(
            command,
            cwd=paths.vcenter,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        code = child.poll()
        if code == PORT_TAKEN and pinned is not None:
            raise LabError(
                f"Port {pinned} is taken by {_owner(pinned)}. Choose another one with --port, or leave --port away."
            )
        if code is not None:
            raise LabError(f"The lab's vCenter ended with exit code {code}. Its last lines:\n{last_words(paths)}")
        current = running(paths)
        if current is not None:
            # It outlives this program on purpose; that is no mistake that the interpreter has to warn of.
            child.returncode = 0
            return current
        time.sleep(POLL_S)
    stop(paths)
    child.wait()
    raise LabError(
        f"The lab's vCenter did not serve within {READY_TIMEOUT_S:.0f} s and was stopped. Its last lines:\n"
        f"{last_words(paths)}"
    )


def last_words(paths: Paths) -> str:
    """The end of the vCenter's log, indented."""
    try:
        lines = log_file(paths).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    return "\n".join(f"  {line}" for line in lines[-TAIL_LINES:]) or "  (nothing)"
