"""The lab's name server: it knows the lab's own names, and answers at once that any other name does not exist.

A guest whose resolver gets no answer stalls for seconds at every look-up, so this server always answers. A few fixed
answers need no library and no zone file. No recursion, no TCP: every answer fits into a datagram.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import cast

PORT = 53
# RFC 1035 §4.1
_HEADER = struct.Struct("!6H")
_QUESTION_TAIL = struct.Struct("!HH")
_ANSWER = struct.Struct("!HHHIH")
_IS_ANSWER, _AUTHORITATIVE, _RECURSION_DESIRED, _RECURSION_AVAILABLE = 0x8000, 0x0400, 0x0100, 0x0080
_OPCODE = 0x7800
_NO_ERROR, _NO_SUCH_NAME, _NOT_IMPLEMENTED = 0, 3, 4
_TYPE_A, _TYPE_PTR, _CLASS_IN = 1, 12, 1
_NAME_OF_THE_QUESTION = 0xC00C  # a pointer to offset 12
_LONGEST_LABEL = 63
TTL_S = 5  # a name that moves is found again before anybody gets impatient
_REVERSE = ".in-addr.arpa"


def answer(query: bytes, records: Mapping[str, IPv4Address]) -> bytes | None:
    """The answer to a query.

    Args:
        query: As it came.
        records: Names in lower case without a final dot.

    Returns:
        A datagram; None where the query is none, and nothing must be answered.
    """
    try:
        identity, flags, questions, *_ = _HEADER.unpack_from(query)
        name, end = _name(query, _HEADER.size)
        kind, group = _QUESTION_TAIL.unpack_from(query, end)
    except (struct.error, ValueError, IndexError):
        return None
    if flags & _IS_ANSWER or questions != 1:
        return None
    code, found = _NO_ERROR, b""
    if flags & _OPCODE or group != _CLASS_IN:
        code = _NOT_IMPLEMENTED
    elif name in records:
        found = records[name].packed if kind == _TYPE_A else b""
    else:
        host = _reverse(name, records)
        code = _NO_ERROR if host else _NO_SUCH_NAME
        found = _encode(host) if host and kind == _TYPE_PTR else b""
    reply = _IS_ANSWER | _AUTHORITATIVE | _RECURSION_AVAILABLE | flags & (_OPCODE | _RECURSION_DESIRED) | code
    head = _HEADER.pack(identity, reply, 1, 1 if found else 0, 0, 0)
    question = query[_HEADER.size : end + _QUESTION_TAIL.size]
    tail = _ANSWER.pack(_NAME_OF_THE_QUESTION, kind, _CLASS_IN, TTL_S, len(found)) + found if found else b""
    return head + question + tail


def _name(query: bytes, at: int) -> tuple[str, int]:
    """The name that begins at an offset, and the offset behind it."""
    labels = []
    while length := query[at]:
        if length > _LONGEST_LABEL or at + 1 + length >= len(query):
            raise ValueError("no plain name")
        labels.append(query[at + 1 : at + 1 + length].decode("ascii").lower())
        at += 1 + length
    return ".".join(labels), at + 1


def _reverse(name: str, records: Mapping[str, IPv4Address]) -> str:
    """The host that a name like ``120.6.168.192.in-addr.arpa`` stands for; empty without one."""
    if not name.endswith(_REVERSE):
        return ""
    address = ".".join(reversed(name.removesuffix(_REVERSE).split(".")))
    return next((host for host, known in records.items() if str(known) == address), "")


def _encode(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split(".")) + b"\0"


class Responder(asyncio.DatagramProtocol):
    """The name server on a datagram socket.

    Args:
        records: Names in lower case without a final dot.
    """

    def __init__(self, records: Mapping[str, IPv4Address]) -> None:
        self.records = records
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is ready."""
        self._transport = cast("asyncio.DatagramTransport", transport)  # which asyncio's own is not, up to 3.12

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one query."""
        reply = answer(data, self.records)
        if reply is not None and self._transport is not None:
            self._transport.sendto(reply, addr)
