"""Judge the health checks of a backend."""

from __future__ import annotations

import re
from typing import Any

from lbstack.config.fields import HttpPath
from lbstack.config.forms import FormError, plain_text
from lbstack.facts.kinds import KINDS
from lbstack.scaffold.handbuilt.haproxy import Section
from lbstack.scaffold.handbuilt.ledger import Ledger
from lbstack.scaffold.handbuilt.lines import Line
from lbstack.scaffold.handbuilt.servers import Servers
from lbstack.scaffold.handbuilt.tables import PROXY, apply, look_up

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT")
# http-check expect: what the kinds' own checks take for healthy too.
HEALTHY = re.compile(r"status 2(?:00|xx)|status 200-[23]99|rstatus \S{1,40}")


def judge_checks(ledger: Ledger, backend: Section, kind: str, path: str, servers: Servers) -> dict[str, Any]:
    """Judge a backend's checks.

    Args:
        ledger: The ledger.
        backend: The backend.
        kind: The service's kind.
        path: The service's place in the stack file.
        servers: Its servers.

    Returns:
        The keys of the service that follow.
    """
    raw: dict[str, Any] = servers.interval(ledger, path) if kind == "tcp" else {}
    lines = [*backend.defaults, *backend.lines]
    for line in lines:
        if line.begins("option", "ssl-hello-chk"):
            _hello(ledger, line, kind)
        elif line.begins("option", "httpchk") or line.begins("http-check", "send"):
            asked = _path(line)
            if asked:
                raw |= _asked(ledger, line, kind, path, asked, secure=_secure(servers))
            else:
                ledger.ours(line, "the kind's own check")
        elif line.begins("http-check", "expect"):
            _expected(ledger, line, kind, tls=_secure(servers))
        elif line.begins("option", "tcp-check") and kind != "tcp":
            ledger.corrected(line, "A2", f"the check of the kind: {_kinds_check(kind)}")
    return raw


def _secure(servers: Servers) -> bool:
    """Whether checks are TLS, as a check with a path is here."""
    return servers.all_have("check-ssl") or servers.all_have("ssl")


def _kinds_check(kind: str) -> str:
    health = KINDS[kind].health
    return f"TLS and {health.method} {health.path}" if health.path else "a TCP connection"


def _hello(ledger: Ledger, line: Line, kind: str) -> None:
    ledger.corrected(line, "A2", f"an SSLv3 hello succeeds on every alert; here: {_kinds_check(kind)}")


def _path(line: Line) -> str:
    """The path that a check asks for; empty where it names none."""
    words = list(line.words[2:])
    if line.begins("http-check"):
        return line.after("uri") or ""
    if words and words[0] in METHODS:
        words.pop(0)
    return words[0] if words and words[0].startswith("/") else ""


def _asked(ledger: Ledger, line: Line, kind: str, path: str, asked: str, *, secure: bool) -> dict[str, str]:
    """A check with a path."""
    fixed = KINDS["horizon"].health.path
    if kind == "horizon":
        if asked == fixed:
            ledger.taken(line, path, "the kind's own check")
        else:
            ledger.corrected(line, "A2", f"a Connection Server supports no other check than {fixed}")
        return {}
    if not secure:
        ledger.left_out(line, "a check with a path is TLS, this one is not; it is a plain TCP connection instead")
        return {}
    try:
        plain_text(asked, "a path")
        text = str(PATH.read(asked))
    except FormError:
        ledger.left_out(line, "the path has characters that a stack file does not take")
        return {}
    if kind == "appvolumes" and text == KINDS["appvolumes"].health.path:
        ledger.taken(line, path, "the kind's own check")
        return {}
    ledger.taken(line, f"{path}.healthPath")
    return {"healthPath": text}


def _expected(ledger: Ledger, line: Line, kind: str, *, tls: bool) -> None:
    if HEALTHY.fullmatch(" ".join(line.words[2:])) and (tls or kind == "horizon"):
        ledger.ours(line, "the kind's own: 200 for horizon, 2xx and 3xx for the others")
    else:
        apply(ledger, line, look_up(PROXY, line.words))


PATH = next(each for each in HttpPath.__metadata__ if hasattr(each, "read"))  # type: ignore[attr-defined]
