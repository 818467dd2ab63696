"""Ask by ARP who holds an address on the lab's network."""

from __future__ import annotations

import socket
import struct
import time
from ipaddress import IPv4Address

from lab.network import frames, netns
from lab.network.capture import SNAP
from lab.network.switch import NIC

WHO_HAS_S = 0.3  # an answer takes less than a millisecond; a second holder has to get its turn on a busy machine
BROADCAST = b"\xff" * 6


def who_has(namespace: str, address: IPv4Address, asker: IPv4Address, window_s: float = WHO_HAS_S) -> set[str]:
    """Ask the whole network by ARP for an address, and collect every answer.

    Args:
        namespace: Where to ask from; its NIC is ``eth0``.
        address: The address in question.
        asker: The asking machine's own address.
        window_s: How long to listen: all of it, because a second answer is what matters.

    Returns:
        The MAC addresses that answered: none, one, or two where two nodes hold it.

    Raises:
        LabError: There is no such namespace.
    """
    with netns.inside(namespace):
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(frames.ETHERTYPE_ARP))
    with made as raw:
        raw.bind((NIC, frames.ETHERTYPE_ARP))
        mac = raw.getsockname()[4]
        request = struct.pack(
            "!HHBBH6s4s6s4s", 1, frames.ETHERTYPE_IPV4, 6, 4, 1, mac, asker.packed, b"", address.packed
        )
        raw.send(BROADCAST + mac + frames.ETHERTYPE_ARP.to_bytes(2) + request)
        answers: set[str] = set()
        deadline = time.monotonic() + window_s
        while (left := deadline - time.monotonic()) > 0:
            raw.settimeout(left)
            try:
                event = frames.parse(raw.recv(SNAP), 0.0, NIC)
            except TimeoutError:
                break
            if isinstance(event, frames.Arp) and event.sender == str(address):
                answers.add(event.mac)
        return answers
