"""Put frontends, backends and addresses together: what a `haproxy.cfg` serves, before anything is judged."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from lbstack.scaffold.handbuilt.haproxy import Section
from lbstack.scaffold.handbuilt.lines import Line

PORTS = re.compile(r"[0-9]{1,5}")
LAST_PORT = 65_535
OF_STATISTICS = (
    "enable",
    "uri",
    "auth",
    "admin",
    "scope",
    "realm",
    "refresh",
    "show-legends",
    "show-node",
    "show-desc",
)
ANY = ("", "*", "0.0.0.0", "ipv4@*", "ipv4@")  # noqa: S104 - how files write "every address"


@dataclass(frozen=True)
class Listener:
    """One address and port of a `bind` line.

    Args:
        line: The line.
        address: The address; empty for every address.
        port: The port; 0 where it cannot be read.
    """

    line: Line
    address: str
    port: int


@dataclass
class Front:
    """A frontend, or the frontend's half of a `listen`, with its backend.

    Args:
        section: Its section.
        listeners: Where it listens.
        backend: The backend that gets every connection; None where none or several do.
        chosen: The lines that choose a backend by conditions.
    """

    section: Section
    listeners: list[Listener]
    backend: Section | None
    chosen: list[Line] = field(default_factory=list)

    @property
    def sections(self) -> tuple[Section, ...]:
        """Its section, and its backend's where that is another one."""
        if self.backend is None or self.backend is self.section:
            return (self.section,)
        return (self.section, self.backend)

    def is_statistics(self, node_addresses: Sequence[str]) -> bool:
        """Whether it is the statistics page, and not a service that shows one too.

        Args:
            node_addresses: The nodes' own addresses: how-tos name the nodes as servers of their page.
        """
        lines = [line for part in self.sections for line in part.lines]
        if not any(line.begins("stats", word) for line in lines for word in OF_STATISTICS):
            return False
        servers = [line.words[2].partition(":")[0] for line in lines if line.begins("server") and len(line.words) > 2]  # noqa: PLR2004 - name and address
        named = any(re.search(r"stat|admin|monitor", part.name, re.IGNORECASE) for part in self.sections)
        return named or all(server in node_addresses for server in servers)

    @property
    def is_redirect(self) -> bool:
        """Whether all that it does is to send browsers to https."""
        redirects = [line for line in self.section.lines if is_redirect(line)]
        return bool(redirects) and self.backend is None and not self.chosen

    @property
    def is_health(self) -> bool:
        """Whether all that it does is to answer monitoring."""
        asked = any(
            line.words[0] == "monitor-uri" or "prometheus-exporter" in line.words for line in self.section.lines
        )
        return asked and self.backend is None and not self.chosen


def is_redirect(line: Line) -> bool:
    """Whether a line redirects to https."""
    words = line.words[1:] if line.begins("http-request") else line.words
    return words[:3] == ("redirect", "scheme", "https")


def fronts(sections: Sequence[Section]) -> list[Front]:
    """Return every frontend and `listen` with what it listens on and where its connections go.

    Args:
        sections: All sections of the file.
    """
    backends = {section.name: section for section in sections if section.kind in ("backend", "listen")}
    found = []
    for section in sections:
        if section.kind not in ("frontend", "listen"):
            continue
        default = section.last("default_backend")
        chosen = [line for line in section.all("use_backend") if len(line.words) > 2]  # noqa: PLR2004 - name, condition
        always = next((line for line in section.all("use_backend") if line not in chosen), None)
        named = always if always and not chosen else default
        if section.kind == "listen" and section.all("server"):
            backend: Section | None = section
        else:
            backend = backends.get(named.words[1]) if named and len(named.words) > 1 else None
        found.append(Front(section, _listeners(section), backend, chosen))
    return found


def _listeners(section: Section) -> list[Listener]:
    lines = [(line, line.words[1]) for line in section.all("bind") if len(line.words) > 1]
    # Until 1.5 the address stood in the line that begins the section.
    old = section.header.words[2:3]
    if old and re.fullmatch(r"[0-9.*]*:[0-9,:.*-]+", old[0]):
        lines.insert(0, (section.header, old[0]))
    return [listener for line, text in lines for part in text.split(",") for listener in _listener(line, part)]


def _listener(line: Line, text: str) -> list[Listener]:
    address, colon, ports = text.rpartition(":")
    first, _, last = ports.partition("-")
    if not colon or not PORTS.fullmatch(first) or int(first) > LAST_PORT or (last and last != first):
        return [Listener(line, address or text, 0)]
    return [Listener(line, "" if address in ANY else address, int(first))]
