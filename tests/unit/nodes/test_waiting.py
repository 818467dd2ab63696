"""A node that has as many old workers as it may have: the gate waits with it, and says why."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lbstack.nodes import gate
from lbstack.nodes.health import Answer, Target
from lbstack.nodes.seen import Clock
from lbstack.nodes.waits import UNSEEN_S, Patience

WANTED, OLD = "a" * 64, "b" * 64
ONE, TWO = Target("lb1", "192.0.2.1"), Target("lb2", "192.0.2.2")
WHY = f"waiting {WANTED[:12]}: 8 of 8 old workers of HAProxy still serve sessions of before earlier changes."
WAITING, TAKEN = Answer(OLD, "backup", applied=WHY), Answer(WANTED, "backup", applied="ok")
LIMIT_S = 900.0


class Time:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def require(answers: Sequence[tuple[float, Answer]]) -> tuple[Time, list[str]]:
    """Wait for the standby, which answers so from so many seconds on; the time that it took, and what was said."""
    time, said = Time(), list[str]()

    def ask(target: Target) -> Answer:
        if target == ONE:
            return Answer(OLD, "master", applied="ok")
        return next(answer for since, answer in reversed(answers) if time.now >= since)

    clock = Clock(lambda: time.now, time.sleep)
    patience = Patience(said.append, ask, timeout_s=LIMIT_S, clock=clock, brief=True, live=(TWO.name, WANTED))
    gate.require_open(ONE, TWO, WANTED, patience)
    return time, said


def test_the_gate_waits_until_an_old_worker_has_ended_and_says_what_for() -> None:
    time, said = require([(0, WAITING), (300, TAKEN)])
    assert 300 <= time.now < 320
    assert any("8 of 8 old workers of HAProxy" in line for line in said)


def test_a_wait_that_takes_too_long_is_no_refusal_and_no_node_that_sees_nothing() -> None:
    with pytest.raises(gate.GateClosed) as closed:
        require([(0, WAITING)])
    message = str(closed.value)
    assert "lb1 was left untouched: its peer lb2 does not serve set aaaaaaaaaaaa after 900 s" in message
    assert f"the node's report on its last set: {WHY}" in message
    assert "has refused" not in message
    assert "does not see its guestinfo change" not in message
    assert LIMIT_S > UNSEEN_S
