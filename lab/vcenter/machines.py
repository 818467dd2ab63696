"""The VMs of the simulated vCenter as it reports them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.home.state import Paths
from lab.vcenter import control


@dataclass(frozen=True)
class VirtualMachine:
    """A VM as vCenter has it.

    Args:
        moref: vCenter's name for the object.
        name: The VM's name.
        uuid: Of the VM; another one after a replacement.
        power: ``on``, ``off`` or ``suspended``.
        boots: How many times it was powered on, reset or rebooted.
        pending: What its guest was asked to do: empty, ``shutdown`` or ``reboot``.
        guestinfo: Its guestinfo keys.
    """

    moref: str
    name: str
    uuid: str
    power: str
    boots: int
    pending: str
    guestinfo: Mapping[str, str]


def virtual_machines(paths: Paths) -> list[VirtualMachine]:
    """Every VM that vCenter has now.

    Raises:
        LabError: vCenter does not answer.
    """
    return parse(control.control(paths, "GET", "/vms"))


def parse(answer: Mapping[str, Any]) -> list[VirtualMachine]:
    """The VMs in an answer of the control socket."""
    return [VirtualMachine(**vm) for vm in answer["vms"]]
