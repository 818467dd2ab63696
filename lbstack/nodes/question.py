"""One HTTP question to a node, which ends in time whatever the other side sends.

``http.client`` has a limit for each read, so that who sends one byte a second is listened to forever. Here one deadline
holds for everything: connecting, sending, and each part of the answer. A redirect is an answer like any other.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import time

CHUNK = 1 << 16
HEADERS_END = b"\r\n\r\n"
# Read as it arrives; a request with `Connection: close` makes it unnecessary for every server that keeps to HTTP.
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*\r\n", re.IGNORECASE)


class _Received:
    """What was received, as ``http.client`` wants to read it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: object) -> io.BytesIO:
        """It as a file."""
        return io.BytesIO(self._data)


def fetch(address: str, port: int, path: str, *, within_s: float, at_most: int) -> tuple[int, bytes]:
    """Ask once by plain HTTP.

    Args:
        address: The address of the node.
        port: The port.
        path: What is asked for.
        within_s: How long it may take in all, in seconds.
        at_most: How many bytes the whole answer may have, its headers included.

    Returns:
        Status and body.

    Raises:
        OSError: Nobody answers, or not in time.
        http.client.HTTPException: The answer is no HTTP, or too long.
    """
    deadline = time.monotonic() + within_s
    received = bytearray()
    with socket.create_connection((address, port), timeout=within_s) as connection:
        connection.settimeout(_left(deadline))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode("ascii"))
        while not _complete(received):
            connection.settimeout(_left(deadline))
            part = connection.recv(CHUNK)
            if not part:
                break
            received += part
            if len(received) > at_most:
                raise http.client.HTTPException(f"the answer is longer than {at_most} bytes")
    if not received:
        raise ConnectionResetError("the connection was closed without an answer")
    response = http.client.HTTPResponse(_Received(bytes(received)))  # type: ignore[arg-type]
    response.begin()
    return response.status, response.read()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _complete(received: bytearray) -> bool:
    """Whether the answer is there in full, as far as its own header tells."""
    head, end, body = received.partition(HEADERS_END)
    length = CONTENT_LENGTH.search(head + b"\r\n") if end else None
    return length is not None and len(body) >= int(length[1])
