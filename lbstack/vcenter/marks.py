"""What stands on a pair's VMs in vCenter besides what the last deployment wrote there: notes and tags.

Backup, monitoring and inventory products write on VMs, too. The provider reads all of it back, and would take off what
the program does not set. So the program looks first, and leaves alone what is not the stack's (``deploy/foreign.py``).
Nothing is changed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lbstack.vcenter import rest
from lbstack.vcenter.login import Login
from lbstack.vcenter.soap import Reference, Session

VM_TYPE, GUESTINFO = "VirtualMachine", "guestinfo."
NOTES, CPUS, MEMORY, EXTRA, LOGGING, POWER = (
    "config.annotation",
    "config.hardware.numCPU",
    "config.hardware.memoryMB",
    "config.extraConfig",
    "config.flags.enableLogging",
    "runtime.powerState",
)
ON = "poweredOn"


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
        tags: Its tags, by id; None where they could not be read.
        moref: Its managed object id.
        logging: Whether it writes a log.
        runs: Whether it is powered on.
    """

    annotation: str
    cpus: int
    memory_mib: int
    extra: Mapping[str, str]
    tags: tuple[Tag, ...] | None = None
    moref: str = ""
    logging: bool = True
    runs: bool = True


def marks_of(session: Session, machines: Mapping[str, Reference]) -> dict[str, Marks]:
    """Read what stands on VMs, except for their tags.

    Args:
        session: A session of the SOAP API.
        machines: Name of a node → its VM.

    Raises:
        VcenterError: vCenter refuses, or does not answer.
    """
    found = session.retrieve({VM_TYPE: (NOTES, CPUS, MEMORY, EXTRA, LOGGING, POWER)}, list(machines.values()))
    read = {each.reference: each.properties for each in found}
    return {
        name: _marks(machine[1], read[machine]) for name, machine in machines.items() if CPUS in read.get(machine, {})
    }


def _marks(moref: str, found: Mapping[str, Any]) -> Marks:
    options = [option for option in found.get(EXTRA) or () if isinstance(option, Mapping)]
    extra = {str(option["key"]): str(option.get("value", "")) for option in options}
    kept = {key: value for key, value in extra.items() if key.startswith(GUESTINFO)}
    logging, runs = str(found.get(LOGGING, True)).lower() != "false", found.get(POWER, ON) == ON
    return Marks(
        str(found.get(NOTES, "")), int(found[CPUS]), int(found[MEMORY]), kept, None, moref, logging=logging, runs=runs
    )


def with_tags(login: Login, marks: Mapping[str, Marks]) -> dict[str, Marks]:
    """The same with the VMs' tags, which another API has; without them where that does not answer.

    Args:
        login: The vCenter.
        marks: Name of a node → what stands on its VM.
    """
    if not marks:
        return {}
    try:
        attached = _tags(login, [each.moref for each in marks.values()])
    except Exception:  # noqa: BLE001 - of the network and of an API with two forms; the run goes on without
        return dict(marks)
    return {name: replace(each, tags=attached[each.moref]) for name, each in marks.items()}


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
