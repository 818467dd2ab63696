"""Judge the `server` lines of a backend: addresses, ports, options."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lbstack.config.services import CHECK_LIMITS
from lbstack.config.undecided import placeholder
from lbstack.facts.kinds import KINDS, duration_ms
from lbstack.scaffold.handbuilt.haproxy import Section
from lbstack.scaffold.handbuilt.ledger import Ledger
from lbstack.scaffold.handbuilt.lines import Line
from lbstack.scaffold.handbuilt.numbers import duration, milliseconds, within
from lbstack.scaffold.handbuilt.proxies import PORTS, Listener
from lbstack.scaffold.handbuilt.tables import SERVER, apply
from lbstack.scaffold.handbuilt.today import address

PROBE_MS = duration_ms(KINDS["horizon"].health.interval)
LEAST_WORDS = 3  # server NAME ADDRESS
CHECK_TIMES = ("inter", "fastinter", "downinter", "rise", "fall")
READY, DRAIN, MAINTENANCE = "ready", "drain", "maintenance"
NAME = re.compile(r"[^A-Za-z0-9_.-]+")
HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}")


@dataclass(frozen=True)
class Server:
    """One `server` line.

    Args:
        line: The line.
        name: Its name.
        host: Its address or name.
        port: Its port; empty where it is the client's, which is the listener's.
        options: Its options with their values.
    """

    line: Line
    name: str
    host: str
    port: str
    options: dict[str, str]


def _options(words: Sequence[str]) -> dict[str, str]:
    """Read options; the first unknown one ends it, under the key `?`."""
    found: dict[str, str] = {}
    rest = list(words)
    while rest:
        option = rest.pop(0)
        if option in CHECK_TIMES or option == "weight":
            found[option] = rest.pop(0) if rest else ""
        elif option in ("disabled", "enabled", "no-check"):
            found[option] = ""
        elif option in SERVER:
            found[option] = rest.pop(0) if SERVER[option].values and rest else ""
        else:
            found["?"] = f"the option {option}" if re.fullmatch(r"[a-z][a-z-]{1,30}", option) else "one of its options"
            break
    return found


class Servers:
    """The servers of one backend, as one or several listeners use them.

    Args:
        backend: The backend.
        listeners: Where its clients come in.
    """

    def __init__(self, backend: Section, listeners: Sequence[Listener]) -> None:
        self._backend = backend
        self._listeners = listeners
        self._defaults = [
            *(line for line in backend.defaults if line.begins("default-server")),
            *backend.all("default-server"),
        ]
        self.servers = [_server(line) for line in backend.all("server") if len(line.words) >= LEAST_WORDS]
        self.common: dict[str, str] = {}
        for line in self._defaults:
            self.common |= _options(line.words[1:])

    def option(self, server: Server, name: str) -> str | None:
        """The value of an option of a server, or of its default; None where neither has it."""
        return server.options.get(name, self.common.get(name))

    def all_have(self, option: str) -> bool:
        """Whether every server has an option."""
        return all(self.option(server, option) is not None for server in self.servers)

    def reasons(self) -> Iterator[str]:
        """What makes it impossible to express a service with these servers."""
        if not self.servers:
            yield "its backend has no servers"
        ports = {str(listener.port) for listener in self._listeners}
        for server in self.servers:
            if server.port and {server.port} != ports:
                shown = server.port if PORTS.fullmatch(server.port) else "another port"
                yield (
                    f"its servers listen on {shown}, users come in on {', '.join(sorted(ports))}, "
                    "and a service has one port on both sides"
                )
        for name in dict.fromkeys(name for server in self.servers for name in (*server.options, *self.common)):
            if name in SERVER and SERVER[name].blocks:
                yield SERVER[name].why

    def judge(self, ledger: Ledger, kind: str, path: str) -> list[dict[str, Any]]:
        """Judge every `server` and `default-server` line.

        Args:
            ledger: The ledger.
            kind: The kind of the service.
            path: The service's place in the stack file.

        Returns:
            The servers as they stand in the stack file.
        """
        for line in self._defaults:
            ledger.taken(line, path)
            _judge_options(ledger, line, _options(line.words[1:]), kind, path)
        found: list[dict[str, Any]] = []
        weights = {self.option(server, "weight") or "1" for server in self.servers} - {"0"}
        for server in self.servers:
            if any(server.host == other.host for other in self.servers[: self.servers.index(server)]):
                ledger.left_out(server.line, "another server of the service has this address; each is listed once")
                continue
            place = f"{path}.servers[{len(found)}]"
            raw = {"name": _free_name(server.name, found), "address": self._address(server)}
            changed = "" if raw["name"] == server.name else f"renamed to {raw['name']}"
            ledger.taken(server.line, place, changed)
            if raw["address"] != server.host:
                ledger.left_out(server.line, "names are not looked up: write the server's address", f"{place}.address")
            state = self._state(server)
            if state != READY:
                raw["state"] = state
            _judge_options(ledger, server.line, server.options, kind, path)
            if len(weights) > 1 and self.option(server, "weight") != "0":
                ledger.left_out(server.line, "weights cannot be expressed: every server gets the same share")
            found.append(raw)
        if all(raw.get("state", READY) != READY for raw in found):
            for raw in found:
                raw.pop("state", None)  # the rules want one that serves; each line says what it was
        return found

    def _address(self, server: Server) -> str:
        if address(server.host):
            return server.host
        named = server.host if HOST.fullmatch(server.host) and not server.host.isdigit() else "this server"
        return placeholder(f"the IPv4 address of {named}; names are not looked up")

    def _state(self, server: Server) -> str:
        if self.option(server, "disabled") is not None or self.option(server, "backup") is not None:
            return MAINTENANCE
        return DRAIN if self.option(server, "weight") == "0" else READY

    def interval(self, ledger: Ledger, path: str) -> dict[str, str]:
        """The interval of checks, for a kind that takes one; it is that of most servers.

        Args:
            ledger: The ledger.
            path: The service's place in the stack file.
        """
        values = [milliseconds(self.option(server, "inter") or "") for server in self.servers]
        known = [value for value in values if value is not None and within(value, CHECK_LIMITS)]
        if not known:
            return {}
        chosen = max(known, key=known.count)
        lines = [server.line for server in self.servers if "inter" in server.options]
        for line in lines or self._defaults:
            ledger.taken(line, f"{path}.healthInterval")
        default = duration_ms(KINDS["tcp"].health.interval)
        return {} if chosen == default else {"healthInterval": duration(chosen)}


def _server(line: Line) -> Server:
    host, _, port = line.words[2].partition(":")
    return Server(line, line.words[1], host, port.lstrip("+"), _options(line.words[LEAST_WORDS:]))


def _free_name(name: str, found: Sequence[dict[str, Any]]) -> str:
    """The name in a form that a stack file takes, and that no earlier server has."""
    text = NAME.sub("-", name).lstrip("_.-")[:60] or "server"
    used = {str(raw["name"]).lower() for raw in found}
    if text.lower() not in used:
        return text
    return next(f"{text}-{count}" for count in range(2, len(used) + 3) if f"{text}-{count}".lower() not in used)


def _judge_options(ledger: Ledger, line: Line, options: dict[str, str], kind: str, path: str) -> None:
    """Say what becomes of each option of a line."""
    for name, value in options.items():
        if name in SERVER and name != "check":
            apply(ledger, line, SERVER[name])
        elif name == "?":
            ledger.left_out(line, f"lbstack does not know {value}; look at it, and at what follows it")
        elif name == "disabled":
            ledger.taken(line, path, "state maintenance")
        elif name == "weight" and value == "0":
            ledger.taken(line, path, "state drain")
    times = {name: milliseconds(options[name]) for name in ("inter", "downinter") if name in options}
    if kind in ("horizon", "appvolumes") and any(value is not None and value < PROBE_MS for value in times.values()):
        why = "two load balancers may ask every 30 s, and no more often where a server is down"
        ledger.corrected(line, "A20", why)
    elif any(name in options for name in CHECK_TIMES):
        ledger.ours(line, "how often a check is confirmed is the kind's")
