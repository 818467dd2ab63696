"""What vCenter holds around a pair, asked for in one session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lbstack.config.models import Placement
from lbstack.vcenter import soap, tree
from lbstack.vcenter.login import Login
from lbstack.vcenter.marks import VM_TYPE, Marks, marks_of, with_tags
from lbstack.vcenter.tree import Tree


@dataclass(frozen=True)
class Site:
    """What vCenter holds around a pair.

    Args:
        tree: The inventory.
        marks: Node → what stands on the VM that has its name in the pair's folder already.
    """

    tree: Tree
    marks: Mapping[str, Marks] = field(default_factory=dict)


def look(login: Login, placement: Placement, nodes: Sequence[str]) -> Site:
    """Ask vCenter.

    Raises:
        VcenterError: vCenter refuses, or does not answer.
    """
    with soap.session(login) as session:
        found = tree.read(session)
        marks: dict[str, Marks] = {}
        for datacenter in found.named("datacenter", placement.datacenter)[:1]:
            folder = f"{found.path(datacenter)}/vm/{(placement.folder or '').strip('/')}".rstrip("/")
            at = {node: session.at(f"{folder}/{node}") for node in nodes} if found.at(folder) else {}
            marks = marks_of(session, {node: here for node, here in at.items() if here and here[0] == VM_TYPE})
    return Site(found, with_tags(login, marks))


def elsewhere(login: Login, uuids: Mapping[str, str]) -> dict[str, Marks]:
    """Look for VMs that are not where the stack file has them, because somebody moved or renamed them.

    Args:
        login: The vCenter.
        uuids: Node → BIOS UUID of its VM.

    Raises:
        VcenterError: vCenter refuses, or does not answer.
    """
    if not uuids:
        return {}
    with soap.session(login) as session:
        at = {node: session.with_uuid(uuid) for node, uuid in uuids.items()}
        return marks_of(session, {node: here for node, here in at.items() if here})
