"""Commands as tests run them, and what the engine printed about its work."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lbstack.facts import limits

# Longer than the gate waits for one node: what it has to say then is worth more than that it took too long.
COMMAND_TIMEOUT_S = limits.READY_S + 120.0


@dataclass(frozen=True)
class Result:
    """The output of one command.

    Args:
        command: What was run, for messages.
        code: Its exit code.
        out: Its standard output.
        err: Its standard error.
        events: The engine's events, for commands of the engine.
    """

    command: str
    code: int
    out: str
    err: str
    events: list[dict[str, Any]] = field(default_factory=list, repr=False)  # each has the whole stack in it

    @property
    def text(self) -> str:
        """Everything that a person would have seen."""
        return self.out + self.err

    def ok(self) -> Result:
        """Itself, if it succeeded; else the test fails with its output."""
        __tracebackhide__ = True
        assert self.code == 0, f"{self.command} ended with {self.code}:\n{self.text}"
        return self

    def refused(self, code: int | None = None) -> Result:
        """Itself, if it failed (with this code) and showed no traceback."""
        __tracebackhide__ = True
        assert self.code != 0, f"{self.command} should have failed:\n{self.text}"
        assert code in (None, self.code), f"{self.command} ended with {self.code}:\n{self.text}"
        assert "Traceback" not in self.text, self.text
        return self

    def steps(self) -> list[tuple[str, str]]:
        """What the engine did, in order: (operation, resource's name), without what stayed the same."""
        found = []
        for event in self.events:
            metadata = (event.get("resourcePreEvent") or {}).get("metadata")
            if metadata and metadata["op"] not in ("same", "read", "refresh"):
                found.append((metadata["op"], metadata["urn"].rpartition("::")[2]))
        return found

    def changes(self) -> dict[str, int]:
        """The engine's own summary: operation → count."""
        for event in self.events:
            if "summaryEvent" in event:
                return dict(event["summaryEvent"]["resourceChanges"])
        return {}


def run(command: list[str], environment: Mapping[str, str], *, cwd: Path, given: str = "") -> Result:
    """Run a command and return its output, whatever its exit code; where it hangs, the test fails with its output."""
    try:
        result = subprocess.run(
            command,
            cwd=cwd,
            env=dict(environment),
            input=given,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        texts = [(part or b"") for part in (late.stdout, late.stderr)]
        shown = "".join(part if isinstance(part, str) else part.decode(errors="replace") for part in texts)
        pytest.fail(f"{' '.join(command)} was still at work after {COMMAND_TIMEOUT_S:.0f} s:\n{shown}")
    return Result(" ".join(command), result.returncode, result.stdout, result.stderr)
