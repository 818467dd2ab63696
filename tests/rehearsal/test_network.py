"""The lab's network, back-end servers, forwarder, traffic and watch, for real, without a guest."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.guests import tools as guest_tools
from lab.home import stackfile
from lab.network import capture, forward, netns, sockets, switch
from lab.network import record as wire
from lab.network.network import Network, lab_id
from lab.network.topology import Backend, Topology
from lab.servers import farm
from lab.servers.farm import Control
from lab.servers.spec import Spec
from lab.system.daemon import Daemon
from lab.system.processes import inspect
from lab.system.waiting import until
from lab.traffic.report import Report
from lab.traffic.request import Failed, Tls, request
from lab.traffic.traffic import Plan, Traffic
from tests.rehearsal.standins import ADVERT_S, LIMIT_S, VIP, VRID, StandIn, image, plug_in, start_pair, stop
from tests.tiers import require

HORIZON = "horizon.lab.example"
HORIZON_01 = IPv4Address("192.168.6.113")
NODE_1, NODE_2 = "PhotonLB-01", "PhotonLB-02"
UNREACHABLE = ("unreachable", "timeout")  # by ARP that nobody answers; how soon depends on the kernel's patience


@pytest.fixture(autouse=True)
def needs() -> None:
    require("root", "ip", "bridge")


@pytest.fixture(scope="session")
def topology() -> Topology:
    return Topology.of(stackfile.read(stackfile.SOURCE)["config"])


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def network(state: Path, topology: Topology) -> Iterator[Network]:
    made = Network(lab_id(state), topology)
    made.up()
    try:
        yield made
    finally:
        for end in (farm.stop, forward.stop, capture.stop):
            end(state)
        made.down()
        assert remains(made) == []


def remains(network: Network) -> list[str]:
    """Everything of a network that can be found on the machine."""
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if network.prefix in line]
    return [*netns.names(network.prefix), *netns.names(network.prefix, netns.ETC), *mounts]


def listen(network: Network, name: str, address: IPv4Address) -> socket.socket:
    return sockets.listening_socket(network.namespace(name), str(address), 7)


def reaches(network: Network, name: str, address: IPv4Address) -> bool:
    """Whether somebody has an address, and refuses a connection to port 7, where nobody listens."""
    with pytest.raises(Failed) as failed:
        request(network.namespace(name), address, 7, limit_s=0.5)
    assert failed.value.outcome in (*UNREACHABLE, "refused")
    return failed.value.outcome == "refused"


# --- the network ------------------------------------------------------------------------------------------------------


def test_every_machine_reaches_every_other_one_and_nothing_of_it_is_on_the_host(network: Network) -> None:
    topology = network.topology
    addresses = [topology.gateway, topology.dns, topology.management, topology.outsider, *topology.clients]
    addresses += [backend.address for backend in topology.backends]
    for name in ("mgmt", "out", "horizon-01", "AppVolumes_Manager_02"):
        assert all(reaches(network, name, address) for address in addresses), name
    host = netns.ip("-4", "addr") + netns.ip("-4", "route", "show", "table", "all") + netns.ip("link")
    assert "192.168.6." not in host
    assert "br0" not in host


def test_what_is_not_in_the_lab_fails_at_once(network: Network) -> None:
    with pytest.raises(Failed) as failed:
        request(network.namespace("cl"), "198.51.100.7", limit_s=2)
    assert failed.value.outcome == "unreachable"


def test_up_again_leaves_what_is_whole_alone(network: Network) -> None:
    roles = ["sw", "cl", "mgmt", "horizon-01"]
    before = [netns.identity(network.namespace(role)) for role in roles]
    with listen(network, "horizon-01", HORIZON_01):
        network.up()
    assert [netns.identity(network.namespace(role)) for role in roles] == before


def test_up_repairs_what_was_taken_away(network: Network) -> None:
    netns.ip("link", "del", "h113", namespace=network.namespace("sw"))
    netns.ip("addr", "flush", "dev", "eth0", namespace=network.namespace("mgmt"))
    netns.remove(network.namespace("out"))
    before = netns.identity(network.namespace("cl"))
    network.up()
    assert all(reaches(network, name, network.topology.client) for name in ("horizon-01", "mgmt", "out"))
    assert netns.identity(network.namespace("cl")) == before


def test_up_takes_in_a_new_server_and_leaves_the_others(network: Network) -> None:
    more = new_server()
    grown = replace(network.topology, backends=(*network.topology.backends, more))
    before = netns.identity(network.namespace("horizon-01"))
    larger = Network(network.identity, grown)
    larger.up()
    assert reaches(larger, "cl", more.address)
    assert netns.identity(network.namespace("horizon-01")) == before


def new_server() -> Backend:
    names = (HORIZON, "192.168.6.115")
    return Backend("horizon-03", "CS_03", "horizon", IPv4Address("192.168.6.115"), (443,), names, "/favicon.ico")


def test_labs_live_side_by_side(network: Network, tmp_path: Path) -> None:
    other = Network(lab_id(tmp_path / "other"), network.topology)
    assert other.identity != network.identity
    other.up()
    try:
        with listen(other, "horizon-01", HORIZON_01), listen(network, "horizon-01", HORIZON_01):
            assert other.exists()
    finally:
        other.down()
    assert remains(other) == []
    assert reaches(network, "cl", HORIZON_01)


def test_down_again_is_fine_and_needs_no_topology(network: Network) -> None:
    bare = Network(network.identity, None)
    bare.down()
    bare.down()
    assert not bare.exists()


class Killed(BaseException):
    """What a run that is killed meets."""


def kill_after(monkeypatch: pytest.MonkeyPatch, calls: int) -> Callable[[], bool]:
    """Let a run die at one of its commands; the result shows whether it did."""
    real, left = netns.run, [calls]

    def run(*arguments: object, **named: object) -> str:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return real(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(netns, "run", run)
    return lambda: left[0] < 0


def test_whatever_a_killed_up_left_is_repaired_by_up_and_removed_by_down(
    state: Path, topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network(lab_id(state), topology)
    calls = 0
    try:
        while True:
            with monkeypatch.context() as patch:
                killed = kill_after(patch, calls)
                try:
                    network.up()
                except Killed:
                    assert killed()
            if not killed():
                break
            if calls % 2:  # so that some leftovers are repaired and some only removed
                network.up()
                assert reaches(network, "cl", HORIZON_01)
                assert reaches(network, "mgmt", topology.gateway)
            network.down()
            assert remains(network) == []
            calls += 3
    finally:
        network.down()
    assert calls > 20  # else this has not tried much


def test_a_name_without_a_namespace_behind_it_is_repaired_and_removed(state: Path, topology: Topology) -> None:
    network = Network(lab_id(state), topology)
    names = [network.prefix + role for role in ("sw", "cl", "h113")]
    for repair in (network.down, network.up):
        for name in names:
            netns.path(name).touch()  # what `ip netns add` makes before it mounts
        repair()
        if repair == network.up:
            assert reaches(network, "cl", HORIZON_01)
        network.down()
        assert remains(network) == []


def test_down_ends_what_runs_inside_and_only_that(network: Network) -> None:
    patient = ["python3", "-c", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(); signal.pause()"]
    inside = subprocess.Popen(network.command("mgmt", patient), stdout=subprocess.PIPE)
    outside = subprocess.Popen(patient, stdout=subprocess.PIPE)
    for process in (inside, outside):
        assert process.stdout is not None
        with process.stdout as output:
            output.readline()
    try:
        network.down()
        assert inspect(inside.pid) is None
        assert outside.poll() is None
    finally:
        for process in (inside, outside):
            process.kill()
            process.wait()


def test_down_from_inside_is_refused(network: Network, checkout: Path) -> None:
    program = f"from lab.network.network import Network; Network({network.identity!r}, None).down()"
    inside = [sys.executable, "-c", program]
    result = subprocess.run(network.command("mgmt", inside), capture_output=True, text=True, cwd=checkout, check=False)
    assert result.returncode != 0
    assert "run it outside" in result.stderr
    assert reaches(network, "cl", network.topology.management)


def test_a_namespace_that_is_not_there_is_an_error_for_people(network: Network) -> None:
    with pytest.raises(LabError, match="no back-end server 'nobody'"):
        network.namespace("nobody")
    network.down()
    with pytest.raises(LabError, match="cannot be entered"):
        request(network.namespace("cl"), HORIZON_01)
    with pytest.raises(LabError, match="sw"):
        network.node_port(NODE_1)


def test_this_machine_has_everything_that_the_network_needs() -> None:
    left = netns.path(f"lbs-try{os.getpid()}")
    left.touch()  # of a process of the same number that was killed while it tried
    assert list(switch.preflight()) == []
    assert not left.exists()


def test_a_missing_feature_of_the_kernel_is_reported_in_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "ip"
    fake.write_text("#!/bin/sh\necho 'RTNETLINK answers: Operation not supported' >&2\nexit 2\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (problem,) = switch.preflight()
    assert "CONFIG_VETH" in problem


# --- nodes ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def nodes(network: Network) -> tuple[str, str]:
    for node in (NODE_1, NODE_2):
        plug_in(network, node)
    return NODE_1, NODE_2


def reach(network: Network, nodes: tuple[str, str]) -> tuple[bool, bool]:
    """Whether the client reaches the first node, and whether the second one does."""
    address = network.topology.nodes[nodes[0]]
    return reaches(network, "cl", address), reaches(network, nodes[1], address)


def carrier(network: Network, node: str) -> bool:
    return "LOWER_UP" in netns.ip("link", "show", "eth0", namespace=network.namespace(node))


def test_a_cut_node_is_alone_and_its_nic_knows_it(network: Network, nodes: tuple[str, str]) -> None:
    until(lambda: reach(network, nodes) == (True, True), LIMIT_S, "both to be reached")
    network.cut(nodes[0])
    assert network.state(nodes[0]) == "cut"
    assert reach(network, nodes) == (False, False)
    assert not carrier(network, nodes[0])
    network.heal(nodes[0])
    assert network.state(nodes[0]) == "connected"
    until(lambda: reach(network, nodes) == (True, True), LIMIT_S, "the healed node")


def test_a_silently_cut_node_keeps_its_carrier(network: Network, nodes: tuple[str, str]) -> None:
    network.cut(nodes[0], silent=True)
    assert network.state(nodes[0]) == "silent"
    assert reach(network, nodes) == (False, False)
    assert carrier(network, nodes[0])
    network.heal(nodes[0])
    until(lambda: reach(network, nodes) == (True, True), LIMIT_S, "the healed node")


def test_a_partition_parts_the_nodes_and_nobody_else(network: Network, nodes: tuple[str, str]) -> None:
    network.partition(*nodes)
    assert [network.state(node) for node in nodes] == ["partitioned", "partitioned"]
    assert reach(network, nodes) == (True, False)
    assert reach(network, (nodes[1], nodes[0])) == (True, False)
    network.heal(nodes[1])
    assert [network.state(node) for node in nodes] == ["connected", "connected"]
    until(lambda: reach(network, nodes) == (True, True), LIMIT_S, "the healed node")


def test_another_partition_waits_until_the_first_one_is_healed(network: Network, nodes: tuple[str, str]) -> None:
    network.node_port("another")
    network.partition(*nodes)
    with pytest.raises(LabError, match="undo that one first"):
        network.partition(nodes[0], "another")


def test_a_node_that_is_plugged_in_again_is_fresh_and_has_the_same_nic(
    network: Network, nodes: tuple[str, str]
) -> None:
    mac = StandIn(network, 0, Path()).mac
    network.cut(nodes[0])
    network.node_port(nodes[0])
    assert network.state(nodes[0]) == "connected"
    assert StandIn(network, 0, Path()).mac == mac
    assert "192.168.6" not in netns.ip("addr", namespace=network.namespace(nodes[0]))


def test_a_node_without_power_is_silent_although_its_processes_live_on(
    network: Network, nodes: tuple[str, str]
) -> None:
    kept = subprocess.Popen(network.command(nodes[0], ["sleep", "60"]))
    try:
        until(lambda: netns.processes_in([network.namespace(nodes[0])]), LIMIT_S, "a process in the node")
        network.remove_node(nodes[0])
        assert network.state(nodes[0]) == "absent"
        assert not reaches(network, "cl", network.topology.nodes[nodes[0]])
        assert kept.poll() is None
        network.remove_node(nodes[0])  # again is fine
        with pytest.raises(LabError, match="not plugged in"):
            network.cut(nodes[0])
    finally:
        kept.kill()
        kept.wait()


# --- back-end servers, names, forwarder -------------------------------------------------------------------------------


@pytest.fixture
def served(network: Network, state: Path) -> Control:
    farm.start(network, state, state / "logs", tied=True)
    return Control(state)


def from_client(network: Network, state: Path, address: IPv4Address, path: str = "/", **headers: str) -> int:
    tls = Tls(farm.ca_file(state), HORIZON)
    return request(network.namespace("cl"), address, path=path, tls=tls, headers=headers).status


def test_a_server_is_reached_on_its_own_address_only_and_can_be_switched(
    network: Network, state: Path, served: Control
) -> None:
    assert from_client(network, state, HORIZON_01, "/favicon.ico") == 200
    assert served.set("horizon-01", "disable").state == "disabled"
    assert from_client(network, state, HORIZON_01, "/favicon.ico") == 503
    assert from_client(network, state, IPv4Address("192.168.6.114"), "/favicon.ico") == 200
    assert served.set("horizon-01", "kill").state == "dead"
    with pytest.raises(Failed) as failed:
        from_client(network, state, HORIZON_01)
    assert failed.value.outcome == "refused"
    assert served.set("horizon-01", "start").state == "disabled"
    assert served.set("horizon-01", "enable").state == "serves"
    assert from_client(network, state, HORIZON_01, "/favicon.ico") == 200
    with pytest.raises(LabError, match="horizon-02"):
        served.set("horizon-07", "kill")


def test_servers_go_on_while_others_join_and_leave(network: Network, state: Path, served: Control) -> None:
    served.set("horizon-01", "disable")
    (process,) = Daemon("lab.servers.daemon", farm.directory_of(state)).find()
    grown = replace(network.topology, backends=(*network.topology.backends[:1], new_server()))
    larger = Network(network.identity, grown)
    larger.up()
    farm.start(larger, state, state / "logs", tied=True)
    assert {each.name: each.state for each in served.show()} == {"horizon-01": "disabled", "horizon-03": "serves"}
    assert from_client(larger, state, IPv4Address("192.168.6.115")) == 200
    assert process.alive


def test_servers_are_found_again_after_the_network_was_made_anew(
    network: Network, state: Path, served: Control
) -> None:
    assert from_client(network, state, HORIZON_01) == 200
    network.down()
    network.up()
    farm.start(network, state, state / "logs", tied=True)
    assert from_client(network, state, HORIZON_01) == 200
    assert all(each.running for each in served.show())


def test_a_dead_network_has_no_link_left_whoever_holds_on_to_it(network: Network) -> None:
    held = os.open(netns.path(network.namespace("sw")), os.O_RDONLY)
    try:
        network.down()
        command = ["nsenter", f"--net=/proc/self/fd/{held}", "ip", "-br", "link"]
        left = subprocess.run(command, capture_output=True, text=True, check=True, pass_fds=[held]).stdout
    finally:
        os.close(held)
    assert "lo" in left
    assert switch.BRIDGE not in left
    assert "h113" not in left


def test_probes_are_counted_by_the_address_that_they_come_from(network: Network, state: Path, served: Control) -> None:
    tls = Tls(farm.ca_file(state), HORIZON).context()
    for name in ("mgmt", "mgmt", "out"):
        with netns.inside(network.namespace(name)):
            plain = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        with plain:
            plain.connect((str(HORIZON_01), 443))
            with tls.wrap_socket(plain, server_hostname=HORIZON) as secured:
                secured.sendall(b"HEAD /favicon.ico HTTP/1.0\r\n\r\n")
                assert secured.recv(4096).startswith(b"HTTP/1.1 200")
    probes = {each.source: each for each in served.show()[0].probes}
    counts = {source: each.count for source, each in probes.items()}
    assert counts == {str(network.topology.management): 2, str(network.topology.outsider): 1}
    assert probes[str(network.topology.management)].median_s is not None
    assert probes[str(network.topology.outsider)].median_s is None


@pytest.mark.parametrize(
    ("name", "found"), [(HORIZON, "192.168.6.123"), ("photonlb-01", "192.168.6.120"), ("packages.example", "")]
)
def test_names_are_resolved_as_a_person_would(network: Network, served: Control, name: str, found: str) -> None:
    command = network.command("mgmt", ["getent", "ahostsv4", name])
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert result.stdout.split()[:1] == ([found] if found else [])


def test_the_vcenter_of_the_host_is_reached_from_the_management_station_only(network: Network, state: Path) -> None:
    with socket.create_server((forward.HOST, 0)) as vcenter:
        port = vcenter.getsockname()[1]

        def serve() -> None:
            connection, _ = vcenter.accept()
            with connection:
                while data := connection.recv(4096):
                    connection.sendall(data.upper())

        served = threading.Thread(target=serve)
        served.start()
        forward.start(network.namespace("mgmt"), [port], state, state / "logs", tied=True)
        with netns.inside(network.namespace("mgmt")):
            client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        with client:
            client.settimeout(LIMIT_S)
            client.connect((forward.HOST, port))
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
            assert client.makefile("rb").read() == b"HELLO"
        served.join(LIMIT_S)
        with pytest.raises(Failed) as failed:
            request(network.namespace("cl"), forward.HOST, port)
        assert failed.value.outcome in ("refused", "unreachable")
        (first,) = Daemon("lab.network.forward", state / "forward").find()
        forward.start(network.namespace("mgmt"), [port], state, state / "logs", tied=True)
        assert Daemon("lab.network.forward", state / "forward").find() == [first]
        network.down()
        network.up()
        forward.start(network.namespace("mgmt"), [port], state, state / "logs", tied=True)
        assert not first.alive


def test_a_tied_program_ends_with_the_one_that_started_it(network: Network, state: Path, checkout: Path) -> None:
    program = (
        "import pathlib, signal, sys; from lab.network import forward; state = pathlib.Path(sys.argv[1]); "
        "forward.start(sys.argv[2], [1], state, state / 'logs', tied=True); print('started', flush=True); "
        "signal.pause()"
    )
    command = [sys.executable, "-c", program, str(state), network.namespace("mgmt")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=checkout) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"started\n"
        (tied,) = Daemon("lab.network.forward", state / "forward").find()
        os.kill(parent.pid, signal.SIGKILL)
    until(lambda: not tied.alive, LIMIT_S, "the end of the forwarder")


def test_a_place_that_is_taken_is_reported_in_words(network: Network, state: Path) -> None:
    with listen(network, "horizon-01", HORIZON_01):
        spec = Spec("horizon-01", "horizon", str(HORIZON_01), (7,), "/", network.namespace("horizon-01"))
        taken = replace(network.topology.backends[0], ports=spec.ports)
        crowded = Network(network.identity, replace(network.topology, backends=(taken,)))
        with pytest.raises(LabError, match=r"192\.168\.6\.113:7 .*Address already in use"):
            farm.start(crowded, state, state / "logs", tied=True)


# --- the wire, and traffic through a pair -----------------------------------------------------------------------------


@pytest.fixture(params=[False])
def pair(
    network: Network, state: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[StandIn, StandIn]]:
    image()
    farm.start(network, state, state / "logs", tied=True)
    nodes = start_pair(network, tmp_path, multicast=request.param)
    try:
        yield nodes
    finally:
        stop(nodes)


def master(record: wire.Record, at: float) -> list[str]:
    return record.masters(at, VRID)


def wait_for_holder(network: Network, node: StandIn) -> None:
    until(lambda: network.holders(VIP) == {node.mac}, LIMIT_S, f"{node.name} alone to hold {VIP}")


def test_a_watch_sees_the_first_frame_of_a_port_that_is_made_after_it_began(
    network: Network, state: Path, tmp_path: Path
) -> None:
    image()
    capture.start(network.namespace("sw"), state, state / "logs", tied=True)
    with network.capture() as watch:
        nodes = start_pair(network, tmp_path)
        try:
            until(lambda: len(watch.record().adverts) > 2, LIMIT_S, "adverts of the master")
            seen = watch.record()
            (run,) = seen.runs(VRID)
            assert run.sender == nodes[0].sender
            assert seen.two_masters() == []
            assert seen.adverts[0].addresses == (str(VIP),)
            assert (seen.adverts[0].priority, seen.adverts[0].ttl) == (254, 255)
            assert seen.claimants(VIP) == [network.node_role(NODE_1)]
            assert any(arp.gratuitous for arp in seen.arp_claims(VIP))
        finally:
            stop(nodes)
    whole = watch.record()
    until(lambda: len(wire.load(capture.file_of(state)).adverts) >= len(whole.adverts), LIMIT_S, "the watch's file")
    assert same(wire.load(capture.file_of(state)), whole)


def same(kept: wire.Record, seen: wire.Record) -> bool:
    """Two watches of one wire differ by no more than the microseconds by which they turn one clock into another."""
    pairs = list(zip(kept.adverts, seen.adverts, strict=False))
    return len(pairs) > 0 and all(
        replace(one, at=0.0) == replace(other, at=0.0) and abs(one.at - other.at) < 0.001 for one, other in pairs
    )


def test_an_orderly_stop_hands_over_without_two_masters(network: Network, pair: tuple[StandIn, StandIn]) -> None:
    with network.capture() as watch:
        until(lambda: watch.record().adverts, LIMIT_S, "an advert of the master")
        pair[0].kill("keepalived", gently=True)
        wait_for_holder(network, pair[1])
        seen = watch.record()
    assert seen.two_masters() == []
    assert [run.sender for run in seen.runs()] == [pair[0].sender, pair[1].sender]
    assert any(advert.priority == 0 for advert in seen.adverts)
    assert any("resigns" in line for line in seen.lines())


def test_a_power_failure_is_seen_as_silence_and_a_takeover(network: Network, pair: tuple[StandIn, StandIn]) -> None:
    with network.capture() as watch:
        network.remove_node(NODE_1)
        wait_for_holder(network, pair[1])
        seen = watch.record()
    assert seen.two_masters() == []
    assert seen.last_claimant(VIP) == network.node_role(NODE_2)
    assert seen.moves()[-1].port == network.node_role(NODE_2)


@pytest.mark.parametrize("pair", [True], indirect=True, ids=["multicast"])
def test_a_partition_shows_as_two_masters_until_it_is_healed(network: Network, pair: tuple[StandIn, StandIn]) -> None:
    with network.capture() as watch:
        network.partition(NODE_1, NODE_2)
        until(lambda: network.holders(VIP) == {node.mac for node in pair}, LIMIT_S, "both nodes to hold the VIP")
        until(lambda: watch.record().two_masters(), LIMIT_S, "two masters on the wire")
        network.heal(NODE_1)
        wait_for_holder(network, pair[0])
        healed = watch.record()
        at = healed.events[-1].at
        until(lambda: watch.record().events[-1].at > at + 5 * ADVERT_S, LIMIT_S, "five more adverts")
        seen = watch.record()
    (overlap,) = seen.two_masters()
    assert set(overlap.senders) == {node.sender for node in pair}
    assert overlap.seconds > ADVERT_S
    assert seen.since(at).two_masters() == []
    assert master(seen, seen.events[-1].at) == [pair[0].sender]


def test_a_partition_shows_by_arp_where_adverts_go_to_the_peer_alone(
    network: Network, pair: tuple[StandIn, StandIn]
) -> None:
    with network.capture() as watch:
        network.partition(NODE_1, NODE_2)
        until(lambda: network.holders(VIP) == {node.mac for node in pair}, LIMIT_S, "both nodes to hold the VIP")
        assert watch.record().last_claimant(VIP) != ""
        assert [move.port for move in watch.record().moves() if move.sender == str(VIP)][-1] == network.node_role(
            NODE_2
        )
        network.heal(NODE_2)
        wait_for_holder(network, pair[0])


def test_a_killed_keepalived_leaves_an_address_that_arp_finds_and_adverts_do_not(
    network: Network, pair: tuple[StandIn, StandIn]
) -> None:
    with network.capture() as watch:
        pair[0].kill_keepalived_without_a_word()
        until(lambda: network.holders(VIP) == {node.mac for node in pair}, LIMIT_S, "both nodes to hold the VIP")
        assert watch.record().two_masters() == []


def test_traffic_through_the_pair_shows_what_a_takeover_costs(
    network: Network, pair: tuple[StandIn, StandIn], state: Path, tmp_path: Path
) -> None:
    ca = farm.ca_file(state)
    horizon = tuple(target for target in Plan.of(network, ca).targets if target.service == "horizon")
    plan = Plan.of(network, ca, targets=horizon, sessions=2, idle_sessions=2, seconds=60.0)
    probe = Plan.probe(network, VIP, 80, seconds=60.0)
    with Traffic(probe, tmp_path / "probe.jsonl") as probes, Traffic(plan, tmp_path / "traffic.jsonl") as traffic:
        until(lambda: len(traffic.report().attempts) > 100 or None, LIMIT_S, "a hundred requests")
        before = traffic.report()
        assert before.failures() == []
        assert set(before.by_server()) == {"horizon-01", "horizon-02"}
        assert before.moved_clients("horizon") == {}
        assert set(before.servers_of_clients("horizon")) == {str(client) for client in network.topology.clients}
        network.remove_node(NODE_1)
        until(lambda: served_again(probes.report()), LIMIT_S, "the takeover")
        until(lambda: len(traffic.report().attempts) > 200 or None, LIMIT_S, "a hundred more requests")
    seen, exact = traffic.report(), probes.report()
    assert seen.complete
    assert exact.complete
    # Three adverts and the skew at most, a little of which has passed; it cannot be quicker than two adverts.
    assert 2 * ADVERT_S < exact.longest_outage_s() < LIMIT_S
    assert len(exact.outages()) == 1
    assert {each.outcome for each in exact.failures()} <= {*UNREACHABLE, "refused"}
    assert len(seen.sessions) == 4
    assert len(seen.lost_sessions()) == 4


def served_again(report: Report) -> bool:
    return any(outage.end is not None and len(outage.failed) > 10 for outage in report.outages())


def test_a_planned_change_costs_no_connection_attempt(
    network: Network, pair: tuple[StandIn, StandIn], state: Path, tmp_path: Path
) -> None:
    ca = farm.ca_file(state)
    horizon = tuple(target for target in Plan.of(network, ca).targets if target.service == "horizon")
    with Traffic(Plan.of(network, ca, targets=horizon, seconds=60.0), tmp_path / "traffic.jsonl") as traffic:
        until(lambda: len(traffic.report().attempts) > 20 or None, LIMIT_S, "some requests")
        pair[0].kill("keepalived", gently=True)
        wait_for_holder(network, pair[1])
        until(lambda: len(traffic.report().attempts) > 80 or None, LIMIT_S, "more requests")
    assert traffic.report().refused_or_timed_out() == []


def test_the_load_balancers_probes_are_counted_for_each_node(
    network: Network, pair: tuple[StandIn, StandIn], state: Path
) -> None:
    def sources() -> dict[str, int] | None:
        status = next(each for each in Control(state).show() if each.name == "horizon-01")
        counts = {probes.source: probes.count for probes in status.probes}
        return counts if len(counts) == 2 and min(counts.values()) > 3 else None

    counts = until(sources, LIMIT_S, "probes of both nodes")
    assert set(counts) == {str(node.address) for node in pair}
    status = next(each for each in Control(state).show() if each.name == "horizon-01")
    assert all(probes.median_s == pytest.approx(0.2, abs=0.15) for probes in status.probes)
    assert json.dumps([each.source for each in status.probes])


def test_what_the_tools_report_about_a_guest_is_what_programs_inside_it_would(network: Network) -> None:
    """Its host name, not this machine's; the addresses of its NIC that others reach, in `ip`'s order; its gateway."""
    node = network.node_port(NODE_1).name
    command = ["unshare", "--uts", "sh", "-c", "hostname somebody && echo ready && exec cat"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        tools = guest_tools.Tools(node, process.pid)
        assert tools.look() == guest_tools.GuestReport("somebody", (), "")
        netns.ip(
            namespace=node,
            batch=[
                "link set lo up",
                "link set eth0 up",
                "addr add 192.168.6.120/24 brd + dev eth0",
                "addr add 192.168.6.9/32 dev eth0",
                "addr add 192.168.6.121/24 dev eth0",  # a second one of its subnet
                "addr add 169.254.7.7/16 scope link dev eth0",
                "addr add 10.0.0.1/8 dev lo",
                "route add 10.9.0.0/16 via 192.168.6.7",
                "route add default via 192.168.6.1 metric 5",
                "route add default via 192.168.6.2 metric 9",
                "route add default via 192.168.6.3 table 7",
            ],
        )
        seen = tools.look()
        lines = netns.ip("-4", "-o", "address", "show", "dev", "eth0", "scope", "global", namespace=node).splitlines()
        assert seen.addresses == tuple(line.split()[3] for line in lines)
        assert set(seen.addresses) == {"192.168.6.120/24", "192.168.6.9/32", "192.168.6.121/24"}
        assert (seen.hostname, seen.gateway) == ("somebody", "192.168.6.1")
        assert os.uname().nodename != "somebody"  # this thread is back where it was
        process.stdin.close()
    with pytest.raises(ProcessLookupError):
        tools.look()
    tools.close()
