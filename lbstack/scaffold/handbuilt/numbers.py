"""HAProxy's durations and sizes, as a stack file writes them."""

from __future__ import annotations

import re

from lbstack.facts.kinds import duration_ms

# HAProxy's manual, "Time format": a number without a unit is milliseconds, except where a directive says otherwise.
_UNITS = {"us": 0.001, "ms": 1, "": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_TIME = re.compile(r"([0-9]{1,12})(us|ms|s|m|h|d)?")


def milliseconds(text: str) -> int | None:
    """Read a duration of HAProxy; None where it is none (a variable, for example)."""
    match = _TIME.fullmatch(text)
    return int(int(match[1]) * _UNITS[match[2] or ""]) if match else None


def duration(value: int) -> str:
    """Write milliseconds as a stack file does: with the largest unit that divides them."""
    for unit in ("d", "h", "m", "s"):
        size = duration_ms(f"1{unit}")
        if value and value % size == 0:
            return f"{value // size}{unit}"
    return f"{value}ms"


def within(value: int, limits: tuple[str, str]) -> bool:
    """Whether milliseconds are within limits of a stack file, inclusive."""
    return duration_ms(limits[0]) <= value <= duration_ms(limits[1])
