"""Keep one guest as vCenter has its VM: start, stop and restart it, and report its state."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.guests.layers import ensure_layers, image_of
from lab.guests.machine import Machine
from lab.guests.roster import machine_of
from lab.guests.tools import GuestReport, Tools
from lab.home import stackfile
from lab.home.state import Paths
from lab.network.network import Network, lab_id
from lab.network.topology import Topology
from lab.servers import farm
from lab.vcenter import control
from lab.vcenter.machines import VirtualMachine

POLL_S = 0.25  # how soon vCenter learns what a guest has done by itself
REPORT_S = 1.0  # VMware Tools report a changed address within seconds
BOOTED = "boots"  # file: the number of the boot that a running guest is of


def log(line: str) -> None:
    """A line of this program's log."""
    print(time.strftime("%H:%M:%S"), line, flush=True)


class World:
    """What all keepers share: the lab, its network, its image.

    Args:
        paths: The lab.
    """

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self._lock = threading.Lock()
        self._read = ""
        self.network = Network(lab_id(paths.root), None)
        self.lower: tuple[Path, ...] = ()
        self.follow_stack_file()

    def follow_stack_file(self) -> None:
        """Read addresses and servers from the stack file; the earlier ones stay where it is wrong."""
        text = self.paths.stack_file.read_text(encoding="utf-8")
        with self._lock:
            if text == self._read:
                return
            first, self._read = not self._read, text
            config = stackfile.read(self.paths.stack_file)["config"]
            try:
                network = Network(self.network.identity, Topology.of(config))
            except LabError as error:
                if first:
                    raise
                log(f"the stack file is left alone: {error}")
                return
            if not first and network.topology != self.network.topology:
                network.up()
                farm.start(network, self.paths.root, self.paths.logs)
            self.network = network
            self.lower = ensure_layers(image_of(config), log)


class Keeper(threading.Thread):
    """Lets one guest be what its VM is.

    Args:
        world: The lab.
        name: The VM's name.
    """

    def __init__(self, world: World, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._world = world
        self._changed = threading.Condition()
        self._wanted: VirtualMachine | None = None
        self._machine: Machine | None = None
        self._given: Mapping[str, str] | None = None
        self._tools: Tools | None = None
        self._reported: GuestReport | None = None
        self._asked = ""
        self._suspended = False
        self._looked = 0.0
        self._failed: VirtualMachine | None = None

    def want(self, vm: VirtualMachine | None) -> None:
        """Take the VM as it is now; None when there is none any more."""
        with self._changed:
            if vm != self._wanted:
                self._wanted = vm
                self._changed.notify()

    def run(self) -> None:
        """Work for as long as the program runs."""
        while True:
            with self._changed:
                wanted = self._wanted
            try:
                self._step(wanted)
            except (LabError, OSError) as error:
                if wanted != self._failed:  # once, not four times a second
                    log(f"{self.name}: {error}")
                self._failed = wanted
            with self._changed:
                if self._wanted == wanted:
                    self._changed.wait(POLL_S)

    def _step(self, vm: VirtualMachine | None) -> None:
        if self._machine and (vm is None or self._machine.own.name != vm.uuid):
            log(f"{self.name}: destroyed")
            self._machine.destroy()
            self._machine = None
            self.forget()
        if vm is None:
            return
        if self._machine is None:
            self._machine = machine_of(self._world.paths, self._world.network, vm, self._world.lower)
            self._given = None
        if vm.guestinfo != self._given:
            self._machine.give(vm.guestinfo)
            self._given = vm.guestinfo
        if vm.power == "off":
            if self._machine.group.exists():
                log(f"{self.name}: power off")
            self._off()
        elif vm.power == "suspended":
            if not self._suspended and self._machine.running:
                self._machine.freeze()
                self._suspended = True
        else:
            if self._suspended:
                self._machine.thaw()
                self._suspended = False
            self._on(self._machine, vm)

    def _off(self) -> None:
        assert self._machine is not None
        self._machine.power_off()
        (self._machine.own / BOOTED).unlink(missing_ok=True)
        self.forget()
        self._suspended = False

    def _on(self, machine: Machine, vm: VirtualMachine) -> None:
        mark = machine.own / BOOTED
        known = mark.exists() and mark.read_text(encoding="ascii") == str(vm.boots)
        if not known:
            if machine.group.exists():
                log(f"{self.name}: reset")
                self._off()
            log(f"{self.name}: power on")
            self._boot(machine, vm.boots)
        elif not machine.running:
            self._ended(machine, vm)
        elif vm.pending and vm.pending != self._asked:
            log(f"{self.name}: asked for a {vm.pending}")
            machine.ask_to_shut_down()
            self._asked = vm.pending
        elif not self._asked and time.monotonic() - self._looked > REPORT_S:
            self._report(machine, vm)

    def _boot(self, machine: Machine, number: int) -> None:
        current = Machine(machine.name, self._world.network, machine.own, tuple(self._world.lower))
        current.power_on()
        self._machine = current
        (current.own / BOOTED).write_text(str(number), encoding="ascii")
        self.forget()

    def _ended(self, machine: Machine, vm: VirtualMachine) -> None:
        """The guest is down: by itself, because it was asked to, or because somebody took its power."""
        machine.power_off()
        if self._asked == "reboot":
            log(f"{self.name}: reboots")
            self._boot(machine, vm.boots + 1)
            self._print(vm, "power", {"state": "rebooted"})
        else:
            log(f"{self.name}: is down")
            (machine.own / BOOTED).unlink(missing_ok=True)
            self.forget()
            self._print(vm, "power", {"state": "off"})

    def _report(self, machine: Machine, vm: VirtualMachine) -> None:
        """Report to vCenter what VMware Tools would."""
        if machine.frozen:
            return
        self._looked = time.monotonic()
        found = self._look(machine)
        if found != self._reported:
            log(f"{self.name}: {found.hostname} has {', '.join(found.addresses) or 'no address'}")
            self._print(vm, "guest", {"tools": True} | asdict(found))
            self._reported = found

    def _look(self, machine: Machine) -> GuestReport:
        """What VMware Tools see of this boot of the guest; where a look fails, the next one finds the guest anew."""
        if self._tools is None:
            self._tools = Tools(machine.group.name, machine.init())
        try:
            return self._tools.look()
        except (LabError, OSError):
            self._close_tools()
            raise

    def _close_tools(self) -> None:
        if self._tools is not None:
            self._tools.close()
        self._tools = None

    def forget(self) -> None:
        """Let go of a boot of the guest that is over."""
        self._close_tools()
        self._reported, self._asked = None, ""

    def _print(self, vm: VirtualMachine, what: str, body: Mapping[str, Any]) -> None:
        control.control(self._world.paths, "POST", f"/vms/{vm.moref}/{what}", body)
