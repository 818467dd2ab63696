"""What clients of the pair see: redirects, pass-through, and servers that quiesce or die behind it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address

import pytest

from lab import acts, backends
from lab.backends import Control
from lab.request import Failed
from lab.topology import Service
from lab.traffic import Plan, Traffic
from lab.waiting import until
from tests.rehearsal.conftest import Rehearsal

PROBE_S = 30.0  # how often each node asks a Connection Server
CHECKED_S = 75.0  # two checks of 30 s each, and what they wait for
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
        until(lambda: not new_clients_avoid(pair, name), CHECKED_S, f"{name} to get new clients again")


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


@pytest.mark.parametrize("name", SERVICES)
def test_a_client_keeps_its_server_also_after_a_failover(pair: Rehearsal, name: str) -> None:
    each = service(pair, name)
    clients = pair.scene.network.topology.clients
    before = {client: server_of(pair, each, client) for client in clients}
    assert len(set(before.values())) == len(each_server(pair, name))
    acts.fail(pair.scene, "haproxy", "master", print)
    assert {client: server_of(pair, each, client) for client in clients} == before


def each_server(pair: Rehearsal, name: str) -> list[str]:
    """The lab's names of a service's servers."""
    return [backend.name for backend in pair.scene.network.topology.backends if backend.name.startswith(name)]


def test_a_disabled_connection_server_keeps_its_clients_and_gets_no_new_ones(pair: Rehearsal) -> None:
    each = service(pair, "horizon")
    old, new = pair.scene.network.topology.clients[:10], pair.scene.network.topology.clients[10:]
    before = {client: server_of(pair, each, client) for client in old}
    quiesced = before[old[0]]
    with forgotten(pair, each.name, new), switched(pair, quiesced, "disable", "enable"):
        until(lambda: new_clients_avoid(pair, quiesced), CHECKED_S, "HAProxy to see the 503")
        assert {client: server_of(pair, each, client) for client in old} == before
        assert {server_of(pair, each, client) for client in new} == set(before.values()) - {quiesced}


@contextmanager
def forgotten(pair: Rehearsal, name: str, clients: Sequence[IPv4Address]) -> Iterator[None]:
    """These clients are new ones: neither node remembers a server for them, before and after."""

    def forget() -> None:
        for node in pair.scene.nodes:
            for client in clients:
                haproxy(pair, node, f"clear table {name} key {client}")

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

        until(all_moved, CHECKED_S, "every client to be on another server")


def test_two_probers_at_most_ask_a_connection_server_and_not_more_often_than_every_30_s(pair: Rehearsal) -> None:
    """Two probes in a row of each prober, in a pair that nothing befalls: a failed check is confirmed sooner."""
    nodes = {str(address) for address in pair.scene.network.topology.nodes.values()}
    seen: dict[tuple[str, str], dict[int, float]] = {}

    def twice() -> bool:
        for server in Control(pair.lab.paths.root).show():
            for probe in server.probes if server.kind == "horizon" else ():
                # A probe is known by its number; when it came is exact to the pause between two looks.
                seen.setdefault((server.name, probe.source), {}).setdefault(
                    probe.count, time.monotonic() - probe.last_ago_s
                )
        return len(seen) == 2 * len(each_server(pair, "horizon")) and all(len(times) >= 3 for times in seen.values())

    until(twice, 3 * PROBE_S + CHECKED_S, "three probes of every prober", every_s=0.5)
    assert {source for _, source in seen} == nodes
    for prober, times in seen.items():
        *_, before, last = (times[count] for count in sorted(times))
        assert last - before > PROBE_S - 1.0, prober


def test_a_session_outlives_an_hour_of_nothing_by_its_timeouts(pair: Rehearsal) -> None:
    """An hour cannot be waited for; that a silent session lives through 15 s beside a busy one can."""
    plan = Plan.of(pair.scene.network, backends.ca_file(pair.lab.paths.root), sessions=2, idle_sessions=2, seconds=15)
    with Traffic(plan, pair.lab.paths.root / "traffic" / "idle.jsonl") as traffic:
        report = traffic.wait()
    assert report.complete
    assert report.lost_sessions() == []
    assert report.failures() == []


def test_nobody_but_the_services_answers_on_a_vip(pair: Rehearsal) -> None:
    each = service(pair, "horizon")
    for port in (22, 8404, 8405, 10000):
        with pytest.raises(Failed) as failed:
            pair.scene.ask(Service(each.name, each.kind, each.vip, port, each.hostname), limit_s=0.5)
        assert failed.value.outcome == "timeout", port
