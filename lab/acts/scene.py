"""A running pair as an act sees it: guests, holders of the VIPs, answers of the services, the network capture.

Everything is observed from outside. The client asks by ARP who holds a VIP. A service is asked through its VIP, from
the client to the server. A node's own report is read by the management station.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from ipaddress import IPv4Address
from typing import Any

from lab.errors import RUN, LabError
from lab.guests import roster
from lab.guests.machine import Machine
from lab.home import stackfile
from lab.home.state import Paths, read_record
from lab.network import capture, netns
from lab.network import record as wire
from lab.network.network import CLIENT, MANAGEMENT, Network, lab_id
from lab.network.topology import Service
from lab.running.surroundings import network_of
from lab.servers import farm
from lab.system.waiting import until_nothing_is_missing
from lab.traffic.request import Answer, Failed, Tls, request
from lab.vcenter import machines
from lbstack.nodes import health as health_module

HTTP = 80
MASTER, STANDBY = "master", "standby"


class Scene:
    """One lab whose guests run.

    Args:
        paths: The lab.

    Raises:
        LabError: There is no such lab, or it has no guests.
    """

    def __init__(self, paths: Paths) -> None:
        record = read_record(paths)
        if record is None:
            raise LabError(f"There is no lab at {paths.root}. `make lab` makes one.")
        if not record.guests:
            raise LabError(
                "Nothing boots in this lab: it was made with --no-guests, or this machine cannot do it "
                f"(`{RUN} doctor`). `make lab` makes one with guests."
            )
        self.paths = paths
        self._laid_out: tuple[int, Network] | None = None

    @property
    def config(self) -> dict[str, Any]:
        """The ``config`` section of the stack file as it is now."""
        return dict(stackfile.read(self.paths.stack_file)["config"])

    @property
    def network(self) -> Network:
        """The network, laid out as the stack file has it now; laid out anew only when that has changed."""
        changed = self.paths.stack_file.stat().st_mtime_ns
        if self._laid_out is None or self._laid_out[0] != changed:
            self._laid_out = (changed, network_of(self.paths))
        return self._laid_out[1]

    @property
    def nodes(self) -> list[str]:
        """The nodes' names, as in the stack file."""
        return list(self.network.topology.nodes)

    def guest(self, node: str) -> Machine:
        """The guest of a node.

        Raises:
            LabError: vCenter has no such VM, or does not answer.
        """
        found = roster.guests(self.paths, self.network)
        if node not in found:
            raise LabError(f"vCenter has no VM {node!r}; it has: {', '.join(found) or 'none'}.")
        return found[node]

    def peer(self, node: str) -> str:
        """The other node."""
        return next(other for other in self.nodes if other != node)

    def named(self, word: str) -> str:
        """A node by its name, or the one that is ``master`` or ``standby`` now.

        Raises:
            LabError: It is neither, or there is no one master.
        """
        if word in self.nodes:
            return word
        if word not in (MASTER, STANDBY):
            raise LabError(f"There is no node {word!r}; there is: {', '.join(self.nodes)}, {MASTER}, {STANDBY}.")
        master = self.master()
        if not master:
            raise LabError("No node has all VIPs at this moment, so there is no master. Name the node.")
        return master if word == MASTER else self.peer(master)

    # --- who has what --------------------------------------------------------------------------------------------

    @cached_property
    def _macs(self) -> dict[str, str]:
        return {self.network.node_mac(node): node for node in self.nodes}

    def holders(self) -> dict[IPv4Address, list[str]]:
        """VIP → the nodes that answer for it to the client's ARP: one, where all is well."""
        network = self.network
        vips = network.topology.vips
        with ThreadPoolExecutor(len(vips)) as pool:
            found = list(pool.map(network.holders, vips))
        return {vip: sorted(self._macs.get(mac, mac) for mac in macs) for vip, macs in zip(vips, found, strict=True)}

    def master(self) -> str:
        """The one node that holds every VIP; empty while there is no such node."""
        return _sole(self.holders())

    def holders_text(self) -> str:
        """Which VIP is where now, in words."""
        return _list_of_holders(self.holders())

    def health(self, node: str) -> health_module.Answer:
        """What a node reports about itself to the management station."""
        network = self.network
        address = network.topology.nodes[node]
        with netns.inside(network.namespace(MANAGEMENT)):
            return health_module.ask(health_module.Target(node, str(address)))

    def healths(self) -> dict[str, health_module.Answer]:
        """What every node reports about itself."""
        nodes = self.nodes
        with ThreadPoolExecutor(len(nodes)) as pool:
            return dict(zip(nodes, pool.map(self.health, nodes), strict=True))

    def ask(self, service: Service, path: str = "/", **changes: Any) -> Answer:
        """One request of the client through a VIP to a server.

        Raises:
            Failed: There was no answer.
        """
        tls = Tls(farm.ca_file(self.paths.root), service.hostname)
        return request(self.network.namespace(CLIENT), service.vip, service.port, path, tls=tls, **changes)

    def redirect(self, service: Service) -> Answer:
        """What the load balancer itself answers on a VIP's port 80.

        Raises:
            Failed: There was no answer.
        """
        return request(self.network.namespace(CLIENT), service.vip, HTTP)

    def unserved(self) -> list[str]:
        """Every service that does not answer the client through its VIP, with the reason."""

        def try_one(service: Service) -> str:
            try:
                answer = self.ask(service)
            except Failed as error:
                return f"{service.name}: {error}"
            return "" if answer.server else f"{service.name}: status {answer.status}, and no server behind it answered"

        services = self.network.topology.services
        with ThreadPoolExecutor(max(len(services), 1)) as pool:
            return [line for line in pool.map(try_one, services) if line]

    def wire(self) -> wire.Record:
        """What the switch has seen since the lab was made."""
        return wire.load(capture.file_of(self.paths.root))

    def whole(self) -> str:
        """Empty while all is well: one node has every VIP, every service answers, both nodes are ready.

        Otherwise what is not as it should be, in words.
        """
        holders = self.holders()
        if not _sole(holders):
            return f"the VIPs are not on exactly one node: {_list_of_holders(holders)}"
        if unserved := self.unserved():
            return "; ".join(unserved)
        answers = self.healths()
        if sorted(answer.vrrp for answer in answers.values()) != ["backup", "master"]:
            return "; ".join(f"{node}: {answer}" for node, answer in answers.items())
        return ""

    def wait_until_whole(self, limit_s: float) -> None:
        """Wait until all is well.

        Raises:
            LabError: It does not get so in time; with what was seen last.
        """
        until_nothing_is_missing(self.whole, limit_s, "the pair to be whole")

    def require_up(self) -> None:
        """Refuse to do something in a lab of which only files are left.

        Raises:
            LabError: It is down.
        """
        # Its id is enough; the stack file may be wrong, which Pulumi reports better.
        if not Network(lab_id(self.paths.root), None).exists():
            raise LabError("The lab's network is gone, as after a reboot of this machine. `make lab` makes it again.")

    def require_whole(self) -> None:
        """Refuse to do something to a pair that is not well already.

        Raises:
            LabError: It is not; with the reason.
        """
        if reason := self.whole():
            raise LabError(f"The pair is not whole, so this would show nothing: {reason}. `{RUN} heal` repairs it.")

    # --- what vCenter does ---------------------------------------------------------------------------------------

    def vcenter(self, node: str, method: str, *arguments: object, **named: object) -> None:
        """Let vCenter do something to a node's VM, as a person in its client does, and wait for the task's end.

        Args:
            node: Whose VM.
            method: Such as ``PowerOnVM_Task`` or ``ShutdownGuest``.
            arguments: Its arguments.
            named: Its named arguments.

        Raises:
            LabError: There is no such VM, or the task fails.
        """
        from lab.vcenter import client  # noqa: PLC0415 - what it needs takes a third of a second to import; few commands do

        client.act(self.paths, node, method, *arguments, **named)

    def power(self) -> Mapping[str, str]:
        """VM → ``on``, ``off`` or ``suspended``, as vCenter has it."""
        return {vm.name: vm.power for vm in machines.virtual_machines(self.paths)}


def _sole(holders: Mapping[IPv4Address, list[str]]) -> str:
    """The one node that holds every VIP; empty where there is no such node."""
    owners = {node for nodes in holders.values() for node in nodes}
    return owners.pop() if len(owners) == 1 and all(holders.values()) else ""


def _list_of_holders(holders: Mapping[IPv4Address, list[str]]) -> str:
    return ", ".join(f"{vip} on {' and '.join(nodes) or 'no node'}" for vip, nodes in holders.items())
