"""Write the report as Markdown for a comment: the same order, collapsed diffs, every value escaped.

Values, files and messages of a stack file, a vCenter or the engine are in code spans or code blocks, whose fence is
longer than any run of backticks in them; neither HTML nor mentions nor links work there. Names and properties in our
own sentences are escaped, and an invisible character separates what GitHub would link even if it is escaped. What does
not fit into a comment is left out, the least important part first, and the report states it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from lbstack.review.report import NOT_ASKED, Drift, FileDiff, Outcome, Report
from lbstack.review.text import visible

LIMIT = 64_000  # characters; GitHub refuses a comment of more than 65,536
BACKTICKS = re.compile("`+")
APART = "\u200b"  # a blank without a width
# Where GitHub sees an address (https://, www.), an issue (#17, GH-3) or a commit (seven digits of its hash and more).
LINKED = re.compile(
    r"(?<=:)(?=//)|(?<=www)(?=\.)|(?<=#)(?=\d)|(?<=gh)(?=-\d)|(?<=[0-9a-f]{6})(?=[0-9a-f])", re.IGNORECASE
)
SIGNS = {
    Outcome.NOTHING: "✅",
    Outcome.CHANGES: "📝",
    Outcome.DRIFT: "⚠️",
    Outcome.CHANGES_AND_DRIFT: "⚠️",
    Outcome.UNKNOWN: "❌",
    Outcome.APPLIED: "🚀",
    Outcome.FAILED: "❌",
}
NOON = {False: "🟢", None: "🟡", True: "🔴"}
EVERYTHING = 1_000_000
HIDDEN = "What changes is not shown: a secret."
LAST_CHARACTERS = 500  # of the verdict, when nothing else fits

_T = TypeVar("_T")


@dataclass(frozen=True)
class _Limits:
    """How much of each part is shown.

    Args:
        change_lines: Lines of one file's diff under Changes.
        files: Files under Changes.
        drift_lines: Lines of one file's diff under Drift.
        items: Items of every list.
        text: Characters of one text.
    """

    change_lines: int = EVERYTHING
    files: int = EVERYTHING
    drift_lines: int = EVERYTHING
    items: int = EVERYTHING
    text: int = EVERYTHING


# From everything to the least that is still a report: first long diffs of changes, then of drift, then lists.
STEPS = (
    _Limits(),
    _Limits(change_lines=400),
    _Limits(change_lines=120),
    _Limits(change_lines=40),
    _Limits(change_lines=40, files=20),
    _Limits(change_lines=10, files=20, drift_lines=200),
    _Limits(change_lines=10, files=20, drift_lines=60, items=100),
    _Limits(change_lines=0, files=20, drift_lines=20, items=40, text=1000),
    _Limits(change_lines=0, files=10, drift_lines=10, items=15, text=500),
    _Limits(change_lines=0, files=5, drift_lines=0, items=5, text=200),
)


def markdown_of(report: Report, limit: int = LIMIT) -> str:
    """The report as Markdown of at most ``limit`` characters."""
    for number, limits in enumerate(STEPS):
        text = _written(report, limits)
        if len(text) > limit:
            continue
        # Shorter lists may have left room for the diffs that were shortened before them.
        for earlier in STEPS[:number]:
            roomier = _written(report, replace(limits, change_lines=earlier.change_lines, files=earlier.files))
            if len(roomier) <= limit:
                return roomier
        return text
    note = "> The report does not fit into a comment at all. The whole of it is what `lbstack preview` prints."
    return f"## {SIGNS[report.outcome]} Report\n\n{span(report.verdict[:LAST_CHARACTERS])}\n\n{note}\n"


def _written(report: Report, limits: _Limits) -> str:
    return "\n".join(_Page(limits).lines(report, shortened=limits != STEPS[0])) + "\n"


def span(text: str) -> str:
    """A text as a code span: on one line, whatever is in it."""
    clean = visible(" ".join(text.split()))
    if not clean:
        return "` `"
    fence = "`" * (1 + max((len(run) for run in BACKTICKS.findall(clean)), default=0))
    # CommonMark takes one blank off at both ends, so that a text may begin with a backtick.
    pad = " " if clean[0] == "`" or clean[-1] == "`" else ""
    return f"{fence}{pad}{clean}{pad}{fence}"


def block(lines: Sequence[str], language: str = "") -> list[str]:
    """Lines as a fenced code block, whatever is in them."""
    clean = [visible(line) for line in lines]
    longest = max((len(run) for line in clean for run in BACKTICKS.findall(line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", *clean, fence]


class _Page:
    """One attempt to write the report within some limits; counts what it leaves out."""

    def __init__(self, limits: _Limits) -> None:
        self.limits = limits
        self.left_out = 0

    def lines(self, report: Report, *, shortened: bool) -> list[str]:
        body = list(self._body(report))
        head = [f"## {SIGNS[report.outcome]} {self._span(report.stack)}: {self._prose(report.verdict)}", ""]
        if report.noon:
            head += [f"{NOON[report.noon.cut]} **{self._prose(report.noon.text)}**", ""]
        if shortened:
            note = (
                f"> Shortened to fit into a comment: {self.left_out} lines or entries are left out, the least "
                "important first. The whole report is what `lbstack preview` prints."
            )
            head += [note, ""]
        return head + body

    def _body(self, report: Report) -> Iterator[str]:
        if report.failure:
            yield from self._block(report.failure.message.splitlines() or [""], self.limits.drift_lines)
            if report.failure.remedy:
                yield from self._block(report.failure.remedy.splitlines(), self.limits.drift_lines)
            yield ""
        if report.failure and not report.applied:
            return
        if not report.applied:
            yield "### Drift"
            yield ""
            yield from self._drift(report)
            yield "### Files on the nodes"
            yield ""
            yield from self._guests(report)
        yield "### Applied" if report.applied else "### Changes"
        yield ""
        yield from self._changes(report)
        yield "### Nodes" if report.applied else "### Disruption"
        yield ""
        yield from self._disruption(report)
        if report.warnings:
            yield "### Warnings"
            yield ""
            yield from self._list(report.warnings)
        if report.foreign or report.noise:
            yield "---"
        if report.foreign:
            yield f"By others, and left alone: {'; '.join(self._prose(text) for text in report.foreign)}"
        if report.foreign and report.noise:
            yield ""
        if report.noise:
            names = ", ".join(self._span(name) for name in report.noise)
            yield f"Left out of the drift as known noise of the provider: {names}"

    def _drift(self, report: Report) -> Iterator[str]:
        if not report.drift:
            yield "None: vCenter has what was deployed."
            yield ""
        for item in self._some(report.drift):
            yield from self._drift_item(item)

    def _guests(self, report: Report) -> Iterator[str]:
        for guest in report.guests:
            yield f"- **{self._span(guest.node)}** {self._prose(guest.text)} {self._prose(guest.remedy)}".rstrip()
        if not report.guests:
            yield "Unknown: the nodes were not asked."
        yield ""

    def _drift_item(self, item: Drift) -> Iterator[str]:
        text = self._prose(item.text)
        if item.seen or item.deployed:
            values = self._span(item.seen), self._span(item.deployed)
            text = f"{self._prose(item.what)}: {values[0]} in vCenter; deployed: {values[1]}."
        yield f"- **{self._span(item.where)}** {text}"
        yield f"  {self._prose(item.remedy)}"
        yield ""
        yield from self._diffs(item.files, self.limits.drift_lines, is_open=True)

    def _changes(self, report: Report) -> Iterator[str]:
        if not (report.files or report.changes or report.services):
            hidden = report.changing and not report.applied
            yield "Nothing." if report.applied else HIDDEN if hidden else "None: the stack file has what was deployed."
            yield ""
        sentences = [*report.services, *(f"{change.where}: {change.text}" for change in report.changes)]
        yield from self._list(sentences)
        shown = report.files[: self.limits.files]
        yield from self._diffs(shown, self.limits.change_lines, is_open=len(shown) == 1)
        if len(report.files) > len(shown):
            self.left_out += len(report.files) - len(shown)
            yield f"… and {len(report.files) - len(shown)} more files."
            yield ""

    def _disruption(self, report: Report) -> Iterator[str]:
        if not report.nodes:
            yield "None was touched." if report.applied else "None: no node is touched."
            yield ""
            return
        if report.holder:
            yield self._prose(report.holder)
            yield ""
        for impact in sorted(report.nodes, key=lambda item: not item.order):
            reason = self._prose(impact.reason)
            if impact.order:
                yield f"{impact.order}. **{self._span(impact.node)}** {impact.action.value}, because {reason}"
            else:
                yield f"- **{self._span(impact.node)}** left as it was, because {reason}"
            if impact.sessions:
                yield f"   - sessions: {self._prose(impact.sessions)}"
            if impact.state != NOT_ASKED:
                yield f"   - now: {self._span(impact.state)}"
        yield ""

    def _diffs(self, files: Sequence[FileDiff], most: int, *, is_open: bool) -> Iterator[str]:
        for file in files:
            nodes = " and ".join(self._code(node) for node in file.nodes)
            title = f"{self._code(file.path)} on {nodes}{self._note(file)}"
            yield f"<details{' open' if is_open else ''}><summary>{title}</summary>"
            yield ""
            if file.lines:
                yield from self._block(file.lines, most, "diff")
                yield ""
            yield "</details>"
            yield ""

    def _note(self, file: FileDiff) -> str:
        rights = self._code(file.rights) if file.rights else ""
        return "".join(f", {word}" for word in (file.word, rights, file.effect) if word) + file.counts

    def _list(self, texts: Sequence[str]) -> Iterator[str]:
        for text in self._some(texts):
            yield f"- {self._span(text)}"
        if texts:
            yield ""

    def _some(self, items: Sequence[_T]) -> Iterator[_T]:
        yield from items[: self.limits.items]
        self.left_out += max(0, len(items) - self.limits.items)

    def _cut(self, text: str) -> str:
        if len(text) <= self.limits.text:
            return text
        self.left_out += 1
        return f"{text[: self.limits.text]}…"

    def _prose(self, text: str) -> str:
        """A sentence of ours with foreign words in it: what Markdown or HTML could make something of is escaped."""
        words = visible(" ".join(self._cut(text).split()))
        # One backtick is ours, around a command; more of them at the beginning of a line would open a code block.
        return re.sub(r"([\\*_{}\[\]<>#|~@&!$]|(?<=`)`|`(?=`))", _escape, LINKED.sub(APART, words))

    def _block(self, lines: Sequence[str], most: int, language: str = "") -> list[str]:
        shown = [self._cut(line) for line in lines[:most]]
        if len(lines) > len(shown):
            self.left_out += len(lines) - len(shown)
            shown.append(f"… {len(lines) - len(shown)} more lines")
        return block(shown, language)

    def _span(self, text: str) -> str:
        return span(self._cut(text))

    def _code(self, text: str) -> str:
        return _code(self._cut(text))


def _code(text: str) -> str:
    """A text as HTML code, for the one place where Markdown is not read: a summary."""
    return f"<code>{html.escape(visible(text))}</code>"


def _escape(found: re.Match[str]) -> str:
    # A mention is found after Markdown's own escapes, so its sign is kept apart from the name by nothing visible.
    return f"@{APART}" if found[0] == "@" else f"\\{found[0]}"
