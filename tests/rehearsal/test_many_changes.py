"""Changes one after the other on booted guests: nothing is left behind, and held sessions make the next one wait."""

from __future__ import annotations

import json
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from lab.network import netns
from lab.network.network import CLIENT, MANAGEMENT
from lab.servers import farm
from lab.system.waiting import until
from lbstack.nodes import about
from lbstack.nodes.about import NODE_PATH, About, State, read
from lbstack.render.paths import APPLIER, AUTHORIZED_KEYS, HAPROXY_CFG, TIMESYNCD_CONF
from tests.campaign import VARIABLE, WHOLE
from tests.rehearsal.conftest import Rehearsal
from tests.rehearsal.forged import edit, forge, send, wait_until_taken

CHANGES = 50 if os.environ.get(VARIABLE) == WHOLE else 10
MOST_WORKERS = 8  # `OLD_WORKERS` of the applier
LIMIT_S = 90.0
NOTICED_S = 150.0  # the watcher looks at the files once a minute, on a machine with other things to do
GROWTH_KIB = 2048  # of the watcher, a shell: what its allocator may do, and no list that grows with each change

# What a change could leave, by its name, as a shell command that prints it.
TRACES = {
    "processes": "pgrep -c haproxy",
    "descriptors of HAProxy": "for p in $(pgrep haproxy); do ls /proc/$p/fd; done | wc -l",
    "descriptors of keepalived": "for p in $(pgrep keepalived); do ls /proc/$p/fd; done | wc -l",
    "files at run time": "find /run/lbstack /run/haproxy | sort",
    "kept sets": "ls /var/lib/lbstack/sets | wc -l; ls -A /var/lib/lbstack /var/lib/lbstack/check",
    "files that wait for their name": "find / -xdev -name '*.lbstack-new' -not -path '/proc/*'",
    "failed units": "systemctl list-units --failed --no-legend 'lbstack-*' haproxy.service keepalived.service",
}
WATCHER = "cat /proc/$(systemctl show -p MainPID --value lbstack-watch.service)/status | grep VmRSS"
# The applier ends after each change; what stays of it would be a process.
APPLIERS = "pgrep -fc '[l]bstack-apply (live|look|boot)'"


def shell(pair: Rehearsal, node: str, command: str) -> str:
    """What a shell command prints on a node."""
    return pair.scene.guest(node).run("sh", "-c", command).stdout.strip()


def told(pair: Rehearsal, node: str) -> About:
    """What a node tells the management station at ``/node``."""
    network = pair.scene.network
    with netns.inside(network.namespace(MANAGEMENT)):
        return read(about.get(str(network.topology.nodes[node]), NODE_PATH))


def traces(pair: Rehearsal, node: str) -> dict[str, str]:
    """What is there now of all that a change could leave."""
    return {name: shell(pair, node, command) for name, command in TRACES.items()}


def rss(pair: Rehearsal, node: str) -> int:
    """The watcher's memory, in KiB."""
    return int(shell(pair, node, WATCHER).split()[1])


def timeouts(pair: Rehearsal, node: str, number: int) -> str:
    """Send a node a set with another time-out; its hash."""
    change = edit(HAPROXY_CFG, "    timeout http-request 10s\n", f"    timeout http-request {20 + number}s\n")
    found = forge(pair, node, f"change {number}", change)
    send(pair, node, found.keys)
    return found.hash


@pytest.fixture
def restored(pair: Rehearsal) -> Iterator[Rehearsal]:
    """The pair; afterwards both nodes have the set of the stack file again."""
    before = {node: dict(pair.lab.guestinfo(node)) for node in pair.scene.nodes}
    yield pair
    for node, keys in before.items():
        send(pair, node, {key: value for key, value in keys.items() if key.startswith("guestinfo.lbstack.")})
        wait_until_taken(pair, node, keys["guestinfo.lbstack.hash"])


def test_changes_in_a_row_leave_no_worker_file_descriptor_or_memory_behind(restored: Rehearsal) -> None:
    pair, node = restored, restored.standby
    for number in (-2, -1):  # the second one has a set before it, as all later ones have
        wait_until_taken(pair, node, timeouts(pair, node, number))
    until(lambda: told(pair, node).old_workers == 0 and not shell(pair, node, APPLIERS).strip("0"), LIMIT_S, "peace")
    before, memory = traces(pair, node), rss(pair, node)
    for number in range(CHANGES):
        wait_until_taken(pair, node, timeouts(pair, node, number))
    until(lambda: traces(pair, node) == before, LIMIT_S, f"nothing to be left; {before}, {traces(pair, node)}")
    assert rss(pair, node) < memory + GROWTH_KIB
    assert told(pair, node).state is State.APPLIED


