"""Judge what belongs to the nodes themselves: their network, packet filters and kernel settings."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from lbstack.config.addressing import LONGEST_PREFIX, SHORTEST_PREFIX
from lbstack.config.forms import DOMAIN, FormError, read_network
from lbstack.facts.ports import HTTP_PORT, SSH_PORT
from lbstack.scaffold.handbuilt.ledger import Ledger
from lbstack.scaffold.handbuilt.lines import Line
from lbstack.scaffold.handbuilt.nodetables import NETWORK
from lbstack.scaffold.handbuilt.plain import Rule, rule
from lbstack.scaffold.handbuilt.tables import apply
from lbstack.scaffold.handbuilt.today import Today, add, address, interface
from lbstack.scaffold.handbuilt.vrrp import INTERFACE, ONE_INTERFACE

SSH, VRRP_PROTOCOLS = str(SSH_PORT), ("112", "vrrp", "51", "ah")
OURS = "the filter of the set: both families, loaded in one step, least open ports"
OWN_ROUTES = "routes other than the default one cannot be expressed"
UNKNOWN_SETTING = "lbstack does not know this setting; a node has one static address, a gateway and name servers"
NO_RULE = "no rule for VRRP: adverts pass by accident, and a node that boots is master for a moment"


def judge_network(ledger: Ledger, today: Today, node: int, lines: Sequence[Line]) -> None:
    """Judge one `.network` file.

    Args:
        ledger: The ledger.
        today: What is known of the pair; it is added to.
        node: Whose file it is.
        lines: Its settings.
    """
    for block in _blocks(lines):
        heading = block[0].words[0]
        default_route = heading == "[Route]" and not any(line.begins("Destination") for line in block)
        for line in block:
            if line.words[0].startswith("["):
                if not apply(ledger, line, NETWORK.get(heading)) and not default_route:
                    ledger.left_out(line, OWN_ROUTES if heading == "[Route]" else UNKNOWN_SETTING)
            elif heading == "[Route]" and not default_route:
                ledger.left_out(line, OWN_ROUTES)
            else:
                for value in line.words[1:] or ("",):
                    _setting(ledger, today, node, line, value)
        if default_route:
            ledger.taken(block[0], "network.gateway")
    # A file that only switches DHCP off matches by a pattern; its name is not the interface.
    names = [line.words[1] for line in lines if line.begins("Name") and len(line.words) > 1]
    if len(names) == 1 and INTERFACE.fullmatch(names[0]) and any(line.begins("Address") for line in lines):
        today.interface = today.interface or names[0]


def _blocks(lines: Sequence[Line]) -> list[list[Line]]:
    """The lines by the heading that they are below."""
    blocks: list[list[Line]] = []
    for line in lines:
        if line.words[0].startswith("[") or not blocks:
            blocks.append([])
        blocks[-1].append(line)
    return blocks


def _setting(ledger: Ledger, today: Today, node: int, line: Line, value: str) -> None:
    """Judge one value of a setting."""
    key = line.words[0]
    lists = {"DNS": (today.dns, "network.dns"), "NTP": (today.ntp, "network.ntp")}
    name = re.fullmatch(DOMAIN, value) is not None
    if key == "Name":
        ledger.ours(line, ONE_INTERFACE)
    elif key == "Address":
        _address(ledger, today, node, line, value)
    elif key == "Gateway" and address(value):
        _gateway(ledger, today, line, value)
    elif key in lists and (address(value) or (key == "NTP" and name)):
        add(lists[key][0], value)
        ledger.taken(line, lists[key][1])
    elif key == "Domains" and name:
        add(today.domains, value)
        ledger.taken(line, "network.searchDomains")
    elif not apply(ledger, line, NETWORK.get(key)):
        ledger.left_out(line, UNKNOWN_SETTING)


def _gateway(ledger: Ledger, today: Today, line: Line, value: str) -> None:
    if today.gateway not in ("", value) or (today.network and IPv4Address(value) not in today.network):
        ledger.left_out(line, "a node has one gateway, in its own network")
    else:
        today.gateway = value
        ledger.taken(line, "network.gateway")


def _address(ledger: Ledger, today: Today, node: int, line: Line, value: str) -> None:
    own = interface(value)
    known = today.nodes[node].address
    if own is None or not SHORTEST_PREFIX <= own.network.prefixlen <= LONGEST_PREFIX:
        ledger.left_out(line, "a node has one IPv4 address with the prefix length of its network")
    elif known and known != str(own.ip) and (today.network is None or own.network != today.network):
        ledger.left_out(line, "a node has one address; this one is not that of its adverts")
    elif today.network is not None and own.network != today.network:
        ledger.left_out(line, f"both nodes are in one network, and {today.network} was named before")
    else:
        today.network = own.network
        today.nodes[node].address = known or str(own.ip)
        place = f"nodes[{today.order.index(node)}].address"
        ledger.taken(line, place, "its network; another address for the new node, which must not meet this one")
        ledger.taken(line, "network.cidr")


@dataclass(frozen=True)
class OpenPorts:
    """Judges the rules of a packet filter.

    Args:
        ledger: The ledger.
        today: What is known of the pair; it is added to.
        services: The ports of the services that the stack file has.
        page: The port of the statistics page.
    """

    ledger: Ledger
    today: Today
    services: Collection[str]
    page: str

    def judge(self, found: Rule) -> None:
        """Judge one rule of the table filter."""
        line = found.line
        if found.target == "LOG":
            self.ledger.left_out(line, "what the filter drops is not logged")
        elif found.chain == "FORWARD" and found.target == "ACCEPT":
            self.ledger.left_out(line, "nothing is forwarded: a proxy does not route")
        elif found.chain != "INPUT" or found.target != "ACCEPT" or found.protocol in VRRP_PROTOCOLS:
            self.ledger.ours(line, OURS)
        elif found.ports:
            for port in found.ports:
                self._port(found, port)
        elif found.protocol in ("", "icmp") and not found.sources:
            self.ledger.ours(line, OURS)
        else:
            self.ledger.left_out(line, "only ports of services and of the nodes' own are open")

    def _port(self, found: Rule, port: str) -> None:
        line = found.line
        if port == SSH:
            self._ssh(found)
        elif port == self.page:
            self.ledger.corrected(line, "A19", "the page is for the management networks only", "managementNetworks")
        elif port not in self.services and port != str(HTTP_PORT):
            self.ledger.left_out(line, "no service of the stack file has this port, so it is closed")
        elif found.sources:
            self.ledger.left_out(line, "who may connect cannot be expressed: a service is open to all, by its VIP")
        else:
            self.ledger.ours(line, "open on a service's VIP, and nowhere else")

    def _ssh(self, found: Rule) -> None:
        networks = [network for source in found.sources if (network := _network(source))]
        if not networks:
            why = "SSH is for the management networks only, with keys"
            self.ledger.corrected(found.line, "A23", why, "managementNetworks")
        for network in networks:
            add(self.today.managers, network)
            self.ledger.taken(found.line, "managementNetworks")


def judge_filter(ledger: Ledger, today: Today, lines: Sequence[Line], ports: Collection[str], page: str) -> None:
    """Judge one packet filter for IPv4.

    Args:
        ledger: The ledger.
        today: What is known of the pair; it is added to.
        lines: Its lines.
        ports: The ports of the services that the stack file has.
        page: The port of the statistics page.
    """
    table, vrrp = "*filter", False
    open_ports = OpenPorts(ledger, today, ports, page)
    for line in lines:
        if line.words[0].startswith("*"):
            table = line.words[0]
        found = rule(line)
        if table != "*filter":
            ledger.left_out(line, "only the table filter is written: nothing is translated or marked")
        elif found is None:
            ledger.ours(line, OURS)
        else:
            vrrp = vrrp or found.protocol in VRRP_PROTOCOLS
            open_ports.judge(found)
    if not vrrp:
        ledger.absent["A4"] = NO_RULE


def _network(text: str) -> str:
    """A network as a stack file writes it; empty where the text is none, or everybody."""
    try:
        network = read_network(text if "/" in text else f"{text}/32")
    except FormError:
        return ""
    return str(network) if network.prefixlen >= SHORTEST_PREFIX else ""


def judge_kernel(ledger: Ledger, lines: Sequence[Line]) -> None:
    """Judge one file of kernel settings."""
    for line in lines:
        key, value = line.words[0].replace("/", "."), line.words[1] if len(line.words) > 1 else ""
        if key == "net.ipv4.ip_forward" and value != "0":
            ledger.corrected(line, "A18", "a proxy does not route")
        elif key in ("net.ipv4.ip_nonlocal_bind", "net.ipv4.ip_forward"):
            ledger.ours(line, "as here")
        elif key.startswith("net."):
            ledger.ours(line, "the set has kernel settings of its own: queues, ports, hardening")
        else:
            ledger.left_out(line, "kernel settings of your own cannot be expressed")


def judge_filter6(ledger: Ledger, lines: Sequence[Line]) -> None:
    """Judge a packet filter for IPv6: the set's own drops everything."""
    for line in lines:
        found = rule(line)
        opened = found and found.target == "ACCEPT" and found.chain == "INPUT" and found.ports
        ledger.left_out(line, "only IPv4 is supported") if opened else ledger.ours(line, OURS)


def network_of(today: Today, undecided: str, dns: str) -> dict[str, Any]:
    """The section `network` of the stack file.

    Args:
        today: The pair of today.
        undecided: What stands for a network or gateway that no file says; it has `{}` for the noun.
        dns: The same for name servers.
    """
    outside = today.network is not None and today.gateway and IPv4Address(today.gateway) not in today.network
    raw: dict[str, Any] = {
        "cidr": str(today.network)
        if today.network
        else undecided.format("the network of nodes and VIPs, as a.b.c.d/n"),
        "gateway": ("" if outside else today.gateway) or undecided.format("the network's gateway"),
        "dns": list(today.dns) or [dns],
    }
    if today.ntp:
        raw["ntp"] = list(today.ntp)
    if today.domains:
        raw["searchDomains"] = list(today.domains)
    return raw
