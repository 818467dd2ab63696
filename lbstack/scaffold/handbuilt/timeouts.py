"""Judge time-outs, and how a client keeps its server."""

from __future__ import annotations

from typing import Any

from lbstack.config.services import (
    CONNECT_LIMITS,
    HORIZON_LEAST_TUNNEL,
    INACTIVITY_LIMITS,
    PERSISTENCE_LIMITS,
    TUNNEL_LIMITS,
)
from lbstack.facts.kinds import KINDS, duration_ms
from lbstack.scaffold.handbuilt.haproxy import Section
from lbstack.scaffold.handbuilt.ledger import Ledger
from lbstack.scaffold.handbuilt.lines import Line
from lbstack.scaffold.handbuilt.numbers import duration, milliseconds, within

SIDES = ("client", "server")
FOREVER = duration_ms(TUNNEL_LIMITS[1])


def judge_timeouts(ledger: Ledger, front: Section, backend: Section, kind: str, path: str) -> dict[str, Any]:
    """Judge the time-outs of a service.

    Args:
        ledger: The ledger.
        front: Its frontend.
        backend: Its backend.
        kind: Its kind.
        path: Its place in the stack file.

    Returns:
        The key `timeouts` where one differs from the kind's.
    """
    lines = {
        "connect": backend.last("timeout", "connect"),
        "client": front.last("timeout", "client"),
        "server": backend.last("timeout", "server"),
        "tunnel": backend.last("timeout", "tunnel"),
    }
    found = {name: (line, _value(line)) for name, line in lines.items() if line}
    raw: dict[str, str] = {}
    kinds = KINDS[kind].timeouts
    for name, (line, value) in found.items():
        place = f"{path}.timeouts.{name}"
        if value is None:
            ledger.left_out(line, "the duration cannot be read (a variable?); the kind's is used", place)
        elif name == "connect":
            raw |= _within(ledger, line, place, CONNECT_LIMITS, kinds.connect)
        elif name == "tunnel":
            raw |= _tunnel(ledger, line, place, value, kind)
        elif "tunnel" in found:
            raw |= _within(ledger, line, place, INACTIVITY_LIMITS, getattr(kinds, name))
    if "tunnel" not in found:
        raw |= _idle(ledger, [found[name] for name in SIDES if name in found], f"{path}.timeouts.tunnel", kind)
    _ignored(ledger, front, backend)
    return {"timeouts": dict(sorted(raw.items()))} if raw else {}


def _value(line: Line) -> int | None:
    return milliseconds(line.words[2]) if len(line.words) > 2 else None  # noqa: PLR2004 - timeout NAME VALUE


def _within(ledger: Ledger, line: Line, place: str, limits: tuple[str, str], default: str) -> dict[str, str]:
    name, value = place.rpartition(".")[2], _value(line)
    if value is None:  # judge_timeouts has said so
        return {}
    if value == duration_ms(default):
        ledger.taken(line, place, "the kind's own")
        return {}
    if not within(value, limits):
        why = f"outside {limits[0]} to {limits[1]}; the kind's {default} is used"
        ledger.left_out(line, why, place)
        return {}
    ledger.taken(line, place)
    return {name: duration(value)}


def _tunnel(ledger: Ledger, line: Line, place: str, value: int, kind: str) -> dict[str, str]:
    least = duration_ms(HORIZON_LEAST_TUNNEL if kind == "horizon" else TUNNEL_LIMITS[0])
    value = FOREVER if value == 0 else value
    if value < least:
        ledger.corrected(line, "A11", f"it cuts silent sessions; here {KINDS[kind].timeouts.tunnel}", place)
        return {}
    if value > FOREVER:
        ledger.taken(line, place, f"as {TUNNEL_LIMITS[1]}, the longest")
        return {"tunnel": TUNNEL_LIMITS[1]}
    ledger.taken(line, place)
    return {} if value == duration_ms(KINDS[kind].timeouts.tunnel) else {"tunnel": duration(value)}


