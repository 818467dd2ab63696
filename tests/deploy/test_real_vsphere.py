"""What a vCenter with roles, several hosts, folders and names that are there twice does to a deployment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pyVmomi import vim

from lab.vcenter import control, machines, role
from tests.deploy.harness import Config, Harness, find, wait
from tests.deploy.review import report

NODES = ("PhotonLB-01", "PhotonLB-02")
VIOLATION = "This operation would violate a virtual machine affinity/anti-affinity rule."
SAME_HOST = "PhotonLB-01 and PhotonLB-02 run on the same host, DC0_C0_H0"
HOSTS = ("DC0_C0_H0", "DC0_C0_H1", "DC0_C0_H2")


def ask(lab: Harness, method: str, path: str, **body: object) -> Any:
    return control.control(lab.paths, method, path, body or None)


def on_one_host(lab: Harness) -> None:
    for machine in machines.virtual_machines(lab.paths):
        ask(lab, "POST", f"/vms/{machine.moref}/host", host=HOSTS[0])


def placement(**changes: object) -> Callable[[Config], None]:
    return lambda config: config["lbstack:placement"].update(changes)


def other_timeout(config: Config) -> None:
    config["lbstack:haproxy"] = {"logConnections": True}


def add_switch(lab: Harness, switch: str, port_group: str) -> None:
    """A distributed switch on the cluster's hosts, with a port group."""
    dvs: Any = vim.DistributedVirtualSwitch
    with lab.vcenter() as service:
        cluster = find(service, vim.ClusterComputeResource, "DC0_C0")
        members = [vim.dvs.HostMember.ConfigSpec(operation="add", host=host) for host in cluster.host]
        spec = dvs.CreateSpec(configSpec=dvs.ConfigSpec(name=switch))
        folder = service.RetrieveContent().rootFolder.childEntity[0].networkFolder
        wait(folder.CreateFolder("other").CreateDVS_Task(spec))  # a folder holds each name once
        made = find(service, dvs, switch)
        wait(made.ReconfigureDvs_Task(dvs.ConfigSpec(host=members)))
        group = vim.dvs.DistributedVirtualPortgroup.ConfigSpec(name=port_group, type="earlyBinding", numPorts=8)
        wait(made.AddDVPortgroup_Task([group]))


def line_with(text: str, path: str) -> str:
    (line,) = {line.strip() for line in text.splitlines() if line.strip().startswith(f"- {path}:")}
    return line


@pytest.mark.parametrize(
    ("privilege", "said"),
    [
        ("VirtualMachine.Config.SwapPlacement", "denied. Required privilege: VirtualMachine.Config.SwapPlacement"),
        ("VApp.Import", "403 Forbidden"),  # the provider shows no more of the REST API's answer
    ],
)
def test_without_a_privilege_of_the_role_nothing_is_deployed_and_with_it_everything_is(
    new_lab: Callable[[], Harness], privilege: str, said: str
) -> None:
    lab = new_lab()
    lab.prepare()
    whole = role.privileges()
    ask(lab, "POST", "/role", privileges=[each for each in whole if each != privilege])
    refused = lab.up().refused()
    assert said in refused.text
    assert lab.machines() == {}  # the provider removes a VM that it could not finish
    ask(lab, "POST", "/role", privileges=whole)
    lab.up().ok()
    assert set(lab.machines()) == set(NODES)


def test_both_vms_on_one_host_are_a_warning_of_the_preview_and_no_drift(pair: Harness) -> None:
    assert SAME_HOST not in pair.preview("--expect-no-changes").ok().text
    on_one_host(pair)
    assert SAME_HOST in pair.preview("--expect-no-changes").ok().text
    pair.drift().ok()
    found = report(pair)
    assert [text for text in found["warnings"] if SAME_HOST in text]
    with pair.edited(placement(antiAffinity="off")):
        assert SAME_HOST not in pair.preview().ok().text


