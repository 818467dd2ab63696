"""Capture VRRP and ARP on a lab's switch, from the first frame, with the kernel's time stamps.

A raw socket in the switch's namespace receives every frame that arrives at a port, before the bridge decides about it:
frames of a disconnected or partitioned node are captured too. A filter in the kernel drops everything else, so a
capture costs nothing under load. ``Watch`` keeps events in memory, for one act or test. As a program (``python -m
lab.network.capture``) it writes a file for the whole life of a lab.

Why not tcpdump, libpcap or scapy: they read the same kind of socket, and would be one more package on every machine.
What the lab needs is small: a filter of nine instructions, the kernel's time stamp of each frame on the clock that the
clients' records use, the number of lost frames, and a socket that is open when ``start`` returns, so that no other
program has to be waited for.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import socket
import struct
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.errors import LabError
from lab.network import frames, netns
from lab.network import record as wire
from lab.network.switch import BRIDGE
from lab.system import daemon

ETH_P_ALL = 0x0003  # linux/if_ether.h
SOL_PACKET, PACKET_STATISTICS = 263, 6  # linux/if_packet.h
SO_ATTACH_FILTER, SO_TIMESTAMPNS, SO_RCVBUFFORCE = 26, 35, 33  # asm-generic/socket.h
RECEIVE_BUFFER = 4 << 20  # many seconds of adverts and ARP, while this machine does something else
SNAP = 1514  # a whole frame; an advert may name 255 addresses
TIMESPEC = struct.Struct("qq")
NS = 1_000_000_000
FILE_LIMIT = 32 << 20  # a day of a fast pair; then the file begins anew, and the one before is kept

# Classic BPF (linux/filter.h): drop what leaves the switch (it was seen as it came in); pass ARP; pass IPv4 of VRRP's
# protocol number; drop the rest. The second and third number of a jump count the instructions to skip.
_LDH, _LDB, _JEQ, _RET = 0x28, 0x30, 0x15, 0x06
_PACKET_TYPE = 0xFFFFF000 + 4  # SKF_AD_OFF + SKF_AD_PKTTYPE
_FILTER = (
    (_LDH, 0, 0, _PACKET_TYPE),
    (_JEQ, 6, 0, socket.PACKET_OUTGOING),
    (_LDH, 0, 0, 12),
    (_JEQ, 3, 0, frames.ETHERTYPE_ARP),
    (_JEQ, 0, 3, frames.ETHERTYPE_IPV4),
    (_LDB, 0, 0, 23),
    (_JEQ, 0, 1, frames.PROTOCOL_VRRP),
    (_RET, 0, 0, SNAP),
    (_RET, 0, 0, 0),
)


class Sniffer:
    """The raw socket of a watch.

    Args:
        namespace: The switch's namespace.

    Raises:
        LabError: There is no such switch, or this is not root.
    """

    def __init__(self, namespace: str) -> None:
        program = b"".join(struct.pack("HBBI", *instruction) for instruction in _FILTER)
        kept = ctypes.create_string_buffer(program)  # has to live until the kernel has copied it
        attach = struct.pack("HL", len(_FILTER), ctypes.addressof(kept))
        with netns.inside(namespace):
            try:
                self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            except PermissionError as error:
                raise LabError(
                    "Watching the wire takes a raw socket, which only root may open: run as root."
                ) from error
        self.socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, attach)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.socket.setblocking(False)
        self.dropped = 0
        self._known: dict[bytes, str] = {}

    def take(self) -> list[frames.Event]:
        """Everything that waits to be read."""
        events = []
        while True:
            try:
                frame, ancillary, _, sender = self.socket.recvmsg(SNAP, socket.CMSG_SPACE(TIMESPEC.size))
            except BlockingIOError:
                break
            except OSError:  # ENETDOWN: a port went away; what the others received is still there to be read
                continue
            # Frames from before the filter was attached may be of any kind; the bridge's own copy is the second one.
            if sender[0] != BRIDGE and sender[2] != socket.PACKET_OUTGOING:
                event = frames.parse(frame, _received(ancillary), self._port(sender[0], sender[4]))
                if event is not None:
                    events.append(event)
        _, dropped = struct.unpack("II", self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        self.dropped += dropped
        return events

    def _port(self, name: str, mac: bytes) -> str:
        """The port's name; of one that is gone when its last frames are read, the name that it had."""
        if name:
            self._known[mac] = name
        return name or self._known.get(mac, mac.hex(":"))


