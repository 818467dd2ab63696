"""The hypervisor's part of the lab: what vCenter says about a VM's power, a guest does.

It follows the simulated vCenter over its control socket. A VM that is powered on boots from its guestinfo, the first
time from a fresh root, later from the one that it left; a shutdown returns at once and the power state flips when the
guest is down; a destroyed VM's root is gone. What vCenter knows of a guest (tools, host name, addresses) is what was
seen inside it. Killed and started again, this program takes up the guests that run where it left them.

Each VM has a keeper, a thread of its own, because booting and shutting down take time.
"""

from __future__ import annotations

import os
import select
import shutil
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab import backends, daemon, machines, stackfile, vsphere
from lab.errors import LabError
from lab.guest_image import ensure_layers
from lab.guest_tools import Told, Tools
from lab.machines import Machine
from lab.network import Network, lab_id
from lab.state import Paths
from lab.topology import Topology

POLL_S = 0.25  # how soon vCenter learns what a guest has done of its own accord
REPORT_S = 1.0  # VMware Tools report a changed address within seconds
LONG_POLL_S = 20
PATIENCE_S = 10.0  # beyond the long poll, for a busy machine
RETRY_S = 0.5
BOOTED = "boots"  # file: the number of the boot that a running guest is of
# Which image stands nearest to a release; the lab's machines are made from these.
IMAGE_OF_RELEASE = {"3.0-r3": "bullseye"}
DEFAULT_IMAGE = "bookworm"


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


def image_of(config: Mapping[str, Any]) -> str:
    """The image that stands for the release of a stack file's ``config`` section."""
    image = config.get(stackfile.IMAGE)
    release = image.get("release") if isinstance(image, dict) else None
    return IMAGE_OF_RELEASE.get(str(release), DEFAULT_IMAGE)


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


def virtual_machines(paths: Paths) -> list[VirtualMachine]:
    """Every VM that vCenter has now.

    Raises:
        LabError: vCenter does not answer.
    """
    return _parse(vsphere.control(paths, "GET", "/vms"))


def guests(paths: Paths, network: Network) -> dict[str, Machine]:
    """The guests of all VMs by name, for whoever wants to do something to one.

    Raises:
        LabError: vCenter does not answer.
    """
    return {vm.name: machine_of(paths, network, vm) for vm in virtual_machines(paths)}


def _parse(answer: Mapping[str, Any]) -> list[VirtualMachine]:
    return [VirtualMachine(**vm) for vm in answer["vms"]]


def say(line: str) -> None:
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
        """Take in what the stack file says of addresses and servers; what it said before stays where it is wrong."""
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
                say(f"the stack file is left alone: {error}")
                return
            if not first and network.topology != self.network.topology:
                network.up()
                backends.start(network, self.paths.root, self.paths.logs)
            self.network = network
            self.lower = ensure_layers(image_of(config), say)


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
        self._told: Told | None = None
        self._asked = ""
        self._suspended = False
        self._looked = 0.0
        self._failed: VirtualMachine | None = None

    def want(self, vm: VirtualMachine | None) -> None:
        """Say what the VM is now; None when there is none any more."""
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
                    say(f"{self.name}: {error}")
                self._failed = wanted
            with self._changed:
                if self._wanted == wanted:
                    self._changed.wait(POLL_S)

    def _step(self, vm: VirtualMachine | None) -> None:
        if self._machine and (vm is None or self._machine.own.name != vm.uuid):
            say(f"{self.name}: destroyed")
            self._machine.destroy()
            self._machine = None
            self._forget()
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
                say(f"{self.name}: power off")
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
        self._forget()
        self._suspended = False

    def _on(self, machine: Machine, vm: VirtualMachine) -> None:
        mark = machine.own / BOOTED
        known = mark.exists() and mark.read_text(encoding="ascii") == str(vm.boots)
        if not known:
            if machine.group.exists():
                say(f"{self.name}: reset")
                self._off()
            say(f"{self.name}: power on")
            self._boot(machine, vm.boots)
        elif not machine.running:
            self._ended(machine, vm)
        elif vm.pending and vm.pending != self._asked:
            say(f"{self.name}: asked for a {vm.pending}")
            machine.ask_to_shut_down()
            self._asked = vm.pending
        elif not self._asked and time.monotonic() - self._looked > REPORT_S:
            self._report(machine, vm)

    def _boot(self, machine: Machine, number: int) -> None:
        current = Machine(machine.name, self._world.network, machine.own, tuple(self._world.lower))
        current.power_on()
        self._machine = current
        (current.own / BOOTED).write_text(str(number), encoding="ascii")
        self._forget()

    def _ended(self, machine: Machine, vm: VirtualMachine) -> None:
        """The guest is down: of its own accord, because it was asked to, or because somebody took its power."""
        machine.power_off()
        if self._asked == "reboot":
            say(f"{self.name}: reboots")
            self._boot(machine, vm.boots + 1)
            self._tell(vm, "power", {"state": "rebooted"})
        else:
            say(f"{self.name}: is down")
            (machine.own / BOOTED).unlink(missing_ok=True)
            self._forget()
            self._tell(vm, "power", {"state": "off"})

    def _report(self, machine: Machine, vm: VirtualMachine) -> None:
        """Tell vCenter what VMware Tools would."""
        if machine.frozen:
            return
        self._looked = time.monotonic()
        found = self._look(machine)
        if found != self._told:
            say(f"{self.name}: {found.hostname} has {', '.join(found.addresses) or 'no address'}")
            self._tell(vm, "guest", {"tools": True} | asdict(found))
            self._told = found

    def _look(self, machine: Machine) -> Told:
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

    def _forget(self) -> None:
        """Let go of a boot of the guest that is over."""
        self._close_tools()
        self._told, self._asked = None, ""

    def _tell(self, vm: VirtualMachine, what: str, body: Mapping[str, Any]) -> None:
        vsphere.control(self._world.paths, "POST", f"/vms/{vm.moref}/{what}", body)


