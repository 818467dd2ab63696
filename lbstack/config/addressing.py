"""Rules about addresses and ports: each address has one owner, and each port one listener.

Each rule takes a configuration that may have MISSING parts, checks the rest, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from lbstack.config.missing import known
from lbstack.config.models import Service, StackConfig
from lbstack.facts.kinds import KINDS
from lbstack.facts.ports import HTTP_PORT, RESERVED_PORTS
from lbstack.problems import Problem, path_of

LONGEST_PREFIX = 29  # six hosts: room for two nodes, a gateway and a VIP, which a /30 does not have
# The largest network of RFC 1918 is 10.0.0.0/8; a larger one contains machines of others.
SHORTEST_PREFIX = 8


@dataclass(frozen=True)
class AddressClaim:
    """An address and its place in the stack file.

    Args:
        path: The place.
        owner: The owner of the address, in words.
        address: The address.
    """

    path: str
    owner: str
    address: IPv4Address


def _nodes(config: StackConfig) -> Iterator[AddressClaim]:
    for index, node in enumerate(config.nodes):
        if known(node.address):
            owner = f"node {node.name}" if known(node.name) else f"node {index + 1}"
            yield AddressClaim(path_of(["nodes", index, "address"]), owner, node.address)


def _vips(config: StackConfig) -> Iterator[AddressClaim]:
    if known(config.stats.vip):
        yield AddressClaim("stats.vip", "the statistics page", config.stats.vip)
    for name, service in config.services.items():
        if known(service.vip):
            yield AddressClaim(path_of(["services", name, "vip"]), f"service {path_of([name])}", service.vip)


def _servers(config: StackConfig) -> Iterator[AddressClaim]:
    for name, service in config.services.items():
        for index, server in enumerate(service.servers):
            if known(server.address):
                owner = f"server {server.name}" if known(server.name) else f"a server of {path_of([name])}"
                yield AddressClaim(path_of(["services", name, "servers", index, "address"]), owner, server.address)


def _gateway(config: StackConfig) -> Iterator[AddressClaim]:
    if known(config.network.gateway):
        yield AddressClaim("network.gateway", "the gateway", config.network.gateway)


def _network_servers(config: StackConfig) -> Iterator[AddressClaim]:
    for index, address in enumerate(config.network.dns):
        if known(address):
            yield AddressClaim(path_of(["network", "dns", index]), "a name server", address)
    for index, name in enumerate(config.network.ntp):
        if known(name) and name[-1].isdigit() and name.replace(".", "").isdigit():
            yield AddressClaim(path_of(["network", "ntp", index]), "a time server", IPv4Address(name))


def network_size(config: StackConfig) -> Iterator[Problem]:
    """The network can hold a pair, and is not larger than a private network."""
    cidr = config.network.cidr
    if not known(cidr):
        return
    if not SHORTEST_PREFIX <= cidr.prefixlen <= LONGEST_PREFIX:
        yield Problem(
            "network.cidr",
            f"is {cidr}, a prefix length outside {SHORTEST_PREFIX} to {LONGEST_PREFIX}",
            f"Write the network of the nodes and VIPs; the smallest that can hold a pair is a /{LONGEST_PREFIX}.",
        )


def inside_network(config: StackConfig) -> Iterator[Problem]:
    """Gateway, nodes and VIPs are hosts of the network; a server may be outside, behind the gateway."""
    cidr = config.network.cidr
    if not known(cidr):
        return
    for claim in (*_gateway(config), *_nodes(config), *_vips(config)):
        if claim.address not in cidr:
            first, last = cidr.network_address + 1, cidr.broadcast_address - 1
            yield Problem(
                claim.path,
                f"is {claim.address}, outside network.cidr {cidr}",
                f"Give {claim.owner} an address from {first} to {last}, or correct network.cidr.",
            )
    for claim in (*_gateway(config), *_nodes(config), *_vips(config), *_servers(config)):
        for edge, name in ((cidr.network_address, "network"), (cidr.broadcast_address, "broadcast")):
            if claim.address == edge:
                yield Problem(
                    claim.path,
                    f"is {claim.address}, the {name} address of {cidr}",
                    f"Give {claim.owner} a host address.",
                )


def one_owner(config: StackConfig) -> Iterator[Problem]:
    """No address belongs to two machines; services may share a VIP and servers."""
    gateway, network_servers, nodes = list(_gateway(config)), list(_network_servers(config)), list(_nodes(config))
    servers, vips = list(_servers(config)), list(_vips(config))
    for index, node in enumerate(nodes):
        yield from _conflict(node, (*gateway, *network_servers, *nodes[:index]))
    for server in servers:
        yield from _conflict(server, (*gateway, *nodes))
    for vip in vips:
        yield from _conflict(vip, (*gateway, *network_servers, *nodes, *servers), "A VIP moves between the nodes: ")


def _conflict(claim: AddressClaim, others: Iterable[AddressClaim], reason: str = "") -> Iterator[Problem]:
    other = next((other for other in others if other.address == claim.address), None)
    if other:
        yield Problem(
            claim.path,
            f"is {claim.address}, which {other.owner} has ({other.path})",
            f"{reason}give {claim.owner} an address of its own."
            if reason
            else f"Give {claim.owner} an address of its own.",
        )


def one_server_once(config: StackConfig) -> Iterator[Problem]:
    """Within a service each server has its own name and address; HAProxy refuses a repeated name."""
    for service_name, service in config.services.items():
        names: dict[str, int] = {}
        addresses: dict[IPv4Address, int] = {}
        for index, server in enumerate(service.servers):
            if known(server.name):
                first = names.setdefault(server.name.lower(), index)
                if first != index:
                    yield Problem(
                        path_of(["services", service_name, "servers", index, "name"]),
                        f"is {server.name}, which is the name of servers[{first}]",
                        "Give each server of a service its own name; upper and lower case are the same.",
                    )
            if known(server.address):
                first = addresses.setdefault(server.address, index)
                if first != index:
                    yield Problem(
                        path_of(["services", service_name, "servers", index, "address"]),
                        f"is {server.address}, which is the address of servers[{first}]",
                        "List each server of a service once.",
                    )


@dataclass(frozen=True)
class PortClaim:
    """A port of a VIP on which HAProxy listens.

    Args:
        path: The place in the stack file that sets it.
        owner: The listener, in words.
        vip: The address.
        port: The port.
    """

    path: str
    owner: str
    vip: IPv4Address
    port: int


def listeners(config: StackConfig) -> Iterator[PortClaim]:
    """Yield every listener on every VIP whose values are known."""
    if known(config.stats.vip, config.stats.port):
        yield PortClaim("stats.port", "the statistics page", config.stats.vip, config.stats.port)
    for name, service in config.services.items():
        yield from _service_listeners(name, service)


def _service_listeners(name: str, service: Service) -> Iterator[PortClaim]:
    if not known(service, service.kind, service.vip, service.port):
        return
    kind = KINDS[service.kind]
    if service.port is None and kind.default_port is None:
        return
    path = path_of(["services", name, "port" if service.port is not None else "vip"])
    own = kind.service_port(service.port)
    yield PortClaim(path, f"service {path_of([name])}", service.vip, own)
    if kind.redirects:
        redirect = path_of(["services", name, "vip"]) if own != HTTP_PORT else path
        yield PortClaim(redirect, f"service {path_of([name])}'s redirect to https", service.vip, HTTP_PORT)


def one_listener(config: StackConfig) -> Iterator[Problem]:
    """No port of a VIP has two listeners, or is needed by the nodes themselves."""
    used: dict[tuple[IPv4Address, int], PortClaim] = {}
    reported: set[tuple[str, str]] = set()  # two services with redirects conflict on two ports: one mistake
    for listener in listeners(config):
        if listener.port in RESERVED_PORTS:
            owner = RESERVED_PORTS[listener.port]
            yield Problem(
                listener.path,
                f"is port {listener.port} on {listener.vip}, which the nodes' own {owner} uses on every address",
                "Choose another port.",
            )
        first = used.setdefault((listener.vip, listener.port), listener)
        if first is not listener and (first.path, listener.path) not in reported:
            reported.add((first.path, listener.path))
            yield Problem(
                listener.path,
                f"puts {listener.owner} on port {listener.port} of {listener.vip}, which {first.owner} already uses",
                "Choose another port or another VIP.",
            )


def management(config: StackConfig) -> Iterator[Problem]:
    """The management networks are not empty, do not contain everybody, and do not overlap."""
    networks = config.management_networks
    if known(networks) and not networks:
        yield Problem(
            "managementNetworks",
            "is an empty list, so nobody could reach SSH, the statistics page or the gate's health endpoint",
            "List the networks of the administrators and of the machine that runs Pulumi.",
        )
    seen: list[tuple[int, IPv4Network]] = []
    for index, network in enumerate(networks):
        if not known(network):
            continue
        path = path_of(["managementNetworks", index])
        if network.prefixlen < SHORTEST_PREFIX:
            scope = "which is everybody" if network.prefixlen == 0 else "which is far more than one organisation"
            yield Problem(
                path,
                f"is {network}, {scope}",
                f"List the administrators' own networks; the shortest accepted prefix is /{SHORTEST_PREFIX}.",
            )
            continue
        for first, other in seen:
            if network.overlaps(other):
                first_path = path_of(["managementNetworks", first])
                relation = f"repeats {first_path}" if network == other else f"overlaps {first_path}, {other}"
                yield Problem(path, f"is {network}, which {relation}", "Keep only the larger of the two.")
                break
        seen.append((index, network))


def lists_without_repetition(config: StackConfig) -> Iterator[Problem]:
    """Name servers, time servers and search domains are not repeated; there is at least one name server."""
    network = config.network
    if known(network, network.dns) and not network.dns:
        yield Problem("network.dns", "is an empty list", "List at least one name server by its address.")
    for key, values in (("dns", network.dns), ("ntp", network.ntp), ("searchDomains", network.search_domains)):
        seen: dict[str, int] = {}
        for index, value in enumerate(values):
            if known(value):
                first = seen.setdefault(str(value).lower(), index)
                if first != index:
                    yield Problem(
                        path_of(["network", key, index]),
                        f"is {value}, which repeats network.{key}[{first}]",
                        "List it once.",
                    )


RULES: tuple[Callable[[StackConfig], Iterator[Problem]], ...] = (
    network_size,
    inside_network,
    one_owner,
    one_server_once,
    one_listener,
    management,
    lists_without_repetition,
)
