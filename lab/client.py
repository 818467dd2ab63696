"""An independent look at the lab's vCenter: pyVmomi, certificate verified, nothing of Pulumi in between."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pyVim.connect import Disconnect, SmartConnect
from pyVmomi import vim

from lab import certificates, stackfile, vsphere
from lab.credentials import credentials_of
from lab.errors import LabError
from lab.state import Paths

ANSWER_TIMEOUT_S = 30


@dataclass(frozen=True)
class Machine:
    """A VM as vCenter shows it.

    Args:
        name: Its name.
        uuid: Its BIOS UUID.
        power: ``on``, ``off`` or ``suspended``.
        address: What its guest reports; empty where nothing does.
    """

    name: str
    uuid: str
    power: str
    address: str


@contextmanager
def connect(paths: Paths) -> Iterator[Any]:
    """Log in to a lab's vCenter; gives its service instance and logs out at the end.

    Raises:
        LabError: It does not run or refuses the login.
    """
    current = vsphere.running(paths)
    if current is None:
        raise LabError(f"The vCenter of the lab at {paths.root} does not run. `make lab` starts it.")
    config = stackfile.read(paths.stack_file)["config"]
    context = ssl.create_default_context(cafile=certificates.ca_file(paths))
    try:
        service = SmartConnect(
            host=stackfile.HOST,
            port=current.port,
            user=str(config.get(stackfile.USER, "")),
            pwd=credentials_of(paths).vcenter_password,
            sslContext=context,
            httpConnectionTimeout=ANSWER_TIMEOUT_S,
        )
    except (OSError, vim.fault.InvalidLogin) as error:
        raise LabError(f"The lab's vCenter at {current.server} refuses: {getattr(error, 'msg', error)}") from error
    try:
        yield service
    finally:
        with suppress(OSError):
            Disconnect(service)


def machines(service: Any) -> list[Machine]:
    """Every VM of a vCenter, by name."""
    content = service.RetrieveContent()
    view = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], recursive=True)
    try:
        found = [_machine(machine) for machine in view.view]
    finally:
        view.Destroy()
    return sorted(found, key=lambda machine: machine.name)


def _machine(machine: Any) -> Machine:
    return Machine(
        name=str(machine.name),
        uuid=str(machine.config.uuid),
        power=str(machine.runtime.powerState).removeprefix("powered").lower(),
        address=str((machine.guest and machine.guest.ipAddress) or ""),
    )
