"""The engine's events and recorded calls as data, and the line of progress that each one gives."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lbstack.engine import errors
from lbstack.engine.errors import EngineFailed

Event = dict[str, Any]
Progress = Callable[[str], None]
Notice = Callable[[Event], None]
# Calls whose content the report needs; all others are dropped unread.
WANTED_CALLS = (
    b"ResourceProvider/Check",
    b"ResourceProvider/Read",
    b"ResourceProvider/Invoke",
    b"LanguageRuntime/Run",
)


@dataclass(frozen=True, repr=False)
class Run:
    """One run of the engine that came to its end.

    Args:
        command: Its arguments, for messages.
        code: Its exit code.
        seconds: How long it took.
        events: Its events in order, without debug lines.
        calls: The calls that it made, answered ones only; they hold secrets.
        output: What it printed.
        cut_short: Why it was asked to end before its time, where it was; only of what changes a stack.
    """

    command: str
    code: int
    seconds: float
    events: Sequence[Event]
    calls: Sequence[Event] = field(repr=False)
    output: str = ""
    cut_short: EngineFailed | None = None

    def __repr__(self) -> str:
        return f"Run({self.command!r}, code={self.code}, {len(self.events)} events)"

    def steps(self, kind: str = "resOutputsEvent") -> Iterator[Mapping[str, Any]]:
        """The metadata of every step of one kind."""
        for event in self.events:
            if kind in event:
                yield event[kind]["metadata"]

    def diagnostics(self, severity: str) -> list[str]:
        """The messages of a severity (``warning``, ``error``), each text once."""
        texts = (
            str(event["diagnosticEvent"]["message"]).strip()
            for event in self.events
            if event.get("diagnosticEvent", {}).get("severity") == severity
        )
        return list(dict.fromkeys(text for text in texts if text))

    @property
    def config(self) -> Mapping[str, str]:
        """The stack's configuration as the engine read it; secrets stand as ``[secret]``."""
        for event in self.events:
            if "preludeEvent" in event:
                return config_of(event)
        return {}

    def require_success(self) -> Run:
        """Itself.

        Raises:
            EngineFailed: It failed; with the engine's message and what to do.
        """
        if self.cut_short:
            raise self.cut_short
        if self.code != 0:
            raise errors.explain(self.command, self.diagnostics("error"), self.output)
        return self


def config_of(event: Event) -> Mapping[str, str]:
    """The configuration in an event; nothing where it is another event."""
    return dict(event.get("preludeEvent", {}).get("config", {}))


def parse_event(line: bytes) -> Event | None:
    """One event of the engine's event log; None for its debug messages, which nobody reads."""
    event: Event = json.loads(line)
    return None if event.get("diagnosticEvent", {}).get("severity") == "debug" else event


def parse_call(line: bytes) -> Event | None:
    """One recorded call; each is recorded twice, and only the second time with its answer."""
    head = line[:2000] if line.startswith(b'{"method"') else line
    if not any(name in head for name in WANTED_CALLS):
        return None
    call: Event = json.loads(line)
    return call


def line_of(event: Event) -> str:
    """One line for a person who waits: a step, or the program's progress; empty for everything else."""
    if "resourcePreEvent" in event:
        metadata = event["resourcePreEvent"]["metadata"]
        if not str(metadata["type"]).startswith("pulumi:"):
            return f"{metadata['op']} {metadata['urn'].rpartition('::')[2]}"
    output = event.get("diagnosticEvent", {})
    if output.get("ephemeral") and output.get("severity") == "info":  # the gate's report about a node
        return str(output["message"]).strip().partition("\n")[0]
    return ""


def last_activity(events: Sequence[Event]) -> str:
    """The resource at which an engine that took too long had arrived."""
    for event in reversed(events):
        line = line_of(event)
        if line:
            return line
    return ""