class Session:
    """An established session of the client through a VIP."""

    def __init__(self, pair: Rehearsal, stack: ExitStack) -> None:
        network = pair.scene.network
        service = next(each for each in network.topology.services if each.name == "horizon")
        context = ssl.create_default_context(cafile=str(farm.ca_file(pair.lab.paths.root)))
        with netns.inside(network.namespace(CLIENT)):
            plain = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        plain.settimeout(LIMIT_S)
        plain.connect((str(service.vip), service.port))
        self.host = service.hostname
        self.socket = stack.enter_context(context.wrap_socket(plain, server_hostname=service.hostname))

    def works(self) -> bool:
        """Whether a question on this same session is answered."""
        self.socket.sendall(f"GET / HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())
        return self.socket.recv(1 << 16).startswith(b"HTTP/1.1 200")


def test_at_the_bound_of_old_workers_the_next_change_waits_and_no_session_is_cut(restored: Rehearsal) -> None:
    pair, node = restored, restored.master
    until(lambda: told(pair, node).old_workers == 0, LIMIT_S, "no old worker")
    with ExitStack() as stack:
        held = []
        for number in range(MOST_WORKERS):
            held.append(Session(pair, stack))
            assert held[-1].works()
            wait_until_taken(pair, node, timeouts(pair, node, number))
        until(lambda: told(pair, node).at_the_bound, LIMIT_S, f"{MOST_WORKERS} old workers to be told")
        ninth = timeouts(pair, node, MOST_WORKERS)
        until(lambda: told(pair, node).state is State.WAITING, LIMIT_S, "the node to say that it waits")
        answer = pair.scene.health(node)
        assert not answer.has_refused(ninth)  # so the gate goes on waiting
        assert answer.applied.startswith(f"waiting {ninth[:12]}: {MOST_WORKERS} of {MOST_WORKERS} old workers")
        status = pair.lab.cli("exec", "--", "lbstack", "status", str(pair.lab.paths.stack_file), "--json")
        (shown,) = (each for each in json.loads(status.out)["nodes"] if each["name"] == node)
        assert (shown["about"]["state"], shown["about"]["old_workers"]) == ("waiting", MOST_WORKERS)
        assert all(session.works() for session in held)
        held.pop(0).socket.close()
        wait_until_taken(pair, node, ninth)
        assert all(session.works() for session in held)


def check(pair: Rehearsal, node: str) -> tuple[int, str, dict[str, Any]]:
    """Exit code, text and data of ``lbstack-apply check`` on a node."""
    guest = pair.scene.guest(node)
    text, data = guest.run("python3", APPLIER, "check"), guest.run("python3", APPLIER, "check", "--json")
    assert text.returncode == data.returncode
    return text.returncode, text.stdout, json.loads(data.stdout or "{}")


def test_a_file_that_was_edited_on_a_node_is_shown_by_node_status_and_preview_and_restored(restored: Rehearsal) -> None:
    pair, node = restored, restored.standby
    assert check(pair, node)[:2] == (0, "nothing would change\n")
    shell(pair, node, f"echo '# by hand' >>{AUTHORIZED_KEYS}; echo '# by hand' >>{TIMESYNCD_CONF}")
    code, text, data = check(pair, node)
    assert code == 1
    assert f"nothing    {AUTHORIZED_KEYS} (edited on this node)" in text
    assert {row["path"] for row in data["changes"]} == {AUTHORIZED_KEYS, TIMESYNCD_CONF}
    until(lambda: getattr(told(pair, node).edits, "number", 0) > 1, NOTICED_S, "the watcher to notice the edits")
    status = pair.lab.cli("exec", "--", "lbstack", "status", str(pair.lab.paths.stack_file))
    assert f"to be restored at the next change or boot: 2 files of {node}: " in " ".join(status.text.split())
    preview = pair.lab.cli("exec", "--", "lbstack", "preview", str(pair.lab.paths.stack_file), "--json").ok()
    guests = {each["node"]: each for each in json.loads(preview.out)["guests"]}
    assert (guests[node]["number"], guests[node]["kept"]) == (2, False)
    assert sorted(guests[node]["paths"]) == sorted((AUTHORIZED_KEYS, TIMESYNCD_CONF))
    assert guests[pair.master]["number"] == 0
    new = timeouts(pair, node, 1)
    wait_until_taken(pair, node, new)
    until(lambda: told(pair, node).edits == about.Edits(0, kept=False, paths=()), LIMIT_S, "no edit to be told")
    assert "by hand" not in shell(pair, node, f"cat {AUTHORIZED_KEYS} {TIMESYNCD_CONF}")


def test_check_ends_with_2_where_it_cannot_tell(restored: Rehearsal) -> None:
    pair, node = restored, restored.standby
    shell(pair, node, "mv /var/lib/lbstack/journal.json /tmp/journal.json; echo '{' >/var/lib/lbstack/journal.json")
    try:
        found = pair.scene.guest(node).run("python3", APPLIER, "check")
        assert (found.returncode, found.stdout) == (2, "")
        assert "journal.json is damaged" in found.stderr
    finally:
        shell(pair, node, "mv /tmp/journal.json /var/lib/lbstack/journal.json")
