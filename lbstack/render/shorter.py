"""Take comments, docstrings and three of four blanks before a line out of a guest program: a node runs none of them.

A set carries every program, and an applier of an earlier release reads it whole out of one guestinfo value: what is
left out here is room for services in the pairs that have to be moved. The module's docstring stays; a program shows it
as its help, and who reads a program on a node learns from it what it does.

It goes by the lines of formatted sources, which takes a hundredth of the time of Python's own parser. A test compares
what both forms of every program compile to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

TRIPLE = '"""'
LEVEL = 4  # blanks
PYTHON = re.compile(r"#!.*\bpython")
REMARK = re.compile(r"""(?P<code>(?:[^"'#]|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')*)(?<=\S)  # .*""")
"""Code with a remark behind it, which the formatter puts two blanks after it."""


def shorter(source: str) -> str:
    """Return a program without comments, docstrings and empty lines.

    Args:
        source: Its text. Where it is no Python only whole lines are left out.
    """
    lines = source.splitlines()
    kept = _python(lines) if PYTHON.match(source) else _shell(lines)
    return "\n".join([*kept, ""])


def _shell(lines: list[str]) -> Iterator[str]:
    yield lines[0]
    for line in lines[1:]:
        if line.strip() and not line.lstrip().startswith("#"):
            yield line


def _python(lines: list[str]) -> Iterator[str]:
    yield lines[0]
    empty_body = ""  # a docstring's indentation, until it is known whether its block has anything else
    before = ""
    rest = iter(lines[1:])
    for line in rest:
        words = line.strip()
        if words.startswith(TRIPLE) and before.endswith(":"):
            empty_body = line[: len(line) - len(line.lstrip())]
            _ = list(_to_the_end(words.removeprefix(TRIPLE), rest))
        elif words and not words.startswith("#"):
            if empty_body and not line.startswith(empty_body):
                yield _shallow(f"{empty_body}pass")
            empty_body = ""
            found = REMARK.fullmatch(line)
            before = found["code"] if found else line
            yield _shallow(before)
            if before.count(TRIPLE) == 1:
                yield from _to_the_end("", rest)
    if empty_body:
        yield _shallow(f"{empty_body}pass")


def _shallow(line: str) -> str:
    """Return a line of code with one blank for each level instead of the formatter's four."""
    code = line.lstrip()
    return " " * ((len(line) - len(code)) // LEVEL) + code


def _to_the_end(begun: str, rest: Iterator[str]) -> Iterator[str]:
    """Yield the lines of a text in triple quotes up to its last one."""
    while TRIPLE not in begun:
        begun = next(rest)
        yield begun
