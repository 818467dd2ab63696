"""Guests that booted from exactly the rendered guestinfo: what is in them, what the wire saw, what survives."""

from __future__ import annotations

import base64
import json
import subprocess
from ipaddress import IPv4Address

import pytest

from lab.machines import Machine
from lab.request import Failed
from lab.waiting import until
from tests.rehearsal.conftest import BootedPair
from tests.tiers import require

MOVE_S = 20.0  # three adverts of a second and the checks; the figures are the bench's
REBOOT_S = 60.0
HEALTH_PORT = 8405


def other(pair: BootedPair, name: str) -> str:
    """The node that is not this one."""
    return next(node for node in pair.machines if node != name)


def master(pair: BootedPair) -> str:
    """The one node that has all VIPs."""

    def holder() -> str | None:
        holders = {pair.holder(vip) for vip in pair.vips}
        return next(iter(holders)) if len(holders) == 1 else None

    return until(holder, MOVE_S, "one node to hold every VIP")


def health(pair: BootedPair, name: str) -> dict[str, str]:
    """What a node says about itself to the management station."""
    from lab.request import request  # noqa: PLC0415 - beside the one use

    node = next(node for node in pair.config.nodes if node.name == name)
    answer = request(pair.network.namespace("mgmt"), node.address, port=HEALTH_PORT, path="/health")
    return dict(json.loads(answer.body))


def test_both_nodes_serve_and_the_wire_never_saw_two_masters(pair: BootedPair) -> None:
    assert {health(pair, name)["hash"] for name in pair.machines} == {pair.rendered.config_hash}
    until(
        lambda: {health(pair, name)["vrrp"] for name in pair.machines} == {"master", "backup"},
        MOVE_S,
        "a master and a backup",
    )
    assert health(pair, master(pair))["vrrp"] == "master"


def test_from_the_first_packet_there_was_one_master(booted: BootedPair, pair: BootedPair) -> None:
    record = pair.record()
    assert record.adverts
    assert record.dropped == 0
    assert record.two_masters() == []


@pytest.mark.parametrize("index", [0, 1])
def test_every_file_is_there_as_rendered_with_owner_and_mode(pair: BootedPair, index: int) -> None:
    name = list(pair.machines)[index]
    machine = pair.machines[name]
    for path, file in pair.rendered.nodes[name].items():
        assert machine.run("cat", path).stdout == file.content, path
        stat = machine.run("stat", "-c", "%U:%G %04a", path).stdout.strip()
        assert stat == f"{file.owner} {file.mode:04o}", path


@pytest.mark.parametrize("index", [0, 1])
def test_no_unit_failed_and_cloud_init_is_done_for_ever(pair: BootedPair, index: int) -> None:
    machine = list(pair.machines.values())[index]
    until(
        lambda: machine.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded"),
        REBOOT_S,
        "the boot to end",
    )
    assert machine.run("systemctl", "--failed", "--no-legend", "--plain").stdout == ""
    assert json.loads(machine.run("cat", "/var/lib/cloud/data/result.json").stdout)["v1"]["errors"] == []
    assert machine.run("test", "-e", "/etc/cloud/cloud-init.disabled").returncode == 0


def test_the_packet_filter_and_the_kernels_settings_are_in_force(pair: BootedPair) -> None:
    for machine in pair.machines.values():
        rules = machine.run("iptables", "-S").stdout.splitlines()
        assert rules[:3] == ["-P INPUT DROP", "-P FORWARD DROP", "-P OUTPUT ACCEPT"]
        assert any("-p vrrp" in rule and "--ttl-eq 255" in rule for rule in rules)
        assert machine.run("cat", "/proc/sys/net/ipv4/ip_nonlocal_bind").stdout.strip() == "1"


def test_the_statistics_page_is_for_managers_alone(pair: BootedPair) -> None:
    from lab.request import request  # noqa: PLC0415

    stats = pair.config.stats
    answer = request(pair.network.namespace("mgmt"), stats.vip, port=stats.port, path="/stats")
    assert answer.status == 401
    with pytest.raises(Failed):
        request(pair.network.namespace("out"), stats.vip, port=stats.port, path="/stats", limit_s=1.0)


def test_a_key_opens_ssh_from_the_management_network_and_no_password_ages(pair: BootedPair) -> None:
    require("ssh")
    node = pair.config.nodes[0]
    command = [
        *("ssh", "-i", str(pair.state / "id_ed25519"), "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes"),
        *("-o", f"UserKnownHostsFile={pair.state / 'known_hosts'}", "-o", "ConnectTimeout=5"),
        *(f"root@{node.address}", "hostname"),
    ]
    result = subprocess.run(
        pair.network.command("mgmt", command), capture_output=True, text=True, timeout=REBOOT_S, check=False
    )
    assert result.stdout.strip() == node.name, result.stderr
    ageing = pair.machines[node.name].run("chage", "-l", "root").stdout
    assert ageing.count("never") == len(("password expires", "password inactive", "account expires")), ageing


