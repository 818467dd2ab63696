"""After any fault of a node the VIPs are on exactly one healthy node, and service returns. The acts are the lab's."""

from __future__ import annotations

import pytest

from lab.acts import faults
from lab.acts.stage import Verdict
from lab.errors import LabError
from tests.rehearsal.conftest import Rehearsal

LEAVES_VIPS = ["haproxy", "hang", "keepalived", "node", "link"]
MOVE_S = 20.0
ADVERT_S = 1.0  # of the safe profile


def passed(verdict: Verdict) -> Verdict:
    """The verdict, which is good."""
    assert verdict.passed, "\n".join(verdict.lines())
    return verdict


@pytest.mark.parametrize("act", LEAVES_VIPS)
def test_what_befalls_the_master_moves_every_vip_to_the_peer_and_healing_moves_none_back(
    pair: Rehearsal, act: str
) -> None:
    was, stays = pair.master, pair.standby
    passed(faults.fail(pair.scene, act, was, print))
    assert pair.master == stays
    passed(faults.heal(pair.scene, print))
    assert pair.master == stays


@pytest.mark.parametrize("act", ["haproxy", "keepalived", "node"])
def test_what_befalls_the_standby_nobody_notices(pair: Rehearsal, act: str) -> None:
    stays = pair.master
    verdict = passed(faults.fail(pair.scene, act, pair.standby, print, seconds=0.1))
    assert pair.master == stays
    assert verdict.figures["failed"] == 0


@pytest.mark.parametrize("seconds", [5, 30])
def test_a_thawed_master_agrees_with_its_peer_within_one_advert(pair: Rehearsal, seconds: int) -> None:
    was = pair.master
    verdict = passed(faults.fail(pair.scene, "freeze", was, print, seconds=seconds))
    thawed = next(at for at, event in verdict.timeline if event == f"{was}: thawed")
    late = [(at, event) for at, event in verdict.timeline if at > thawed + ADVERT_S and "begins to advertise" in event]
    assert late == []
    assert len({node for nodes in pair.scene.holders().values() for node in nodes}) == 1  # by ARP


def test_a_partition_makes_two_masters_which_agree_within_one_advert_when_it_ends(pair: Rehearsal) -> None:
    verdict = passed(faults.fail(pair.scene, "partition", pair.master, print, seconds=2))
    split = next(event for _, event in verdict.timeline if event.startswith("the pair has settled"))
    both = " and ".join(sorted(pair.scene.nodes))
    assert [vip for vip in pair.scene.network.topology.vips if f"{vip} on {both}" not in split] == []
    assert any("since the network was whole again" in sentence for sentence, _ in verdict.checks)


def test_a_killed_keepalived_leaves_no_stray_vip(pair: Rehearsal) -> None:
    was = pair.master
    passed(faults.fail(pair.scene, "keepalived", was, print))
    vips = {str(vip) for vip in pair.scene.network.topology.vips}
    addresses = pair.scene.guest(was).run("ip", "-4", "-o", "address").stdout.split()
    assert not {word.partition("/")[0] for word in addresses} & vips


def test_nothing_befalls_a_pair_that_is_not_whole(pair: Rehearsal) -> None:
    pair.scene.guest(pair.standby).freeze()
    try:
        with pytest.raises(LabError, match="not whole"):
            faults.fail(pair.scene, "haproxy", "master", print)
    finally:
        passed(faults.heal(pair.scene, print))


def test_only_what_exists_can_befall_only_who_exists(pair: Rehearsal) -> None:
    with pytest.raises(LabError, match="there is: haproxy, hang, keepalived, node, freeze, link, partition"):
        faults.fail(pair.scene, "flood", "master", print)
    with pytest.raises(LabError, match="there is: PhotonLB-01, PhotonLB-02, master, standby"):
        faults.fail(pair.scene, "haproxy", "PhotonLB-03", print)


def test_a_network_that_vanished_comes_back_with_the_next_up(pair: Rehearsal) -> None:
    """The agent is killed, as by a machine that runs out of memory: the guests run on, and `up` finds them."""
    from lab.guests import agent  # noqa: PLC0415 - besides its one use
    from lab.vcenter import machines  # noqa: PLC0415 - besides its one use

    boots = {vm.name: vm.boots for vm in machines.virtual_machines(pair.lab.paths)}
    agent.stop(pair.lab.paths.root)
    assert pair.scene.whole() == ""
    pair.lab.cli("up").ok()
    assert {vm.name: vm.boots for vm in machines.virtual_machines(pair.lab.paths)} == boots
    pair.scene.wait_until_whole(MOVE_S)
