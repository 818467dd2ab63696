"""Judge the statistics page and its logins. Passwords are neither kept nor shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lbstack.config.fields import USER_NAME
from lbstack.config.forms import FormError
from lbstack.config.models import Stats
from lbstack.facts.ports import RESERVED_PORTS
from lbstack.scaffold.handbuilt.haproxy import Section
from lbstack.scaffold.handbuilt.ledger import Ledger
from lbstack.scaffold.handbuilt.lines import Line
from lbstack.scaffold.handbuilt.proxies import Front
from lbstack.scaffold.handbuilt.tables import PROXY, apply, look_up
from lbstack.scaffold.handbuilt.today import Today, add

DEFAULT_PORT = int(Stats.model_fields["port"].default)
HASHED = "its password is not taken over: `lbstack hash-password` makes the hash of a new one"
ADMINS = "roles of the logins, and the page of one VIP is for the management networks only"


@dataclass
class Page:
    """What is known of the page.

    Args:
        ledger: The ledger.
        today: The pair of today.
    """

    ledger: Ledger
    today: Today
    port: int = 0
    vip: str = ""
    found: bool = False
    _logins: list[str] = field(default_factory=list)
    _groups: dict[str, list[str]] = field(default_factory=dict)
    _admin_conditions: list[Line] = field(default_factory=list)
    _acls: list[Line] = field(default_factory=list)

    def judge(self, fronts: Sequence[Front], userlists: Sequence[Section]) -> None:
        """Judge the page's frontends and backends, and every list of logins.

        Args:
            fronts: The page's; several are one page here.
            userlists: All lists.
        """
        words = [word for front in fronts for part in front.sections for line in part.lines for word in line.words]
        for userlist in userlists:
            if any(word.endswith(f"({userlist.name})") for word in words):
                self._userlist(userlist)
            else:
                for line in (userlist.header, *userlist.lines):
                    self.ledger.left_out(line, "a login before a service cannot be expressed; the page does not use it")
        for front in fronts:
            for part in front.sections:
                self._section(front, part)

    def raw(self) -> dict[str, Any]:
        """The keys of `stats` except for the VIP."""
        administrators = self._administrators()
        users: dict[str, Any] = {
            name: {"role": "admin" if name in administrators else "viewer"} for name in self._logins
        }
        raw: dict[str, Any] = {} if self.port in (0, DEFAULT_PORT) else {"port": self.port}
        return raw | {"users": users or {"admin": {"role": "admin"}}}

    def _administrators(self) -> list[str]:
        """The logins that may change servers' states."""
        if not self._admin_conditions:
            return []
        named = {word for line in (*self._admin_conditions, *self._acls) for word in _groups_of(line)}
        groups = [group for group in self._groups if group in named]
        members = [name for group in groups for name in self._groups[group]]
        return members if groups else list(self._logins)

    def _section(self, front: Front, part: Section) -> None:
        own_servers = [line for line in part.lines if line.begins("server")]
        self.ledger.taken(part.header, "stats")
        if own_servers:
            why = "the page is a frontend without servers: as a proxy of itself one request fills it up"
            self.ledger.corrected(part.header, "A1", why)
        self.found = True
        for line in part.lines:
            self._line(front, line)

    def _line(self, front: Front, line: Line) -> None:
        first = line.words[0]
        if first in ("server", "balance") or line.begins("default-server"):
            self.ledger.corrected(line, "A1", "the page has no servers")
        elif first == "bind":
            self._bind(front, line)
        elif first == "mode":
            self.ledger.ours(line, "http")
        elif first in ("default_backend", "use_backend"):
            self.ledger.ours(line, "the page answers itself")
        elif first == "acl" or line.begins("stats", "http-request"):
            self._acls.append(line)
            self.ledger.ours(line, "every request needs a login of stats.users")
        elif first == "stats":
            self._stats(line)
        elif not apply(self.ledger, line, look_up(PROXY, line.words)) and first in ("timeout", "option"):
            self.ledger.ours(line, "the page's own")

    def _bind(self, front: Front, line: Line) -> None:
        for listener in (each for each in front.listeners if each.line is line):
            if "ssl" in line.words:
                self.ledger.left_out(line, "the page is plain HTTP, for the management networks only", "stats.port")
            if listener.port in (0, *RESERVED_PORTS):
                self.ledger.left_out(line, f"the page gets port {DEFAULT_PORT}: this one is not free", "stats.port")
            else:
                self.port = self.port or listener.port
                self.ledger.taken(line, "stats.port")
            if listener.address in self.today.vips:
                self.vip = self.vip or listener.address
            else:
                self.ledger.corrected(line, "A17", "one VIP, and only the management networks reach it", "stats.vip")

    def _stats(self, line: Line) -> None:
        word = line.words[1] if len(line.words) > 1 else ""
        if word == "auth":
            # Without a colon nobody can tell whether the word is the login or the password.
            name, colon, _ = line.words[2].partition(":") if len(line.words) > 2 else ("", "", "")  # noqa: PLR2004 - stats auth USER:PASSWORD
            self._login(line, name if colon else "")
        elif word == "admin":
            self._admin_conditions.append(line)
            self.ledger.corrected(line, "A17", ADMINS, "stats.users")
        elif word == "uri":
            self.ledger.ours(line, "/stats")
        elif word == "socket":
            self.ledger.ours(line, "/run/haproxy/admin.sock, for root")
        else:
            self.ledger.ours(line, "the page shows legends and its node, and refreshes every 30 s")

    def _login(self, line: Line, name: str) -> None:
        try:
            USER_NAME.read(name)
        except FormError:
            self.ledger.left_out(line, f"the login has a name that a stack file does not take; {HASHED}", "stats.users")
            return
        add(self._logins, name)
        self.ledger.corrected(line, "A17", HASHED, f"stats.users.{name}")

    def _userlist(self, userlist: Section) -> None:
        self.ledger.taken(userlist.header, "stats.users")
        for line in userlist.lines:
            if line.begins("user") and len(line.words) > 1:
                self._login(line, line.words[1])
                for group in (line.after("groups") or "").split(","):
                    self._groups.setdefault(group, []).append(line.words[1])
            elif line.begins("group") and len(line.words) > 1:
                members = [name for name in (line.after("users") or "").split(",") if name]
                self._groups.setdefault(line.words[1], []).extend(members)
                self.ledger.taken(line, "stats.users", "roles")
            else:
                self.ledger.left_out(line, "lbstack does not know this line of a userlist")


def _groups_of(line: Line) -> Sequence[str]:
    """The groups whose members a condition lets in."""
    place = next((number for number, word in enumerate(line.words) if word.startswith("http_auth_group(")), None)
    return () if place is None else line.words[place + 1 :]
