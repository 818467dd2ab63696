"""Read what VMware Tools would report about a guest: its host name, its addresses, its gateway.

This process reads them from the guest's namespaces. A program started in the guest would give the same answer at a
hundred times the cost, and every guest of every lab is read once a second.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from lab.network import netns
from lab.network.switch import NIC

# linux/netlink.h
REQUEST_DUMP = 0x001 | 0x300  # NLM_F_REQUEST | NLM_F_DUMP
ERROR, DONE = 2, 3
HEADER, ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=HH")
ALIGNED = 4
RECEIVED = 1 << 16  # more than the kernel puts into one message
LIMIT_S = 5.0  # the kernel answers at once
# linux/if_addr.h, linux/rtnetlink.h
GET_ADDRESS, GET_ROUTE = 22, 26
ADDRESS, ROUTE = struct.Struct("=BBBBI"), struct.Struct("=BBBBBBBBI")
ADDRESS_LOCAL, ROUTE_GATEWAY = 2, 5
SCOPE_GLOBAL, TABLE_MAIN = 0, 254


@dataclass(frozen=True)
class GuestReport:
    """What the tools of a guest report.

    Args:
        hostname: Its name, as its kernel has it.
        addresses: Those of its NIC, with their prefixes, in the order of `ip address`: the VIPs come last.
        gateway: Of its default route; empty where it has none.
    """

    hostname: str
    addresses: tuple[str, ...]
    gateway: str


class Tools:
    """The tools of one boot of a guest.

    Args:
        namespace: The name of its network namespace.
        init: Its process 1, by this machine's number.

    Raises:
        OSError: It has ended.
    """

    def __init__(self, namespace: str, init: int) -> None:
        self._namespace = namespace
        self._init = os.pidfd_open(init)

    def close(self) -> None:
        """Let go of the guest."""
        os.close(self._init)

    def look(self) -> GuestReport:
        """What is so now.

        Raises:
            LabError: Its network is gone.
            OSError: It has ended, or has no NIC.
        """
        with netns.inside_host_name_of(self._init):
            hostname = os.uname().nodename
        with netns.inside(self._namespace):
            nic = socket.if_nametoindex(NIC)
            link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        with link:
            link.settimeout(LIMIT_S)
            return GuestReport(hostname, tuple(_addresses(link, nic)), _gateway(link))


def _addresses(link: socket.socket, nic: int) -> Iterator[str]:
    for payload in _dump(link, GET_ADDRESS, ADDRESS.pack(socket.AF_INET, 0, 0, 0, 0)):
        _, prefix, _, scope, index = ADDRESS.unpack_from(payload)
        local = _attributes(payload[ADDRESS.size :]).get(ADDRESS_LOCAL)
        if index == nic and scope == SCOPE_GLOBAL and local:
            yield f"{IPv4Address(local)}/{prefix}"


def _gateway(link: socket.socket) -> str:
    """Of the first default route, which is the one that counts; all of them are read, or the next dump would fail."""
    found = []
    for payload in _dump(link, GET_ROUTE, ROUTE.pack(socket.AF_INET, *(0,) * 8)):
        _, destination, _, _, table, *_ = ROUTE.unpack_from(payload)
        if destination == 0 and table == TABLE_MAIN:
            gateway = _attributes(payload[ROUTE.size :]).get(ROUTE_GATEWAY)
            found.append(str(IPv4Address(gateway)) if gateway else "")
    return found[0] if found else ""


def _dump(link: socket.socket, kind: int, body: bytes) -> Iterator[bytes]:
    """Everything of a kind that the kernel has there, each as its message without the header."""
    link.send(HEADER.pack(HEADER.size + len(body), kind, REQUEST_DUMP, 0, 0) + body)
    while True:
        data = link.recv(RECEIVED)
        while data:
            length, answer, *_ = HEADER.unpack_from(data)
            if answer == DONE:
                return
            if answer == ERROR:
                number = -struct.unpack_from("=i", data, HEADER.size)[0]
                raise OSError(number, os.strerror(number))
            yield data[HEADER.size : length]
            data = data[_aligned(length) :]


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while data:
        length, kind = ATTRIBUTE.unpack_from(data)
        found[kind] = data[ATTRIBUTE.size : length]
        data = data[_aligned(length) :]
    return found


def _aligned(length: int) -> int:
    return (length + ALIGNED - 1) & -ALIGNED
