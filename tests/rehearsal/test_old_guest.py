"""The old guest: HAProxy 2.2, keepalived 2.1, cloud-init 20.4, and an image that keeps cloud-init off the network.

It stands for Photon 3.0 Revision 3, the source post's image. There is no DHCP server, and that image waits for one:
its first boot takes two minutes before cloud-init may write the static address. Both nodes boot at the same moment.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import backends, limits, machines
from lab.errors import LabError
from lab.guest_image import ensure_layers
from lab.machines import Machine
from lab.network import Network, lab_id
from lab.request import Tls, request
from lab.state import CHECKOUT
from lab.topology import Topology
from lab.waiting import until
from lab.wire import Record
from lbstack.render import RenderedPair, render_pair
from lbstack.userdata import guestinfo
from tests.goldens.cases import load, post
from tests.tiers import refuse, require

RELEASE, IMAGE = "3.0-r3", "bullseye"
WAIT_ONLINE_S = 120.0  # systemd-networkd-wait-online's own limit
SERVING_S = 90.0
HEALTH_PORT = 8405


@dataclass(frozen=True)
class OldPair:
    """Two old guests that serve."""

    network: Network
    machines: dict[str, Machine]
    rendered: RenderedPair
    wire: Any
    serving_s: float
    state: Path

    def health(self, name: str) -> dict[str, str]:
        """What a node says of itself."""
        address = self.network.topology.nodes[name]
        return dict(json.loads(request(self.network.namespace("mgmt"), address, HEALTH_PORT, "/health").body))

    def whole(self) -> bool:
        """Whether one is master, the other standby, and every service answers."""
        states = sorted(self.health(name)["vrrp"] for name in self.machines)
        services = self.network.topology.services
        return states == ["backup", "master"] and all(self.ask(service).server for service in services)

    def ask(self, service: Any, **changes: Any) -> Any:
        """One request of the client through a VIP to a server."""
        tls = Tls(backends.ca_file(self.state), service.hostname)
        return request(self.network.namespace("cl"), service.vip, service.port, tls=tls, **changes)

    def record(self) -> Record:
        """The wire until now."""
        record: Record = self.wire.record()
        return record


@pytest.fixture(scope="module")
def old() -> Iterator[OldPair]:
    """Powered on at the same moment, watched from before."""
    require("root")
    if problems := list(machines.preflight()):
        refuse("; ".join(problems))
    raw = post()
    raw["image"]["release"] = RELEASE
    raw["haproxy"] = {"maxconn": min(limits.connections(), 20_000)}
    config, secrets = load(raw)
    rendered = render_pair(config, secrets)
    state = Path(tempfile.mkdtemp(prefix="old-"))
    values = yaml.safe_load((CHECKOUT / "Pulumi.lab.yaml").read_text())["config"]
    network = Network(lab_id(state), Topology.of(values))
    try:
        try:
            lower = ensure_layers(IMAGE, lambda _line: None)
        except LabError as error:
            refuse(str(error))
        network.up()
        with network.capture() as wire:
            backends.start(network, state, state, tied=True)
            nodes = machines.machines(network, state, lower)
            for name, machine in nodes.items():
                machine.give(guestinfo(config, rendered, name, secrets))
            began = time.monotonic()
            for machine in nodes.values():
                machine.power_on()
            pair = OldPair(network, nodes, rendered, wire, 0.0, state)
            until(pair.whole, WAIT_ONLINE_S + SERVING_S, "the old pair to serve")
            yield OldPair(network, nodes, rendered, wire, time.monotonic() - began, state)
    finally:
        machines.end_all(network)
        backends.stop(state)
        network.down()
        shutil.rmtree(state, ignore_errors=True)


def test_it_comes_up_without_dhcp_and_with_one_master_from_the_first_packet(old: OldPair) -> None:
    record = old.record()
    assert record.adverts
    assert record.two_masters() == []
    assert {old.health(name)["hash"] for name in old.machines} == {old.rendered.config_hash}
    assert old.serving_s < WAIT_ONLINE_S + SERVING_S


def test_its_daemons_are_the_old_ones(old: OldPair) -> None:
    machine = next(iter(old.machines.values()))
    assert "version 2.2." in machine.run("haproxy", "-v").stdout
    assert "v2.1." in machine.run("keepalived", "--version").stderr
    assert "20.4" in machine.run("cloud-init", "--version").stdout
    assert machine.run("test", "-e", "/etc/cloud/cloud.cfg.d/99-disable-networking-config.cfg").returncode == 0


@pytest.mark.parametrize("index", [0, 1])
def test_every_file_is_there_as_rendered_with_owner_and_mode(old: OldPair, index: int) -> None:
    name, files = list(old.rendered.nodes.items())[index]
    for path, file in files.items():
        assert old.machines[name].run("cat", path).stdout == file.content, path
        stat = old.machines[name].run("stat", "-c", "%U:%G %04a", path).stdout.strip()
        assert stat == f"{file.owner} {file.mode:04o}", path


@pytest.mark.parametrize("index", [0, 1])
def test_the_set_owns_the_address_nothing_failed_and_the_filter_is_in_force(old: OldPair, index: int) -> None:
    name, machine = list(old.machines.items())[index]
    assert f"{old.network.topology.nodes[name]}/24" in machine.run("ip", "-4", "-o", "address").stdout
    assert machine.run("cat", "/etc/hostname").stdout.strip() == name
    failed = machine.run("systemctl", "--failed", "--no-legend", "--plain").stdout.split()
    assert failed[:1] in ([], ["systemd-networkd-wait-online.service"])  # it waited for DHCP, and says so
    result = json.loads(machine.run("cat", "/var/lib/cloud/data/result.json").stdout)["v1"]
    assert result["errors"] == []
    assert "VMwareGuestInfo" in result["datasource"]
    assert machine.run("iptables", "-S").stdout.splitlines()[0] == "-P INPUT DROP"


def test_a_second_boot_serves_the_same_set_soon_and_takes_no_vip_back(old: OldPair) -> None:
    was = next(name for name in old.machines if old.health(name)["vrrp"] == "master")
    old.machines[was].shut_down()
    old.machines[was].power_on()
    until(old.whole, SERVING_S, "the pair to be whole again")
    assert old.health(was)["vrrp"] == "backup"
    assert old.record().two_masters() == []


def test_a_disabled_connection_server_keeps_its_clients(old: OldPair) -> None:
    """HAProxy 2.2 takes the 503 for down; its known clients try their server first all the same."""
    service = next(each for each in old.network.topology.services if each.name == "horizon")
    clients = old.network.topology.clients
    before = {client: old.ask(service, source=client).server for client in clients}
    quiesced = before[clients[0]]
    stack_name = old.network.topology.backend(quiesced).server
    control = backends.Control(old.state)
    control.set(quiesced, "disable")
    try:
        master = next(name for name in old.machines if old.health(name)["vrrp"] == "master")

        def down() -> bool:
            address = old.network.topology.nodes[master]
            body = request(old.network.namespace("mgmt"), address, HEALTH_PORT, "/services/horizon").body
            return bool(json.loads(body)[stack_name][0] == 0)

        until(down, SERVING_S, "HAProxy to see the 503")
        assert {client: old.ask(service, source=client).server for client in clients} == before
    finally:
        control.set(quiesced, "enable")
