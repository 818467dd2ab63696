"""How a VM is changed: what the engine may ignore of it, whose wait counts, and what a moved VM gets."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from lbstack.deploy import recorded
from lbstack.deploy.manner import booted_from_parts
from lbstack.deploy.site import Site
from lbstack.vcenter.marks import Marks
from tests.unit.deploy import sites
from tests.unit.deploy.conftest import Program, Run, plain
from tests.unit.deploy.support import VM


def ignored(run: Run, suffix: str) -> set[str]:
    """The properties of a node's VM whose change the engine ignores."""
    return set(run.one(VM, f"pair-{suffix}").request.ignoreChanges)


def test_the_provider_waits_for_addresses_only_where_no_gate_waits_for_the_nodes(program: Program) -> None:
    """A preview, since the gate of these tests has no nodes to ask."""
    for gated, minutes in ((True, 0), (False, 5)):
        run = program(stack={"rollout": {"gate": gated}}, preview=True)
        assert {node.inputs["waitForGuestNetTimeout"] for node in run.of_type(VM)} == {minutes}


HOW = {"extraConfigRebootRequired", "waitForGuestNetTimeout"}


def marked(run: Run, suffix: str, extra: Mapping[str, str]) -> Marks:
    """What stands on a VM of the stack's own."""
    node = run.one(VM, f"pair-{suffix}").inputs
    own = "lbstack: managed by Pulumi, stack lbstack/lab; changes made by hand are drift"
    return Marks(own, node["numCpus"], node["memory"], extra, moref=f"vm-{suffix}")


def test_how_a_vm_is_changed_is_no_change_of_a_pair_and_is_said_after_a_run_that_was_cut_short(
    program: Program,
) -> None:
    """Else the engine would send the set again, of which it does not know, with the flag of the run before it."""
    first = program()
    names = {"node1": "PhotonLB-01", "node2": "PhotonLB-02"}
    given = {suffix: plain(first.one(VM, f"pair-{suffix}").inputs["extraConfig"]) for suffix in names}
    other = {**given["node1"], "guestinfo.lbstack.hash": "b" * 64}
    whole = {name: marked(first, suffix, given[suffix]) for suffix, name in names.items()}
    run = program(site=Site(sites.tree(), whole))
    for suffix in names:
        assert ignored(run, suffix) >= HOW
    run = program(site=Site(sites.tree(), {**whole, "PhotonLB-01": marked(first, "node1", other)}))
    assert not HOW & ignored(run, "node1")
    assert HOW & ignored(run, "node2") == {"waitForGuestNetTimeout"}
    assert run.one(VM, "pair-node2").inputs["extraConfigRebootRequired"] is False


def test_a_vm_that_was_moved_is_looked_for_by_the_state_and_keeps_the_form_that_its_node_reads(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its node is silent: without the state it would be taken for one that does not exist yet."""
    first = program()
    asked: list[dict[str, str]] = []
    old = marked(
        first, "node1", {"guestinfo.userdata": "I2Nsb3VkLWNvbmZpZw==", "guestinfo.userdata.encoding": "base64"}
    )

    def elsewhere(_login: object, uuids: dict[str, str]) -> dict[str, Marks]:
        asked.append(uuids)
        return {"PhotonLB-01": old} if uuids else {}

    monkeypatch.setattr("lbstack.deploy.placement.elsewhere", elsewhere)
    state = recorded.Recorded({(VM, "pair-node1"): {"uuid": "uuid-1", "moid": "vm-node1"}})
    run = program(state=state)
    assert asked == [{"PhotonLB-01": "uuid-1"}]
    node = run.one(VM, "pair-node1").inputs
    assert node["extraConfigRebootRequired"] is True
    assert not booted_from_parts(plain(node["extraConfig"]))
    assert program().one(VM, "pair-node1").inputs["extraConfigRebootRequired"] is False
    assert asked[1:] == [{}]
