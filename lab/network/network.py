"""The lab's network: a switch and every machine on it, each in a network namespace of its own.

Every link is made inside the namespaces that it joins, so no address of the lab's subnet is ever on the machine itself,
and several labs can use the same addresses at the same time. A lab is found by its id, which is part of the name of
each
namespace: what a killed run left behind is repaired by the next ``up`` and removed by the next ``down``. This module
never changes a namespace without its own prefix. There is no DHCP server.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address
from pathlib import Path

from lab.errors import LabError
from lab.network import netns, switch
from lab.network.arp import who_has
from lab.network.capture import Watch
from lab.network.switch import NIC, Switch
from lab.network.topology import Backend, Topology
from lab.system.debian import search_path

SWITCH, CLIENT, OUTSIDER, MANAGEMENT, DNS, GATEWAY = switch.ROLE, "cl", "out", "mgmt", "dns", "gw"
FIXED = (SWITCH, CLIENT, OUTSIDER, MANAGEMENT, DNS, GATEWAY)
RESOLVES = (CLIENT, OUTSIDER, MANAGEMENT)  # where a person or a browser runs
VMWARE_MAC = "00:50:56"  # the vendor's range for addresses that are set by hand: fourth byte at most 3f
LOCAL_MAC = 0x02  # first byte of a locally administered address
_ID = re.compile(r"[a-z0-9]{1,8}")
_NODE_ROLE = re.compile(r"n\d+|v[0-9a-f]{6}")


def lab_id(root: Path) -> str:
    """The short id of the lab that lives in a state directory; the same directory always gives the same id."""
    return hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:6]


class Network:
    """One lab's network.

    Args:
        identity: The lab's id: up to eight small letters and digits.
        topology: Who has which address; ``down`` needs none.

    Raises:
        LabError: The id is not one.
    """

    def __init__(self, identity: str, topology: Topology | None) -> None:
        if not _ID.fullmatch(identity):
            raise LabError(f"{identity!r} is no lab id: up to eight small letters and digits, as `lab_id` makes them.")
        self.identity = identity
        self.prefix = f"lbs{identity}-"
        self._topology = topology
        self._switch = Switch(self.prefix, self._mac(SWITCH))

    @property
    def topology(self) -> Topology:
        """Who has which address."""
        if self._topology is None:
            raise LabError(f"The network of lab {self.identity} was opened without its topology.")
        return self._topology

    # --- names ---------------------------------------------------------------------------------------------------

    def namespace(self, name: str) -> str:
        """The namespace of a role (``sw``, ``cl``, ``out``, ``mgmt``, ``dns``, ``gw``), a node or a back-end server.

        Raises:
            LabError: There is no such machine.
        """
        if name in FIXED or _NODE_ROLE.fullmatch(name):
            return self.prefix + name
        if name in self.topology.nodes:
            return self.prefix + self.node_role(name)
        return self.prefix + self.backend_role(self.topology.backend(name))

    def node_role(self, node: str) -> str:
        """The role of a VM: by its place in the stack file; of a VM that is not in it, by its name."""
        known = list(self.topology.nodes)
        return f"n{known.index(node) + 1}" if node in known else f"v{hashlib.sha256(node.encode()).hexdigest()[:6]}"

    def backend_role(self, backend: Backend) -> str:
        """The role of a server: by its host number, so that it stays itself when the stack file's list changes."""
        number = int(backend.address) - int(self.topology.subnet.network_address)
        return f"{backend.kind[0]}{number}"

    def command(self, name: str, command: Sequence[str]) -> list[str]:
        """A command as it has to be started to run inside a namespace, with the lab's name server there."""
        program = shutil.which("ip", path=search_path()) or "ip"
        return [program, "netns", "exec", self.namespace(name), *command]

    def _mac(self, role: str) -> str:
        digest = hashlib.sha256(f"{self.identity}/{role}".encode()).digest()
        return ":".join(f"{byte:02x}" for byte in (LOCAL_MAC, *digest[:5]))

    # --- the whole -----------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether anything of this network is there."""
        return bool(netns.names(self.prefix))

    def up(self) -> None:
        """Make what is missing and repair what is half made; what is whole stays as it is, traffic and all.

        Raises:
            LabError: This machine cannot do it; with the kernel's or ip's own words and what to do.
        """
        _require_root()
        topology = self.topology
        self._switch.ensure()
        attached = self._switch.ports()
        everyone: list[tuple[str, tuple[IPv4Address, ...]]] = [
            (GATEWAY, (topology.gateway,)),
            (DNS, (topology.dns,)),
            (MANAGEMENT, (topology.management,)),
            (CLIENT, topology.clients),
            (OUTSIDER, (topology.outsider,)),
            *((self.backend_role(backend), (backend.address,)) for backend in topology.backends),
        ]
        for role, addresses in everyone:
            if role not in attached or not self._is_whole(role, addresses):
                self._make_host(role, addresses)
        for role in RESOLVES:
            # One short try: the name server is a millisecond away, and it knows everything that there is.
            text = f"nameserver {topology.dns}\noptions timeout:1 attempts:1\n"
            netns.write_etc(self.prefix + role, "resolv.conf", text)

    def down(self) -> None:
        """Remove everything of this network, with the processes that still run inside it.

        Raises:
            LabError: It was called from inside, or a process does not end.
        """
        names = netns.names(self.prefix)
        leftovers = netns.names(self.prefix, netns.ETC)
        if not names and not leftovers:
            return
        _require_root()
        netns.end_processes(names)
        # The switch first: all the cables are its own, so nothing can send any more while the rest goes.
        self._switch.remove()
        for name in {*names, *leftovers} - {self._switch.namespace}:
            netns.remove(name)

    def _make_host(self, role: str, addresses: Sequence[IPv4Address]) -> None:
        """A machine of the lab's own on the switch."""
        self._switch.plug(role, self._mac(role))
        subnet, gateway = self.topology.subnet, self.topology.gateway
        with netns.inside(self.prefix + role):
            switch.without_ipv6()
            if role == GATEWAY:
                Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="ascii")
        # There is nothing behind the gateway, and it answers so: a guest that looks for the Internet fails at once.
        route = "route add unreachable default" if role == GATEWAY else f"route add default via {gateway}"
        netns.ip(
            namespace=self.prefix + role,
            batch=[
                "link set lo up",
                *(f"addr add {address}/{subnet.prefixlen} brd + dev {NIC}" for address in addresses),
                f"link set {NIC} up",
                route,
            ],
        )

    def _is_whole(self, role: str, addresses: Sequence[IPv4Address]) -> bool:
        """Whether a machine has everything that ``_make_host`` gives it; the route is the last of it."""
        with suppress(LabError):  # no namespace, or no NIC in it
            links = json.loads(netns.ip("-j", "-4", "addr", "show", "dev", NIC, namespace=self.prefix + role) or "[]")
            found = {entry["local"] for link in links for entry in link.get("addr_info", ())}
            routed = netns.ip("route", "show", "default", namespace=self.prefix + role).strip()
            return found == {str(address) for address in addresses} and bool(routed)
        return False

    # --- nodes ---------------------------------------------------------------------------------------------------

    def node_port(self, node: str, mac: str | None = None) -> Path:
        """Plug in a VM: a fresh namespace with a NIC that is down, on a whole port of the switch.

        What was there under this name is gone afterwards, a cut or partition of its port included.

        Args:
            node: The VM's name.
            mac: Its NIC's address; without it one that follows from the name.

        Returns:
            The namespace's file.

        Raises:
            LabError: The network is not up.
        """
        role = self.node_role(node)
        self._switch.plug(role, mac or self.node_mac(node))
        return netns.path(self.prefix + role)

    def node_mac(self, node: str) -> str:
        """The address of a node's NIC, unless its port was given another one; it follows from the name."""
        digest = hashlib.sha256(node.encode()).digest()
        return f"{VMWARE_MAC}:{digest[0] & 0x3F:02x}:{digest[1]:02x}:{digest[2]:02x}"

    def remove_node(self, node: str) -> None:
        """Take a VM off the network, as a power failure does: cable first. Its processes are its keeper's to end."""
        role = self.node_role(node)
        if netns.path(self._switch.namespace).exists():
            self._switch.unplug(role)
        netns.remove(self.prefix + role)

    def state(self, node: str) -> str:
        """How a node's port is: ``connected``, ``cut``, ``silent``, ``partitioned`` or ``absent``."""
        return self._switch.state(self.node_role(node))

    def cut(self, node: str, *, silent: bool = False) -> None:
        """Cut a node off.

        Args:
            node: Its name.
            silent: Its NIC keeps its carrier, as when a switch further on dies; else it sees the cable pulled.

        Raises:
            LabError: It is not plugged in.
        """
        self._switch.cut(self._plugged_in(node), silent=silent)

    def heal(self, node: str) -> None:
        """Undo every ``cut`` and ``partition`` of a node; a partition ends for both of its nodes.

        Raises:
            LabError: It is not plugged in.
        """
        self._switch.heal(self._plugged_in(node))

    def partition(self, one: str, other: str) -> None:
        """Let nothing pass between two nodes, while both talk with everyone else.

        Raises:
            LabError: One is not plugged in, or another pair is separated already.
        """
        self._switch.partition(self._plugged_in(one), self._plugged_in(other))

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """Let nothing pass between the management station and the nodes for a while.

        The runner's questions are lost, and no one answers that they are. Its vCenter is on its own loopback.
        """
        self._switch.cut(MANAGEMENT, silent=True)
        try:
            yield
        finally:
            self._switch.heal(MANAGEMENT)

    def _plugged_in(self, node: str) -> str:
        if self.state(node) == "absent":
            known = ", ".join(self.topology.nodes)
            raise LabError(f"{node} is not plugged in; it is powered off, or none of this lab's nodes ({known}).")
        return self.node_role(node)

    # --- watching ------------------------------------------------------------------------------------------------

    def capture(self) -> Watch:
        """A watch of all VRRP and ARP that the switch's ports receive; use it with ``with``."""
        return Watch(self._switch.namespace)

    def holders(self, address: IPv4Address | str) -> set[str]:
        """The MAC addresses that answer for an address at this moment, asked from the client."""
        return who_has(self.namespace(CLIENT), IPv4Address(address), self.topology.client)


def _require_root() -> None:
    if os.geteuid() != 0:
        raise LabError("The rehearsal's network is made of network namespaces, which only root may make: run as root.")
