"""Read the files whose lines stand for themselves: packet filters, ``.network`` files, kernel settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lbstack.problems import Problem
from lbstack.scaffold.handbuilt.lines import Line


def settings(lines: Sequence[Line], what: str) -> tuple[list[Line], list[Problem]]:
    """Divide lines of the form ``key = value``; section headings stay as they are.

    Args:
        lines: The lines, with words divided at blanks.
        what: What the file is, for the message.

    Returns:
        Lines whose words are the key and the words of the value, and the problems.
    """
    found, problems = [], []
    for line in lines:
        text = " ".join(line.words)
        if text.startswith("["):
            found.append(line)
            continue
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            problems.append(Problem(line.where, f"is not a setting of {what}", "Each line is `key=value`: correct it."))
            continue
        found.append(Line(line.file, line.number, (key.strip().lstrip("-"), *value.split())))
    return found, problems


@dataclass(frozen=True)
class Rule:
    """One rule of a packet filter.

    Args:
        line: Its line.
        chain: The chain that it is in.
        protocol: What ``-p`` says; empty for all.
        ports: The ports of ``--dport`` or ``--dports``, as written; empty for all.
        sources: The networks of ``-s``; empty for all.
        target: What ``-j`` says.
        others: Whether it has other conditions.
    """

    line: Line
    chain: str
    protocol: str
    ports: tuple[str, ...]
    sources: tuple[str, ...]
    target: str
    others: bool


def rule(line: Line) -> Rule | None:
    """Read a line of a packet filter; None where it is no rule."""
    if line.words[0] not in ("-A", "-I") or len(line.words) < 2:  # noqa: PLR2004 - the option and its chain
        return None
    values: dict[str, str] = {}
    others = False
    words = list(line.words[2:])
    while words:
        option = words.pop(0)
        if option in OPTIONS:
            values[OPTIONS[option]] = words.pop(0) if words else ""
        elif option == "-m" and words:
            words.pop(0)
        elif option in ("-i", "--in-interface") and words:
            values["interface"] = words.pop(0)
        else:
            others = True
    ports = tuple(port for port in values.get("ports", "").split(",") if port)
    sources = tuple(source for source in values.get("source", "").split(",") if source)
    return Rule(line, line.words[1], values.get("protocol", ""), ports, sources, values.get("target", ""), others)


OPTIONS = {
    **dict.fromkeys(("-p", "--protocol"), "protocol"),
    **dict.fromkeys(("--dport", "--dports", "--destination-port", "--destination-ports"), "ports"),
    **dict.fromkeys(("-s", "--source", "--src"), "source"),
    **dict.fromkeys(("-d", "--destination", "--dst"), "destination"),
    **dict.fromkeys(("-j", "--jump", "-g"), "target"),
    "--icmp-type": "icmp",
    "--ctstate": "state",
    "--state": "state",
}
