"""The part of a vCenter's inventory that a pair is placed in: names, paths, what belongs to what.

One question for the whole of it, so that a name is resolved here, with every candidate at hand, and not by a look-up
that answers "not found" for a name that is there twice. VMs are not part of it: there may be thousands.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lbstack.vcenter.soap import Reference, Session, Step

STANDARD = "standard"  # stands for a standard switch, whose name a vCenter does not tell
POOLS = ("ResourcePool", "VirtualApp")
KINDS: Mapping[str, tuple[str, ...]] = {
    "datacenter": ("Datacenter",),
    "cluster": ("ClusterComputeResource",),
    "datastore": ("Datastore",),
    "datastore cluster": ("StoragePod",),
    "network": ("Network", "DistributedVirtualPortgroup", "OpaqueNetwork"),
    "resource pool": POOLS,
    "folder": ("Folder",),
}
PROPERTIES: Mapping[str, Sequence[str]] = {
    "Folder": ("name", "parent"),
    "Datacenter": ("name", "parent", "vmFolder"),
    "ComputeResource": ("name", "parent", "resourcePool", "datastore", "network"),
    "ClusterComputeResource": ("name", "parent", "resourcePool", "datastore", "network"),
    "ResourcePool": ("name", "parent", "owner"),
    "VirtualApp": ("name", "parent", "owner"),
    "Datastore": ("name", "parent"),
    "StoragePod": ("name", "parent"),
    "Network": ("name", "parent"),
    "OpaqueNetwork": ("name", "parent"),
    "DistributedVirtualPortgroup": ("name", "parent", "config.distributedVirtualSwitch"),
    "DistributedVirtualSwitch": ("name", "parent"),
    "VmwareDistributedVirtualSwitch": ("name", "parent"),
}
_BELOW = ("folder", "hosts", "vms", "networks", "datastores", "pool", "pools")
STEPS = (
    Step("folder", "Folder", "childEntity", _BELOW),
    Step("hosts", "Datacenter", "hostFolder", ("folder",)),
    Step("vms", "Datacenter", "vmFolder", ("folder",)),
    Step("networks", "Datacenter", "networkFolder", ("folder",)),
    Step("datastores", "Datacenter", "datastoreFolder", ("folder",)),
    Step("pool", "ComputeResource", "resourcePool", ("pools",)),
    Step("pools", "ResourcePool", "resourcePool", ("pools",)),
)


@dataclass(frozen=True)
class Entry:
    """One object.

    Args:
        reference: Which it is.
        name: Its name, as people write it.
        properties: What else was read of it.
    """

    reference: Reference
    name: str
    properties: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Its id, as the provider takes it."""
        return self.reference[1]

    def target(self, name: str) -> Reference | None:
        """A property that refers to another object."""
        value = self.properties.get(name)
        return value if isinstance(value, tuple) else None

    def targets(self, name: str) -> Sequence[Reference]:
        """A property that refers to several."""
        value = self.properties.get(name)
        return value if isinstance(value, list) else ()


class Tree:
    """The inventory as it was at one moment.

    Args:
        entries: Every object of it.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = {entry.reference: entry for entry in entries}

    def path(self, entry: Entry) -> str:
        """Its inventory path, such as ``/Site/DC1/host/Cluster/Resources/balancers``."""
        parts: list[str] = []
        at: Entry | None = entry
        while at is not None and at.target("parent"):
            parts.append(at.name)
            at = self._entries.get(at.target("parent") or ("", ""))
        return "/" + "/".join(reversed(parts))

    def get(self, reference: Reference | None) -> Entry | None:
        """One object, where it may be seen."""
        return self._entries.get(reference) if reference else None

    def all(self, kind: str, within: Entry | None = None) -> list[Entry]:
        """Every object of a kind, in the order of their paths.

        Args:
            kind: A key of ``KINDS``.
            within: Only below this one.
        """
        start = self.path(within) + "/" if within else "/"
        found = [
            entry for entry in self._entries.values() if entry.reference[0] in KINDS[kind] and entry.target("parent")
        ]
        return sorted((entry for entry in found if self.path(entry).startswith(start)), key=self.path)

    def named(self, kind: str, wanted: str, within: Entry | None = None) -> list[Entry]:
        """Every object that a name could mean: by its name, by the end of its path, or by the whole of it."""
        wanted = urllib.parse.unquote(wanted)
        if wanted.startswith("/"):
            return [entry for entry in self.all(kind) if self.path(entry) == wanted.rstrip("/")]
        end = "/" + wanted.strip("/")
        if kind == "datacenter" and (at_root := [entry for entry in self.all(kind) if self.path(entry) == end]):
            return at_root  # which no longer path could tell from the others
        return [entry for entry in self.all(kind, within) if self.path(entry).endswith(end) or entry.name == wanted]

    def members(self, cluster: Entry) -> list[Entry]:
        """The datastores of a datastore cluster, in the order of their names."""
        found = (entry for entry in self.all("datastore") if entry.target("parent") == cluster.reference)
        return sorted(found, key=lambda entry: entry.name)

    def switch_of(self, network: Entry) -> str:
        """The name of a port group's distributed switch; ``standard`` for one that is on none."""
        switch = self.get(network.target("config.distributedVirtualSwitch"))
        return switch.name if switch else STANDARD

    def at(self, path: str) -> Entry | None:
        """The folder at an inventory path."""
        return next((entry for entry in self.all("folder") if self.path(entry) == path), None)


def read(session: Session) -> Tree:
    """Read it.

    Raises:
        VcenterError: vCenter refuses, or does not answer.
    """
    found = session.retrieve(PROPERTIES, [session.content["rootFolder"]], STEPS)
    return Tree(
        Entry(each.reference, urllib.parse.unquote(str(each.properties.get("name", ""))), each.properties)
        for each in found
    )
