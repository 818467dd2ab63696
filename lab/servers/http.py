"""Parse the requests that a back-end server of the lab receives."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

LONGEST_S = 86_400.0


@dataclass
class Request:
    """The head of a request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    keep_alive: bool


def parse_head(head: bytes) -> Request | None:
    """The head of a request; None where it is none."""
    try:
        first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        method, target, version = first.split(" ")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        parts = urlsplit(target)
    except ValueError:
        return None
    if version not in ("HTTP/1.0", "HTTP/1.1"):
        return None
    wish = headers.get("connection", "").lower()
    keep_alive = "keep-alive" in wish if version == "HTTP/1.0" else "close" not in wish
    return Request(method, parts.path, dict(parse_qsl(parts.query)), headers, keep_alive)


def seconds_of(request: Request) -> float:
    """How long a request asks the server to hold its connection, in seconds, at most ``LONGEST_S``."""
    try:
        return min(max(float(request.query.get("seconds", LONGEST_S)), 0.0), LONGEST_S)
    except ValueError:
        return 0.0
