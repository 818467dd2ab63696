"""Make a stack file and a report of the files of a hand-built pair. Nothing here reads or writes files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lbstack.config.fields import MIN_MAXCONN
from lbstack.config.undecided import MARK
from lbstack.facts.kinds import KINDS, MAXCONN_CEILING
from lbstack.problems import ConfigError, Problem
from lbstack.scaffold.handbuilt import draft
from lbstack.scaffold.handbuilt.haproxy import Section, sections
from lbstack.scaffold.handbuilt.keepalived import Statement, statements
from lbstack.scaffold.handbuilt.ledger import Ledger
from lbstack.scaffold.handbuilt.lines import Line, split_lines
from lbstack.scaffold.handbuilt.machine import judge_filter, judge_filter6, judge_kernel, judge_network
from lbstack.scaffold.handbuilt.plain import settings
from lbstack.scaffold.handbuilt.proxies import fronts
from lbstack.scaffold.handbuilt.report import Report
from lbstack.scaffold.handbuilt.services import Services
from lbstack.scaffold.handbuilt.sources import SOURCE, Kind, Source, Sources
from lbstack.scaffold.handbuilt.statistics import DEFAULT_PORT, Page
from lbstack.scaffold.handbuilt.tables import GLOBAL, PROXY, apply, look_up
from lbstack.scaffold.handbuilt.today import Today
from lbstack.scaffold.handbuilt.vrrp import judge

COMMENTS = {Kind.KEEPALIVED: "#!", Kind.NETWORK: "#;", Kind.KERNEL: "#;"}
QUOTES = {Kind.KEEPALIVED: '"', Kind.NETWORK: "", Kind.KERNEL: ""}
NO_SERVICE = "no service of the stack file is governed by it"


@dataclass(frozen=True)
class Imported:
    """What was made.

    Args:
        stack_file: The text of the stack file.
        report: The report.
    """

    stack_file: str
    report: Report


@dataclass
class _Files:
    """Every file, divided."""

    ledger: Ledger
    problems: list[Problem]
    haproxy: list[list[Section]]
    keepalived: list[tuple[int, Sequence[Statement]]]
    plain: list[tuple[Source, Sequence[Line]]]


def build(sources: Sources) -> Imported:
    """Make the stack file and the report.

    Args:
        sources: The files.

    Returns:
        Both; each line of every file is in the report.

    Raises:
        ConfigError: Files cannot be read as what they are; it holds all problems of all files.
    """
    files = _divide(sources)
    if files.problems:
        raise ConfigError(files.problems, SOURCE)
    ledger, today = files.ledger, Today()
    judge(ledger, today, files.keepalived)
    for source, lines in files.plain:
        if source.kind is Kind.NETWORK:
            judge_network(ledger, today, source.node, lines)
    first = files.haproxy[0]
    services, page, maxconn = _haproxy(ledger, today, first)
    for other in files.haproxy[1:]:
        _compare(ledger, first, other)
    _rest(files, today, services, page)
    page.vip = draft.page_vip_of_today(today, services.vips, page)
    _vips(ledger, today, services, page.vip)
    raw = draft.stack(today, services, page, maxconn)
    text = draft.text(raw, today, services, page)
    decisions = sum(f'"{MARK}' in line for line in text.splitlines())
    report = Report(tuple(ledger.entries()), ledger.absent, sources.unread, services.left_out, decisions)
    return Imported(text, report)


def _divide(sources: Sources) -> _Files:
    files = _Files(Ledger(), [], [], [], [])
    for source in sources.files:
        lines, problems = split_lines(
            source.name,
            source.text,
            comments=COMMENTS.get(source.kind, "#"),
            quotes=QUOTES.get(source.kind, "\"'"),
        )
        files.problems += problems
        if problems:
            continue
        if source.kind is Kind.HAPROXY:
            found, more = sections(lines)
            files.haproxy.append(found)
        elif source.kind is Kind.KEEPALIVED:
            top, more = statements(lines)
            files.keepalived.append((source.node, top))
        elif source.kind in (Kind.NETWORK, Kind.KERNEL):
            lines, more = settings(lines, "a .network file" if source.kind is Kind.NETWORK else "the kernel")
            files.plain.append((source, lines))
        else:
            files.plain.append((source, lines))
            more = []
        files.ledger.add(lines)
        files.problems += more
        if source.kind is Kind.HAPROXY and not found and not more:
            remedy = "Give the file that HAProxy reads; all lines of this one are comments."
            files.problems.append(Problem(source.name, "has no section", remedy))
    return files


def _haproxy(ledger: Ledger, today: Today, found: Sequence[Section]) -> tuple[Services, Page, int | None]:
    """Judge the sections of one haproxy.cfg."""
    every = fronts(found)
    pages = [front for front in every if front.is_statistics(today.node_addresses)]
    page = Page(ledger, today)
    page.judge(pages, [section for section in found if section.kind == "userlist"])
    services = Services(ledger, today)
    own = [part for front in pages for part in front.sections]
    backends = [section for section in found if section.kind == "backend" and not any(section is part for part in own)]
    services.judge([front for front in every if front not in pages], backends)
    maxconn = None
    for section in found:
        if section.kind == "global":
            maxconn = _global(ledger, section) or maxconn
        elif section.kind == "defaults":
            _defaults(ledger, section)
        elif section.kind in ("peers", "resolvers", "mailers", "program", "ring", "cache", "http-errors"):
            _other(ledger, section)
    _absences(ledger, found)
    return services, page, maxconn


def _global(ledger: Ledger, section: Section) -> int | None:
    ledger.ours(section.header, "process-wide settings are the program's")
    jail = next((line.words[1] for line in section.all("chroot") if len(line.words) > 1), "")
    maxconn = None
    for line in section.lines:
        if line.begins("maxconn") and len(line.words) > 1:
            maxconn = _maxconn(ledger, line)
        elif jail and line.begins("stats", "socket") and any(word.startswith(f"{jail}/") for word in line.words[2:3]):
            ledger.corrected(line, "A16", "the socket is outside the chroot, which is empty")
        else:
            apply(ledger, line, look_up(GLOBAL, line.words))
    return maxconn


def _maxconn(ledger: Ledger, line: Line) -> int | None:
    value = int(line.words[1]) if re.fullmatch("[0-9]{1,9}", line.words[1]) else 0
    if MIN_MAXCONN <= value <= MAXCONN_CEILING:
        ledger.taken(line, "haproxy.maxconn", "remove it where the default, derived from the node's memory, will do")
        return value
    ledger.corrected(line, "A13", f"outside {MIN_MAXCONN} to {MAXCONN_CEILING}: derived from the node's memory")
    return None


def _defaults(ledger: Ledger, section: Section) -> None:
    ledger.ours(section.header, "each service has its kind's values, and those of the stack file")
    for line in section.lines:
        if not ledger.notes(line) and not apply(ledger, line, look_up(PROXY, line.words)):
            known = line.words[0] in ("mode", "timeout", "balance", "stats", "default-server", "option")
            if known:
                ledger.ours(line, NO_SERVICE)


def _other(ledger: Ledger, section: Section) -> None:
    if section.kind == "peers":
        for line in (section.header, *section.lines):
            ledger.ours(line, "the nodes share their stick tables on port 10000, which the filter opens for the peer")
        return
    reason = {"resolvers": "names are not looked up", "mailers": "the pair sends no mail"}
    for line in (section.header, *section.lines):
        ledger.left_out(line, reason.get(section.kind, "such a section cannot be expressed"))


def _absences(ledger: Ledger, found: Sequence[Section]) -> None:
    lines = [line for section in found if section.kind == "global" for line in section.lines]
    first = {line.words[0] for line in lines}
    logs = first | {line.words[0] for section in found if section.kind == "defaults" for line in section.lines}
    for number, missing, text in (
        ("A13", "maxconn" not in first, "no `maxconn`: about 2,000 connections"),
        ("A14", "log" not in logs, "no `log`"),
        ("A15", not first & {"user", "uid"}, "no `user`: HAProxy runs as root"),
    ):
        if missing:
            ledger.absent[number] = text


def _compare(ledger: Ledger, first: Sequence[Section], other: Sequence[Section]) -> None:
    """Judge the other node's haproxy.cfg: what is the same there has the same verdict."""
    known = {_key(section, line): line for section in first for line in (section.header, *section.lines)}
    there = {_key(section, line) for section in other for line in (section.header, *section.lines)}
    for section in other:
        for line in (section.header, *section.lines):
            same = known.get(_key(section, line))
            if same is None:
                why = "only this node has it, and both nodes of a pair have one configuration: decide which is right"
                ledger.left_out(line, why)
                continue
            for note in ledger.notes(same):
                ledger.note(line, note.verdict, note.why, path=note.path, number=note.number)
    for key, line in known.items():
        if key not in there:
            ledger.left_out(line, "the other node does not have it: decide which of the two is right")


