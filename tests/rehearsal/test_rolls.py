"""Changes that `pulumi up` rolls over a pair that serves, each under traffic."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from functools import partial
from ipaddress import IPv4Address
from typing import Any

import pytest
from pyVmomi import vim

from lab.acts import roll
from lab.acts.stage import Stage, Verdict
from lab.guests.machine import Machine
from lab.home import stackfile
from lab.system.waiting import COSTLY_S, until
from lab.vcenter import machines
from lbstack.config.credentials import new_signing_key
from tests.deploy.harness import Config, find
from tests.rehearsal import forged
from tests.rehearsal.conftest import Rehearsal, changed_program
from tests.rehearsal.live import set_with

WHOLE_S = 180.0
THIRD = "portal"
THIRD_VIP = IPv4Address("192.168.6.125")
SERVICES = "lbstack:services"
NEW_SERVER = {"name": "AppVolumes_Manager_03", "address": "192.168.6.117"}
CHECKED_S = 75.0  # two checks of 30 s each, and what they wait for
ADMIN_SOCKET = "/run/haproxy/admin.sock"


def rolled(pair: Rehearsal, change: Callable[[Config], None]) -> Verdict:
    """A change that went through without a client noticing: nothing refused or late, standby first, one master."""
    verdict = roll.roll(pair.scene, print, print, edit=lambda: pair.lab.edit(change))
    assert verdict.passed, "\n".join(verdict.lines())
    wanted = pair.lab.outputs()["config_hash"]
    assert {answer.config_hash for answer in pair.scene.healths().values()} == {wanted}
    return verdict


def touched(verdict: Verdict) -> list[str]:
    """What vCenter did, in order."""
    return [event.removeprefix("vCenter: ") for _, event in sorted(verdict.timeline) if event.startswith("vCenter: ")]


def test_a_vip_comes_and_goes_the_latter_with_a_changed_timeout_and_other_servers(pair: Rehearsal) -> None:
    """Between the two reboots the nodes' lists differ, which two masters would come of without the anchor VIP.

    The second roll has three more kinds of change: a timeout, a server that is drained, and one that is new. The pair
    is changed as earlier releases changed it; ``test_live.py`` has the same without a reboot.
    """
    pair.lab.edit(lambda config: config.update({stackfile.ROLLOUT: {"mode": "reboot"}}))
    drained = pair.lab.config[SERVICES]["appvol"]["servers"][0]["name"]

    def add(config: Config) -> None:
        server = config[SERVICES]["horizon"]["servers"][0]
        config[SERVICES][THIRD] = {"kind": "tcp", "vip": str(THIRD_VIP), "port": 443, "servers": [server]}

    def remove_and_change(config: Config) -> None:
        del config[SERVICES][THIRD]
        config[SERVICES]["horizon"]["timeouts"] = {"tunnel": "5h"}
        config[SERVICES]["appvol"]["servers"][0]["state"] = "drain"
        config[SERVICES]["appvol"]["servers"].append(NEW_SERVER)

    for change in (add, remove_and_change):
        master, standby = pair.master, pair.standby
        verdict = rolled(pair, change)
        assert touched(verdict) == [f"reconfigure {standby}", f"reconfigure {master}"]
        assert pair.master == standby  # it moved once, when the master went down, and not back
        assert pair.scene.unserved() == []  # whole before and after, the new one too
        holders = {pair.scene.network.node_mac(standby)} if change is add else set()
        assert pair.scene.network.holders(THIRD_VIP) == holders
    for node in pair.scene.nodes:
        guest = pair.scene.guest(node)
        assert "timeout tunnel 5h" in guest.run("cat", "/etc/haproxy/haproxy.cfg").stdout
        until(partial(balances, guest, NEW_SERVER), CHECKED_S, f"{node} to use the new server", COSTLY_S)
        assert servers_of(guest)[drained][1] == "0"  # its weight
    pair.lab.edit(lambda config: config.pop(stackfile.ROLLOUT))


def balances(guest: Machine, server: Mapping[str, str]) -> bool:
    """Whether the HAProxy of a node has found a server well and gives it its share of new clients."""
    return servers_of(guest).get(server["name"]) == ("UP", "1", f"{server['address']}:443")


def servers_of(guest: Machine) -> dict[str, tuple[str, str, str]]:
    """What the HAProxy of a node reports about each server: its state, weight and address."""
    code = 'import socket;s=socket.socket(1);s.connect("{}");s.send(b"show stat\\n");print(s.makefile().read())'
    rows = guest.run("python3", "-c", code.format(ADMIN_SOCKET)).stdout.removeprefix("# ").splitlines()
    table = [row for row in csv.DictReader(rows) if row.get("svname")]
    return {row["svname"]: (row["status"].split()[0], row["weight"], row["addr"]) for row in table if row["addr"]}


def test_a_new_image_replaces_the_standby_and_then_the_master(pair: Rehearsal) -> None:
    master, standby = pair.master, pair.standby
    item = "photon-hw13_uefi-3.0-patched"
    pair.lab.add_item(item)
    before = {vm.name: vm.uuid for vm in pair.lab.machines().values()}

    def change(config: Config) -> None:
        config["lbstack:image"]["item"] = item

    verdict = rolled(pair, change)
    order = [f"destroy {standby}", f"create {standby}", f"destroy {master}", f"create {master}"]
    assert [event for event in touched(verdict) if not event.startswith("reconfigure")] == order
    assert not set(before.values()) & {vm.uuid for vm in pair.lab.machines().values()}


def test_a_set_that_haproxy_refuses_stops_at_the_standby_which_goes_on(
    pair: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    master, standby = pair.master, pair.standby
    served = pair.scene.health(master).config_hash
    good = pair.lab.paths.stack_file.read_text()
    of_master, last = forged.traces(pair, master), pair.lab.last_task()
    broken_program(pair, monkeypatch)
    with Stage(pair.scene, "a set that HAProxy refuses", print) as stage:
        for attempt in ("the first run", "a rerun"):
            result = pair.lab.up()
            assert result.code != 0, attempt
            assert f"{master} was left untouched: its peer {standby} has refused set" in result.text
            assert "the node's report on its last set: refused" in result.text
            assert "timer overflow in argument" in result.text
            assert "Traceback" not in result.text
            answers = pair.scene.healths()
            assert {answer.config_hash for answer in answers.values()} == {served}
            assert {node: answer.vrrp for node, answer in answers.items()} == {master: "master", standby: "backup"}
    recorded(stage)
    assert stage.evidence.report.failures() == []
    assert stage.evidence.record.two_masters() == []
    # Changed while it runs, and the master not at all.
    assert {(task["vm"], task["operation"]) for task in pair.lab.tasks(after=last)} == {(standby, "reconfigure")}
    assert forged.traces(pair, master) == of_master
    monkeypatch.undo()
    pair.lab.paths.stack_file.write_text(good)
    rolled(pair, lambda config: config[SERVICES]["horizon"].__setitem__("timeouts", {"tunnel": "6h"}))


def recorded(stage: Stage, *, watched: bool = True) -> None:
    """There were clients, and somebody who watched; without them nothing below is worth anything."""
    stage.check_clients()
    if watched:
        stage.check_watch()
    assert stage.verdict.passed, "\n".join(stage.verdict.lines())


def broken_program(pair: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program with a template that HAProxy refuses: its checkout is another one, everything else is the same.

    Its line has a form that the applier accepts, and a value that HAProxy does not.
    """
    place = pair.lab.paths.root / "broken"
    defaults = "\ndefaults\n"
    template = "cloudinit/haproxy.cfg.j2"
    monkeypatch.setattr(
        pair.lab, "program", changed_program(place, template, defaults, f"{defaults}    timeout client 99999999999s\n")
    )


