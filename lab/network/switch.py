"""The switch of a lab: a namespace with a bridge, and the cables that are plugged into it.

A cable is a veth pair made inside the two namespaces that it joins. All cables belong to the switch: when it is
removed, they are removed too, and nobody can send any more. Each port is named like the machine at its other end, so
the capture shows the sender.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.network import netns
from lab.system.debian import search_path

BRIDGE = "br0"
NIC = "eth0"  # what Photon calls it (net.ifnames=0)
ROLE = "sw"
_KINDS = ("veth", "bridge")  # what it makes itself; the kernel gives every namespace some more devices
_CONF = Path("/proc/sys/net")


class Switch:
    """One lab's switch.

    Args:
        prefix: What the names of the lab's namespaces begin with.
        mac: The bridge's own address.
    """

    def __init__(self, prefix: str, mac: str) -> None:
        self.prefix = prefix
        self.namespace = prefix + ROLE
        self._mac = mac

    def ensure(self) -> None:
        """Make the switch unless it is there and whole.

        Raises:
            LabError: This machine cannot do it; with the kernel's or ip's own words.
        """
        if self.namespace in netns.names(self.prefix):
            with suppress(LabError):  # a name without a namespace behind it: its maker was killed in between
                if any(link["ifname"] == BRIDGE and "UP" in link["flags"] for link in self.links()):
                    return
            netns.end_processes([self.namespace])
            self.remove()
        netns.ip("netns", "add", self.namespace)
        with netns.inside(self.namespace):
            without_ipv6()
            for file in (_CONF / "bridge").glob("bridge-nf-call-*"):
                file.write_text("0", encoding="ascii")  # a switch tracks no connections
        netns.ip(
            namespace=self.namespace,
            batch=[
                f"link add {BRIDGE} address {self._mac} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
                f"link set {BRIDGE} up",
            ],
        )

    def remove(self) -> None:
        """Take the switch away, cables first: a program may keep the namespace alive by a socket that it holds there.

        A switch that is not there, or only half, is fine.
        """
        with suppress(LabError):
            own = [link["ifname"] for link in self.links() if link.get("linkinfo", {}).get("info_kind") in _KINDS]
            netns.ip(namespace=self.namespace, batch=[f"link del {name}" for name in own])
        netns.remove(self.namespace)

    def links(self) -> list[dict[str, Any]]:
        """Everything that ip knows of the switch's ports."""
        return list(json.loads(netns.ip("-j", "-d", "link", "show", namespace=self.namespace) or "[]"))

    def ports(self) -> set[str]:
        """The roles whose cables are plugged in and lead to the bridge."""
        return {str(link["ifname"]) for link in self.links() if link.get("master") == BRIDGE}

    def plug(self, role: str, mac: str) -> None:
        """Make a fresh namespace for a machine, with a NIC that is down and a cable to the switch.

        A namespace of this name and its processes are gone afterwards, and so is a cut or partition of its port.

        Args:
            role: The machine's role.
            mac: The address of its NIC.

        Raises:
            LabError: There is no switch, or something in the old namespace does not end.
        """
        name = self.prefix + role
        self.unplug(role)
        if netns.path(name).exists():
            netns.end_processes([name])
            netns.remove(name)
        netns.ip("netns", "add", name)
        netns.ip(
            namespace=self.namespace,
            batch=[
                f"link add {role} type veth peer name {NIC} address {mac} netns {name}",
                f"link set {role} master {BRIDGE} up",
            ],
        )

    def unplug(self, role: str) -> None:
        """Take away a machine's cable; none is fine."""
        if any(link["ifname"] == role for link in self.links()):
            netns.ip("link", "del", role, namespace=self.namespace)

    def state(self, role: str) -> str:
        """How a port is: ``connected``, ``cut``, ``silent``, ``partitioned`` or ``absent``."""
        port = next((link for link in self.links() if link["ifname"] == role), None)
        if port is None:
            return "absent"
        if "UP" not in port["flags"]:
            return "cut"
        if port.get("master") != BRIDGE:
            return "silent"
        return "partitioned" if _is_isolated(port) else "connected"

    def cut(self, role: str, *, silent: bool) -> None:
        """Let nothing pass a port.

        Args:
            role: Whose.
            silent: The machine keeps its carrier, as when a switch further on dies; else its cable is pulled.
        """
        netns.ip("link", "set", role, *(["nomaster"] if silent else ["down"]), namespace=self.namespace)

    def heal(self, role: str) -> None:
        """Undo cut and partition of a port, and of the other one of its partition."""
        netns.ip("link", "set", role, "master", BRIDGE, "up", namespace=self.namespace)
        for port in {role, *self._isolated()}:
            self._isolate(port, "off")

    def partition(self, one: str, other: str) -> None:
        """Let nothing pass between two ports, while both talk with everyone else.

        It is done by port isolation: isolated ports cannot reach each other. So there is one such pair at a time.

        Raises:
            LabError: Another pair is separated already.
        """
        others = set(self._isolated()) - {one, other}
        if others:
            raise LabError(f"Port {', '.join(sorted(others))} is in another partition; undo that one first.")
        for role in (one, other):
            self._isolate(role, "on")

    def _isolated(self) -> list[str]:
        return [str(link["ifname"]) for link in self.links() if link.get("master") == BRIDGE and _is_isolated(link)]

    def _isolate(self, role: str, value: str) -> None:
        netns.run(["bridge", "-n", self.namespace, "link", "set", "dev", role, "isolated", value])


def _is_isolated(link: dict[str, Any]) -> bool:
    return bool(link["linkinfo"]["info_slave_data"].get("isolated"))


def without_ipv6() -> None:
    """Switch off IPv6 in this thread's namespace: its chatter is none of the post's network."""
    for which in ("all", "default"):
        file = _CONF / "ipv6/conf" / which / "disable_ipv6"
        if file.exists():
            file.write_text("1", encoding="ascii")


def preflight() -> Iterator[str]:
    """What this machine lacks for a network, one sentence each, with its remedy; nothing where it lacks nothing."""
    missing = [name for name in ("ip", "bridge") if shutil.which(name, path=search_path()) is None]
    if missing:
        yield f"{' and '.join(missing)} not installed: apt-get install iproute2"
    if os.geteuid() != 0:
        yield "not root: only root may make network namespaces"
    if missing or os.geteuid() != 0:
        return
    scratch = f"lbs-try{os.getpid()}"
    try:
        netns.remove(scratch)  # of a killed process that had the same number
        netns.ip("netns", "add", scratch)
        netns.ip("link", "add", BRIDGE, "type", "bridge", namespace=scratch)
        netns.ip("link", "add", "p", "type", "veth", "peer", "name", "q", namespace=scratch)
        netns.ip("link", "set", "p", "master", BRIDGE, namespace=scratch)
        netns.run(["bridge", "-n", scratch, "link", "set", "dev", "p", "isolated", "on"])
    except LabError as error:
        yield str(error)
    finally:
        netns.remove(scratch)
