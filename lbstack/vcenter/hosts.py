"""On which hosts VMs run, as vCenter has it at this moment."""

from __future__ import annotations

from collections.abc import Mapping

from lbstack.vcenter import soap
from lbstack.vcenter.login import Login
from lbstack.vcenter.marks import VM_TYPE

NOWHERE = ("", "")


def hosts_of(login: Login, uuids: Mapping[str, str]) -> dict[str, str]:
    """The hosts of VMs.

    Args:
        login: The vCenter.
        uuids: Node → the BIOS UUID of its VM.

    Returns:
        Node → the name of its host; empty where there is no such VM, or the host may not be seen.

    Raises:
        VcenterError: vCenter refuses, or does not answer.
    """
    with soap.session(login) as session:
        machines = {node: session.with_uuid(uuid) for node, uuid in uuids.items()}
        found = session.retrieve({VM_TYPE: ["runtime.host"]}, [each for each in machines.values() if each])
        hosts: dict[soap.Reference, soap.Reference] = {
            each.reference: host for each in found if (host := each.properties.get("runtime.host"))
        }
        named = session.retrieve({"HostSystem": ["name"]}, sorted(set(hosts.values())))
        names = {each.reference: str(each.properties.get("name", "")) for each in named}
        return {
            node: names.get(hosts.get(machine) or NOWHERE, "") if machine else "" for node, machine in machines.items()
        }
