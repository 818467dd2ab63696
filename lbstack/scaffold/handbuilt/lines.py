"""Lines of the hand-built pair's files, and how each kind of file divides them into words. Nothing here reads files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lbstack.problems import Problem

LONGEST = 2048  # HAProxy's LINESIZE: it refuses longer lines, and nobody types one into the other files
END_OF_BLOCK = "}"
ESCAPED = re.compile(r"\\(.)")
PIECE = re.compile(
    r"""(?P<blank>\s+)|(?P<escaped>\\.)|(?P<quoted>"(?:\\.|[^"\\])*"|'[^']*')|(?P<quote>["'])|(?P<plain>.)"""
)


@dataclass(frozen=True)
class Line:
    """One line that is neither blank nor a comment.

    Args:
        file: The file's name as messages show it.
        number: Its number in the file, from 1.
        words: Its words, without quotes and comments.
    """

    file: str
    number: int
    words: tuple[str, ...]

    @property
    def where(self) -> str:
        """The place as messages show it."""
        return f"{self.file}:{self.number}"

    def begins(self, *words: str) -> bool:
        """Whether the line begins with these words."""
        return self.words[: len(words)] == words

    def after(self, word: str) -> str | None:
        """The word after the first one of this name; None where there is none."""
        if word not in self.words[:-1]:
            return None
        return self.words[self.words.index(word) + 1]


def split_lines(file: str, text: str, *, comments: str = "#", quotes: str = "\"'") -> tuple[list[Line], list[Problem]]:
    r"""Divide a file into lines and words: quotes, `\` before one character, comments.

    Args:
        file: Its name.
        text: Its content.
        comments: The characters that begin a comment where no word has begun. HAProxy's `#` also ends a word.
        quotes: The characters that quote.

    Returns:
        The lines that have words, and the problems of those that cannot be read.
    """
    lines: list[Line] = []
    problems: list[Problem] = []
    for number, content in enumerate(text.splitlines(), start=1):
        place = f"{file}:{number}"
        if len(content) > LONGEST:
            problems.append(
                Problem(place, f"has {len(content)} characters", f"A line has at most {LONGEST}: divide or remove it.")
            )
        elif not content.replace("\t", "").isprintable():
            problems.append(Problem(place, "has a control character", "Remove it; an editor shows it."))
        else:
            words = list(_words(content, comments, quotes))
            if None in words:
                problems.append(Problem(place, "has a quote that is not closed", "Close it, or escape it with \\."))
            elif words:
                lines.append(Line(file, number, tuple(word for word in words if word is not None)))
    return lines, problems


def _words(content: str, comments: str, quotes: str) -> Iterator[str | None]:
    """Yield the words of a line; None where a quote is not closed."""
    word: str | None = None
    for piece in PIECE.finditer(content):
        text, kind = piece[0], piece.lastgroup
        if kind == "blank":
            if word is not None:
                yield word
            word = None
        elif kind == "quoted" and text[0] in quotes:
            word = (word or "") + (text[1:-1] if text[0] == "'" else ESCAPED.sub(r"\1", text[1:-1]))
        elif kind == "quote" and text in quotes:
            yield None
            return
        elif text in comments and (word is None or text == "#"):
            break
        else:
            word = (word or "") + (text[1] if kind == "escaped" else text)
    if word is not None:
        yield word
