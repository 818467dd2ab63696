"""The ledger: each line of the hand-built pair's files gets exactly one verdict, with the reasons for it.

A line that nothing has spoken about is "not expressed" too, so nothing is dropped without a word. No verdict shows what
may be a password: of a line that is not known to have none, only the first word is shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from lbstack.scaffold.handbuilt.lines import END_OF_BLOCK, Line

MORE = "…"
UNKNOWN = "lbstack does not know this line: find out what it does, and whether the new pair needs it"
# Lines that begin so have no password; of a `server` line, only so many words.
SHOWN: dict[str, int] = {
    **dict.fromkeys(
        (
            *("balance", "default_backend", "mode", "retries", "maxconn", "timeout", "redirect", "chroot", "daemon"),
            *("defaults", "global", "frontend", "backend", "listen", "userlist", "peers", "peer", "group", "nbproc"),
            *("nbthread", "use_backend", "stick", "stick-table", "hash-type", "log", "errorfile", "fullconn"),
            *("interface", "state", "priority", "virtual_router_id", "advert_int", "nopreempt", "auth_type", "weight"),
            *("vrrp_instance", "vrrp_script", "global_defs", "router_id", "interval", "fall", "rise", "unicast_peer"),
            *("unicast_src_ip", "virtual_ipaddress", "track_script", "track_interface", "authentication"),
            *("vrrp_garp_interval", "vrrp_gna_interval", "vrrp_skip_check_adv_addr", "virtual_server", "real_server"),
            *("-A", "-I", "-P", "-N", "*filter", "*nat", "*mangle", "*raw", "COMMIT", "[Match]", "[Network]", "[DHCP]"),
            *("Name", "Address", "Gateway", "DNS", "DHCP", "Domains", "NTP", "UseDNS", "IPv6AcceptRA"),
        ),
        99,
    ),
    "server": 3,
    "bind": 2,
    "stats": 2,
    "user": 2,
    "option": 2,
    "http-check": 2,
    "tcp-check": 2,
    "http-request": 2,
    "tcp-request": 3,
    "acl": 2,
    "default-server": 1,
    "script": 1,
}
ADDRESS = re.compile(r"[0-9a-f.:/]+")
ENDS = re.compile(r"[{]|pass|auth|secret|token|credential|login", re.IGNORECASE)
DIRECTIVE = re.compile(r"(?:[a-z]|net\.)[a-z0-9_.-]*|[A-Z][A-Za-z]{,24}")


class Verdict(StrEnum):
    """What became of a line; the later one of two counts for the whole line."""

    OURS = "ours"
    TAKEN = "taken"
    CORRECTED = "corrected"
    NOT_EXPRESSED = "not expressed"


RANK = {verdict: rank for rank, verdict in enumerate(Verdict)}


@dataclass(frozen=True)
class Note:
    """One thing that is to be said about a line.

    Args:
        verdict: What became of it.
        why: The reason, and what to do, without a full stop.
        path: The place in the stack file, if any.
        number: The correction's number in docs/differences.md, if any.
    """

    verdict: Verdict
    why: str = ""
    path: str = ""
    number: str = ""


@dataclass(frozen=True)
class Entry:
    """One line with its verdict.

    Args:
        line: The line.
        verdict: The verdict.
        notes: All that was said about it, the reasons for the verdict first.
    """

    line: Line
    verdict: Verdict
    notes: tuple[Note, ...]

    @property
    def numbers(self) -> tuple[str, ...]:
        """The corrections that the line is an example of."""
        return tuple(dict.fromkeys(note.number for note in self.notes if note.number))

    @property
    def paths(self) -> tuple[str, ...]:
        """The places in the stack file that the line led to."""
        return tuple(dict.fromkeys(note.path for note in self.notes if note.path))

    @property
    def why(self) -> str:
        """All reasons in one text."""
        said = (f"{note.number}: {note.why}" if note.number else note.why for note in self.notes if note.why)
        return "; ".join(dict.fromkeys(said))


@dataclass
class Ledger:
    """The notes about all lines.

    Args:
        lines: Every line of every file.
    """

    lines: list[Line] = field(default_factory=list)
    _notes: dict[tuple[str, int], list[Note]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    """Number of a correction of what no line says → what is missing."""

    def add(self, lines: Iterable[Line]) -> None:
        """Take lines in, which then need verdicts."""
        self.lines.extend(lines)

    def note(self, line: Line, verdict: Verdict, why: str = "", *, path: str = "", number: str = "") -> None:
        """Say something about a line."""
        found = self._notes.setdefault((line.file, line.number), [])
        new = Note(verdict, why, path, number)
        if new not in found:
            found.append(new)

    def taken(self, line: Line, path: str, why: str = "") -> None:
        """The line is in the stack file."""
        self.note(line, Verdict.TAKEN, why, path=path)

    def ours(self, line: Line, why: str) -> None:
        """The new pair does this in its own way, and needs no key for it."""
        self.note(line, Verdict.OURS, why)

    def corrected(self, line: Line, number: str, why: str, path: str = "") -> None:
        """The line is one of the known mistakes."""
        self.note(line, Verdict.CORRECTED, why, path=path, number=number)

    def left_out(self, line: Line, why: str, path: str = "") -> None:
        """The line cannot be expressed."""
        self.note(line, Verdict.NOT_EXPRESSED, why, path=path)

    def notes(self, line: Line) -> tuple[Note, ...]:
        """What was said about a line so far."""
        return tuple(self._notes.get((line.file, line.number), ()))

    def entries(self) -> Iterator[Entry]:
        """Yield one entry for each line, in the files' order."""
        seen: set[tuple[str, int]] = set()
        for line in self.lines:
            key = (line.file, line.number)
            if key in seen:
                continue
            seen.add(key)
            notes = self.notes(line)
            if not notes:
                end = set(line.words) <= {END_OF_BLOCK, "{"}
                notes = (Note(Verdict.OURS, "a brace") if end else Note(Verdict.NOT_EXPRESSED, UNKNOWN),)
            ordered = sorted(notes, key=lambda note: -RANK[note.verdict])
            yield Entry(line, ordered[0].verdict, tuple(ordered))


def shown(line: Line) -> str:
    """The line as a report shows it: whole, or its beginning, never what may be a password."""
    first = line.words[0]
    if len(line.words) > 1 and (line.file.endswith(".network") or first.startswith("net.ipv")):
        return (
            f"{first}={' '.join(line.words[1:])}"
            if first.startswith("net.ipv") or first in SHOWN
            else f"{first}={MORE}"
        )
    if ADDRESS.fullmatch(first) or first.startswith((":INPUT", ":FORWARD", ":OUTPUT")):
        return " ".join(line.words)
    count = SHOWN.get(first, 1 if DIRECTIVE.fullmatch(first) else 0)
    words = list(line.words[:count])
    # A file may have a whole block in one line.
    end = next((place for place, word in enumerate(words) if place and ENDS.search(word)), len(words))
    text = " ".join(words[:end])
    return text if len(line.words) <= end else f"{text} {MORE}".strip()
