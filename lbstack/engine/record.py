"""Read Pulumi's record of a stack; its secrets stay encrypted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from lbstack.engine import run as engine
from lbstack.engine.backend import Pending, pending_in
from lbstack.engine.stack import Stack
from lbstack.facts.names import PAIR, STACK, VIRTUAL_MACHINE


@dataclass(frozen=True)
class State:
    """What Pulumi has recorded about a stack.

    Args:
        resources: Everything that is recorded.
        written: When the record was written last; None for a stack that was never deployed.
        pending: What killed runs had begun and not ended.
    """

    resources: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    written: datetime | None = None
    pending: Sequence[Pending] = ()

    @property
    def deployed(self) -> list[Mapping[str, Any]]:
        """What exists in vCenter, as far as Pulumi knows."""
        return [
            item
            for item in self.resources
            if item.get("custom") and not item.get("external") and not str(item["type"]).startswith("pulumi:")
        ]

    @property
    def machines(self) -> list[Mapping[str, Any]]:
        """The VMs among them."""
        return [item for item in self.deployed if item["type"] == VIRTUAL_MACHINE]

    @property
    def unknown(self) -> list[Pending]:
        """What may exist in vCenter although the record does not have it: its creation was killed.

        The engine keeps such a step until somebody strikes it off. Where a later run has made the same resource,
        vCenter had no other one of its name any more.
        """
        recorded = {str(item.get("urn")) for item in self.deployed}
        return [step for step in self.pending if step.creates and step.urn not in recorded]

    @property
    def lifecycles(self) -> set[str]:
        """What the stack is for, as its deployments recorded it: with the pair, and as an output when one succeeded."""
        output = (
            (item.get(side) or {}).get("lifecycle")
            for item in self.resources
            for side in ("inputs", "outputs")
            if item["type"] in (PAIR, STACK)
        )
        return {str(word) for word in output if word}


def read_state(stack: Stack) -> State:
    """Read what is recorded about a stack; its secrets stay encrypted.

    Raises:
        EngineFailed: There is no such stack, or its state cannot be read.
    """
    recorded = json.loads(engine.quick(stack, "stack", "export", "--stack", stack.name))
    deployment = recorded.get("deployment") or {}
    time = str((deployment.get("manifest") or {}).get("time", ""))
    return State(deployment.get("resources") or (), _time(time), pending_in(deployment))


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text[:19]).replace(tzinfo=_zone(text))
    except ValueError:
        return None
    return None if found.year < 2000 else found.astimezone(UTC)  # noqa: PLR2004 - Go's zero time is the year 1


def _zone(text: str) -> Any:
    """The zone of an RFC 3339 time, whose fraction of a second may have more digits than Python takes."""
    tail = text[19:].lstrip(".0123456789")
    return datetime.fromisoformat(f"2000-01-01T00:00:00{tail or 'Z'}").tzinfo


def stack_of(urn: str) -> str:
    """The stack that a resource belongs to, by its URN (``urn:pulumi:STACK::PROJECT::...``)."""
    return urn.split(":")[2]


def project_of(urn: str) -> str:
    """The project that a resource belongs to, by its URN."""
    return urn.split("::")[1]
