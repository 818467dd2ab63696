"""Read from the stack file who has which address in a lab, so that the network fits what is deployed in it.

What the stack file does not name (client, outsider, management station) gets a fixed host number in its subnet. This
module changes nothing and sends nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from lab.errors import LabError
from lab.home.stackfile import PROJECT
from lbstack.facts.kinds import KINDS
from lbstack.facts.ports import HTTPS_PORT

CLIENT = 50  # host numbers inside the subnet
MORE_CLIENTS = range(51, 70)
OUTSIDER = 200


@dataclass(frozen=True)
class Backend:
    """One back-end server.

    Args:
        name: How the lab calls it: service and number, such as ``horizon-01``.
        server: How the stack file calls it.
        kind: Its service's kind.
        address: Its address.
        ports: Where it listens.
        hostnames: Names and addresses that its certificate is for.
        health_path: What a load balancer asks for; empty for a plain TCP check.
    """

    name: str
    server: str
    kind: str
    address: IPv4Address
    ports: tuple[int, ...]
    hostnames: tuple[str, ...]
    health_path: str


@dataclass(frozen=True)
class Service:
    """One balanced service, as a client sees it.

    Args:
        name: Its key in the stack file.
        kind: Its kind.
        vip: Its virtual address.
        port: Its port there.
        hostname: What a client asks for by name.
    """

    name: str
    kind: str
    vip: IPv4Address
    port: int
    hostname: str


@dataclass(frozen=True)
class Topology:
    """Every address of a lab.

    Args:
        subnet: The one network.
        gateway: Its default gateway.
        dns: Its name server.
        management: The station that may look after the nodes.
        nodes: Node name → address.
        services: The balanced services.
        backends: The servers behind them.
        records: Host name in lower case → address, for the name server.
    """

    subnet: IPv4Network
    gateway: IPv4Address
    dns: IPv4Address
    management: IPv4Address
    nodes: Mapping[str, IPv4Address]
    services: tuple[Service, ...]
    backends: tuple[Backend, ...]
    stats: tuple[IPv4Address, int] | None = None
    records: Mapping[str, IPv4Address] = field(default_factory=dict)

    @property
    def client(self) -> IPv4Address:
        """A user's machine."""
        return self.subnet[CLIENT]

    @property
    def clients(self) -> tuple[IPv4Address, ...]:
        """All addresses of the client, so that it can be twenty users."""
        return (self.client, *(self.subnet[number] for number in MORE_CLIENTS))

    @property
    def outsider(self) -> IPv4Address:
        """A machine of the same network that may not manage anything."""
        return self.subnet[OUTSIDER]

    @property
    def vips(self) -> tuple[IPv4Address, ...]:
        """Every virtual address, once."""
        found = [service.vip for service in self.services]
        return tuple(sorted({*found, *([self.stats[0]] if self.stats else [])}))

    def backend(self, name: str) -> Backend:
        """A server by the lab's name or the stack file's.

        Raises:
            LabError: There is none; with those that there are.
        """
        for backend in self.backends:
            if name in (backend.name, backend.server):
                return backend
        known = ", ".join(backend.name for backend in self.backends) or "none"
        raise LabError(f"There is no back-end server {name!r}; there is: {known}.")

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Topology:
        """The topology that a stack file asks for.

        Args:
            config: Its ``config`` mapping (``home.stackfile.read``).

        Raises:
            LabError: It is incomplete, or two machines would have one address; all of it at once.
        """
        try:
            return _build(config)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise LabError(
                f"The lab's network cannot be laid out from the stack file ({type(error).__name__}: {error}). "
                "`lbstack check` shows what is wrong with it."
            ) from error


