"""The report of an import: what each line became, and what became of each known mistake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lbstack.scaffold.handbuilt.corrections import BEYOND_THE_FILES, CORRECTIONS
from lbstack.scaffold.handbuilt.ledger import Entry, Verdict, shown
from lbstack.scaffold.handbuilt.lines import END_OF_BLOCK, Line

TITLES = {
    Verdict.NOT_EXPRESSED: "Not expressed: decide what to do",
    Verdict.CORRECTED: "Corrected",
    Verdict.TAKEN: "Taken",
    Verdict.OURS: "Done in the new pair's own way",
}
NOT_HERE = "not in these files"
BEYOND = "no file shows it; the new pair has it"


@dataclass(frozen=True)
class Report:
    """The whole report.

    Args:
        entries: One for each line.
        absent: Number of a correction → what the files lack.
        unread: Files that were not read.
        left_out: Name of a frontend that is not in the stack file → why.
        decisions: How many values of the stack file have to be decided.
    """

    entries: Sequence[Entry]
    absent: Mapping[str, str]
    unread: Sequence[str]
    left_out: Mapping[str, str]
    decisions: int

    def count(self, verdict: Verdict) -> int:
        """How many lines have a verdict."""
        return sum(entry.verdict is verdict for entry in self.entries)

    @property
    def summary(self) -> str:
        """All numbers in one sentence."""
        counts = ", ".join(f"{self.count(verdict)} {verdict}" for verdict in TITLES)
        return f"{len(self.entries)} lines: {counts}. {self.decisions} values of the stack file have to be decided."

    def found(self, number: str) -> str:
        """Where a known mistake was found."""
        places = [entry.line for entry in self.entries if number in entry.numbers]
        said = [_places(places)] if places else []
        if number in self.absent:
            said.append(self.absent[number])
        if said:
            return "; ".join(said)
        return BEYOND if number in BEYOND_THE_FILES else NOT_HERE

    def as_data(self) -> dict[str, object]:
        """The report as data."""
        return {
            "counts": {verdict.value: self.count(verdict) for verdict in TITLES},
            "decisions": self.decisions,
            "left_out": dict(self.left_out),
            "unread": list(self.unread),
            "corrections": {
                number: {"by_hand": by_hand, "here": here, "found": self.found(number)}
                for number, (by_hand, here) in CORRECTIONS.items()
            },
            "lines": [
                {
                    "file": entry.line.file,
                    "line": entry.line.number,
                    "text": shown(entry.line),
                    "verdict": entry.verdict.value,
                    "corrections": list(entry.numbers),
                    "paths": list(entry.paths),
                    "why": entry.why,
                }
                for entry in self.entries
            ],
        }

    def text(self) -> str:
        """The report as Markdown."""
        return "\n".join(self._markdown()) + "\n"

    def _markdown(self) -> Iterator[str]:
        yield "# What became of the hand-built pair's files"
        yield ""
        yield self.summary
        yield ""
        yield "Of lines that may have a password only the beginning is shown; lines with only a brace are not listed."
        if self.left_out:
            yield from ("", "## Frontends that are not in the stack file", "")
            yield from (f"- `{_code(name)}`: {why}." for name, why in self.left_out.items())
        if self.unread:
            yield from ("", "## Files that were not read", "")
            yield from (f"- `{_code(name)}`" for name in self.unread)
        for verdict, title in TITLES.items():
            yield from self._lines(verdict, title)
        yield from ("", "## The known mistakes", "", "`docs/differences.md` has the reasons.", "")
        yield from ("| # | By hand | Here | Where |", "|---|---|---|---|")
        for number, (by_hand, here) in CORRECTIONS.items():
            yield f"| {number} | {by_hand} | {here} | {self.found(number)} |"

    def _lines(self, verdict: Verdict, title: str) -> Iterator[str]:
        listed = [
            entry
            for entry in self.entries
            if entry.verdict is verdict and not set(entry.line.words) <= {"{", END_OF_BLOCK}
        ]
        yield from ("", f"## {title} ({len(listed)})", "")
        if not listed:
            yield "None."
            return
        yield from ("| Lines | Text | Becomes | Why |", "|---|---|---|---|")
        rows: dict[tuple[str, ...], list[Line]] = {}
        for entry in listed:
            paths = ", ".join(f"`{path}`" for path in entry.paths)
            rows.setdefault((f"`{_code(shown(entry.line))}`", paths, _cell(entry.why)), []).append(entry.line)
        for row, lines in rows.items():
            yield f"| {_cell(_places(lines))} | {' | '.join(row)} |"


def _places(lines: Sequence[Line]) -> str:
    """Where lines are, with each file named once."""
    by_file: dict[str, list[str]] = {}
    for line in lines:
        by_file.setdefault(line.file, []).append(str(line.number))
    return "; ".join(f"{file}:{','.join(numbers)}" for file, numbers in by_file.items())


def _code(text: str) -> str:
    """Text between backquotes in a table."""
    return _cell(text).replace("`", "'")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
