"""Read the blocks of a ``keepalived.conf``. What a statement means is not decided here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lbstack.problems import Problem
from lbstack.scaffold.handbuilt.lines import Line

BRACES = re.compile(r"[{}]|[^{}]+")
DEEPEST = 10  # virtual_server, real_server, SSL_GET, url: four
NO_FILE = "It is not a keepalived.conf that keepalived takes: correct it there first."


@dataclass
class Statement:
    """A statement, with what is in its braces.

    Args:
        line: The line that it begins in; its words are those before the brace.
        inner: What is in its braces; empty where it has none.
    """

    line: Line
    inner: list[Statement] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its first word."""
        return self.line.words[0]

    @property
    def value(self) -> str:
        """Its second word; empty where there is none."""
        return self.line.words[1] if len(self.line.words) > 1 else ""

    def all(self, *names: str) -> list[Statement]:
        """The statements of these names directly inside."""
        return [statement for statement in self.inner if statement.name in names]

    def everything(self) -> Iterator[Statement]:
        """The statement and all inside it, at any depth."""
        yield self
        for statement in self.inner:
            yield from statement.everything()


def statements(lines: Sequence[Line]) -> tuple[list[Statement], list[Problem]]:
    """Read the blocks.

    Args:
        lines: All lines of the file.

    Returns:
        The outermost statements, and the problems.
    """
    top: list[Statement] = []
    open_blocks: list[Statement] = []
    problems: list[Problem] = []
    last: Statement | None = None
    for line in lines:
        words: list[str] = []
        for piece in (part for word in line.words for part in BRACES.findall(word)):
            holder = open_blocks[-1].inner if open_blocks else top
            if piece not in "{}":
                words.append(piece)
                continue
            if words:
                last = Statement(Line(line.file, line.number, tuple(words)))
                holder.append(last)
                words = []
            if piece == "{":
                if last is None or len(open_blocks) >= DEEPEST:
                    return top, [Problem(line.where, "opens a brace that belongs to nothing", NO_FILE)]
                open_blocks.append(last)
            elif open_blocks:
                last = None
                open_blocks.pop()
            else:
                return top, [Problem(line.where, "closes a brace that was not opened", NO_FILE)]
        if words:
            last = Statement(Line(line.file, line.number, tuple(words)))
            (open_blocks[-1].inner if open_blocks else top).append(last)
    if open_blocks:
        block = open_blocks[-1].line
        problems.append(Problem(block.where, f"opens the block {_named(block)}, which is not closed", NO_FILE))
    return top, problems


def _named(line: Line) -> str:
    return line.words[0] if re.fullmatch(r"[a-zA-Z_]{1,40}", line.words[0]) else "of this line"
