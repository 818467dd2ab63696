"""Make services of frontends and backends, and judge each of their lines.

What cannot be expressed as a service that serves its users right is left out of the stack file as a whole, with its
reasons; a service that is only a little different has a note.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lbstack.config.undecided import placeholder
from lbstack.facts.kinds import KINDS
from lbstack.facts.ports import RESERVED_PORTS
from lbstack.scaffold.handbuilt.checks import judge_checks
from lbstack.scaffold.handbuilt.haproxy import Section
from lbstack.scaffold.handbuilt.ledger import Ledger
from lbstack.scaffold.handbuilt.lines import Line
from lbstack.scaffold.handbuilt.proxies import Front, Listener, is_redirect
from lbstack.scaffold.handbuilt.servers import Servers
from lbstack.scaffold.handbuilt.tables import PROXY, apply, look_up
from lbstack.scaffold.handbuilt.timeouts import judge_stickiness, judge_timeouts
from lbstack.scaffold.handbuilt.today import Today, address

HTTPS = 443
# By what a service is recognised: its names, or the only check that a Connection Server supports.
UAG = re.compile(r"uag|unified.?access|access.?point|blast|pcoip", re.IGNORECASE)
APP_VOLUMES = re.compile(r"app.?vol|(?<![a-z])avm?(?![a-z])", re.IGNORECASE)
HORIZON = re.compile(r"horizon|connection.?server|(?<![a-z])(?:vdi|view|v?cs)(?![a-z])", re.IGNORECASE)
FAVICON = "/favicon.ico"
UAG_WHY = (
    "gateways: each port is a service of kind tcp here and chooses a client's gateway for itself; where a client needs "
    "its other ports on the same gateway, give each gateway a VIP of its own"
)
NAME = re.compile(r"[^A-Za-z0-9_-]+")
HANDLED = ("mode", "bind", "server", "default_backend", "default-server", "use_backend", "stats")


@dataclass
class Services:
    """The services that are found.

    Args:
        ledger: The ledger.
        today: The pair of today.
    """

    ledger: Ledger
    today: Today
    raw: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Name → what stands below it in the stack file."""
    vips: dict[str, str] = field(default_factory=dict)
    """Name → the VIP that it has today; empty for every address."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Name of a frontend that is left out → why."""
    _expressed: list[Section] = field(default_factory=list)

    def judge(self, fronts: Sequence[Front], backends: Sequence[Section]) -> None:
        """Judge every frontend that is not the statistics page.

        Args:
            fronts: The frontends.
            backends: All backends, for those that no frontend uses.
        """
        redirects = [front for front in fronts if front.is_redirect]
        served = [front for front in fronts if front not in redirects and not front.is_health]
        for front in (front for front in fronts if front.is_health):
            self._health(front.section)
        refused = [front for front in served if not self._express(front)]
        for front in redirects:
            self._redirect(front)
        for front in refused:
            self._refuse(front)
        for backend in backends:
            self._unused(backend, fronts)

    def _express(self, front: Front) -> bool:
        """Make a service of each address and port; False where that cannot be right."""
        reasons = self._reasons(front)
        if reasons:
            self.left_out[front.section.name] = "; ".join(dict.fromkeys(reasons))
            return False
        for number, listener in enumerate(front.listeners):
            self._service(front, listener, number)
        self._expressed.extend(front.sections)
        return True

    def _reasons(self, front: Front) -> list[str]:
        """What makes it impossible to express a frontend."""
        backend, reasons = front.backend, []
        if front.chosen:
            reasons.append("the backend is chosen by what a client asks for, but connections are passed through unread")
        if backend is None:
            reasons.append("it has no backend that gets every connection")
        if not front.listeners:
            reasons.append("it has no address and port that can be read")
        for listener in front.listeners:
            reasons.extend(self._reasons_of(listener))
        if front.section.mode not in ("tcp", "http") or (backend and backend.mode not in ("tcp", "http")):
            reasons.append("its mode is neither tcp nor http")
        for line in (line for part in front.sections for line in (*part.defaults, *part.lines)):
            row = look_up(PROXY, line.words)
            if row and row.blocks and not line.begins("stats"):
                reasons.append(row.why)
        if backend is not None:
            reasons.extend(Servers(backend, front.listeners).reasons())
        return reasons

    def _reasons_of(self, listener: Listener) -> list[str]:
        owner = RESERVED_PORTS.get(listener.port, "")
        no_vip = bool(listener.address) and address(listener.address) is None
        words = listener.line.words
        reasons = (
            (listener.port == 0, "it listens where no single IPv4 port can be read"),
            (owner, f"it listens on port {listener.port}, which the nodes' own {owner} has"),
            (no_vip, "it listens on an address that no VIP can have (a name, IPv6, loopback or a socket)"),
            (
                listener.address in self.today.node_addresses,
                "it listens on the node's own address, and a service needs a VIP",
            ),
            (
                "ssl" in words,
                "TLS ends on the pair, but connections are passed through: the servers would need the certificate",
            ),
            ("accept-proxy" in words, "it expects the PROXY protocol, which cannot be expressed"),
        )
        return [text for applies, text in reasons if applies]

    def _service(self, front: Front, listener: Listener, number: int) -> None:
        backend = front.backend
        if backend is None:  # _reasons has said so
            return
        kind, by = _kind(front, listener)
        name = self._name(front, listener, number)
        servers = Servers(backend, [listener])
        vip = self._vip(listener)
        raw: dict[str, Any] = {"kind": kind, "vip": self.today.free_address(f"service {name}", vip)}
        if KINDS[kind].default_port is None:
            raw["port"] = listener.port
        if kind == "horizon":
            raw["fqdn"] = placeholder("the DNS name of the VIP, as users type it; remove the line where there is none")
        self.raw[name], self.vips[name] = raw, vip
        path = f"services.{name}"
        raw["servers"] = servers.judge(self.ledger, kind, path)
        raw |= judge_checks(self.ledger, backend, kind, path, servers)
        users = kind == "horizon" or by == UAG_WHY
        raw |= judge_stickiness(self.ledger, backend, kind, path, users=users)
        raw |= judge_timeouts(self.ledger, front.section, backend, kind, path)
        self._note_rest(front, path, kind, by)
        where = f"on {vip} today" if vip else "on every address today; a VIP of its own"
        self.ledger.taken(listener.line, f"{path}.vip", where)

    def _note_rest(self, front: Front, path: str, kind: str, by: str) -> None:
        """Judge what is neither server, check, time-out nor persistence."""
        if by == UAG_WHY:
            self.ledger.left_out(front.section.header, by, path)
        for part in front.sections:
            self.ledger.taken(
                part.header, path, f"kind {kind}, {by}" if part is front.section and by != UAG_WHY else ""
            )
            for line in (*part.defaults, *part.lines):
                if line.begins("mode"):
                    self._mode(line, part)
                elif line.words[0] in ("default_backend", "use_backend"):
                    self.ledger.taken(line, path)
                elif line.words[0] == "option" and line.words[1:2] in (("ssl-hello-chk",), ("httpchk",)):
                    continue  # judge_checks has
                elif not self.ledger.notes(line) or line in part.defaults:
                    apply(self.ledger, line, look_up(PROXY, line.words))

    def _mode(self, line: Line, part: Section) -> None:
        if part.mode == "http" and part.last("mode") is line:
            why = "requests are not read: connections are passed through as TCP"
            self.ledger.left_out(line, why)
        else:
            self.ledger.ours(line, "every service is mode tcp")

    def _vip(self, listener: Listener) -> str:
        if listener.address:
            return listener.address
        return self.today.vips[0] if len(self.today.vips) == 1 else ""

    def _name(self, front: Front, listener: Listener, number: int) -> str:
        """A name that a stack file takes and no service has."""
        backend = front.backend.name if front.backend else ""
        for base in (backend, front.section.name):
            text = NAME.sub("-", base).strip("-")
            text = text if re.match("[A-Za-z]", text) else f"service-{text}".strip("-")
            for name in (text, f"{text}-{listener.port}") if not number else (f"{text}-{listener.port}",):
                if self._free(name[:40]):
                    return name[:40]
        return next(name for name in (f"service-{count}" for count in range(1, 10_000)) if self._free(name))

    def _free(self, name: str) -> bool:
        return name.lower() not in {"stats", *(each.lower() for each in self.raw)}

    def _redirect(self, front: Front) -> None:
        """Port 80: the kinds that redirect have it on their own VIP."""
        own = {listener.address for listener in front.listeners}
        served = [
            name
            for name, raw in self.raw.items()
            if KINDS[raw["kind"]].redirects and ("" in own or self.vips[name] in own)
        ]
        section = front.section
        for line in (section.header, *section.lines):
            if served and (line is section.header or is_redirect(line) or line.words[0] in ("bind", "mode")):
                for name in served:
                    self.ledger.taken(line, f"services.{name}", "the kind redirects port 80 to https")
            elif served:
                apply(self.ledger, line, look_up(PROXY, line.words))
            else:
                why = "only the kinds horizon and appvolumes redirect port 80, and none of their VIPs is here"
                self.ledger.left_out(line, why)

    def _health(self, section: Section) -> None:
        for line in (section.header, *section.lines):
            self.ledger.ours(line, "port 8405 of each node says how it is, to the managers")

    def _refuse(self, front: Front) -> None:
        reason = self.left_out[front.section.name]
        for part in front.sections:
            if any(part is section for section in self._expressed):
                continue
            for line in (part.header, *part.lines):
                self.ledger.left_out(line, f"the service is left out of the stack file: {reason}")

    def _unused(self, backend: Section, fronts: Sequence[Front]) -> None:
        used = any(backend is part for front in fronts for part in front.sections)
        if used:
            return
        by_condition = [front for front in fronts for line in front.chosen if line.words[1:2] == (backend.name,)]
        tables = all(line.begins("stick-table") for line in backend.lines)
        for line in (backend.header, *backend.lines):
            if tables and backend.lines:
                self.ledger.left_out(line, "a table that services share cannot be expressed: each has its own")
            elif by_condition:
                why = "it gets clients by what they ask for, and connections are passed through unread"
                self.ledger.left_out(line, f"{why}; where it has a port or VIP of its own, write a service of kind tcp")
            else:
                self.ledger.left_out(line, "no frontend of the file uses it")


def _kind(front: Front, listener: Listener) -> tuple[str, str]:
    """The kind of a service, and by what it is recognised."""
    backend = front.backend or front.section
    names = " ".join((front.section.name, backend.name, *(line.words[1] for line in backend.all("server"))))
    if UAG.search(names):
        return "tcp", UAG_WHY
    if listener.port == HTTPS and front.section.mode == backend.mode == "tcp":
        if APP_VOLUMES.search(names):
            return "appvolumes", "by its names"
        if HORIZON.search(names):
            return "horizon", "by its names"
        if any(FAVICON in line.words for line in backend.lines):
            return "horizon", f"by its check of {FAVICON}"
    return "tcp", "because nothing says that it is horizon or appvolumes"
