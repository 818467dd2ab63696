"""Find the guest of a VM, and its files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lab.guests.machine import Machine
from lab.home.state import Paths
from lab.network.network import Network
from lab.vcenter.machines import VirtualMachine, virtual_machines


def directory_of(state: Path) -> Path:
    """Where the guests' roots are."""
    return state / "machines"


def machine_of(paths: Paths, network: Network, vm: VirtualMachine, lower: Sequence[Path] = ()) -> Machine:
    """The guest of a VM, whether or not it runs.

    Args:
        paths: The lab.
        network: Its network.
        vm: The VM.
        lower: The directories of its root; only booting needs them.
    """
    return Machine(vm.name, network, directory_of(paths.root) / vm.uuid, tuple(lower))


def guests(paths: Paths, network: Network) -> dict[str, Machine]:
    """The guests of all VMs by name, for callers that act on one.

    Raises:
        LabError: vCenter does not answer.
    """
    return {vm.name: machine_of(paths, network, vm) for vm in virtual_machines(paths)}
