"""The outcomes of a client's attempt, and the records of traffic.

It imports nothing large, because the sending process imports it. Times are seconds of the monotonic clock, which all
processes of a machine share.
"""

from __future__ import annotations

import errno
import json
import ssl
from dataclasses import asdict, dataclass
from typing import Any

OK, REFUSED, TIMEOUT, RESET, UNREACHABLE, TLS, CLOSED, HTTP = (
    "ok",
    "refused",
    "timeout",
    "reset",
    "unreachable",
    "tls",
    "closed",
    "http",
)
CONNECT, HANDSHAKE, REQUEST = "connect", "tls", "request"
ALIVE = "alive"
_UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN)


# The first that fits counts: some of these are kinds of others.
_WORDS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (ConnectionRefusedError, REFUSED),
    ((ssl.SSLEOFError, ssl.SSLZeroReturnError, EOFError), CLOSED),
    (TimeoutError, TIMEOUT),
    (ConnectionError, RESET),
    (ssl.SSLError, TLS),
)


def outcome_of(error: BaseException) -> str:
    """The word for a failure.

    Args:
        error: What a socket, TLS or a reader raised.
    """
    for kinds, word in _WORDS:
        if isinstance(error, kinds):
            return word
    if isinstance(error, OSError) and error.errno in _UNREACHABLE:
        return UNREACHABLE
    return f"error: {error}"


@dataclass(frozen=True)
class Attempt:
    """One request, or one connection of a probe.

    Args:
        at: When it began.
        service: What it was for.
        target: Address and port.
        source: The client's own address.
        connect_s: Seconds until the connection stood, or could not be made.
        total_s: Seconds until the whole answer was there, or the failure.
        outcome: ``ok``, or what failed.
        stage: How far it came: ``connect``, ``tls``, ``request``.
        status: HTTP status; 0 without one.
        server: The server that answered; empty without one.
    """

    at: float
    service: str
    target: str
    source: str
    connect_s: float
    total_s: float
    outcome: str
    stage: str
    status: int = 0
    server: str = ""

    @property
    def ok(self) -> bool:
        """Whether the client got what it asked for."""
        return self.outcome == OK

    def __str__(self) -> str:
        answer = f" {self.status}" if self.status else ""
        return f"{self.service} {self.target} from {self.source}: {self.outcome}{answer} ({self.stage})"


@dataclass(frozen=True)
class Session:
    """A long-lived connection through the pair.

    Args:
        service: What it was for.
        target: Address and port.
        source: The client's own address.
        active: Whether the client sent something all the time; else only once, at the end.
        opened: When it stood.
        server: The server at its end.
        last_answer: When the server answered last.
        ended: When its end was noticed, or the watching ended.
        outcome: ``alive``, or how it ended.
    """

    service: str
    target: str
    source: str
    active: bool
    opened: float
    server: str
    last_answer: float
    ended: float
    outcome: str

    @property
    def alive(self) -> bool:
        """Whether it lived to the end."""
        return self.outcome == ALIVE

    def __str__(self) -> str:
        kind = "active" if self.active else "idle"
        reported = f"{self.outcome} {self.ended - self.last_answer:.3f} s after the last answer"
        return f"{kind} session {self.service} from {self.source} to {self.server or self.target}: {reported}"


def to_line(entry: Attempt | Session) -> str:
    """A record as a line of JSON."""
    return json.dumps({"kind": type(entry).__name__.lower(), **asdict(entry)}, separators=(",", ":")) + "\n"


def from_document(values: dict[str, Any]) -> Attempt | Session | None:
    """A record from a line's JSON document; None for a line that is none."""
    kind = values.pop("kind", "")
    if kind == "attempt":
        return Attempt(**values)
    return Session(**values) if kind == "session" else None
