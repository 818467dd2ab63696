"""How tests of the review part run ``lbstack`` against a lab, and what they look at while it runs."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psutil
from pyVmomi import vim

from tests.deploy.engine import Result, run
from tests.deploy.harness import Harness, find

STACK = "lab"
MASTER, STANDBY = "PhotonLB-01", "PhotonLB-02"
LOOK_EVERY_S = 0.01


def lbstack(lab: Harness, *arguments: str, environment: Mapping[str, str] | None = None, given: str = "") -> Result:
    """Run ``lbstack`` as a member of the lab."""
    command = [sys.executable, "-m", "lbstack", *arguments]
    return run(command, lab.workspace.environment() | dict(environment or {}), cwd=lab.program, given=given)


def report(lab: Harness) -> dict[str, Any]:
    """The report of ``lbstack preview`` as data."""
    return dict(json.loads(lbstack(lab, "preview", STACK, "--json").ok().out))


def drift(found: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """The drift of a report by place and kind."""
    return {(item["where"], item["what"]): item for item in found["drift"]}


def move_to_another_network(lab: Harness, name: str) -> str:
    """Put a VM's network card into the distributed port group behind Pulumi's back; the group's id."""
    with lab.vcenter() as service:
        content = service.RetrieveContent()
        kinds = [vim.dvs.DistributedVirtualPortgroup]
        view = content.viewManager.CreateContainerView(content.rootFolder, kinds, recursive=True)
        group = next(entity for entity in view.view if "Uplinks" not in entity.name)
        machine = find(service, vim.VirtualMachine, name)
        card = next(
            device for device in machine.config.hardware.device if isinstance(device, vim.vm.device.VirtualEthernetCard)
        )
        port = vim.dvs.PortConnection(portgroupKey=group.key, switchUuid=group.config.distributedVirtualSwitch.uuid)
        card.backing = vim.vm.device.VirtualEthernetCard.DistributedVirtualPortBackingInfo(port=port)
        identity = str(group._moId)
    lab.reconfigure(name, deviceChange=[vim.vm.device.VirtualDeviceSpec(operation="edit", device=card)])
    return identity


def switch_rule(lab: Harness, *, on: bool) -> None:
    """Switch the anti-affinity rule on or off behind Pulumi's back."""
    (rule,) = lab.rules()
    rule.enabled = on
    lab.reconfigure_rule("edit", rule)


def remove_machine(lab: Harness, name: str) -> None:
    """Delete a VM behind Pulumi's back."""
    # pyVim's wait stumbles over a task whose VM is already gone.
    with contextlib.suppress(AttributeError):
        lab.delete(name)
    assert name not in lab.machines()


@contextmanager
def watched_arguments() -> Iterator[set[str]]:
    """The arguments of every process of this machine that runs during the block."""
    seen: set[str] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for process in psutil.process_iter(["cmdline"]):
                if process.pid != os.getpid():
                    seen.add(" ".join(process.info["cmdline"] or ()))
            done.wait(LOOK_EVERY_S)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()