def test_an_up_whose_vms_end_on_one_host_warns(pair: Harness) -> None:
    on_one_host(pair)
    ask(pair, "POST", "/cluster", drs=False)
    try:
        with pair.edited(other_timeout):
            assert SAME_HOST in pair.up().ok().text
    finally:
        ask(pair, "POST", "/cluster", drs=True)
    pair.up().ok()


@pytest.mark.parametrize(("wish", "refused"), [("mandatory", True), ("preferred", False)])
def test_with_one_usable_host_a_mandatory_rule_keeps_a_node_off_and_a_preferred_one_does_not(
    pair: Harness, wish: str, *, refused: bool
) -> None:
    pair.edit(placement(antiAffinity=wish))
    pair.up().ok()
    ask(pair, "POST", "/cluster", drs=False)
    on_one_host(pair)
    ask(pair, "POST", "/cluster", drs=True)
    for host in HOSTS[1:]:
        ask(pair, "POST", f"/hosts/{host}", available=False)
    try:
        pair.edit(other_timeout)
        pair.edit(lambda config: config.update({"lbstack:rollout": config["lbstack:rollout"] | {"mode": "reboot"}}))
        changed = pair.up()
        if refused:
            assert VIOLATION in changed.refused().text
            assert pair.machines()[NODES[1]].power == "off"
        else:
            assert SAME_HOST in changed.ok().text
    finally:
        for host in HOSTS[1:]:
            ask(pair, "POST", f"/hosts/{host}", available=True)
    pair.up().ok()


def test_a_stack_that_had_the_old_default_changes_its_rule_in_place_and_nothing_else(pair: Harness) -> None:
    pair.edit(placement(antiAffinity="mandatory"))
    pair.up().ok()
    assert [rule.mandatory for rule in pair.rules()] == [True]
    mark = pair.last_task()
    pair.edit(lambda config: config["lbstack:placement"].pop("antiAffinity"))
    planned = pair.preview("--diff").ok()
    assert planned.steps() == [("update", "pair-rule")]
    assert "mandatory: true => false" in planned.text
    pair.up().ok()
    assert [rule.mandatory for rule in pair.rules()] == [False]
    assert pair.tasks(mark) == []  # no VM was touched


def test_a_pool_of_another_cluster_is_refused_before_anything_is_made(pair: Harness) -> None:
    pair.govc("pool.create", "/DC0/host/DC0_H0/Resources/elsewhere")
    mark = pair.last_task()
    try:
        with pair.edited(placement(resourcePool="elsewhere")):
            line = line_with(pair.up().refused().text, "placement.resourcePool")
    finally:
        pair.govc("pool.destroy", "/DC0/host/DC0_H0/Resources/elsewhere")
    assert "one of another cluster (/DC0/host/DC0_H0/Resources/elsewhere), not of 'DC0_C0'" in line
    assert "There is: /DC0/host/DC0_C0/Resources." in line
    assert pair.tasks(mark) == []


def test_a_pool_that_two_clusters_have_is_that_of_the_cluster_and_a_path_tells_two_of_one_cluster_apart(
    pair: Harness,
) -> None:
    own = "/DC0/host/DC0_C0/Resources"
    for path in (f"{own}/twice", f"{own}/twice/twice", "/DC0/host/DC0_H0/Resources/twice"):
        pair.govc("pool.create", path)
    try:
        with pair.edited(placement(resourcePool="twice")):
            line = line_with(pair.preview().refused().text, "placement.resourcePool")
            assert f"ambiguous: {own}/twice, {own}/twice/twice" in line
            assert "DC0_H0" not in line
        for path in ("Resources/twice", "twice/twice"):
            with pair.edited(placement(resourcePool=path)):
                pair.preview().ok()
    finally:
        for path in (f"{own}/twice/twice", f"{own}/twice", "/DC0/host/DC0_H0/Resources/twice"):
            pair.govc("pool.destroy", path)


