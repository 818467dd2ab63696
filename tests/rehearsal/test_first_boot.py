"""What a first boot from the guestinfo that Pulumi wrote makes of a node, and what a second one keeps."""

from __future__ import annotations

import pytest
from pyVmomi import vim

from lab.system.waiting import COSTLY_S, until
from lab.traffic.request import Failed, request
from tests.deploy.harness import find
from tests.rehearsal import guest_checks
from tests.rehearsal.conftest import Rehearsal

BOOT_S = 90.0
BAR_S = 60.0  # from the beginning of `pulumi up` to serving, on two cores that do nothing else
FAR_BEYOND = 3  # what a busy machine may take longer
NODES = [0, 1]
RUNNING = "guestToolsRunning"


def test_pulumi_up_ends_with_a_pair_that_serves_and_one_master_from_the_first_packet(rehearsed: Rehearsal) -> None:
    rehearsed.deployed.ok()
    assert rehearsed.first.adverts
    assert rehearsed.first.dropped == 0
    assert rehearsed.first.two_masters() == []
    assert rehearsed.serving_s < FAR_BEYOND * BAR_S  # the figure itself is the bench's


def test_both_nodes_serve_the_set_that_the_stack_exports(pair: Rehearsal) -> None:
    wanted = pair.lab.outputs()["config_hash"]
    assert {answer.config_hash for answer in pair.scene.healths().values()} == {wanted}
    assert sorted(answer.vrrp for answer in pair.scene.healths().values()) == ["backup", "master"]
    assert pair.scene.health(pair.master).vrrp == "master"


@pytest.mark.parametrize("index", NODES)
def test_every_file_is_there_as_rendered_with_owner_and_mode(pair: Rehearsal, index: int) -> None:
    assert guest_checks.differing_files(pair, pair.scene.nodes[index]) == []


@pytest.mark.parametrize("index", NODES)
def test_no_unit_failed_and_cloud_init_had_no_error_and_is_done_for_ever(pair: Rehearsal, index: int) -> None:
    boot = guest_checks.boot_of(pair.scene.guest(pair.scene.nodes[index]))
    assert (boot.failed, boot.errors, boot.over) == ((), (), True)


@pytest.mark.parametrize("index", NODES)
def test_every_kernel_setting_is_as_rendered(pair: Rehearsal, index: int) -> None:
    assert guest_checks.differing_settings(pair, pair.scene.nodes[index]) == []


@pytest.mark.parametrize("index", NODES)
def test_the_packet_filter_is_the_rendered_one_line_by_line(pair: Rehearsal, index: int) -> None:
    assert guest_checks.differing_rules(pair, pair.scene.nodes[index]) == []


def test_one_rule_and_one_setting_more_or_less_would_be_noticed(pair: Rehearsal) -> None:
    node = pair.standby
    guest = pair.scene.guest(node)
    setting = "/proc/sys/net/ipv4/tcp_max_syn_backlog"
    before = guest.run("cat", setting).stdout.strip()
    guest.run("sh", "-c", f"echo 1024 > {setting}")
    guest.run("iptables", "-D", "INPUT", "-p", "112", "-j", "DROP")
    guest.run("iptables", "-t", "nat", "-A", "PREROUTING", "-j", "ACCEPT")
    guest.run("ip6tables", "-P", "FORWARD", "ACCEPT")
    try:
        assert guest_checks.differing_settings(pair, node) == [
            f"net.ipv4.tcp_max_syn_backlog is 1024, not {before}",
        ]
        assert guest_checks.differing_rules(pair, node) == [
            "iptables: -A INPUT -p vrrp -j DROP is not in force",
            "iptables: nat: -A PREROUTING -j ACCEPT is not in the set",
            "ip6tables: :FORWARD DROP is not in force",
            "ip6tables: :FORWARD ACCEPT is not in the set",
        ]
    finally:
        guest.run("iptables", "-t", "nat", "-F")
        guest.run("sh", "-c", f"echo {before} > {setting}")
        assert guest.run("systemctl", "reload", "iptables.service").returncode == 0
    assert guest_checks.differing_rules(pair, node) == []


def test_haproxy_runs_as_a_user_of_its_own(pair: Rehearsal) -> None:
    for node in pair.scene.nodes:
        guest = pair.scene.guest(node)
        unit = guest.run("systemctl", "show", "-P", "ControlGroup", "haproxy.service").stdout.strip()
        users = {
            guest.run("stat", "-c", "%U", f"/proc/{pid}").stdout.strip()
            for pid in guest.run("cat", f"/sys/fs/cgroup{unit}/cgroup.procs").stdout.split()
        }
        assert "haproxy" in users  # the master keeps root's rights for reloads, whoever talks to clients has none


