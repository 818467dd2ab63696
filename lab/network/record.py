"""Read from a capture who advertised as VRRP master when, and who claimed which address.

This module is pure: events in, answers out. ``frames.py`` parses the bytes, ``capture.py`` captures them. Times are
seconds of the monotonic clock, which all processes of a machine share.

**Who is master.** A node announces it with each advert of a priority above 0, and the others believe it for three times
the advert's own interval (RFC 9568 §6.1, Master_Down_Interval without the skew). Adverts of one sender that follow each
other within that time are one *run*: an unbroken claim from its first to its last advert. A priority of 0 (the sender
resigns) ends a run at once.

**Two masters** are runs of two senders that overlap: one begins before the other has ended, which shows as A, B, A in
the capture. An orderly change, or a failure with a takeover, is A, A, B, B without an overlap, however short the time
between. The length of an overlap is counted from the first advert of the later run to the last advert of the run that
ends first: a lower bound, and 0 where a node stepped down after a single advert.

**What adverts cannot show**, ARP does. A unicast advert is not sent while nobody answers for the peer's MAC address: a
node whose peer is dead or unreachable announces only by gratuitous ARP that it took the addresses. A node whose
keepalived is dead or frozen keeps them without an announcement. So ``last_claimant`` gives who took an address last,
and who holds it now is found by asking (``arp.who_has``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from itertools import combinations
from pathlib import Path
from typing import Any

from lab.errors import RUN, LabError
from lab.network.frames import Advert, Arp, Event

BELIEVED_INTERVALS = 3  # RFC 9568 §6.1: Active_Down_Interval, formerly Master_Down_Interval


@dataclass(frozen=True)
class Run:
    """An unbroken claim to be master.

    Args:
        vrid: Of this virtual router.
        sender: By port and address.
        first: Its first advert.
        last: Its last advert.
        adverts: How many.
        priority: Of the last one.
        until: How long the other nodes have to believe it: three intervals, or the moment of resigning.
    """

    vrid: int
    sender: str
    first: float
    last: float
    adverts: int
    priority: int
    until: float


@dataclass(frozen=True)
class Overlap:
    """Two masters at a time.

    Args:
        vrid: Of this virtual router.
        senders: Both.
        start: First advert of the later claim.
        end: Last advert of the claim that ended first.
    """

    vrid: int
    senders: tuple[str, str]
    start: float
    end: float

    @property
    def seconds(self) -> float:
        """For how long at least."""
        return self.end - self.start

    def __str__(self) -> str:
        return f"{self.senders[0]} and {self.senders[1]} both master of {self.vrid} for at least {self.seconds:.3f} s"


@dataclass(frozen=True)
class Record:
    """Everything that a watch has seen.

    Args:
        started: When the watch began.
        events: In the order of their times.
        dropped: Frames that the watch lost; with any, an absence proves nothing.
    """

    started: float
    events: tuple[Event, ...]
    dropped: int = 0

    @property
    def adverts(self) -> tuple[Advert, ...]:
        """The VRRP adverts."""
        return tuple(event for event in self.events if isinstance(event, Advert))

    @property
    def arps(self) -> tuple[Arp, ...]:
        """The ARP packets."""
        return tuple(event for event in self.events if isinstance(event, Arp))

    def since(self, at: float) -> Record:
        """What was seen from a moment on."""
        return Record(max(at, self.started), tuple(event for event in self.events if event.at >= at), self.dropped)

    def runs(self, vrid: int | None = None) -> list[Run]:
        """Every unbroken claim to be master, by its beginning.

        Args:
            vrid: Of one virtual router; None is of all.
        """
        done: list[Run] = []
        open_runs: dict[tuple[int, str], Run] = {}
        for advert in self.adverts:
            if vrid is not None and advert.vrid != vrid:
                continue
            key = (advert.vrid, advert.sender)
            current = open_runs.pop(key, None)
            if current is not None and advert.at > current.until:
                done.append(current)
                current = None
            if advert.priority == 0:
                if current is not None:
                    done.append(_extended(current, advert, until=advert.at))
                continue
            until = advert.at + BELIEVED_INTERVALS * advert.interval_s
            if current is None:
                current = Run(advert.vrid, advert.sender, advert.at, advert.at, 0, 0, until)
            open_runs[key] = _extended(current, advert, until=until)
        return sorted([*done, *open_runs.values()], key=lambda run: run.first)

    def two_masters(self, vrid: int | None = None) -> list[Overlap]:
        """Every time that two senders were master at once; see the top of this module for what counts.

        Raises:
            LabError: The watch lost frames, so that "never" cannot be claimed.
        """
        if self.dropped:
            raise LabError(f"The watch lost {self.dropped} frames; what it did not see proves nothing. Run it again.")
        found = []
        for one, other in combinations(self.runs(vrid), 2):
            start, end = max(one.first, other.first), min(one.last, other.last)
            # Runs of one sender never overlap: the next one begins when the one before is over.
            if one.vrid == other.vrid and start <= end:
                found.append(Overlap(one.vrid, (one.sender, other.sender), start, end))
        return found

    def masters(self, at: float, vrid: int | None = None) -> list[str]:
        """Who claims to be master at a moment and is to be believed: the latest claim first."""
        valid = [run for run in self._until(at).runs(vrid) if run.first <= at <= run.until]
        return list(dict.fromkeys(run.sender for run in sorted(valid, key=lambda run: run.last, reverse=True)))

    def _until(self, at: float) -> Record:
        return Record(self.started, tuple(event for event in self.events if event.at <= at), self.dropped)

    def arp_claims(self, address: IPv4Address | str) -> list[Arp]:
        """Every ARP packet by which a machine claimed an address."""
        return [arp for arp in self.arps if arp.sender == str(address)]

    def claimants(self, address: IPv4Address | str) -> list[str]:
        """The ports that claimed an address, in the order in which they first did."""
        return list(dict.fromkeys(arp.port for arp in self.arp_claims(address)))

    def last_claimant(self, address: IPv4Address | str) -> str:
        """The port that claimed an address last; empty where none did."""
        claims = self.arp_claims(address)
        return claims[-1].port if claims else ""

    def moves(self) -> list[Arp]:
        """The gratuitous ARP packets by which an address went to a port that had not claimed it last."""
        holders: dict[str, str] = {}
        found = []
        for arp in self.arps:
            if arp.gratuitous and holders.get(arp.sender) != arp.port:
                found.append(arp)
            holders[arp.sender] = arp.port
        return found

    def lines(self, zero: float | None = None) -> list[str]:
        """Changes of master and moves of addresses for people, in seconds since ``zero`` (the watch's start)."""
        zero = self.started if zero is None else zero
        reported = [(arp.at, f"{arp.port} takes {arp.sender} (gratuitous ARP)") for arp in self.moves()]
        for run in self.runs():
            reported.append((run.first, f"{run.sender} begins to advertise as master of {run.vrid}"))
            resigned = run.until <= run.last
            if resigned or self._seen_until() > run.until:
                reported.append((run.last, f"{run.sender} {'resigns' if resigned else 'sends its last advert'}"))
        return [f"{at - zero:8.3f} s  {text}" for at, text in sorted(reported)]

    def _seen_until(self) -> float:
        return self.events[-1].at if self.events else self.started


def _extended(run: Run, advert: Advert, *, until: float) -> Run:
    priority = advert.priority or run.priority
    return Run(run.vrid, run.sender, run.first, advert.at, run.adverts + 1, priority, until)


def to_line(event: Event) -> str:
    """An event as a line of a watch's file."""
    return _line({"kind": type(event).__name__.lower(), **asdict(event)})


def start_line(at: float) -> str:
    """The first line of a watch's file."""
    return _line({"kind": "start", "at": at})


def dropped_line(frames: int) -> str:
    """The line with how many more frames a watch has lost."""
    return _line({"kind": "dropped", "frames": frames})


def _line(values: dict[str, Any]) -> str:
    return json.dumps(values, separators=(",", ":")) + "\n"


def from_lines(lines: Iterable[str]) -> Record:
    """A record from what a watch has written so far; a last line that is only half there is left out."""
    started, dropped, events = 0.0, 0, list[Event]()
    for values in _documents(lines):
        kind = values.pop("kind")
        if kind == "start":
            started = values["at"]
        elif kind == "dropped":
            dropped += values["frames"]
        elif kind == "advert":
            events.append(Advert(**values | {"addresses": tuple(values["addresses"])}))
        else:
            events.append(Arp(**values))
    return make_record(started, events, dropped)


def make_record(started: float, events: Sequence[Event], dropped: int) -> Record:
    """A record of events as they came; ports of one switch are read in turn, so their times may be out of order."""
    return Record(started, tuple(sorted(events, key=lambda event: event.at)), dropped)


def _documents(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            return


def load(file: Path) -> Record:
    """The record in a watch's file.

    Raises:
        LabError: There is none.
    """
    try:
        with file.open(encoding="utf-8") as lines:
            return from_lines(lines)
    except FileNotFoundError as error:
        raise LabError(f"{file} is not there: nobody watched the wire. `{RUN} up` starts the watch.") from error