def test_a_port_group_of_one_name_on_two_switches_is_told_apart_by_its_switch(
    new_lab: Callable[[], Harness],
) -> None:
    name, pair = "VM Network", new_lab()
    pair.prepare()
    pair.up().ok()
    add_switch(pair, "DVS1", name)
    line = line_with(pair.preview().refused().text, "placement.network")
    assert "ambiguous: /DC0/network/VM Network on standard, /DC0/network/other/VM Network on DVS1" in line
    assert "placement.networkSwitch" in line
    with pair.edited(placement(networkSwitch="standard")):
        pair.preview("--expect-no-changes").ok()
    with pair.edited(placement(networkSwitch="DVS9")):
        line = line_with(pair.preview().refused().text, "placement.networkSwitch")
        assert "There is: DVS1, standard." in line
    with pair.edited(placement(networkSwitch="DVS1")):
        assert set(pair.preview().ok().steps()) == {("update", "pair-node1"), ("update", "pair-node2")}


def test_a_vm_of_a_nodes_name_that_is_not_the_stacks_is_refused_before_anything_is_made(
    new_lab: Callable[[], Harness],
) -> None:
    lab = new_lab()
    lab.prepare()
    lab.govc("folder.create", "/DC0/vm/lbstack-lab")
    there = [
        "-ds",
        "LocalDS_0",
        "-folder",
        "/DC0/vm/lbstack-lab",
        "-pool",
        "/DC0/host/DC0_C0/Resources",
        "-net",
        "VM Network",
    ]
    lab.govc("vm.create", *there, "-on=false", NODES[0])
    line = line_with(lab.up().refused().text, "placement.folder")
    assert f"a VM '{NODES[0]}' that this stack has not made is in the folder already" in line
    assert set(lab.machines()) == {NODES[0]}


def test_create_folder_makes_what_is_missing_and_uses_and_leaves_what_is_there(new_lab: Callable[[], Harness]) -> None:
    lab = new_lab()
    lab.prepare()
    lab.govc("folder.create", "/DC0/vm/shared")
    lab.edit(placement(folder="shared/team/balancers"))
    lab.up().ok()
    lab.preview("--expect-no-changes").ok()
    lab.drift().ok()
    assert {"shared", "team", "balancers"} <= set(lab.folders())
    # A folder that somebody has made in the meantime is used; the own ones go, the other stays.
    lab.govc("folder.create", "/DC0/vm/ready")
    lab.edit(placement(folder="ready"))
    lab.up().ok()
    lab.preview("--expect-no-changes").ok()
    assert {"shared", "ready"} <= set(lab.folders())
    assert not {"team", "balancers"} & set(lab.folders())
    lab.destroy().ok()
    assert {"shared", "ready"} <= set(lab.folders())


def test_a_datacenter_inside_a_folder_is_found_and_its_path_is_used(new_lab: Callable[[], Harness]) -> None:
    lab = new_lab()
    lab.prepare()
    lab.govc("folder.create", "/Site")
    lab.govc("object.mv", "/DC0", "/Site")
    lab.govc("folder.create", "/Site/DC0/vm/balancers")
    lab.edit(placement(folder="balancers", createFolder=False, datacenter="DC0"))
    lab.up().ok()
    lab.edit(placement(datacenter="Site/DC0"))
    lab.preview("--expect-no-changes").ok()
    lab.edit(placement(folder="nowhere"))
    line = line_with(lab.preview().refused().text, "placement.folder")
    assert "There is: balancers." in line


def test_a_rule_that_vanished_with_its_last_member_is_made_again_by_an_up_with_refresh(pair: Harness) -> None:
    ask(pair, "POST", "/cluster", rulesVanish=True)
    try:
        for node in NODES:
            pair.delete(node)
        assert pair.rules() == []
        pair.up("--refresh", "--run-program").ok()
        assert [len(rule.vm) for rule in pair.rules()] == [len(NODES)]
        pair.preview("--expect-no-changes").ok()
    finally:
        ask(pair, "POST", "/cluster", rulesVanish=False)
