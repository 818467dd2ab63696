"""What the README shows as printed is what the programs still print, as far as that shows without running them."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests import tiers

SHOWN = r"<!-- output: {} -->\n(?:```console\n.*?```\n\n)?```text\n(.*?)```"
# What the engine prints about its resources stands below "Deploying with Pulumi".
ENGINES_OWN = " " * 8
# A single word would fit too many lines.
WORD = re.compile(r"(?!https?\b)\b[A-Za-z]{2,}")
LEAST_WORDS = 2


def shown(checkout: Path, name: str) -> list[str]:
    """The lines of a block of output in the README."""
    found = re.search(SHOWN.format(re.escape(name)), (checkout / "README.md").read_text(), re.DOTALL)
    assert found, f"the README has no output of {name}"
    return [line for line in found[1].splitlines() if line.strip()]


class Templates(ast.NodeVisitor):
    """Every text that a module may print, with a gap for each value that it fills in."""

    def __init__(self) -> None:
        self.found: list[re.Pattern[str]] = []

    def take(self, places: Sequence[list[str]]) -> None:
        """Keep what has enough words of its own; each place holds a text, one of several, or (none) anything."""
        words = sum(min((len(WORD.findall(text)) for text in texts), default=0) for texts in places)
        if words >= LEAST_WORDS:
            self.found.append(
                re.compile("".join(f"({'|'.join(map(re.escape, texts))})" if texts else ".*" for texts in places))
            )

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            pieces = re.split(r"(\{\w+\})", node.value.strip("\n"))  # what `str.format` fills in
            self.take([[] if index % 2 else [piece] for index, piece in enumerate(pieces)])

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self.take([_choices(part) for part in node.values])

    def visit_BinOp(self, node: ast.BinOp) -> None:
        self.take([_choices(node.left), _choices(node.right)])
        self.generic_visit(node)


def _choices(part: ast.expr) -> list[str]:
    """What an expression may put there: a text, one of two, or (none) anything."""
    if isinstance(part, ast.FormattedValue):
        return _choices(part.value) if isinstance(part.value, ast.IfExp) else []
    if isinstance(part, ast.IfExp):
        return [*_choices(part.body), *_choices(part.orelse)]
    return [part.value.strip("\n")] if isinstance(part, ast.Constant) and isinstance(part.value, str) else []


def templates(source: Path) -> list[re.Pattern[str]]:
    """The texts of one module."""
    visitor = Templates()
    visitor.visit(ast.parse(source.read_text()))
    return visitor.found


@pytest.fixture(scope="module")
def printable() -> list[re.Pattern[str]]:
    """The templates of the whole lab."""
    return [template for file in sorted((tiers.TESTS.parent / "lab").rglob("*.py")) for template in templates(file)]


@pytest.mark.parametrize("name", ["make lab", "fail"])
def test_every_line_that_the_readme_shows_of_the_lab_is_one_that_the_lab_prints(
    checkout: Path, printable: list[re.Pattern[str]], name: str
) -> None:
    lines = [line for line in shown(checkout, name) if not line.startswith(ENGINES_OWN)]
    assert len(lines) >= 10
    unknown = [line for line in lines if not any(template.search(line) for template in printable)]
    assert unknown == []


def test_a_line_that_nothing_prints_is_found(printable: list[re.Pattern[str]]) -> None:
    for line in (
        "   3.9s Deploying by magic",
        "   0.077 s  n1 steals 192.168.6.122",
        "  yes  the capture saw one master",
    ):
        assert not any(template.search(line) for template in printable), line


def test_what_the_readme_shows_of_make_test_is_the_summary_of_every_tier(checkout: Path) -> None:
    heading, *summary, last = shown(checkout, "make test")
    tally = tiers.Tally()
    for line in summary:
        tier, count, outcome = line.split()
        tally.outcomes[tier][outcome] = int(count)
    assert summary == tally.lines(tiers.TIERS)
    assert heading.strip("=") == " tiers "
    total = sum(found["passed"] for found in tally.outcomes.values())
    assert re.fullmatch(rf"=+ {total} passed in \d+\.\d+s \(\d:\d\d:\d\d\) =+", last)
