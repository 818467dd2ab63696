"""Parse the two kinds of frame that the capture needs: VRRP adverts and ARP.

Written by hand, because every frame is read in Python and two fixed layouts are enough. Malformed or other frames are
no events. Checksums are not verified: the frames never leave the memory of this machine.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

ETHERTYPE_ARP, ETHERTYPE_IPV4 = 0x0806, 0x0800
PROTOCOL_VRRP = 112  # IANA; RFC 9568 §5.1.1.4
VRRP_ADVERT = 1
VRRP_V3 = 3
_ETHERNET, _IP_MIN, _VRRP_MIN, _ARP = 14, 20, 8, 28
_ARP_ETHERNET_IPV4 = (1, ETHERTYPE_IPV4, 6, 4)
_FRAGMENT_OFFSET = 0x1FFF
_OPERATIONS = {1: "request", 2: "reply"}


@dataclass(frozen=True)
class Advert:
    """A VRRP advertisement.

    Args:
        at: When the switch received it.
        port: The port that it came in by: the role of its sender.
        source: Its sender's address, as stated in it.
        destination: Where it was sent: the peer, or the multicast group.
        ttl: Its time to live; 255 unless it was forged from afar.
        vrid: The virtual router.
        version: VRRP's version.
        priority: 0 is a resignation.
        interval_s: Time between adverts, as stated in it.
        addresses: The virtual addresses that it names.
    """

    at: float
    port: str
    source: str
    destination: str
    ttl: int
    vrid: int
    version: int
    priority: int
    interval_s: float
    addresses: tuple[str, ...]

    @property
    def sender(self) -> str:
        """Port and address: two machines with one address are two senders."""
        return f"{self.port}/{self.source}"


@dataclass(frozen=True)
class Arp:
    """An ARP packet.

    Args:
        at: When the switch received it.
        port: The port that it came in by.
        operation: ``request`` or ``reply``.
        mac: The sender's MAC address, as stated in it.
        sender: The address that the sender claims.
        target: The address that it is about.
    """

    at: float
    port: str
    operation: str
    mac: str
    sender: str
    target: str

    @property
    def gratuitous(self) -> bool:
        """Whether nobody had asked."""
        return self.sender == self.target


Event = Advert | Arp


def parse(frame: bytes, at: float, port: str) -> Event | None:
    """An event from an Ethernet frame; None where it is neither VRRP nor ARP, or broken."""
    if len(frame) < _ETHERNET:
        return None
    ethertype = int.from_bytes(frame[12:14])
    payload = frame[_ETHERNET:]
    if ethertype == ETHERTYPE_ARP:
        return _arp(payload, at, port)
    return _advert(payload, at, port) if ethertype == ETHERTYPE_IPV4 else None


def _arp(payload: bytes, at: float, port: str) -> Arp | None:
    if len(payload) < _ARP or struct.unpack("!HHBB", payload[:6]) != _ARP_ETHERNET_IPV4:
        return None
    operation, mac, sender, target = struct.unpack("!H6s4s6x4s", payload[6:_ARP])
    if operation not in _OPERATIONS:
        return None
    return Arp(at, port, _OPERATIONS[operation], mac.hex(":"), str(IPv4Address(sender)), str(IPv4Address(target)))


def _advert(packet: bytes, at: float, port: str) -> Advert | None:
    header = (packet[0] & 0x0F) * 4 if packet else 0
    if len(packet) < max(header, _IP_MIN) + _VRRP_MIN or packet[9] != PROTOCOL_VRRP:
        return None
    if int.from_bytes(packet[6:8]) & _FRAGMENT_OFFSET:  # a later fragment has no VRRP header
        return None
    vrrp = packet[header:]
    version, kind = vrrp[0] >> 4, vrrp[0] & 0x0F
    count = vrrp[3]
    if kind != VRRP_ADVERT or len(vrrp) < _VRRP_MIN + 4 * count:
        return None
    # Version 3 has hundredths of a second in 12 bits, version 2 whole seconds after the authentication type.
    interval = (int.from_bytes(vrrp[4:6]) & 0x0FFF) / 100 if version >= VRRP_V3 else float(vrrp[5])
    places = range(_VRRP_MIN, _VRRP_MIN + 4 * count, 4)
    return Advert(
        at=at,
        port=port,
        source=str(IPv4Address(packet[12:16])),
        destination=str(IPv4Address(packet[16:20])),
        ttl=packet[8],
        vrid=vrrp[1],
        version=version,
        priority=vrrp[2],
        interval_s=interval,
        addresses=tuple(str(IPv4Address(vrrp[place : place + 4])) for place in places),
    )