def test_a_key_opens_ssh_on_day_one(pair: Rehearsal) -> None:
    for node in pair.scene.nodes:
        assert guest_checks.logs_in(pair, node), node


def test_no_password_opens_it_and_no_outsider_reaches_it(pair: Rehearsal) -> None:
    node = pair.scene.nodes[0]
    effective = pair.scene.guest(node).run("sshd", "-T").stdout.splitlines()
    assert "passwordauthentication no" in effective
    address = pair.scene.network.topology.nodes[node]
    with pytest.raises(Failed) as failed:
        request(pair.scene.network.namespace("out"), address, 22, limit_s=1.0)
    assert failed.value.outcome == "timeout"


def test_a_key_opens_ssh_with_the_clock_120_days_on(pair: Rehearsal) -> None:
    """Photon lets passwords age after 90 days, and an expired one keeps a login by key out too."""
    guest_checks.assert_a_key_opens_in_days(pair, pair.standby, 120)


@pytest.mark.parametrize("command", ["curl", "sudo", "pgrep", "ps"])
def test_a_guest_has_no_program_that_photon_lacks(pair: Rehearsal, command: str) -> None:
    assert pair.scene.guest(pair.standby).run("sh", "-c", f"command -v {command}").returncode != 0


def test_a_rebooted_node_keeps_its_set_and_its_name_and_takes_no_vip_back(pair: Rehearsal) -> None:
    was, stays = pair.master, pair.standby
    guest = pair.scene.guest(was)
    guest.run("touch", "/root/kept")
    wanted = pair.scene.health(was).config_hash
    since = pair.scene.wire().events[-1].at
    pair.scene.vcenter(was, "ShutdownGuest")
    until(lambda: pair.scene.power()[was] == "off", BOOT_S, "vCenter to hear that the guest is down")
    assert reported(pair, was)[1:] == ("guestToolsNotRunning", "notRunning")
    assert pair.master == stays
    pair.scene.vcenter(was, "PowerOnVM_Task")
    pair.scene.wait_until_whole(BOOT_S)
    assert pair.master == stays
    until(lambda: reported(pair, was) == (was, RUNNING, "running"), BOOT_S, "vCenter to know its tools", COSTLY_S)
    answer = pair.scene.health(was)
    assert (answer.config_hash, answer.vrrp) == (wanted, "backup")
    guest = pair.scene.guest(was)
    assert guest.run("test", "-e", "/root/kept").returncode == 0
    assert guest.run("uname", "-n").stdout.strip() == was
    assert pair.masters_since(since) == []


def test_a_reset_by_vcenter_is_a_power_failure_that_the_node_comes_back_from(pair: Rehearsal) -> None:
    was, stays = pair.master, pair.standby
    pair.scene.vcenter(was, "ResetVM_Task")
    until(lambda: pair.scene.master() == stays, BOOT_S, "the peer to have every VIP")
    pair.scene.wait_until_whole(BOOT_S)
    assert pair.master == stays


def test_vcenter_knows_name_address_and_tools_from_the_guest_itself(pair: Rehearsal) -> None:
    addresses = {node: str(address) for node, address in pair.scene.network.topology.nodes.items()}
    assert {name: machine.address for name, machine in pair.lab.machines().items()} == addresses
    for node in addresses:
        assert reported(pair, node) == (node, RUNNING, "running"), node


def reported(pair: Rehearsal, node: str) -> tuple[str, str, str]:
    """What vCenter has about a guest: its name, whether VMware Tools run in it, its state."""
    with pair.lab.vcenter() as service:
        guest = find(service, vim.VirtualMachine, node).guest
        return guest.hostName, guest.toolsRunningStatus, guest.guestState


def test_a_running_guest_sees_what_vcenter_changes_in_its_guestinfo(pair: Rehearsal) -> None:
    node = pair.standby
    guest = pair.scene.guest(node)
    began = guest.run("readlink", "/proc/1/ns/pid").stdout
    asked = "info-get guestinfo.lbstack-rehearsal"
    assert "No value found" in guest.run("vmware-rpctool", asked).stderr
    for value in ("first", "second"):
        pair.lab.reconfigure(node, extraConfig={"guestinfo.lbstack-rehearsal": value})
        until(lambda value=value: guest.run("vmware-rpctool", asked).stdout == value, BOOT_S, f"the {value} value")  # type: ignore[misc]
    pair.lab.reconfigure(node, extraConfig={"guestinfo.lbstack-rehearsal": ""})
    until(lambda: "No value found" in guest.run("vmware-rpctool", asked).stderr, BOOT_S, "the value to be gone")
    assert guest.run("readlink", "/proc/1/ns/pid").stdout == began  # it did not reboot in between
