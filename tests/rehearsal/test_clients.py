"""What clients of the pair see: redirects, pass-through, and servers that quiesce or die behind it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address
from itertools import pairwise

import pytest

from lab.acts import faults
from lab.network.topology import Service
from lab.servers import farm
from lab.servers.farm import Control
from lab.system.waiting import COSTLY_S, until
from lab.traffic.report import Report
from lab.traffic.request import Failed
from lab.traffic.traffic import Plan, Traffic
from tests.rehearsal.conftest import Rehearsal, whole

PROBE_S = 30.0  # how often each node asks a Connection Server
CHECKED_S = 75.0  # two checks of 30 s each, and what they wait for
SHARED_S = 10.0  # the nodes tell each other at once
IDLE_S = 65.0  # the longest of the other time-outs is a minute (`timeout server`)
IDLE_SESSIONS = 4
SERVICES = ["horizon", "appvol"]
SOCKET = "/run/haproxy/admin.sock"


def service(pair: Rehearsal, name: str) -> Service:
    """One of the stack's services."""
    return next(each for each in pair.scene.network.topology.services if each.name == name)


def server_of(pair: Rehearsal, each: Service, source: object) -> str:
    """The server that answers one of the client's addresses."""
    return pair.scene.ask(each, source=source).server


@contextmanager
def switched(pair: Rehearsal, name: str, action: str, back: str) -> Iterator[None]:
    """A back-end server in another state for the length of a block, and whole again after it."""
    control = Control(pair.lab.paths.root)
    control.set(name, action)
    try:
        yield
    finally:
        control.set(name, back)
        until(lambda: not new_clients_avoid(pair, name), CHECKED_S, f"{name} to get new clients again", COSTLY_S)


def haproxy(pair: Rehearsal, node: str, command: str) -> str:
    """What a node's HAProxy answers to a command on its socket."""
    code = f's=__import__("socket").socket(1);s.connect("{SOCKET}");s.send(b"{command}\\n");print(s.makefile().read())'
    result = pair.scene.guest(node).run("python3", "-c", code)
    assert result.returncode == 0, result.stderr
    return result.stdout


def new_clients_avoid(pair: Rehearsal, name: str) -> bool:
    """Whether HAProxy of the master takes this server for one that gets no new clients."""
    text = haproxy(pair, pair.master, "show stat")
    stack_name = pair.scene.network.topology.backend(name).server
    state = next(line.split(",")[17] for line in text.splitlines() if line.split(",")[1:2] == [stack_name])
    return not state.startswith("UP")


@pytest.mark.parametrize("name", SERVICES)
def test_port_80_redirects_and_443_passes_through(pair: Rehearsal, name: str) -> None:
    each = service(pair, name)
    answer = pair.scene.redirect(each)
    assert answer.status == 302
    assert answer.headers["location"].startswith("https://")
    through = pair.scene.ask(each, "/favicon.ico")
    assert (through.status, through.tls_version) == (200, "TLSv1.2")  # the server's own TLS, end to end
    assert through.server.startswith(name)


def test_a_client_keeps_its_server_also_after_a_failover(pair: Rehearsal) -> None:
    """Clients come in one order before and in another one after it: balancing alone would not repeat what it did."""
    was, stays = pair.master, pair.standby
    clients = pair.scene.network.topology.clients
    with ExitStack() as forgetting:
        for name in SERVICES:
            forgetting.enter_context(forgotten(pair, name, clients))
        before = {name: servers_of(pair, name, [*clients[::2], *clients[1::2]]) for name in SERVICES}
        for name, servers in before.items():
            assert set(servers.values()) == set(each_server(pair, name))
            assert any(servers[one] == servers[next_one] for one, next_one in pairwise(clients))
            known = remembered(pair, was, name)
            assert set(known) == {str(client) for client in clients}
            until(partial(_remembers, pair, stays, name, known), SHARED_S, f"{stays} to learn it")
        verdict = faults.fail(pair.scene, "haproxy", was, print)
        assert verdict.passed, "\n".join(verdict.lines())
        assert pair.master == stays
        assert {name: servers_of(pair, name, clients) for name in SERVICES} == before


def servers_of(pair: Rehearsal, name: str, clients: Sequence[IPv4Address]) -> dict[IPv4Address, str]:
    """Who answers each client, asked in this order."""
    each = service(pair, name)
    return {client: server_of(pair, each, client) for client in clients}


def remembered(pair: Rehearsal, node: str, name: str) -> dict[str, str]:
    """Client → number of its server, as a node's HAProxy has it in its table."""
    return dict(re.findall(r"key=(\S+) .*server_id=(\d+)", haproxy(pair, node, f"show table {name}")))


def _remembers(pair: Rehearsal, node: str, service: str, known: object) -> bool:
    return remembered(pair, node, service) == known


def each_server(pair: Rehearsal, name: str) -> list[str]:
    """The lab's names of a service's servers."""
    return [backend.name for backend in pair.scene.network.topology.backends if backend.name.startswith(name)]


