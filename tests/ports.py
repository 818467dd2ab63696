"""Ports on loopback that belong to a test from the moment at which they are chosen."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

HOST = "127.0.0.1"


@contextmanager
def reserved() -> Iterator[int]:
    """A port on which nobody listens, for the length of a block.

    A socket is bound to it and does not listen: a connection is refused, and the kernel gives the port to nobody who
    leaves the choice to it. A server that asks for it by its number, with SO_REUSEADDR as servers do, gets it (ip(7)).
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((HOST, 0))
        yield int(holder.getsockname()[1])
