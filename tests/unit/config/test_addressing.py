"""Rules about addresses and ports: a violation is reported at its place, with limit and remedy."""

from __future__ import annotations

import pytest

from lbstack.config import addressing
from lbstack.facts.kinds import KINDS
from lbstack.stackfile.load import load
from tests.unit.config.support import (
    HORIZON,
    SERVERS,
    Change,
    Violation,
    problems_of,
    require_reported,
    tcp,
    valid_configuration,
    valid_secrets,
    with_changes,
)

VIOLATIONS: list[Violation] = [
    # nodes
    (
        "two nodes with one address",
        [(("nodes", 1, "address"), "192.168.6.120")],
        "nodes[1].address",
        "which node PhotonLB-01 has (nodes[0].address)",
    ),
    ("a node outside the network", [(("nodes", 0, "address"), "192.168.7.120")], "nodes[0].address", "192.168.6.254"),
    (
        "a node with the network's own address",
        [(("nodes", 0, "address"), "192.168.6.0")],
        "nodes[0].address",
        "the network address of 192.168.6.0/24",
    ),
    (
        "a node with the broadcast address",
        [(("nodes", 0, "address"), "192.168.6.255")],
        "nodes[0].address",
        "the broadcast address of 192.168.6.0/24",
    ),
    ("a node with the gateway's address", [(("nodes", 0, "address"), "192.168.6.1")], "nodes[0].address", "gateway"),
    ("a node with a name server's", [(("nodes", 0, "address"), "192.168.6.100")], "nodes[0].address", "name server"),
    (
        "a node with a time server's",
        [(("network", "ntp"), ["192.168.6.101"]), (("nodes", 0, "address"), "192.168.6.101")],
        "nodes[0].address",
        "a time server has (network.ntp[0])",
    ),
    # network
    (
        "a network too small for a pair",
        [(("network", "cidr"), "192.168.6.120/30")],
        "network.cidr",
        "the smallest that can hold a pair is a /29",
    ),
    ("a network larger than any private one", [(("network", "cidr"), "192.0.0.0/7")], "network.cidr", "8 to 29"),
    (
        "a gateway outside the network",
        [(("network", "gateway"), "10.0.0.1")],
        "network.gateway",
        "outside network.cidr",
    ),
    ("no name server", [(("network", "dns"), [])], "network.dns", "at least one name server"),
    ("a name server twice", [(("network", "dns"), ["10.0.0.1", "10.0.0.1"])], "network.dns[1]", "List it once."),
    ("a time server twice", [(("network", "ntp"), ["a.b", "A.b"])], "network.ntp[1]", "repeats network.ntp[0]"),
    ("a search domain twice", [(("network", "searchDomains"), ["a", "a"])], "network.searchDomains[1]", "once"),
    # VIPs
    ("a VIP outside the network", [((*HORIZON, "vip"), "192.168.7.1")], "services.horizon.vip", "outside network.cidr"),
    ("the page's VIP outside the network", [(("stats", "vip"), "10.0.0.1")], "stats.vip", "outside network.cidr"),
    ("a VIP equal to a node", [((*HORIZON, "vip"), "192.168.6.120")], "services.horizon.vip", "node PhotonLB-01 has"),
    ("a VIP equal to the gateway", [((*HORIZON, "vip"), "192.168.6.1")], "services.horizon.vip", "the gateway has"),
    ("a VIP equal to a name server", [((*HORIZON, "vip"), "192.168.6.100")], "services.horizon.vip", "name server has"),
    ("a VIP equal to the broadcast", [((*HORIZON, "vip"), "192.168.6.255")], "services.horizon.vip", "broadcast"),
    (
        "a VIP equal to a server of the same service",
        [((*HORIZON, "vip"), "192.168.6.113")],
        "services.horizon.vip",
        "server Horizon_Connection_Server_01 has (services.horizon.servers[0].address)",
    ),
    (
        "a VIP equal to a server of another service",
        [(("stats", "vip"), "192.168.6.118")],
        "stats.vip",
        "server AppVolumes_Manager_01 has",
    ),
    # ports
    (
        "two services on one VIP and port",
        [((*HORIZON, "vip"), "192.168.6.124")],
        "services.horizon.vip",
        "on port 443 of 192.168.6.124, which service appvol already uses",
    ),
    (
        "a service on the port of another's redirect",
        [(("services", "ldap"), tcp(vip="192.168.6.123", port=80))],
        "services.ldap.port",
        "which service horizon's redirect to https already uses",
    ),
    (
        "a service on the port of its own redirect",
        [((*HORIZON, "port"), 80)],
        "services.horizon.port",
        "redirect to https on port 80",
    ),
    (
        "a service on the statistics page's VIP and port",
        [(("services", "ldap"), tcp(vip="192.168.6.122", port=8404))],
        "services.ldap.port",
        "which the statistics page already uses",
    ),
    (
        "the statistics page on a service's VIP and port",
        [(("stats",), {"vip": "192.168.6.123", "port": 443, "users": {"admin": {}, "stats": {}}})],
        "services.horizon.vip",
        "which the statistics page already uses",
    ),
    ("a service on SSH's port", [(("services", "ssh"), tcp(port=22))], "services.ssh.port", "the nodes' own SSH"),
    ("the statistics page on SSH's port", [(("stats", "port"), 22)], "stats.port", "the nodes' own SSH"),
    ("a service on health's port", [(("services", "a"), tcp(port=8405))], "services.a.port", "own health endpoint"),
    ("Horizon on health's port", [((*HORIZON, "port"), 8405)], "services.horizon.port", "own health endpoint"),
    ("the statistics page on health's port", [(("stats", "port"), 8405)], "stats.port", "own health endpoint"),
    # services and servers
    (
        "two servers with one name in a service",
        [((*SERVERS, 1, "name"), "horizon_connection_server_01")],
        "services.horizon.servers[1].name",
        "which is the name of servers[0]",
    ),
    (
        "two servers with one address in a service",
        [((*SERVERS, 1, "address"), "192.168.6.113")],
        "services.horizon.servers[1].address",
        "which is the address of servers[0]",
    ),
    (
        "a server with a node's address",
        [((*SERVERS, 1, "address"), "192.168.6.121")],
        "services.horizon.servers[1].address",
        "which node PhotonLB-02 has",
    ),
    (
        "a server with the gateway's address",
        [((*SERVERS, 1, "address"), "192.168.6.1")],
        "services.horizon.servers[1].address",
        "which the gateway has",
    ),
    # management networks
    ("no management network", [(("managementNetworks",), [])], "managementNetworks", "of the machine that runs Pulumi"),
    ("every address", [(("managementNetworks", 0), "0.0.0.0/0")], "managementNetworks[0]", "which is everybody"),
    ("half of all addresses", [(("managementNetworks", 0), "0.0.0.0/1")], "managementNetworks[0]", "prefix is /8"),
    (
        "a management network twice",
        [(("managementNetworks",), ["10.0.0.0/24", "10.0.0.0/24"])],
        "managementNetworks[1]",
        "is 10.0.0.0/24, which repeats managementNetworks[0]",
    ),
    (
        "overlapping management networks",
        [(("managementNetworks",), ["10.0.0.0/16", "10.1.0.0/16", "10.1.2.0/24"])],
        "managementNetworks[2]",
        "which overlaps managementNetworks[1], 10.1.0.0/16",
    ),
]