def _build(config: Mapping[str, Any]) -> Topology:
    network = config[f"{PROJECT}:network"]
    subnet = IPv4Network(network["cidr"])
    nodes = {node["name"]: IPv4Address(node["address"]) for node in config[f"{PROJECT}:nodes"]}
    services, backends = _services(config[f"{PROJECT}:services"])
    stats = config.get(f"{PROJECT}:stats")
    topology = Topology(
        subnet=subnet,
        gateway=IPv4Address(network["gateway"]),
        dns=IPv4Address(network["dns"][0]),
        management=_management(subnet, config[f"{PROJECT}:managementNetworks"]),
        nodes=nodes,
        services=services,
        backends=backends,
        stats=(IPv4Address(stats["vip"]), int(stats.get("port", 8404))) if stats else None,
        records=_records(network.get("searchDomains", ()), services, backends, nodes),
    )
    problems = list(_problems(topology))
    if problems:
        raise LabError("\n".join(problems))
    return topology


def _services(config: Mapping[str, Any]) -> tuple[tuple[Service, ...], tuple[Backend, ...]]:
    services: list[Service] = []
    backends: dict[IPv4Address, Backend] = {}
    for key, service in config.items():
        kind = KINDS[service["kind"]]
        port = int(service.get("port") or kind.default_port or HTTPS_PORT)
        vip = IPv4Address(service["vip"])
        hostname = str(service.get("fqdn") or vip)
        services.append(Service(key, kind.name, vip, port, hostname))
        for number, server in enumerate(service["servers"], start=1):
            address = IPv4Address(server["address"])
            # A server of two services is one machine with one name and all of their ports.
            known = backends.get(address)
            name = known.name if known else f"{key}-{number:02d}"
            backends[address] = Backend(
                name=name,
                server=known.server if known else server["name"],
                kind=known.kind if known else kind.name,
                address=address,
                ports=tuple(sorted({port, *(known.ports if known else ())})),
                hostnames=tuple(
                    dict.fromkeys((*(known.hostnames if known else ()), hostname, str(vip), name, str(address)))
                ),
                health_path=str(service.get("healthPath") or kind.health.path or ""),
            )
    return tuple(services), tuple(backends.values())


def _records(
    search: Iterable[str],
    services: Iterable[Service],
    backends: Iterable[Backend],
    nodes: Mapping[str, IPv4Address],
) -> dict[str, IPv4Address]:
    """Each service by its full name; each machine by its plain name, and in every domain that there is."""
    records = {service.hostname.lower(): service.vip for service in services}
    domains = {name.partition(".")[2] for name in records if not name[-1].isdigit()} | {name.lower() for name in search}
    machines = {name.lower(): address for name, address in nodes.items()}
    machines |= {backend.name: backend.address for backend in backends}
    for name, address in machines.items():
        records[name] = address
        records |= {f"{name}.{domain}": address for domain in domains if domain}
    return records


def _management(subnet: IPv4Network, networks: list[str]) -> IPv4Address:
    for text in networks:
        candidate = IPv4Network(text)
        if candidate.subnet_of(subnet):
            return next(candidate.hosts())
    raise LabError(
        f"None of managementNetworks ({', '.join(networks)}) lies in {subnet}, the only network of a lab. "
        "The management station needs an address in one of them."
    )


def _problems(topology: Topology) -> Iterator[str]:
    used: list[tuple[IPv4Address, str]] = [
        (topology.gateway, "the gateway"),
        (topology.dns, "the name server"),
        (topology.management, "the lab's management station"),
        (topology.outsider, "the lab's outsider"),
        *((address, "the lab's client") for address in topology.clients),
        *((address, f"node {name}") for name, address in topology.nodes.items()),
        *((address, "a VIP") for address in topology.vips),
        *((backend.address, f"server {backend.server}") for backend in topology.backends),
    ]
    for address, owner in used:
        if address not in topology.subnet:
            yield f"{address} ({owner}) is not in {topology.subnet}, the only network of a lab."
    for address, count in Counter(address for address, _ in used).items():
        if count > 1:
            owners = " and ".join(owner for taken, owner in used if taken == address)
            yield (
                f"{address} is wanted by {owners}. A lab keeps .{CLIENT} to .{MORE_CLIENTS[-1]} and .{OUTSIDER} of its "
                "subnet and the first management address for itself; give the other one another address."
            )
