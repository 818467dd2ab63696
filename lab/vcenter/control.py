"""Ask the simulated vCenter over its control socket: its VMs, its faults, its log of tasks."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.errors import RUN, LabError
from lab.home.state import Paths

ANSWER_TIMEOUT_S = 10.0
SOCKET_PATH_LIMIT = 107  # sun_path of unix(7), without its final NUL


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def control_socket(paths: Paths) -> Path:
    """Where the lab's own questions go, such as the list of tasks."""
    return paths.vcenter / "control.sock"


def control(
    paths: Paths, method: str, path: str, body: Mapping[str, object] | None = None, *, timeout: float = ANSWER_TIMEOUT_S
) -> Any:
    """Ask the simulated vCenter something that a real one has no question for.

    Args:
        paths: The lab.
        method: HTTP method.
        path: ``/vms``, ``/tasks`` or ``/faults``.
        body: What is sent as JSON.
        timeout: Seconds without an answer.

    Returns:
        The answer's JSON, None where it has no body.

    Raises:
        LabError: It does not run, or refuses.
    """
    connection = _UnixConnection(control_socket(paths), timeout)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None)
        response = connection.getresponse()
        answer = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise LabError(
            f"The lab's vCenter does not answer ({error}). `make lab` starts it; `{RUN} logs vcenter` shows "
            "its last lines."
        ) from error
    finally:
        connection.close()
    if response.status >= http.client.BAD_REQUEST:
        raise LabError(f"The lab's vCenter refuses {method} {path}: {answer.decode(errors='replace').strip()}")
    return json.loads(answer) if answer.strip() else None


def check_socket_path(paths: Paths) -> None:
    """Refuse a directory whose sockets the kernel could not name.

    Raises:
        LabError: The path is too long.
    """
    length = len(os.fsencode(control_socket(paths)))
    if length > SOCKET_PATH_LIMIT:
        raise LabError(
            f"{paths.root} is too long a path for a lab: its sockets' names would have {length} bytes, and the kernel "
            f"takes {SOCKET_PATH_LIMIT}. Choose a shorter one with --state."
        )
