"""Divide a ``haproxy.cfg`` into its sections. What a directive means is not decided here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lbstack.problems import Problem
from lbstack.scaffold.handbuilt.lines import Line

PROXIES = ("frontend", "backend", "listen")
# HAProxy's manual, "Configuration file": everything that begins a section, 1.8 to 3.2.
SECTIONS = (
    *("global", "defaults", *PROXIES, "userlist", "peers", "resolvers", "mailers", "program", "http-errors", "ring"),
    *("cache", "fcgi-app", "log-forward", "log-profile", "crt-store", "traces", "acme", "healthcheck"),
)
NAMED = (*PROXIES, "userlist", "peers", "resolvers", "mailers")
CONDITIONS = (".if", ".elif", ".else", ".endif", ".diag", ".notice", ".warning", ".alert")


@dataclass
class Section:
    """One section.

    Args:
        header: Its first line.
        lines: The lines in it.
        defaults: The lines of the ``defaults`` section that holds for it; empty except for proxies.
    """

    header: Line
    lines: list[Line] = field(default_factory=list)
    defaults: Sequence[Line] = ()

    @property
    def kind(self) -> str:
        """What kind of section it is: ``frontend``."""
        return self.header.words[0]

    @property
    def name(self) -> str:
        """Its name; empty where it has none."""
        return self.header.words[1] if len(self.header.words) > 1 else ""

    def all(self, *words: str) -> list[Line]:
        """The lines that begin with these words."""
        return [line for line in self.lines if line.begins(*words)]

    def last(self, *words: str) -> Line | None:
        """The line that counts of those that begin with these words: the last one, else the last default."""
        own = self.all(*words) or [line for line in self.defaults if line.begins(*words)]
        return own[-1] if own else None

    @property
    def mode(self) -> str:
        """``tcp``, ``http`` or another; HAProxy's default is tcp."""
        line = self.last("mode")
        return line.words[1] if line and len(line.words) > 1 else "tcp"


def sections(lines: Sequence[Line]) -> tuple[list[Section], list[Problem]]:
    """Divide the lines into sections.

    Args:
        lines: All lines of the file.

    Returns:
        The sections, and the problems.
    """
    found: list[Section] = []
    problems: list[Problem] = []
    by_name: dict[str, Section] = {}
    current: Section | None = None
    for line in lines:
        first = line.words[0]
        if first in SECTIONS:
            if first in NAMED and len(line.words) == 1:
                problems.append(Problem(line.where, f"begins a {first} without a name", "Give it its name."))
            new = Section(line)
            if first in PROXIES:
                named = line.after("from")
                chosen = by_name.get(named) if named else current
                new.defaults = chosen.lines if chosen else ()
            found.append(new)
            if first == "defaults":
                current = by_name[new.name] = new
        elif found:
            found[-1].lines.append(line)
        elif first not in CONDITIONS:
            remedy = "Begin with a section such as global or defaults; perhaps this is not a haproxy.cfg."
            problems.append(Problem(line.where, "is not in a section", remedy))
            break  # a file of another kind: one sentence says it
    return found, problems
