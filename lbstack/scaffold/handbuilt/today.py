"""What is known of the pair of today. The new pair must not meet it, so its names and addresses are not to be used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from lbstack.config.forms import FormError, read_address
from lbstack.config.undecided import placeholder
from lbstack.scaffold.handbuilt.lines import Line

RUNBOOK = "docs/runbooks/hand-built-pair.md"


@dataclass
class NodeOfToday:
    """One node of the pair of today.

    Args:
        name: Its name; empty where no file says it.
        address: Its address; empty where no file says it.
        priority: Its VRRP priority; 0 where no file says it.
    """

    name: str = ""
    address: str = ""
    priority: int = 0


@dataclass
class Today:
    """The pair of today.

    Args:
        nodes: Its nodes, in the order of the directories.
        router_ids: Its virtual router ids.
        vips: Its VIPs, in the order of `keepalived.conf`.
        vip_lines: VIP → the lines that have it.
        interface: The network interface; empty where no file says it.
        network: Its network.
        gateway: The gateway.
        dns: Name servers.
        ntp: Time servers.
        domains: Search domains.
        fast: Whether adverts are sent several times a second.
        managers: The networks that may reach SSH.
    """

    nodes: tuple[NodeOfToday, NodeOfToday] = field(default_factory=lambda: (NodeOfToday(), NodeOfToday()))
    router_ids: list[str] = field(default_factory=list)
    vips: list[str] = field(default_factory=list)
    vip_lines: dict[str, list[Line]] = field(default_factory=dict)
    interface: str = ""
    network: IPv4Network | None = None
    gateway: str = ""
    dns: list[str] = field(default_factory=list)
    ntp: list[str] = field(default_factory=list)
    domains: list[str] = field(default_factory=list)
    fast: bool = False
    managers: list[str] = field(default_factory=list)

    @property
    def order(self) -> tuple[int, int]:
        """The nodes' numbers, the preferred master first."""
        return (1, 0) if self.nodes[1].priority > self.nodes[0].priority else (0, 1)

    @property
    def node_addresses(self) -> tuple[str, ...]:
        """The known addresses of the nodes."""
        return tuple(node.address for node in self.nodes if node.address)

    def free_address(self, purpose: str, *taken: str) -> str:
        """Return the placeholder of an address.

        Args:
            purpose: Whose address it is.
            taken: The addresses that the pair of today has instead.
        """
        where = f"a free address in {self.network}" if self.network else "a free address in network.cidr"
        return placeholder(f"{where} for {purpose}{not_of_today(taken)}")


def not_of_today(values: Iterable[str]) -> str:
    """Return the end of a sentence that names what the pair of today has; empty where that is not known."""
    known = [value for value in values if value]
    return f", not {' or '.join(known)}, which the pair of today has" if known else ""


def add(values: list[str], value: str) -> None:
    """Add a value to a list that does not have it."""
    if value not in values:
        values.append(value)


def address(text: str) -> IPv4Address | None:
    """Read an IPv4 address that a machine can have; None for everything else, loopback included."""
    try:
        return read_address(text)
    except FormError:
        return None


def interface(text: str) -> IPv4Interface | None:
    """Read an address with its prefix length; None for everything else."""
    base, slash, _ = text.partition("/")
    try:
        return IPv4Interface(text) if slash and address(base) else None
    except ValueError:
        return None
