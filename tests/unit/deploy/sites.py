"""An inventory for the tests of the program: what its vCenter holds, and what a test adds or takes away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lbstack.vcenter.soap import Reference
from lbstack.vcenter.tree import Entry, Tree

DATACENTER, CLUSTER = ("Datacenter", "datacenter-2"), ("ClusterComputeResource", "domain-c1")
OTHER_CLUSTER = ("ClusterComputeResource", "domain-c2")
DATASTORE, NETWORK = ("Datastore", "datastore-1"), ("Network", "network-1")
ROOT_POOL, OTHER_ROOT_POOL = ("ResourcePool", "resgroup-1"), ("ResourcePool", "resgroup-2")
HOSTS, VMS, NETWORKS, DATASTORES = (("Folder", f"group-{letter}") for letter in "hvns")


def entry(reference: Reference, name: str, parent: Reference | None, **properties: Any) -> Entry:
    """One object."""
    named = {key.replace("__", "."): value for key, value in properties.items()}
    return Entry(reference, name, {"name": name, "parent": parent, **named} if parent else {"name": name, **named})


def pool(id_: str, name: str, parent: Reference, owner: Reference) -> Entry:
    """A resource pool."""
    return entry(("ResourcePool", id_), name, parent, owner=owner)


def folder(id_: str, name: str, parent: Reference = VMS) -> Entry:
    """A folder."""
    return entry(("Folder", id_), name, parent)


def port_group(id_: str, name: str, switch: Reference) -> Entry:
    """A distributed port group."""
    reference = ("DistributedVirtualPortgroup", id_)
    return entry(reference, name, NETWORKS, config__distributedVirtualSwitch=switch)


BASE = (
    entry(("Folder", "group-d1"), "Datacenters", None),
    entry(DATACENTER, "DC0", ("Folder", "group-d1")),
    folder("group-h", "host", DATACENTER),
    folder("group-v", "vm", DATACENTER),
    folder("group-n", "network", DATACENTER),
    folder("group-s", "datastore", DATACENTER),
    entry(CLUSTER, "DC0_C0", HOSTS, resourcePool=ROOT_POOL, datastore=[DATASTORE], network=[NETWORK]),
    pool("resgroup-1", "Resources", CLUSTER, CLUSTER),
    pool("resgroup-9", "balancers", ROOT_POOL, CLUSTER),
    entry(DATASTORE, "LocalDS_0", DATASTORES),
    entry(NETWORK, "VM Network", NETWORKS),
    folder("group-v8", "balancers"),
    folder("group-v9", "prod", ("Folder", "group-v8")),
)


def tree(added: Sequence[Entry] = (), without: Sequence[str] = ()) -> Tree:
    """The inventory.

    Args:
        added: Further objects; one with the id of another takes its place.
        without: The names of objects that are not there.
    """
    replaced = {each.reference for each in added}
    kept = [each for each in BASE if each.name not in without and each.reference not in replaced]
    return Tree([*kept, *added])