@pytest.mark.parametrize(
    ("changes", "path", "fragment"), [row[1:] for row in VIOLATIONS], ids=[row[0] for row in VIOLATIONS]
)
def test_a_violation_is_reported_at_its_place(changes: list[Change], path: str, fragment: str) -> None:
    require_reported(changes, path, fragment)


# Mistakes that cause several problems, and how many.
SEVERAL = {
    "a network too small for a pair": 5,  # the gateway, a node and two VIPs are then outside
}


def test_one_mistake_is_one_problem() -> None:
    counted = {name: len(problems_of(with_changes(*changes))) for name, changes, _, _ in VIOLATIONS}
    assert {name: count for name, count in counted.items() if count != 1} == SEVERAL


ACCEPTED: list[tuple[str, list[Change]]] = [
    ("services that share a VIP on different ports", [(("services", "ldap"), tcp(vip="192.168.6.123"))]),
    ("services that share servers", [(("services", "b"), tcp(port=8443, vip="192.168.6.124"))]),
    ("the statistics page on a service's VIP", [(("stats", "vip"), "192.168.6.123")]),
    ("a server behind the gateway", [((*SERVERS, 0, "address"), "10.9.8.7")]),
    ("another port for Horizon", [((*HORIZON, "port"), 8443)]),
    ("a service on the port that the peers use on the nodes' addresses", [(("services", "ldap"), tcp(port=10_000))]),
    ("the largest management network", [(("managementNetworks",), ["10.0.0.0/8", "192.168.0.0/16"])]),
    ("a management network of one machine", [(("managementNetworks",), ["192.168.6.240/32"])]),
]


@pytest.mark.parametrize("changes", [row[1] for row in ACCEPTED], ids=[row[0] for row in ACCEPTED])
def test_a_valid_change_is_accepted(changes: list[Change]) -> None:
    assert problems_of(with_changes(*changes)) == []


def test_the_ports_of_a_service_are_those_of_its_kind() -> None:
    config, _ = load(valid_configuration(), valid_secrets())
    ports = {(str(listener.vip), listener.port) for listener in addressing.listeners(config)}
    expected = {(str(config.stats.vip), config.stats.port)}
    for service in config.services.values():
        expected |= {(str(service.vip), port) for port in KINDS[service.kind].ports(service.port)}
    assert ports == expected
