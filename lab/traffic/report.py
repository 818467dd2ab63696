"""Evaluate recorded traffic: outages, failures, servers, sessions. Pure except for reading a sender's file.

An **outage** of a service is a sequence of attempts, in the order in which they began, that all failed. It lasts from
the beginning of the first one to the beginning of the first one that succeeds again. So it is as exact as attempts are
frequent, and 0 where none failed. An attempt that succeeds late (a lost packet is sent again after a second) is not
part of it; ``slowest`` shows that.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.traffic.attempts import CONNECT, REFUSED, TIMEOUT, Attempt, Session, from_document

SHOWN_FAILURES = 10
TOGETHER_S = 0.5  # sessions that are cut within this time of each other are cut by the same


@dataclass(frozen=True)
class Outage:
    """A time in which nobody was served.

    Args:
        service: Whose.
        start: When the first attempt began that failed.
        end: When the first one began that succeeded again; None where none did.
        failed: The attempts in it.
    """

    service: str
    start: float
    end: float | None
    failed: tuple[Attempt, ...]

    @property
    def seconds(self) -> float:
        """Its length; up to the last failure where it did not end."""
        return (self.end if self.end is not None else self.failed[-1].at + self.failed[-1].total_s) - self.start

    def __str__(self) -> str:
        words = ", ".join(f"{count} {word}" for word, count in Counter(each.outcome for each in self.failed).items())
        ended = "" if self.end is not None else ", not over"
        return f"{self.service}: {self.seconds * 1000:.0f} ms ({words}{ended})"


@dataclass(frozen=True)
class Cut:
    """Sessions that ended together, in the same way, before their clients wanted them to.

    Args:
        sessions: By the time of their end.
    """

    sessions: tuple[Session, ...]

    @property
    def at(self) -> float:
        """When the first client noticed."""
        return self.sessions[0].ended

    def __str__(self) -> str:
        services = Counter(session.service for session in self.sessions)
        through = ", ".join(f"{count} of {service}" for service, count in sorted(services.items()))
        return f"{len(self.sessions)} established sessions end ({through}): {self.sessions[0].outcome}"


@dataclass(frozen=True)
class Report:
    """What became of traffic.

    Args:
        attempts: In the order in which they began.
        sessions: The long-lived ones; known at the end only.
        complete: Whether the sender ended by itself, so that nothing is missing.
    """

    attempts: tuple[Attempt, ...]
    sessions: tuple[Session, ...]
    complete: bool

    @classmethod
    def load(cls, file: Path) -> Report:
        """The report of a sender's file; a last line that is only half there is left out.

        Raises:
            LabError: There is none.
        """
        try:
            text = file.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise LabError(f"{file} is not there: no traffic was recorded in it.") from error
        attempts, sessions, complete = list[Attempt](), list[Session](), False
        for values in _documents(text.splitlines()):
            complete = values.get("kind") == "end"
            entry = from_document(values)
            if isinstance(entry, Attempt):
                attempts.append(entry)
            elif isinstance(entry, Session):
                sessions.append(entry)
        return cls(tuple(sorted(attempts, key=lambda attempt: attempt.at)), tuple(sessions), complete)

    def between(self, start: float, end: float) -> Report:
        """The attempts that began in a time; the sessions stay."""
        chosen = tuple(attempt for attempt in self.attempts if start <= attempt.at < end)
        return Report(chosen, self.sessions, self.complete)

    @property
    def services(self) -> list[str]:
        """The services that were asked."""
        return list(dict.fromkeys(attempt.service for attempt in self.attempts))

    def failures(self, stage: str | None = None) -> list[Attempt]:
        """The attempts that failed.

        Args:
            stage: Only those that came no further.
        """
        return [each for each in self.attempts if not each.ok and stage in (None, each.stage)]

    def refused_or_timed_out(self) -> list[Attempt]:
        """The connection attempts that the project promises not to have in a planned change."""
        return [each for each in self.failures(CONNECT) if each.outcome in (REFUSED, TIMEOUT)]

    def outages(self, service: str | None = None) -> list[Outage]:
        """Every outage, by its beginning."""
        found = []
        for name in self.services if service is None else [service]:
            failed: list[Attempt] = []
            for attempt in (each for each in self.attempts if each.service == name):
                if not attempt.ok:
                    failed.append(attempt)
                elif failed:
                    found.append(Outage(name, failed[0].at, attempt.at, tuple(failed)))
                    failed = []
            if failed:
                found.append(Outage(name, failed[0].at, None, tuple(failed)))
        return sorted(found, key=lambda outage: outage.start)

    def longest_outage_s(self, service: str | None = None) -> float:
        """Seconds of the longest outage; 0 without one."""
        return max((outage.seconds for outage in self.outages(service)), default=0.0)

    def slowest(self) -> Attempt | None:
        """The successful attempt that took longest."""
        return max((each for each in self.attempts if each.ok), key=lambda each: each.total_s, default=None)

    def by_server(self, service: str | None = None) -> Counter[str]:
        """How many requests each server answered."""
        return Counter(each.server for each in self.attempts if each.server and service in (None, each.service))

    def servers_of_clients(self, service: str) -> dict[str, list[str]]:
        """The servers that each client met, in order, each named once for each change."""
        met: dict[str, list[str]] = {}
        for each in self.attempts:
            if each.ok and each.server and each.service == service:
                servers = met.setdefault(each.source, [])
                if servers[-1:] != [each.server]:
                    servers.append(each.server)
        return met

    def moved_clients(self, service: str) -> dict[str, list[str]]:
        """The clients that did not keep their server."""
        return {client: servers for client, servers in self.servers_of_clients(service).items() if len(servers) > 1}

    def lost_sessions(self) -> list[Session]:
        """The sessions that did not live to the end."""
        return [session for session in self.sessions if not session.alive]

    def established(self) -> list[Session]:
        """The sessions that stood at all."""
        return [session for session in self.sessions if session.server]

    def cuts(self) -> list[Cut]:
        """The established sessions that did not live to the end: which ones together, when, and how."""
        found: dict[str, list[list[Session]]] = {}
        for session in sorted(self.lost_sessions(), key=lambda each: each.ended):
            if session.server:
                groups = found.setdefault(session.outcome, [])
                if groups and session.ended - groups[-1][-1].ended <= TOGETHER_S:
                    groups[-1].append(session)
                else:
                    groups.append([session])
        cuts = [Cut(tuple(group)) for groups in found.values() for group in groups]
        return sorted(cuts, key=lambda cut: cut.at)

    def as_dict(self) -> dict[str, Any]:
        """The summary as data."""
        slowest = self.slowest()
        return {
            "attempts": len(self.attempts),
            "failed": len(self.failures()),
            "outcomes": dict(Counter(each.outcome for each in self.attempts)),
            "longest_outage_s": round(self.longest_outage_s(), 6),
            "slowest_s": slowest.total_s if slowest else None,
            "servers": {service: dict(self.by_server(service)) for service in self.services},
            "sessions": len(self.sessions),
            "lost_sessions": len(self.lost_sessions()),
            "complete": self.complete,
        }

    def lines(self) -> list[str]:
        """The summary for people."""
        return list(self._lines())

    def _lines(self) -> Iterator[str]:
        failures = self.failures()
        yield f"{len(self.attempts)} attempts, {len(failures)} failed" + ("" if self.complete else " (not at its end)")
        for service in self.services:
            servers = ", ".join(f"{name} {count}" for name, count in sorted(self.by_server(service).items()))
            moved = len(self.moved_clients(service))
            yield f"  {service}: {servers or 'no server named'}; {moved} clients changed their server"
        yield from _shortened("outage ", self.outages())
        yield from _shortened("failed ", failures)
        if (slowest := self.slowest()) is not None:
            yield f"  slowest answer {slowest.total_s * 1000:.0f} ms ({slowest.service} from {slowest.source})"
        if self.sessions:
            yield f"  {len(self.sessions)} sessions, {len(self.lost_sessions())} lost"
            yield from _shortened("lost ", self.lost_sessions())


def _shortened(prefix: str, entries: Sequence[object]) -> Iterator[str]:
    for entry in entries[:SHOWN_FAILURES]:
        yield f"  {prefix}{entry}"
    if len(entries) > SHOWN_FAILURES:
        yield f"  ... and {len(entries) - SHOWN_FAILURES} more"


def _documents(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            return
