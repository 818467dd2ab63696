"""Find lab stacks that are older than their time to live."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from lbstack.config.choices import Lifecycle
from lbstack.config.models import StackConfig
from lbstack.engine import run as engine
from lbstack.engine.record import read_state
from lbstack.engine.stack import Stack
from lbstack.problems import LbstackError


@dataclass(frozen=True)
class Age:
    """How old a lab stack is.

    Args:
        stack: Its name.
        deployed: How many resources it has, those of a killed creation included, which may be there.
        hours: Since its last deployment.
        ttl_hours: How many it may get.
    """

    stack: str
    deployed: int
    hours: float
    ttl_hours: int

    @property
    def expired(self) -> bool:
        """Whether it is there and should not be any more."""
        return self.deployed > 0 and self.hours >= self.ttl_hours


def stacks_like(stack: Stack, prefix: str) -> list[Stack]:
    """Every stack of this project whose name begins with a prefix; all of them use one stack file.

    Raises:
        EngineFailed: The backend cannot be asked.
    """
    listed = json.loads(engine.quick(stack, "stack", "ls", "--json"))
    names = [str(entry["name"]).rpartition("/")[2] for entry in listed]
    return [Stack(name, stack.file, stack.program) for name in sorted(names) if name.startswith(prefix)]


def age_of(stack: Stack, config: StackConfig, now: datetime) -> Age:
    """How old a stack is.

    Raises:
        LbstackError: It is no lab, or its stack file gives it no time to live.
        EngineFailed: Its state cannot be read.
    """
    if config.lifecycle is not Lifecycle.LAB or config.lab.ttl_hours is None:
        raise LbstackError(
            f"{stack.file}: only a stack with `lifecycle: lab` and a time to live is swept. "
            "Set `lbstack:lab: {ttlHours: 24}`, or leave it alone."
        )
    state = read_state(stack)
    age = now - state.written if state.written else timedelta(0)
    return Age(stack.name, len(state.deployed) + len(state.unknown), age / timedelta(hours=1), config.lab.ttl_hours)
