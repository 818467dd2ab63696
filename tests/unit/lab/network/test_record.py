"""What the wire proves: frames read from bytes, and who was master when."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.network import frames
from lab.network import record as wire
from lab.network.frames import Advert, Arp

NODE_1, NODE_2 = "192.168.6.120", "192.168.6.121"
VIP = "192.168.6.122"
VRID = 11


def frame(ethertype: int, payload: bytes) -> bytes:
    return b"\x00\x50\x56\x01\x02\x03" + b"\x00\x50\x56\x0a\x0b\x0c" + ethertype.to_bytes(2) + payload


def ip_packet(protocol: int, payload: bytes, *, options: bytes = b"", fragment: int = 0) -> bytes:
    words = 5 + len(options) // 4
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x40 | words, 0xC0, words * 4 + len(payload), 1, fragment, 255, protocol, 0,
        IPv4Address(NODE_1).packed, IPv4Address(NODE_2).packed,
    )  # fmt: skip
    return header + options + payload


def vrrp3(priority: int = 254, interval_cs: int = 100, addresses: tuple[str, ...] = (VIP,)) -> bytes:
    head = struct.pack("!BBBBHH", 0x31, VRID, priority, len(addresses), interval_cs, 0)
    return head + b"".join(IPv4Address(address).packed for address in addresses)


def arp(operation: int, sender: str, target: str) -> bytes:
    mac = bytes.fromhex("0050560a0b0c")
    return struct.pack(
        "!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, operation, mac, IPv4Address(sender).packed, b"", IPv4Address(target).packed
    )


def test_an_advert_of_version_3_is_read_with_its_interval_in_hundredths() -> None:
    event = frames.parse(frame(0x0800, ip_packet(112, vrrp3(246, 25, (VIP, "192.168.6.9")))), 5.0, "n1")
    assert event == Advert(5.0, "n1", NODE_1, NODE_2, 255, VRID, 3, 246, 0.25, (VIP, "192.168.6.9"))


def test_an_advert_of_version_2_is_read_with_its_interval_in_seconds() -> None:
    packet = struct.pack("!BBBBBBH", 0x21, VRID, 100, 1, 0, 2, 0) + IPv4Address(VIP).packed + b"\0" * 8
    event = frames.parse(frame(0x0800, ip_packet(112, packet)), 5.0, "n1")
    assert isinstance(event, Advert)
    assert (event.version, event.interval_s, event.addresses) == (2, 2.0, (VIP,))


def test_an_advert_behind_ip_options_and_before_padding_is_read() -> None:
    packet = ip_packet(112, vrrp3(), options=b"\x94\x04\0\0") + b"\0" * 20
    event = frames.parse(frame(0x0800, packet), 5.0, "n1")
    assert isinstance(event, Advert)
    assert event.addresses == (VIP,)


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"short",
        frame(0x0800, b""),
        frame(0x0800, ip_packet(6, vrrp3())),
        frame(0x0800, ip_packet(112, vrrp3()[:7])),
        frame(0x0800, ip_packet(112, vrrp3()[:-1])),
        frame(0x0800, ip_packet(112, vrrp3(), fragment=1)),
        frame(0x0800, ip_packet(112, b"\x32" + vrrp3()[1:])),
        frame(0x86DD, ip_packet(112, vrrp3())),
        frame(0x0806, arp(1, NODE_1, VIP)[:-1]),
        frame(0x0806, arp(3, NODE_1, VIP)),
    ],
    ids=[
        "nothing", "no header", "no packet", "TCP", "half an advert", "an address short", "a later fragment",
        "no advert", "IPv6", "half an ARP", "no request and no reply",
    ],
)  # fmt: skip
def test_what_is_broken_or_of_another_kind_is_no_event(broken: bytes) -> None:
    assert frames.parse(broken, 5.0, "n1") is None


def test_gratuitous_arp_is_distinguished_from_an_answer() -> None:
    gratuitous = frames.parse(frame(0x0806, arp(1, VIP, VIP)), 5.0, "n1")
    answer = frames.parse(frame(0x0806, arp(2, VIP, "192.168.6.50")), 5.0, "n1")
    assert isinstance(gratuitous, Arp)
    assert isinstance(answer, Arp)
    assert (gratuitous.gratuitous, gratuitous.mac) == (True, "00:50:56:0a:0b:0c")
    assert (answer.gratuitous, answer.operation, answer.sender) == (False, "reply", VIP)


def advert(at: float, port: str, priority: int = 254, *, vrid: int = VRID, interval: float = 1.0) -> Advert:
    source = NODE_1 if port == "n1" else NODE_2
    return Advert(at, port, source, NODE_2, 255, vrid, 3, priority, interval, (VIP,))


def record(*events: frames.Event, dropped: int = 0) -> wire.Record:
    return wire.make_record(0.0, events, dropped)


def test_a_takeover_after_a_failure_is_no_overlap() -> None:
    seen = record(*(advert(at, "n1") for at in (1, 2, 3)), *(advert(at, "n2", 246) for at in (6.6, 7.6, 8.6)))
    assert seen.two_masters() == []
    assert [(run.sender, run.first, run.last, run.adverts) for run in seen.runs()] == [
        (f"n1/{NODE_1}", 1, 3, 3),
        (f"n2/{NODE_2}", 6.6, 8.6, 3),
    ]


def test_a_planned_change_is_no_overlap_however_quick() -> None:
    seen = record(advert(1, "n1"), advert(1.5, "n1", 0), advert(1.501, "n2", 246), advert(2.501, "n2", 246))
    assert seen.two_masters() == []


def test_a_single_advert_between_two_of_the_master_is_an_overlap() -> None:
    seen = record(advert(1, "n1"), advert(1.4, "n2", 246), advert(2, "n1"))
    (overlap,) = seen.two_masters()
    assert (overlap.start, overlap.end, overlap.seconds) == (1.4, 1.4, 0)
    assert set(overlap.senders) == {f"n1/{NODE_1}", f"n2/{NODE_2}"}


def test_two_masters_overlap_from_the_second_ones_first_advert_until_one_is_silent() -> None:
    seen = record(
        *(advert(at, "n1") for at in range(1, 20)),
        *(advert(at + 0.5, "n2", 246) for at in range(5, 9)),
    )
    (overlap,) = seen.two_masters()
    assert (overlap.start, overlap.end) == (5.5, 8.5)
    assert "at least 3.000 s" in str(overlap)


def test_a_master_that_comes_back_after_another_one_ended_is_no_overlap() -> None:
    seen = record(advert(1, "n1"), advert(1.2, "n1", 0), advert(1.3, "n2"), advert(1.9, "n2", 0), advert(2, "n1"))
    assert seen.two_masters() == []


def test_a_thawed_master_that_advertises_between_its_followers_adverts_is_an_overlap() -> None:
    follower = [advert(5 + at, "n2", 246) for at in range(10)]
    seen = record(advert(1, "n1"), *follower, advert(9.5, "n1", 250))
    (overlap,) = seen.two_masters()
    assert overlap.start == 9.5


def test_two_machines_with_one_address_are_two_senders() -> None:
    twin = Advert(1.5, "v1", NODE_1, NODE_2, 255, VRID, 3, 254, 1.0, (VIP,))
    assert record(advert(1, "n1"), twin, advert(2, "n1")).two_masters() != []


def test_two_virtual_routers_have_a_master_each() -> None:
    seen = record(advert(1, "n1"), advert(1.5, "n2", vrid=12), advert(2, "n1"), advert(2.5, "n2", vrid=12))
    assert seen.two_masters() == []
    assert seen.masters(2.6, VRID) == [f"n1/{NODE_1}"]


def test_lost_frames_forbid_the_answer_never() -> None:
    with pytest.raises(LabError, match="lost 3 frames"):
        record(advert(1, "n1"), dropped=3).two_masters()


def test_a_master_is_believed_for_three_intervals_and_not_after_it_resigned() -> None:
    seen = record(advert(1, "n1"), advert(2, "n1"))
    assert seen.masters(0.5) == []
    assert seen.masters(4.9) == [f"n1/{NODE_1}"]
    assert seen.masters(5.1) == []
    assert record(advert(1, "n1"), advert(2, "n1", 0)).masters(2.1) == []


def test_the_claim_of_a_fast_pair_lasts_three_of_its_own_intervals() -> None:
    seen = record(advert(1, "n1", interval=0.25))
    assert seen.masters(1.7) == [f"n1/{NODE_1}"]
    assert seen.masters(1.8) == []


def test_the_latest_claim_is_named_first() -> None:
    seen = record(advert(1, "n1"), advert(1.5, "n2"))
    assert seen.masters(1.6) == [f"n2/{NODE_2}", f"n1/{NODE_1}"]


def test_who_claimed_an_address_by_arp_is_reported_by_port() -> None:
    seen = record(
        Arp(1.0, "n1", "request", "00:50:56:00:00:01", VIP, VIP),
        Arp(2.0, "cl", "request", "00:50:56:00:00:09", "192.168.6.50", VIP),
        Arp(3.0, "n2", "reply", "00:50:56:00:00:02", VIP, "192.168.6.50"),
    )
    assert seen.claimants(VIP) == ["n1", "n2"]
    assert seen.since(2.5).claimants(VIP) == ["n2"]
    assert seen.last_claimant(VIP) == "n2"
    assert seen.last_claimant(NODE_1) == ""


def test_an_address_that_moves_is_reported_once_for_each_move() -> None:
    def gratuitous(at: float, port: str) -> Arp:
        return Arp(at, port, "request", "00:50:56:00:00:01", VIP, VIP)

    seen = record(
        *(gratuitous(at, "n1") for at in (1, 2)), *(gratuitous(at, "n2") for at in (3, 4)), gratuitous(5, "n1")
    )
    assert [(move.at, move.port) for move in seen.moves()] == [(1, "n1"), (3, "n2"), (5, "n1")]
    assert seen.lines()[1] == f"   3.000 s  n2 takes {VIP} (gratuitous ARP)"


def test_the_timeline_reports_each_change_once() -> None:
    seen = record(advert(1, "n1"), advert(2, "n1", 0), advert(2.1, "n2"), advert(3.1, "n2"), advert(9, "n3"))
    assert seen.lines() == [
        f"   1.000 s  n1/{NODE_1} begins to advertise as master of {VRID}",
        f"   2.000 s  n1/{NODE_1} resigns",
        f"   2.100 s  n2/{NODE_2} begins to advertise as master of {VRID}",
        f"   3.100 s  n2/{NODE_2} sends its last advert",
        f"   9.000 s  n3/{NODE_2} begins to advertise as master of {VRID}",
    ]


def test_a_watchs_file_is_read_up_to_the_line_that_is_being_written(tmp_path: Path) -> None:
    events = (advert(1, "n1"), Arp(2.0, "n1", "reply", "00:50:56:00:00:01", VIP, NODE_2))
    file = tmp_path / "events.jsonl"
    lines = [
        wire.start_line(0.5),
        *(wire.to_line(event) for event in events),
        wire.dropped_line(2),
        wire.dropped_line(1),
    ]
    file.write_text("".join(lines) + wire.to_line(advert(3, "n1"))[:20])
    assert wire.load(file) == wire.Record(0.5, events, 3)


def test_a_missing_file_shows_that_nobody_watched(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="nobody watched"):
        wire.load(tmp_path / "events.jsonl")
