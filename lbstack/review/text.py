"""Write the report for a terminal: plain lines, in the report's order, control characters made visible."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lbstack.review.report import NOT_ASKED, FileDiff, Report

INDENT = "  "
NOTHING_APPLIED = "nothing"
HIDDEN_CHANGE = "what changes is not shown: a secret"


def visible(text: str) -> str:
    """One line without characters that move a cursor, hide text or turn its direction."""
    if text.isprintable():
        return text
    return "".join(
        character if character == "\t" or character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def text_of(report: Report) -> str:
    """The whole report as text."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"{visible(report.stack)}: {visible(report.verdict)}"
    if report.noon:
        yield visible(report.noon.text)
    if report.failure:
        # Its first line stands in the verdict.
        yield from _block("\n".join(report.failure.message.splitlines()[1:]))
        yield from _block(report.failure.remedy)
        if not report.applied:
            return
    if not report.applied:
        yield ""
        yield "Drift"
        yield from _drift(report)
        yield ""
        yield "Files on the nodes"
        yield from _guests(report)
    yield ""
    yield "Applied" if report.applied else "Changes"
    yield from _changes(report)
    yield ""
    yield "Nodes" if report.applied else "Disruption"
    yield from _disruption(report)
    if report.warnings:
        yield ""
        yield "Warnings"
        for warning in report.warnings:
            yield from _item(warning)


def _drift(report: Report) -> Iterator[str]:
    if not report.drift:
        yield f"{INDENT}none: vCenter has what was deployed"
    for item in report.drift:
        yield from _item(f"{item.where}: {item.text}")
        yield from _block(item.remedy, 2)
        yield from _diffs(item.files, 2)
    if report.foreign:
        yield f"{INDENT}(by others, and left alone: {visible('; '.join(report.foreign))})"
    if report.noise:
        yield f"{INDENT}(left out as known noise of the provider: {visible(', '.join(report.noise))})"


def _guests(report: Report) -> Iterator[str]:
    for guest in report.guests:
        yield from _item(f"{guest.node}: {guest.text}")
        yield from _block(guest.remedy, 2)
    if not report.guests:
        yield f"{INDENT}unknown: the nodes were not asked"


def _changes(report: Report) -> Iterator[str]:
    if not (report.files or report.changes or report.services):
        yield f"{INDENT}{_no_change(report)}"
    for sentence in report.services:
        yield from _item(sentence)
    for change in report.changes:
        yield from _item(f"{change.where}: {change.text}")
    yield from _diffs(report.files, 1)


def _no_change(report: Report) -> str:
    if report.applied:
        return NOTHING_APPLIED
    return HIDDEN_CHANGE if report.changing else "none: the stack file has what was deployed"


def _disruption(report: Report) -> Iterator[str]:
    if not report.nodes:
        yield f"{INDENT}{'none was touched' if report.applied else 'none: no node is touched'}"
        return
    yield from _block(report.holder)
    for impact in report.nodes:
        if impact.order:
            yield from _block(f"{impact.order}. {impact.node}: {impact.action.value}, because {impact.reason}")
        else:
            yield from _block(f"-  {impact.node}: left as it was, because {impact.reason}")
        if impact.sessions:
            yield from _block(f"sessions: {impact.sessions}", 2)
        if impact.state != NOT_ASKED:
            yield from _block(f"now: {impact.state}", 2)


def _diffs(files: Sequence[FileDiff], depth: int) -> Iterator[str]:
    for file in files:
        yield f"{INDENT * depth}{visible(title_of(file))}"
        for line in file.lines:
            yield f"{INDENT * (depth + 1)}{visible(line)}"


def title_of(file: FileDiff) -> str:
    """A file's line above its diff."""
    words = "".join(f", {word}" for word in (file.word, file.rights, file.effect) if word)
    return f"{file.path} on {' and '.join(file.nodes)}{words}{file.counts}"


def _item(text: str) -> Iterator[str]:
    first, *rest = text.splitlines() or [""]
    yield f"{INDENT}- {visible(first)}"
    for line in rest:
        yield f"{INDENT}{INDENT}{visible(line)}"


def _block(text: str, depth: int = 1) -> Iterator[str]:
    for line in text.splitlines():
        yield f"{INDENT * depth}{visible(line)}"