def _received(ancillary: Sequence[tuple[int, int, bytes]]) -> float:
    """The kernel's time of a frame, on the monotonic clock."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS) and len(data) >= TIMESPEC.size:
            seconds, nanoseconds = TIMESPEC.unpack(data[: TIMESPEC.size])
            return float(seconds * NS + nanoseconds - (time.time_ns() - time.monotonic_ns())) / NS
    return time.monotonic()


class Watch:
    """A watch of one switch by a thread of this process; use it with ``with``.

    Args:
        namespace: The switch's namespace.
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._lock = threading.Lock()
        self._events: list[frames.Event] = []
        self._sniffer: Sniffer | None = None
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._woken, self._wake = os.pipe()
        self.started = 0.0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begin: whatever a port receives after this call is seen, a port that is made later included.

        Raises:
            LabError: There is no such switch, or this is not root.
        """
        self._sniffer = Sniffer(self._namespace)
        self.started = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """End; what was seen stays."""
        if self._sniffer is None or not self._thread.is_alive():
            return
        os.write(self._wake, b"x")
        self._thread.join()
        self._sniffer.socket.close()
        for descriptor in (self._wake, self._woken):
            os.close(descriptor)

    def record(self) -> wire.Record:
        """What was seen up to now."""
        with self._lock:
            return wire.make_record(self.started, self._events, self._sniffer.dropped if self._sniffer else 0)

    def _run(self) -> None:
        assert self._sniffer is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._sniffer.socket, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            ended = False
            while not ended:
                ended = any(key.fileobj == self._woken for key, _ in selector.select())
                with self._lock:
                    self._events += self._sniffer.take()


def _daemon(state: Path) -> daemon.Daemon:
    return daemon.Daemon("lab.network.capture", state / "wire")


def file_of(state: Path) -> Path:
    """The file that the lab's watch writes; ``record.load`` reads it."""
    return state / "wire" / "events.jsonl"


def start(namespace: str, state: Path, logs: Path, *, tied: bool = False) -> None:
    """Let a background process watch a switch, unless one does already.

    Args:
        namespace: The switch's namespace.
        state: The lab's directory.
        logs: Where its log goes.
        tied: It ends with this process.

    Raises:
        LabError: It does not start; with its own words.
    """
    file_of(state).parent.mkdir(parents=True, exist_ok=True)
    arguments = ["--namespace", namespace, "--identity", netns.identity(namespace)]
    _daemon(state).ensure(arguments, logs / "wire.log", tied=tied)


def stop(state: Path) -> None:
    """End the background watch; none is fine."""
    _daemon(state).stop()


def main(arguments: Sequence[str]) -> int:
    """Watch until asked to end."""
    parser = daemon.parser(main.__doc__ or "")
    parser.add_argument("--namespace", required=True, help="the switch's")
    parser.add_argument("--identity", required=True, help="which one of that name")
    options = parser.parse_args(arguments)
    try:
        sniffer = Sniffer(options.namespace)
    except LabError as error:
        print(error, file=sys.stderr)
        return 2
    file = file_of(options.mark.parent)
    with daemon.Ending(options) as ending, selectors.DefaultSelector() as selector:
        selector.register(sniffer.socket, selectors.EVENT_READ)
        selector.register(ending, selectors.EVENT_READ)
        ended = False
        while not ended:
            with file.open("w", encoding="utf-8", buffering=1) as output:
                output.write(wire.start_line(time.monotonic()))
                ending.announce()
                reported = 0
                while not ended and output.tell() < FILE_LIMIT:
                    ended = any(key.fileobj is ending for key, _ in selector.select())
                    output.writelines(wire.to_line(event) for event in sniffer.take())
                    if sniffer.dropped > reported:
                        output.write(wire.dropped_line(sniffer.dropped - reported))
                        reported = sniffer.dropped
            if not ended:
                file.replace(file.with_suffix(".1.jsonl"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