def test_a_dead_node_is_repaired_by_up_while_the_other_serves(pair: Rehearsal) -> None:
    """As the runbook has it: a guest beyond repair is deleted in vCenter, and made again."""
    master, dead = pair.master, pair.standby
    guest = pair.scene.guest(dead)
    guest.run("sh", "-c", "rm -r /var/lib/lbstack /usr/sbin/haproxy && systemctl restart haproxy")
    until(lambda: not pair.scene.health(dead).serves, WHOLE_S, "the node to be broken")
    assert pair.scene.power()[dead] == "on"  # vCenter sees nothing wrong
    pair.lab.delete(dead)
    until(lambda: not pair.scene.unserved(), WHOLE_S, "the other one to serve")
    with Stage(pair.scene, "a dead node is repaired", print) as stage:
        pair.lab.up("--refresh", "--run-program").ok()
        pair.scene.wait_until_whole(WHOLE_S)
    recorded(stage, watched=False)  # a node without a peer has nobody to send adverts to
    assert stage.evidence.report.refused_or_timed_out() == []
    assert pair.master == master


def test_a_set_that_somebody_else_signed_is_refused_and_the_node_goes_on(pair: Rehearsal) -> None:
    """While it runs, and again at boot."""
    node = pair.standby
    served = pair.scene.health(node).config_hash
    before = pair.lab.guestinfo(node)

    def another_line(texts: dict[str, str]) -> None:
        texts["/etc/haproxy/haproxy.cfg"] += "# somebody else's line\n"

    forged, _ = set_with(pair, node, another_line, "somebody else's", new_signing_key())
    boots = boots_of(pair, node)
    pair.lab.reconfigure(node, extraConfig=forged)
    try:
        for where in ("while it runs", "at boot"):
            if where == "at boot":
                reboot(pair, node)
            answer = until(lambda: applied(pair, node, "refused"), WHOLE_S, f"the refusal {where} to be reported")
            assert forged["guestinfo.lbstack.hash"][:12] in answer.applied, where
            assert answer.config_hash == served, where
            assert answer.vrrp == "backup", where
        assert boots_of(pair, node) == boots + 1
    finally:
        pair.lab.reconfigure(node, extraConfig=before)
    until(lambda: applied(pair, node, "ok"), WHOLE_S, "its own set to be taken in again")
    pair.scene.wait_until_whole(WHOLE_S)


def applied(pair: Rehearsal, node: str, word: str) -> Any:
    """What a node answers, once it serves and its own word on its last set begins so."""
    answer = pair.scene.health(node)
    return answer if answer.serves and answer.applied.startswith(word) else None


def reboot(pair: Rehearsal, node: str) -> None:
    """Reboot a guest through vCenter."""
    boots = boots_of(pair, node)
    with pair.lab.vcenter() as service:
        find(service, vim.VirtualMachine, node).RebootGuest()
    until(lambda: boots_of(pair, node) > boots, WHOLE_S, f"{node} to reboot")


def boots_of(pair: Rehearsal, node: str) -> int:
    """How many times a VM has booted."""
    return next(vm.boots for vm in machines.virtual_machines(pair.lab.paths) if vm.name == node)
