"""Open listening sockets inside a network namespace."""

from __future__ import annotations

import socket

from lab.errors import LabError
from lab.network import netns

BACKLOG = 128


def listening_socket(namespace: str | None, address: str, port: int) -> socket.socket:
    """A socket that listens inside a namespace, for use outside.

    Raises:
        LabError: Namespace or address is not there, or the port is taken.
    """
    with netns.inside(namespace):
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        made.listen(BACKLOG)
        made.setblocking(False)
    except OSError as error:
        made.close()
        where = f" in {namespace}" if namespace else ""
        raise LabError(f"Nothing can listen on {address}:{port}{where}: {error.strerror}.") from error
    return made
