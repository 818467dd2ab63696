"""What stands on a pair's VMs in vCenter besides what the last deployment wrote there: notes and tags.

Backup, monitoring and inventory products write on VMs, too. The provider reads all of it back, and would take off what
the program does not set. So the program looks first, and leaves alone what is not the stack's (``deploy/pair.py``).
Nothing is changed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lbstack.vcenter import rest, soap
from lbstack.vcenter.login import Login

VM_TYPE, GUESTINFO = "VirtualMachine", "guestinfo."


class NotSeen(Exception):
    """It could not be read; the message names the reason."""


@dataclass(frozen=True)
class Tag:
    """A tag in vCenter.

    Args:
        id: Its id.
        name: Its name.
        category: The name of its category.
        descriptions: Its description, and that of its category.
    """

    id: str
    name: str
    category: str
    descriptions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Marks:
    """What stands on one VM.

    Args:
        annotation: Its notes.
        cpus: How many CPUs it has.
        memory_mib: How much memory it has, in MiB.
        extra: Its guestinfo.
        tags: Its tags, by id.
    """

    annotation: str
    cpus: int
    memory_mib: int
    extra: Mapping[str, str]
    tags: tuple[Tag, ...] = ()


def marks_of(login: Login, paths: Mapping[str, str]) -> Mapping[str, Marks]:
    """Read what stands on VMs.

    Args:
        login: The vCenter.
        paths: Name of a node → inventory path of its VM.

    Returns:
        Name of a node → what stands on its VM; without the nodes whose VM is not there.

    Raises:
        NotSeen: The vCenter does not answer as it should.
    """
    try:
        found = _machines(login, paths)
        attached = _tags(login, [moref for moref, _ in found.values()]) if found else {}
        return {name: replace(marks, tags=attached[moref]) for name, (moref, marks) in found.items()}
    except Exception as error:  # of two libraries and the network; the run goes on without
        raise NotSeen(str(error) or type(error).__name__) from error


def _machines(login: Login, paths: Mapping[str, str]) -> dict[str, tuple[str, Marks]]:
    """Name of a node → its VM's managed object id, and what stands on it except for tags."""
    with soap.session(login) as service:
        index = service.RetrieveContent().searchIndex
        found: dict[str, Any] = {name: index.FindByInventoryPath(path) for name, path in paths.items()}
        return {name: (str(vm._moId), _marks(vm.config)) for name, vm in found.items() if _is_machine(vm)}  # noqa: SLF001 - pyVmomi has no other name for it


def _is_machine(found: Any) -> bool:
    """Whether what is at a path is a VM; a folder may have a node's name."""
    return found is not None and type(found).__name__.endswith(VM_TYPE) and found.config is not None


def _marks(config: Any) -> Marks:
    extra = {option.key: str(option.value) for option in config.extraConfig if option.key.startswith(GUESTINFO)}
    return Marks(str(config.annotation or ""), config.hardware.numCPU, config.hardware.memoryMB, extra)


def _tags(login: Login, morefs: Sequence[str]) -> dict[str, tuple[Tag, ...]]:
    """Managed object id → its tags."""
    session = rest.connect(login)
    attached = {
        moref: sorted(
            session.act(rest.ASSOCIATION, "list-attached-tags", {"object_id": {"id": moref, "type": VM_TYPE}}) or ()
        )
        for moref in morefs
    }
    tags = {key: session.named(rest.TAG, key) for key in sorted({key for keys in attached.values() for key in keys})}
    categories = {key: session.named(rest.CATEGORY, key) for key in {entry["category_id"] for entry in tags.values()}}

    def tag(key: str) -> Tag:
        entry = tags[key]
        category = categories[entry["category_id"]]
        descriptions = tuple(str(each.get("description", "")) for each in (entry, category))
        return Tag(key, str(entry["name"]), str(category["name"]), descriptions)

    return {moref: tuple(map(tag, keys)) for moref, keys in attached.items()}