def test_a_disabled_connection_server_keeps_its_clients_and_gets_no_new_ones(pair: Rehearsal) -> None:
    each = service(pair, "horizon")
    old, new = pair.scene.network.topology.clients[:10], pair.scene.network.topology.clients[10:]
    before = {client: server_of(pair, each, client) for client in old}
    quiesced = before[old[0]]
    with forgotten(pair, each.name, new), switched(pair, quiesced, "disable", "enable"):
        until(lambda: new_clients_avoid(pair, quiesced), CHECKED_S, "HAProxy to see the 503", COSTLY_S)
        assert {client: server_of(pair, each, client) for client in old} == before
        assert {server_of(pair, each, client) for client in new} == set(before.values()) - {quiesced}


@contextmanager
def forgotten(pair: Rehearsal, name: str, clients: Sequence[IPv4Address]) -> Iterator[None]:
    """These clients are new ones: neither node remembers a server for them, before and after."""

    def forget() -> None:
        for node in pair.scene.nodes:
            haproxy(pair, node, ";".join(f"clear table {name} key {client}" for client in clients))

    forget()
    try:
        yield
    finally:
        forget()


def test_every_client_of_a_dead_server_moves(pair: Rehearsal) -> None:
    each = service(pair, "horizon")
    clients = pair.scene.network.topology.clients
    before = {client: server_of(pair, each, client) for client in clients}
    dead = before[clients[0]]
    with switched(pair, dead, "kill", "start"):

        def all_moved() -> bool:
            return {server_of(pair, each, client) for client in clients} == set(before.values()) - {dead}

        until(all_moved, CHECKED_S, "every client to be on another server", COSTLY_S)


@dataclass(frozen=True)
class Quiet:
    """More than a minute in which nothing befell the pair.

    Args:
        report: Of sessions that were silent all the time, and were asked at its end.
        probes: Server and source → number of a probe → when it was seen.
    """

    report: Report
    probes: Mapping[tuple[str, str], Mapping[int, float]]


@pytest.fixture(scope="module")
def quiet(rehearsed: Rehearsal) -> Quiet:
    """Waited for once, for whoever wants to know what happens while nothing does."""
    pair = whole(rehearsed)
    plan = Plan.of(pair.scene.network, farm.ca_file(pair.lab.paths.root), rate=0, idle_sessions=IDLE_SESSIONS)
    probers = len(pair.scene.nodes) * len(each_server(pair, "horizon"))
    seen: dict[tuple[str, str], dict[int, float]] = {}
    began = time.monotonic()

    def long_enough() -> bool:
        for server in Control(pair.lab.paths.root).show():
            for probe in server.probes if server.kind == "horizon" else ():
                # A probe is known by its number; when it came is exact to the pause between two looks.
                seen.setdefault((server.name, probe.source), {}).setdefault(
                    probe.count, time.monotonic() - probe.last_ago_s
                )
        probed = len(seen) == probers and all(len(times) >= 3 for times in seen.values())
        return probed and time.monotonic() - began > IDLE_S

    with Traffic(plan, pair.lab.paths.root / "traffic" / "quiet.jsonl") as traffic:
        began = time.monotonic()
        until(long_enough, 3 * PROBE_S + CHECKED_S, "three probes of every prober", every_s=COSTLY_S)
        return Quiet(traffic.stop(), seen)


def test_two_probers_at_most_ask_a_connection_server_and_not_more_often_than_every_30_s(
    pair: Rehearsal, quiet: Quiet
) -> None:
    """Two probes in a row of each prober, in a pair that nothing befalls: a failed check is confirmed sooner."""
    assert {source for _, source in quiet.probes} == {
        str(address) for address in pair.scene.network.topology.nodes.values()
    }
    for prober, times in quiet.probes.items():
        *_, before, last = (times[count] for count in sorted(times))
        assert last - before > PROBE_S - 1.0, prober


def test_a_session_that_is_silent_for_more_than_a_minute_is_still_there(pair: Rehearsal, quiet: Quiet) -> None:
    """Longer than every time-out of the pair but that of tunnels, which is an hour and is not waited for."""
    assert quiet.report.complete
    assert {session.service for session in quiet.report.sessions} == set(SERVICES)
    assert len(quiet.report.sessions) == IDLE_SESSIONS
    assert quiet.report.lost_sessions() == []
    assert [session for session in quiet.report.sessions if session.last_answer - session.opened <= IDLE_S] == []


def test_nobody_but_the_services_answers_on_a_vip(pair: Rehearsal) -> None:
    each = service(pair, "horizon")
    for port in (22, 8404, 8405, 10000):
        with pytest.raises(Failed) as failed:
            pair.scene.ask(Service(each.name, each.kind, each.vip, port, each.hostname), limit_s=0.5)
        assert failed.value.outcome == "timeout", port
