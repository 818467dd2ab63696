"""The hypervisor of the lab: guests follow the power state of their VMs in vCenter.

It watches the simulated vCenter over its control socket. A VM that is powered on boots from its guestinfo: the first
time from a new root, later from its old one. A shutdown returns at once, and the power state changes when the guest is
down. The root of a destroyed VM is deleted. What vCenter reports about a guest (tools, host name, addresses) was read
from the guest. If this program is killed and started again, it continues with the guests that run.

Each VM has a keeper, a thread of its own, because booting and shutting down take time.
"""

from __future__ import annotations

import os
import select
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from lab.errors import LabError
from lab.guests import machine as machines
from lab.guests.keeper import Keeper, World, log
from lab.guests.roster import directory_of
from lab.home.state import Paths
from lab.system import daemon
from lab.vcenter import control, server
from lab.vcenter.machines import VirtualMachine, parse, virtual_machines

LONG_POLL_S = 20
PATIENCE_S = 10.0  # beyond the long poll, for a busy machine
RETRY_S = 0.5


class Agent:
    """Follows vCenter and gives each keeper its work.

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
        """Follow vCenter forever."""
        after = 0
        while True:
            try:
                answer = control.control(
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
            self._print(parse(answer))

    def _print(self, found: Sequence[VirtualMachine]) -> None:
        try:
            self._world.follow_stack_file()
        except (LabError, OSError) as error:
            log(str(error))
        present = {vm.name: vm for vm in found}
        for name in present.keys() - self._keepers.keys():
            self._keepers[name] = Keeper(self._world, name)
            self._keepers[name].start()
        for name, keeper in self._keepers.items():
            keeper.want(present.get(name))


def _daemon(state: Path) -> daemon.Daemon:
    return daemon.Daemon("lab.guests.agent", state / "agent")


def start(paths: Paths, vcenter: server.VCenter, *, tied: bool = False) -> None:
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
    """End the agent; none is fine. Guests go on; ``machine.end_all`` ends them."""
    _daemon(state).stop()


def main(arguments: Sequence[str]) -> int:
    """Follow vCenter until asked to end."""
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
        log("ends")
        sys.stdout.flush()
        # A keeper may be in the middle of something; the next agent finds it by its control group.
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
