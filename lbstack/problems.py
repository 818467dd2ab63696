"""Validation errors: every problem at once, each with its place, the limit and the remedy.

This module does not know what is checked: the modules that check create the problems. It never quotes a value that
looks like a secret.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# A message quotes at most so many characters of a value or key: enough to find it, and the sentence stays readable.
MAX_QUOTED = 60
MAX_QUOTED_KEY = 40
# A private key or a crypt(3) hash is a secret also where it was put in the wrong place.
SECRET_LOOK = re.compile(r"PRIVATE KEY|\$(?:1|2[abxy]?|5|6|7|y|gy|argon2\w*|pbkdf2[\w-]*)\$")
PLAIN_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_:-]*")
DIGITS = re.compile(r"(\d+)")
MAX_PLAIN_BITS = 64  # a longer number is described, not written out (Python refuses to print 4300 digits and more)


@dataclass(frozen=True, order=True)
class Problem:
    """One problem of the input.

    Args:
        path: Its place, as the user writes it: ``nodes[0].address``, ``services.horizon.vip``.
        what: What was found there: one sentence without its full stop.
        remedy: What to do about it, with the limit where there is one.
    """

    path: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}. {self.remedy}"


class LbstackError(Exception):
    """A failure that the user can act on: printed without a traceback, with exit code 2."""


class ConfigError(LbstackError):
    """All problems of one input, in the order of their paths.

    Args:
        problems: At least one problem.
        source: What was read; the first line names it, for example "the stack's configuration".
    """

    def __init__(self, problems: Iterable[Problem], source: str = "the stack's configuration") -> None:
        self.problems: Sequence[Problem] = sorted(set(problems), key=_by_path)
        count = len(self.problems)
        head = f"{count} problem{'s' if count != 1 else ''} in {source}:"
        super().__init__("\n".join([head, *(f"  - {problem}" for problem in self.problems)]))


def _by_path(problem: Problem) -> tuple[list[str | int], Problem]:
    """Sort key of a problem: ``nodes[2]`` comes before ``nodes[10]``."""
    parts = DIGITS.split(problem.path)  # text and digits alternate, so only values of one type are compared
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], problem


def path_of(location: Sequence[str | int]) -> str:
    """Write a place in the configuration as a user does.

    Args:
        location: Keys and list indexes from the top, such as ``("nodes", 0, "memoryMiB")``.

    Returns:
        ``nodes[0].memoryMiB``; a key with other than plain characters is quoted, ``services["a b"]``.
    """
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif PLAIN_KEY.fullmatch(part) and len(part) <= MAX_QUOTED_KEY:
            text += f".{part}" if text else part
        else:
            text += f"[{quote(part, MAX_QUOTED_KEY)}]"
    return text or "config"


def quote(text: str, limit: int = MAX_QUOTED) -> str:
    """Quote a string on one printable line; a long one, or one that looks like a secret, is only described.

    Args:
        text: The string.
        limit: The most characters that are quoted.
    """
    if SECRET_LOOK.search(text):
        return f"(a string of {len(text)} characters that looks like a secret)"
    if len(text) > limit:
        return f"(a string of {len(text)} characters)"
    return '"' + "".join(map(_printable, text)) + '"'


def _printable(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def show(value: object) -> str:
    """Describe a configuration value for a message: its type, short, on one line, without secrets."""
    match value:
        case None:
            text = "empty"
        case bool():
            text = f"the Boolean {str(value).lower()}"
        case int() if value.bit_length() > MAX_PLAIN_BITS:
            text = f"a number of more than {MAX_PLAIN_BITS} bits"
        case int() | float():
            text = f"the number {value}"
        case "":
            text = "an empty string"
        case [] | {} if not value:
            text = f"an empty {'mapping' if isinstance(value, dict) else 'list'}"
        case list() | tuple():
            text = f"a list of {len(value)} item{'s' if len(value) != 1 else ''}"
        case dict():
            text = f"a mapping with {len(value)} key{'s' if len(value) != 1 else ''}"
        case _:
            text = quote(str(value))
    return text


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Find the known word that a mistyped word most probably means; upper and lower case are the same.

    Returns:
        The known word, or None where none is similar.
    """
    lowered = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(word[:MAX_QUOTED].lower(), lowered, n=1, cutoff=0.6)
    return lowered[found[0]] if found else None
