"""The old guest: HAProxy 2.2, keepalived 2.1, cloud-init 20.4, and an image that keeps cloud-init off the network.

It stands for Photon 3.0 Revision 3, the source post's image, and is deployed like any other: by `pulumi up` with the
release in the stack file. There is no DHCP server, and that image waits for one: its first boot takes two minutes
before cloud-init may write the static address. These pass once and not for each node in turn, because the provider does
not wait for a VM's address before it goes on to the next; the gate waits for both nodes all the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from lab.home import stackfile
from lab.servers.farm import Control
from lab.system.waiting import until
from lab.traffic.request import request
from tests.deploy.harness import Config
from tests.rehearsal import guest_checks
from tests.rehearsal.conftest import Rehearsal, deployed

RELEASE = "3.0-r3"
WAIT_ONLINE = "systemd-networkd-wait-online.service"
WAIT_ONLINE_S = 120.0  # its own limit
SERVING_S = 90.0
CHECKED_S = 75.0  # two checks of 30 s each, and what they wait for
HEALTH_PORT = 8405
NODES = [0, 1]


def of_the_old_release(config: Config) -> None:
    """The post's environment on the post's image."""
    config[stackfile.IMAGE]["release"] = RELEASE


@pytest.fixture(scope="module")
def old() -> Iterator[Rehearsal]:
    """The pair of the old release, deployed, powered on at the same moment and watched from before."""
    with deployed(of_the_old_release, serving_s=WAIT_ONLINE_S + SERVING_S) as lab:
        lab.deployed.ok()
        yield lab


def test_it_comes_up_without_dhcp_and_with_one_master_from_the_first_packet(old: Rehearsal) -> None:
    assert old.first.adverts
    assert old.first.dropped == 0
    assert old.first.two_masters() == []
    wanted = old.lab.outputs()["config_hash"]
    assert {answer.config_hash for answer in old.scene.healths().values()} == {wanted}
    assert WAIT_ONLINE_S < old.serving_s < WAIT_ONLINE_S + SERVING_S  # sooner, and the image would not be the old one


def test_the_release_of_the_stack_file_chooses_the_old_image(old: Rehearsal) -> None:
    for node in old.scene.nodes:
        guest = old.scene.guest(node)
        assert "version 2.2." in guest.run("haproxy", "-v").stdout
        assert "v2.1." in guest.run("keepalived", "--version").stderr
        assert "20.4" in guest.run("cloud-init", "--version").stdout
        assert guest.run("test", "-e", "/etc/cloud/cloud.cfg.d/99-disable-networking-config.cfg").returncode == 0


@pytest.mark.parametrize("index", NODES)
def test_every_file_is_there_as_rendered_with_owner_and_mode(old: Rehearsal, index: int) -> None:
    assert guest_checks.differing_files(old, old.scene.nodes[index]) == []


@pytest.mark.parametrize("index", NODES)
def test_the_set_owns_the_address_and_the_name(old: Rehearsal, index: int) -> None:
    node = old.scene.nodes[index]
    guest = old.scene.guest(node)
    assert "network" not in json.loads(guest.run("cat", "/run/cloud-init/instance-data.json").stdout)["ds"]
    assert "10-static-en.network" in guest.run("networkctl", "status", "eth0").stdout
    assert f"{old.scene.network.topology.nodes[node]}/24" in guest.run("ip", "-4", "-o", "address").stdout
    assert guest.run("cat", "/etc/hostname").stdout.strip() == node


@pytest.mark.parametrize("index", NODES)
def test_nothing_failed_but_the_wait_for_dhcp_and_cloud_init_is_done_for_ever(old: Rehearsal, index: int) -> None:
    boot = guest_checks.boot_of(old.scene.guest(old.scene.nodes[index]))
    assert (boot.failed, boot.errors, boot.over) == ((WAIT_ONLINE,), (), True)
    assert "VMwareGuestInfo" in boot.datasource


@pytest.mark.parametrize("index", NODES)
def test_every_kernel_setting_is_as_rendered(old: Rehearsal, index: int) -> None:
    assert guest_checks.differing_settings(old, old.scene.nodes[index]) == []


@pytest.mark.parametrize("index", NODES)
def test_the_packet_filter_is_the_rendered_one_line_by_line(old: Rehearsal, index: int) -> None:
    assert guest_checks.differing_rules(old, old.scene.nodes[index]) == []


def test_a_key_opens_ssh_on_day_one(old: Rehearsal) -> None:
    for node in old.scene.nodes:
        assert guest_checks.logs_in(old, node), node


def test_a_key_opens_ssh_with_the_clock_120_days_on(old: Rehearsal) -> None:
    guest_checks.assert_a_key_opens_in_days(old, old.standby, 120)


def test_a_second_boot_serves_the_same_set_soon_and_takes_no_vip_back(old: Rehearsal) -> None:
    was, stays = old.master, old.standby
    since = old.scene.wire().events[-1].at
    old.scene.vcenter(was, "ShutdownGuest")
    until(lambda: old.scene.power()[was] == "off", SERVING_S, "vCenter to hear that the guest is down")
    old.scene.vcenter(was, "PowerOnVM_Task")
    old.scene.wait_until_whole(SERVING_S)
    assert old.master == stays
    assert guest_checks.boot_of(old.scene.guest(was)).failed == ()  # it has its address, so nobody waits for DHCP
    assert guest_checks.differing_rules(old, was) == []
    assert guest_checks.differing_settings(old, was) == []
    assert old.masters_since(since) == []


def test_a_disabled_connection_server_keeps_its_clients(old: Rehearsal) -> None:
    """HAProxy 2.2 takes the 503 for down; its known clients try their server first all the same."""
    topology = old.scene.network.topology
    service = next(each for each in topology.services if each.name == "horizon")
    before = {client: old.scene.ask(service, source=client).server for client in topology.clients}
    quiesced = before[topology.client]
    stack_name = topology.backend(quiesced).server
    address = topology.nodes[old.master]
    control = Control(old.lab.paths.root)
    control.set(quiesced, "disable")
    try:

        def down() -> bool:
            body = request(old.scene.network.namespace("mgmt"), address, HEALTH_PORT, "/services/horizon").body
            return bool(json.loads(body)[stack_name][0] == 0)

        until(down, CHECKED_S, "HAProxy to see the 503")
        assert {client: old.scene.ask(service, source=client).server for client in topology.clients} == before
    finally:
        control.set(quiesced, "enable")
