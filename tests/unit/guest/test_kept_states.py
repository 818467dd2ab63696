"""What HAProxy's next worker is told of the servers: all that was known, but where the stack file says otherwise."""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.unit.guest.conftest import load_program
from tests.unit.guest.processes import PROGRAM

TOLD = """1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state
3 horizon 7 cs-01 192.168.6.113 0 0
3 horizon 8 cs-02 192.168.6.114 2 1
"""
BEFORE = """backend horizon
    default-server check inter 30s
    server cs-01 192.168.6.113:443 id 7
    server cs-02 192.168.6.114:443 id 8
"""


@pytest.fixture(scope="module")
def program() -> ModuleType:
    """The applier as a module."""
    return load_program(PROGRAM)


def known(program: ModuleType, before: str, new: str) -> list[str]:
    lines = program.kept_states(TOLD, before, new).decode().splitlines()
    return [line.split()[3] for line in lines[1:] if not line.startswith("#")]


@pytest.mark.parametrize(("old", "new"), [("30s", "10s"), ("check inter", "check rise 2 inter")])
def test_another_way_of_checking_forgets_no_server(program: ModuleType, old: str, new: str) -> None:
    assert known(program, BEFORE, BEFORE.replace(old, new)) == ["cs-01", "cs-02"]


@pytest.mark.parametrize(
    "new", ["192.168.6.114:443 id 8 disabled", "192.168.6.114:443 id 8 weight 0", "192.168.6.99:443 id 8"]
)
def test_where_the_stack_file_changes_a_server_it_decides(program: ModuleType, new: str) -> None:
    assert known(program, BEFORE, BEFORE.replace("192.168.6.114:443 id 8", new)) == ["cs-01"]


def test_a_haproxy_that_does_not_answer_leaves_nothing_to_tell(program: ModuleType) -> None:
    assert program.kept_states("", BEFORE, BEFORE) == program.NO_STATES
