"""The rule under which guests run where no root may raise a limit: one limit is not set, all else is as ever."""

from __future__ import annotations

import pytest

from lab.guests import realtime
from lab.guests.realtime import ALLOW, ARGUMENTS, JUMP_IF_EQUAL, LOAD, MACHINES, RLIMIT_RTTIME, SUCCEED, WORD, rule

RLIMIT_NOFILE, GETPID = 7, 39
POINTER = 0x7FFD_1234_5678
OTHER_MACHINE = 0xDEADBEEF


def judged(machine: str, number: int, *arguments: int, architecture: int | None = None) -> int:
    """What the filter says of a call, by the kernel's rules for such a program."""
    known = MACHINES[machine]
    data = {realtime.NUMBER: number, realtime.ARCHITECTURE: known[0] if architecture is None else architecture}
    data |= {ARGUMENTS + WORD * place: value & 0xFFFFFFFF for place, value in enumerate(arguments)}
    instructions, at, accumulator = rule(*known), 0, 0
    while True:
        code, true, false, operand = instructions[at]
        at += 1
        if code == LOAD:
            accumulator = data[operand]
        elif code == JUMP_IF_EQUAL:
            at += true if accumulator == operand else false
        else:
            return operand


@pytest.mark.parametrize("machine", MACHINES)
def test_only_the_setting_of_the_limit_of_real_time_is_left_out(machine: str) -> None:
    _, prlimit, setrlimit = MACHINES[machine]
    assert judged(machine, prlimit, 0, RLIMIT_RTTIME, POINTER, 0) == SUCCEED
    assert judged(machine, setrlimit, RLIMIT_RTTIME, POINTER) == SUCCEED
    assert judged(machine, prlimit, 0, RLIMIT_RTTIME, 0, POINTER) == ALLOW  # it asks
    assert judged(machine, prlimit, 0, RLIMIT_NOFILE, POINTER, 0) == ALLOW
    assert judged(machine, setrlimit, RLIMIT_NOFILE, POINTER) == ALLOW
    assert judged(machine, GETPID) == ALLOW
    assert judged(machine, prlimit, 0, RLIMIT_RTTIME, POINTER, 0, architecture=OTHER_MACHINE) == ALLOW