def kill(machine: Machine, unit: str) -> None:
    """End a unit's main process without a word to it."""
    pid = machine.run("systemctl", "show", "-P", "MainPID", unit).stdout.strip()
    assert machine.run("kill", "-9", pid).returncode == 0


def test_a_killed_haproxy_gives_the_vips_to_the_peer_and_serves_again(pair: BootedPair) -> None:
    was = master(pair)
    kill(pair.machines[was], "haproxy.service")
    until(lambda: master(pair) != was, MOVE_S, "the VIPs to move")
    until(pair.serves, MOVE_S, "the services to answer")
    until(lambda: health(pair, was)["vrrp"] == "backup", MOVE_S, "the killed one to be standby")
    assert pair.record().two_masters() == []


def test_a_killed_keepalived_leaves_no_stray_vip(pair: BootedPair) -> None:
    was = master(pair)
    kill(pair.machines[was], "keepalived.service")
    until(pair.serves, MOVE_S, "the services to answer")
    assert master(pair) in pair.machines
    until(lambda: health(pair, was)["vrrp"] in ("backup", "master"), MOVE_S, "keepalived to run again")
    assert {pair.holder(vip) for vip in pair.vips} == {master(pair)}


def test_a_power_failure_moves_the_vips_and_the_return_takes_none_back(pair: BootedPair) -> None:
    was = master(pair)
    stays = other(pair, was)
    pair.machines[was].power_off()
    until(pair.serves, MOVE_S, "the peer to serve")
    assert master(pair) == stays
    returned = pair.record().started
    pair.machines[was].power_on()
    until(lambda: health(pair, was)["hash"] == pair.rendered.config_hash, REBOOT_S, "it to serve its set again")
    until(lambda: health(pair, was)["vrrp"] == "backup", MOVE_S, "it to be standby")
    assert master(pair) == stays
    assert pair.record().two_masters() == []
    assert returned


def test_a_shut_down_guest_hands_over_and_comes_back_from_the_same_root(pair: BootedPair) -> None:
    was = master(pair)
    machine = pair.machines[was]
    machine.run("touch", "/root/kept")
    machine.shut_down()
    assert not machine.running
    until(pair.serves, MOVE_S, "the peer to serve")
    machine.power_on()
    until(lambda: health(pair, was)["vrrp"] == "backup", REBOOT_S, "it to be standby")
    assert machine.run("test", "-e", "/root/kept").returncode == 0


def test_a_set_that_somebody_else_signed_is_refused_and_the_node_goes_on(pair: BootedPair) -> None:
    name = next(node for node in pair.machines if node != master(pair))
    machine = pair.machines[name]
    place = machine.own / "guestinfo"
    before = {file.name: file.read_text() for file in place.iterdir() if file.name.startswith("guestinfo.")}
    forged = base64.b64encode(
        b"#cloud-config\n"
        + json.dumps(
            {
                "write_files": [
                    {"path": "/var/lib/lbstack/staging/manifest.json", "content": "{}\n"},
                    {"path": "/var/lib/lbstack/staging/manifest.sig", "content": "AAAA\n"},
                ]
            }
        ).encode()
    ).decode()
    machine.give(before | {"guestinfo.userdata": forged, "guestinfo.userdata.encoding": "base64"})
    try:
        machine.shut_down()
        machine.power_on()
        until(lambda: "refused" in health(pair, name)["apply"], REBOOT_S, "the refusal to be told")
        assert health(pair, name)["hash"] == pair.rendered.config_hash
        until(lambda: health(pair, name)["vrrp"] == "backup", MOVE_S, "it to be standby")
    finally:
        machine.give(before)
        machine.shut_down()
        machine.power_on()


def test_a_frozen_master_thaws_into_one_master(pair: BootedPair) -> None:
    was = master(pair)
    pair.machines[was].freeze()
    try:
        until(lambda: health(pair, other(pair, was))["vrrp"] == "master", MOVE_S, "the peer to take over")
    finally:
        pair.machines[was].thaw()
    until(lambda: sorted(health(pair, name)["vrrp"] for name in pair.machines) == ["backup", "master"], MOVE_S, "peace")
    until(pair.serves, MOVE_S, "the services to answer")
    assert master(pair) in pair.machines


def test_the_vips_are_where_the_client_finds_them(pair: BootedPair) -> None:
    name = master(pair)
    mac = pair.machines[name].run("cat", "/sys/class/net/eth0/address").stdout.strip()
    for vip in pair.vips:
        assert pair.network.holders(IPv4Address(vip)) == {mac}