def _key(section: Section, line: Line) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return section.header.words, line.words


def _rest(files: _Files, today: Today, services: Services, page: Page) -> None:
    """Judge filters and kernel settings, which need to know the services."""
    ports = {str(port) for raw in services.raw.values() for port in (KINDS[raw["kind"]].ports(raw.get("port")))}
    kinds = {source.kind for source, _ in files.plain}
    for source, lines in files.plain:
        if source.kind is Kind.FIREWALL:
            judge_filter(files.ledger, today, lines, ports, str(page.port or DEFAULT_PORT))
        elif source.kind is Kind.FIREWALL6:
            judge_filter6(files.ledger, lines)
        elif source.kind is Kind.KERNEL:
            judge_kernel(files.ledger, lines)
    if Kind.FIREWALL in kinds and Kind.FIREWALL6 not in kinds:
        files.ledger.absent["A19"] = "no file for IPv6"


def _vips(ledger: Ledger, today: Today, services: Services, page_vip: str) -> None:
    """Judge the VIPs of keepalived.conf: who of the stack file has them."""
    why = "another address for the tests; at the move it becomes this one"
    for vip, lines in today.vip_lines.items():
        places = [f"services.{name}.vip" for name, own in services.vips.items() if own == vip]
        places += ["stats.vip"] if vip == page_vip else []
        for line in lines:
            for place in places:
                ledger.taken(line, place, why)
            if not places:
                ledger.left_out(line, "no service of the stack file has it, so nobody would answer there")