class Agent:
    """Follows vCenter and tells each keeper what is wanted.

    Args:
        paths: The lab.
    """

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._world = World(paths)
        self._keepers: dict[str, Keeper] = {}

    def clear(self) -> None:
        """End what belongs to VMs that are not there any more, such as those of an earlier vCenter."""
        present = {vm.uuid: vm for vm in virtual_machines(self._paths)}
        directory = directory_of(self._paths.root)
        for own in directory.iterdir() if directory.exists() else ():
            if own.name not in present:
                shutil.rmtree(own)
        network = self._world.network
        names = {f"{network.prefix}{network.node_role(vm.name)}" for vm in present.values() if vm.power == "on"}
        machines.end_all(network, keep=names)

    def follow(self) -> None:
        """Follow vCenter for ever."""
        after = 0
        while True:
            try:
                answer = vsphere.control(
                    self._paths,
                    "GET",
                    f"/vms?after={after}&wait={LONG_POLL_S}",
                    timeout=LONG_POLL_S + PATIENCE_S,
                )
            except LabError:  # it is being started again, or gone; its VMs run on, as a host's do
                after = 0
                time.sleep(RETRY_S)
                continue
            after = answer["sequence"]
            self._tell(_parse(answer))

    def _tell(self, found: Sequence[VirtualMachine]) -> None:
        try:
            self._world.follow_stack_file()
        except (LabError, OSError) as error:
            say(str(error))
        present = {vm.name: vm for vm in found}
        for name in present.keys() - self._keepers.keys():
            self._keepers[name] = Keeper(self._world, name)
            self._keepers[name].start()
        for name, keeper in self._keepers.items():
            keeper.want(present.get(name))


def _daemon(state: Path) -> daemon.Daemon:
    return daemon.Daemon("lab.agent", state / "agent")


def start(paths: Paths, vcenter: vsphere.VCenter, *, tied: bool = False) -> None:
    """Let one agent follow this vCenter, unless one does.

    Args:
        paths: The lab; its network is up.
        vcenter: The running vCenter; another one gets another agent.
        tied: It ends with this process.

    Raises:
        LabError: It does not start; with its own words.
    """
    _daemon(paths.root).ensure(["--vcenter", vcenter.process.identity], paths.logs / "agent.log", tied=tied)


def running(state: Path) -> bool:
    """Whether an agent works for this lab."""
    return bool(_daemon(state).find())


def stop(state: Path) -> None:
    """End the agent; none is fine. Guests go on; ``lab.machines.end_all`` ends them."""
    _daemon(state).stop()


def main(arguments: Sequence[str]) -> int:
    """Follow vCenter until told to end."""
    parser = daemon.parser(main.__doc__ or "")
    parser.add_argument("--vcenter", required=True, help="which life of the vCenter")
    options = parser.parse_args(arguments)
    try:
        agent = Agent(Paths(options.mark.parent))
        agent.clear()
    except LabError as error:
        print(error, file=sys.stderr)
        return 2
    with daemon.Ending(options) as ending:
        threading.Thread(target=agent.follow, daemon=True).start()
        ending.announce()
        select.select([ending], [], [])
        say("ends")
        sys.stdout.flush()
        # A keeper may be in the middle of something; whoever comes next finds it by its control group.
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
