"""Names in an inventory: by name, by the end of a path, by the whole of it, and twice."""

from __future__ import annotations

import pytest

from lbstack.vcenter.tree import STANDARD, Tree
from tests.unit.deploy import sites

SITE = ("Folder", "group-d2")
SWITCH = ("VmwareDistributedVirtualSwitch", "dvs-1")
TREE = sites.tree(
    [
        sites.entry(SITE, "Site", ("Folder", "group-d1")),
        sites.entry(("Datacenter", "datacenter-3"), "DC1", SITE),
        sites.entry(SWITCH, "DVS1", sites.NETWORKS),
        sites.port_group("dvportgroup-1", "VM Network", SWITCH),
        sites.pool("resgroup-7", "balancers", ("ResourcePool", "resgroup-9"), sites.CLUSTER),
    ]
)


def paths(tree: Tree, kind: str, wanted: str) -> list[str]:
    return [tree.path(entry) for entry in tree.named(kind, wanted)]


@pytest.mark.parametrize(
    ("kind", "wanted", "found"),
    [
        ("datacenter", "DC0", ["/DC0"]),
        ("datacenter", "DC1", ["/Site/DC1"]),
        ("datacenter", "Site/DC1", ["/Site/DC1"]),
        ("datacenter", "DC2", []),
        ("cluster", "DC0_C0", ["/DC0/host/DC0_C0"]),
        ("cluster", "C0", []),
        ("folder", "balancers/prod", ["/DC0/vm/balancers/prod"]),
        (
            "resource pool",
            "balancers",
            ["/DC0/host/DC0_C0/Resources/balancers", "/DC0/host/DC0_C0/Resources/balancers/balancers"],
        ),
        ("resource pool", "Resources/balancers", ["/DC0/host/DC0_C0/Resources/balancers"]),
        ("resource pool", "balancers/balancers", ["/DC0/host/DC0_C0/Resources/balancers/balancers"]),
        ("network", "VM Network", ["/DC0/network/VM Network", "/DC0/network/VM Network"]),
    ],
)
def test_a_name_finds_all_that_it_can_mean(kind: str, wanted: str, found: list[str]) -> None:
    assert paths(TREE, kind, wanted) == found


def test_a_port_group_knows_its_switch() -> None:
    assert {TREE.switch_of(entry) for entry in TREE.named("network", "VM Network")} == {"DVS1", STANDARD}
