"""Read the lab's vCenter independently of Pulumi: pyVmomi, with a verified certificate."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pyVim.connect import Disconnect, SmartConnect
from pyVmomi import vim, vmodl

from lab.errors import LabError
from lab.home import certificates, stackfile
from lab.home.credentials import credentials_of
from lab.home.state import Paths
from lab.system.waiting import until
from lab.vcenter import server

ANSWER_TIMEOUT_S = 30
TASK_S = 60.0


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
    """Log in to a lab's vCenter as its administrator; gives its service instance and logs out at the end.

    Raises:
        LabError: It does not run or refuses the login.
    """
    current = server.running(paths)
    if current is None:
        raise LabError(f"The vCenter of the lab at {paths.root} does not run. `make lab` starts it.")
    context = ssl.create_default_context(cafile=certificates.ca_file(paths))
    try:
        service = SmartConnect(
            host=stackfile.HOST,
            port=current.port,
            user=stackfile.ADMINISTRATOR,
            pwd=credentials_of(paths).administrator_password,
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
    rows = properties(service, vim.VirtualMachine, ["name", "config.uuid", "runtime.powerState", "guest.ipAddress"])
    found = [
        Machine(
            name=str(row["name"]),
            uuid=str(row.get("config.uuid", "")),
            power=str(row["runtime.powerState"]).removeprefix("powered").lower(),
            address=str(row.get("guest.ipAddress") or ""),
        )
        for row in rows
    ]
    return sorted(found, key=lambda machine: machine.name)


def act(paths: Paths, name: str, method: str, *arguments: object, **named: object) -> None:
    """Let vCenter do something to a VM, as a person in its client does, and wait for the task's end.

    Args:
        paths: The lab.
        name: The VM's.
        method: Such as ``PowerOnVM_Task`` or ``ShutdownGuest``.
        arguments: Its arguments.
        named: Its named arguments.

    Raises:
        LabError: There is no such VM, or vCenter refuses, or the task fails.
    """
    with connect(paths) as service:
        content = service.RetrieveContent()
        view = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], recursive=True)
        machine = next((found for found in view.view if found.name == name), None)
        if machine is None:
            raise LabError(f"vCenter has no VM {name!r}.")
        try:
            task = getattr(machine, method)(*arguments, **named)
            if task is None:
                return
            state = until(
                lambda: task.info.state in ("success", "error") and task.info.state, TASK_S, f"{method} of {name}"
            )
            if state == "error":
                raise LabError(f"vCenter: {method} of {name} failed: {task.info.error.msg}")
        except vim.fault.VimFault as error:
            reason = getattr(error, "msg", None) or type(error).__name__
            raise LabError(f"vCenter refuses {method} of {name}: {reason}") from error


def properties(service: Any, kind: type[Any], paths: list[str]) -> list[dict[str, Any]]:
    """Some properties of every managed object of a kind, in one question; unset ones are left out.

    Args:
        service: From ``connect``.
        kind: For example ``vim.VirtualMachine``.
        paths: For example ``["name", "runtime.powerState"]``.
    """
    content = service.RetrieveContent()
    view = content.viewManager.CreateContainerView(content.rootFolder, [kind], recursive=True)
    query = vmodl.query.PropertyCollector
    step = query.TraversalSpec(name="view", type=vim.view.ContainerView, path="view", skip=False)
    spec = query.FilterSpec(
        objectSet=[query.ObjectSpec(obj=view, skip=True, selectSet=[step])],
        propSet=[query.PropertySpec(type=kind, pathSet=paths)],
    )
    try:
        result = content.propertyCollector.RetrievePropertiesEx([spec], query.RetrieveOptions())
        rows = [{entry.name: entry.val for entry in found.propSet} for found in (result.objects if result else [])]
        while result and result.token:
            result = content.propertyCollector.ContinueRetrievePropertiesEx(result.token)
            rows += [{entry.name: entry.val for entry in found.propSet} for found in result.objects]
        return rows
    finally:
        view.Destroy()
