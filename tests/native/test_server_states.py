"""What HAProxy knows of its servers outlives a reload by the applier's own functions; the stack file wins."""

from __future__ import annotations

from types import ModuleType

import pytest

from lbstack.render.files import render_pair
from lbstack.render.paths import HAPROXY_CFG, SERVER_STATES
from tests.goldens.cases import Raw, load, post
from tests.native.serving import CLIENTS, Node, eventually, hurried, on, serving
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


def with_servers(release: str, number: int) -> Raw:
    """The post's configuration with so many servers of Horizon."""
    raw = on(release, post())
    raw["services"]["horizon"]["servers"] = raw["services"]["horizon"]["servers"][:number]
    return raw


def weight(node: Node, server: str) -> tuple[int, int]:
    """The weight that a server has now, and the one that it is to have."""
    rows = [line.split() for line in node.runtime("show servers state horizon").splitlines()]
    names = next(row[1:] for row in rows if row[:1] == ["#"])
    row = next(dict(zip(names, row, strict=False)) for row in rows if server in row)
    return int(row["srv_op_state"]), int(row["srv_uweight"])


@pytest.mark.parametrize(("image", "release"), PAIRS)
def test_a_server_that_comes_is_down_until_it_was_checked_and_starts_slowly(
    program: ModuleType, image: str, release: str
) -> None:
    config, secrets = load(with_servers(release, 2))
    config = hurried(config)
    new = render_pair(config, secrets).nodes[config.nodes[0].name][HAPROXY_CFG].content
    with serving(image, with_servers(release, 1)) as node:
        node.config = config
        node.start_servers("horizon")
        eventually("the first is up", lambda: node.servers("horizon")[FIRST] == "UP")
        assert reload_with(node, program, new)[FIRST].startswith("UP")
        log = (node.box.root.parent.parent / "haproxy.log").read_text()
        assert f"Server horizon/{SECOND} is DOWN, changed from server-state after a reload" in log
        assert f"Server horizon/{FIRST} is DOWN, changed from server-state after a reload" not in log
        eventually("the second is up", lambda: node.servers("horizon")[SECOND].startswith("UP"))
        rows = [line.split(",") for line in node.runtime("show stat").splitlines() if line]
        stats = {row[1]: dict(zip(rows[0], row, strict=True)) for row in rows if row[0] == "horizon"}
        assert int(stats[SECOND]["weight"]) < int(stats[FIRST]["weight"]) or throttled(stats[SECOND])
        # Where it would be the only one that serves, nobody waits for its checks.
        assert program.arrivals([], {("horizon", FIRST): "x"}, program.servers_of(new)) == []


def throttled(row: dict[str, str]) -> bool:
    """Whether a server's share is still growing, in per cent."""
    return 0 < int(row["throttle"] or 0) < 100


def exchanged(node: Node) -> bool:
    """Whether the worker has learnt what the others know, or given up on them (``PEERS_RESYNC_FINISHED``)."""
    flags = next(word for word in node.runtime("show peers").split() if word.startswith("flags=0x"))
    return int(flags.partition("=")[2], 16) & 3 == 3


@pytest.mark.parametrize(("image", "release"), PAIRS)
def test_a_client_keeps_its_server_over_a_reload(program: ModuleType, image: str, release: str) -> None:
    with serving(image, on(release, post())) as node:
        node.start_servers("horizon")
        eventually("both are up", lambda: set(node.servers("horizon").values()) == {"UP"})
        url = f"https://{node.config.services['horizon'].vip}/"
        had = {client: node.fetch(client, url)["body"] for client in CLIENTS}
        assert len(set(had.values())) == 2
        text = node.box.must("cat", HAPROXY_CFG)

        def known() -> int:
            return node.runtime("show table horizon").count("server_id=")

        assert known() == len(CLIENTS)
        # A worker teaches its table only once it has asked around itself: the other node does not exist here.
        eventually("the end of the first exchange", lambda: exchanged(node))
        reload_with(node, program, text + "\n# another set\n")
        eventually("the table in the new worker", lambda: known() == len(CLIENTS))
        assert {client: node.fetch(client, url)["body"] for client in CLIENTS} == had
