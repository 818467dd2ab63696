"""What stands on a pair's VMs in vCenter besides what the last deployment wrote there: notes and tags.

Backup, monitoring and inventory products write on VMs, too. The provider reads all of it back, and would take off what
the program does not set. So the program looks first, and leaves alone what is not the stack's (``deploy/pair.py``).
Nothing is changed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lbstack.vcenter import rest, soap
from lbstack.vcenter.login import Login

VM_TYPE = "VirtualMachine"


class NotSeen(Exception):
    """It could not be read; the message names the reason."""


@dataclass(frozen=True)
class Tag:
    """A tag in vCenter: its id, its name and the id of its category."""

    id: str
    name: str
    category: str


@dataclass(frozen=True)
class Marks:
    """What stands on one VM.

    Args:
        annotation: Its notes.
        tags: Its tags; None where nobody asked for them.
    """

    annotation: str
    tags: tuple[Tag, ...] | None = None


def marks_of(login: Login, paths: Mapping[str, str], *, tags: bool) -> Mapping[str, Marks]:
    """Read what stands on VMs.

    Args:
        login: The vCenter.
        paths: Name of a node → inventory path of its VM.
        tags: Whether their tags are wanted, which are asked for in another API.

    Returns:
        Name of a node → what stands on its VM; without the nodes whose VM is not there.

    Raises:
        NotSeen: The vCenter does not answer as it should.
    """
    try:
        found = _annotations(login, paths)
        if not found or not tags:
            return {name: Marks(annotation) for name, (_, annotation) in found.items()}
        attached = _tags(login, [moref for moref, _ in found.values()])
        return {name: Marks(annotation, attached[moref]) for name, (moref, annotation) in found.items()}
    except Exception as error:  # of two libraries and the network; the run goes on without
        raise NotSeen(str(error) or type(error).__name__) from error


def _annotations(login: Login, paths: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Name of a node → its VM's managed object id, and its notes."""
    with soap.session(login) as service:
        index = service.RetrieveContent().searchIndex
        found: dict[str, Any] = {name: index.FindByInventoryPath(path) for name, path in paths.items()}
        return {
            name: (str(vm._GetMoId()), str(vm.summary.config.annotation or ""))  # noqa: SLF001 - pyVmomi's only name for it
            for name, vm in found.items()
            if vm is not None and hasattr(vm, "summary")
        }


def _tags(login: Login, morefs: Sequence[str]) -> dict[str, tuple[Tag, ...]]:
    """Managed object id → its tags."""
    session = rest.connect(login)
    path, known = "cis/tagging/tag", dict[str, Tag]()
    output = {}
    for moref in morefs:
        ids = session.act(f"{path}-association", "list-attached-tags", {"object_id": {"id": moref, "type": VM_TYPE}})
        for identity in ids or ():
            if identity not in known:
                entry = session.named(path, identity)
                known[identity] = Tag(identity, str(entry["name"]), str(entry["category_id"]))
        output[moref] = tuple(known[identity] for identity in sorted(ids or ()))
    return output
