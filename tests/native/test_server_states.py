"""What HAProxy knows of its servers outlives a reload by the applier's own functions; the stack file wins."""

from __future__ import annotations

from types import ModuleType

import pytest

from lbstack.render.paths import HAPROXY_CFG, SERVER_STATES
from tests.goldens.cases import post
from tests.native.serving import Node, eventually, on, serving
from tests.unit.guest.conftest import load_program
from tests.unit.guest.processes import PROGRAM

FIRST, SECOND = "Horizon_Connection_Server_01", "Horizon_Connection_Server_02"
PAIRS = [("bullseye", "3.0-r3"), ("bookworm", "4.0")]


@pytest.fixture(scope="module")
def program() -> ModuleType:
    """The applier as a module."""
    return load_program(PROGRAM)


def reload_with(node: Node, program: ModuleType, new: str, *, handed: bool = True) -> dict[str, str]:
    """Reload HAProxy with another file, as the applier does; return the states that the new worker begins with."""
    old = node.box.must("cat", HAPROXY_CFG)
    states = program.kept_states(node.runtime("show servers state"), old, new) if handed else program.NO_STATES
    node.box.must("sh", "-c", f"cat >{SERVER_STATES}", stdin=states.decode())
    node.box.must("sh", "-c", f"cat >{HAPROXY_CFG}", stdin=new)
    before = set(node.workers())
    node.box.must("sh", "-c", "kill -USR2 $(cut -d' ' -f1 /run/haproxy.pid)")
    eventually("a new worker", lambda: set(node.workers()) - before)
    eventually("an answer of HAProxy", lambda: node.check() == 0 and "# " in node.runtime("show stat"))
    return node.servers("horizon")


@pytest.mark.parametrize(("image", "release"), PAIRS)
def test_maintenance_and_death_of_servers_outlive_a_reload_and_the_stack_file_wins(
    program: ModuleType, image: str, release: str
) -> None:
    with serving(image, on(release, post())) as node:
        node.box.must("haproxy", "-c", "-dW", "-f", HAPROXY_CFG)
        node.start_servers("horizon")
        eventually("both are up", lambda: set(node.servers("horizon").values()) == {"UP"})
        node.set_health(SECOND, 500)
        eventually("the second is down", lambda: node.servers("horizon")[SECOND].startswith("DOWN"))
        node.runtime(f"set server horizon/{FIRST} state maint")
        text = node.box.must("cat", HAPROXY_CFG)
        found = reload_with(node, program, text + "\n# another set\n")
        assert (found[FIRST], found[SECOND][:4]) == ("MAINT", "DOWN")
        # The first server's line is another one now: it is as the file says, and the second as HAProxy knows it.
        line = next(line for line in text.splitlines() if line.strip().startswith(f"server {FIRST} "))
        found = reload_with(node, program, text.replace(line, line + " weight 50", 1))
        assert (found[FIRST][:2], found[SECOND][:4]) == ("UP", "DOWN")
        # Without the handing on, a dead server is up again: what the rest of this test relies on.
        assert reload_with(node, program, text, handed=False)[SECOND].startswith("UP")