def _idle(ledger: Ledger, sides: list[tuple[Line, int | None]], place: str, kind: str) -> dict[str, str]:
    """Without a tunnel time-out, the shorter of the two sides' ends a silent connection."""
    values = [FOREVER if value == 0 else value for _, value in sides if value is not None]
    if not values:
        return {}
    idle, own = min(values), KINDS[kind].timeouts.tunnel
    for line, value in sides:
        if value is None:
            continue
        if idle < duration_ms(own):
            why = f"it cuts silent sessions after {duration(idle)}; here they last {own}"
            ledger.corrected(line, "A11", why, place)
        else:
            ledger.taken(line, place, "how long a silent session lasts")
    return {} if idle <= duration_ms(own) else {"tunnel": duration(min(idle, FOREVER))}


def _ignored(ledger: Ledger, front: Section, backend: Section) -> None:
    """HAProxy reads the servers' time-outs in the backend only, and the clients' in the frontend only."""
    if front is backend:
        return
    wrong = [line for name in ("server", "connect", "tunnel") for line in front.all("timeout", name)]
    wrong += backend.all("timeout", "client")
    for line in wrong:
        if not ledger.notes(line):
            ledger.left_out(line, "HAProxy ignores it in this section, so it does nothing today either")


def judge_stickiness(ledger: Ledger, backend: Section, kind: str, path: str, *, users: bool) -> dict[str, Any]:
    """Judge how a client keeps its server.

    Args:
        ledger: The ledger.
        backend: The service's backend.
        kind: Its kind.
        path: Its place in the stack file.
        users: Whether its clients are Horizon's users, whose sessions last at least as long as the kind's default.

    Returns:
        The key `persistence` where it differs from the kind's.
    """
    own = KINDS[kind].persistence
    raw: dict[str, Any] = {}
    balance = backend.last("balance")
    if balance:
        _balance(ledger, balance, own)
    for line in backend.all("stick-table"):
        raw |= _table(ledger, line, kind, f"{path}.persistence", users=users)
    for line in (*backend.all("stick"), *backend.all("no", "stick")):
        _stick(ledger, line, path)
    return raw


def _balance(ledger: Ledger, line: Line, own: str) -> None:
    by = line.words[1] if len(line.words) > 1 else ""
    if by == "source" or by.startswith(("hash", "rdp-cookie")):
        ledger.corrected(line, "A12", f"leastconn, and a stick table that remembers a client's server for {own}")
    elif by == "leastconn":
        ledger.ours(line, "leastconn, as here")
    else:
        why = f"leastconn, and a client keeps its server for {own}; that cannot be switched off"
        ledger.left_out(line, why)


def _table(ledger: Ledger, line: Line, kind: str, place: str, *, users: bool) -> dict[str, str]:
    value = milliseconds(line.after("expire") or "")
    own = KINDS[kind].persistence
    if value is None:
        ledger.ours(
            line, f"a stick table of source addresses, shared by the nodes; a client keeps its server for {own}"
        )
        return {}
    if line.after("type") not in ("ip", None):
        ledger.left_out(line, "a client is known by its IPv4 address and by nothing else", place)
        return {}
    if users and value < duration_ms(own):
        ledger.corrected(
            line, "A12", f"a Horizon session lasts longer; here a client keeps its server for {own}", place
        )
        return {}
    if not within(value, PERSISTENCE_LIMITS):
        ledger.left_out(line, f"outside {PERSISTENCE_LIMITS[0]} to {PERSISTENCE_LIMITS[1]}; here {own}", place)
        return {}
    ledger.taken(line, place)
    return {} if value == duration_ms(own) else {"persistence": duration(value)}


def _stick(ledger: Ledger, line: Line, path: str) -> None:
    if "table" in line.words:
        why = "a table that services share cannot be expressed: each service chooses a client's server for itself"
        ledger.left_out(line, why)
    elif line.words[2:3] == ("src",) and len(line.words) == 3:  # noqa: PLR2004 - stick on src
        ledger.taken(line, f"{path}.persistence")
    else:
        ledger.left_out(line, "a client is known by its address alone, and always")
