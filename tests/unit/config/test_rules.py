"""Every rule of the configuration: a violation is reported at its place, with limit and remedy."""

from __future__ import annotations

from typing import Any

import pytest

from lbstack.config import addressing, rules
from lbstack.config.missing import MISSING
from lbstack.facts.kinds import KINDS, derived_maxconn
from lbstack.stackfile.load import load
from tests.strategies import fido_key, ssh_keys
from tests.unit.config.support import (
    HASH,
    REMOVE,
    Location,
    paths,
    problems_of,
    valid_configuration,
    valid_secrets,
    with_changes,
)

HORIZON = ("services", "horizon")
SERVERS = (*HORIZON, "servers")


def tcp(**changes: Any) -> dict[str, Any]:
    service = {
        "kind": "tcp",
        "vip": "192.168.6.125",
        "port": 636,
        "servers": [{"name": "one", "address": "192.168.6.140"}],
    }
    return service | changes


def test_the_valid_configuration_has_no_problem() -> None:
    assert problems_of(valid_configuration()) == []


# Name, changes, place of the problem, and a fragment of its message (limit or remedy).
BREAKS: list[tuple[str, list[tuple[Location, object]], str, str]] = [
    # nodes
    ("one node", [(("nodes", 1), REMOVE)], "nodes", "List exactly 2 nodes"),
    ("no node", [(("nodes",), [])], "nodes", "List exactly 2 nodes"),
    (
        "three nodes",
        [(("nodes",), [{"name": f"n{i}", "address": f"192.168.6.{130 + i}"} for i in range(3)])],
        "nodes",
        "has 3 entries",
    ),
    (
        "two nodes with one name, in upper and lower case",
        [(("nodes", 1, "name"), "photonlb-01")],
        "nodes[1].name",
        "which is the name of nodes[0]",
    ),
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
    ("too little memory", [(("nodes", 0, "memoryMiB"), 512)], "nodes[0].memoryMiB", "the limit of 1024 MiB"),
    (
        "memory that is not a multiple of 4 MiB",
        [(("nodes", 0, "memoryMiB"), 2050)],
        "nodes[0].memoryMiB",
        "write 2048 or 2052",
    ),
    ("a disk smaller than the image's", [(("nodes", 0, "diskGiB"), 15)], "nodes[0].diskGiB", "the limit of 16 GiB"),
    ("an invalid host name", [(("nodes", 0, "name"), "Photon_LB")], "nodes[0].name", "not a host name"),
    ("a name over vSphere's limit", [(("nodes", 0, "name"), "x" * 81)], "nodes[0].name", "limit of 80 for a VM's"),
    # image and placement
    (
        "secure boot with BIOS",
        [(("image", "firmware"), "bios")],
        "image.secureBoot",
        "Set it to false, or use an image that boots with efi.",
    ),
    ("an unknown release", [(("image", "release"), "6.0")], "image.release", "Choose one of: 3.0-r3, 3.0, 4.0, 5.0."),
    ("a folder to create without a name", [(("placement", "folder"), REMOVE)], "placement.createFolder", "Name the"),
    ("a category without tags", [(("placement", "tags", "names"), [])], "placement.tags.names", "at least one tag"),
    ("a tag twice", [(("placement", "tags", "names"), ["a", "b", "a"])], "placement.tags.names[2]", "each tag once"),
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
    # VRRP
    ("VRID 0", [(("vrrp", "routerId"), 0)], "vrrp.routerId", "below the limit of 1"),
    ("VRID 256", [(("vrrp", "routerId"), 256)], "vrrp.routerId", "above the limit of 255"),
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
    ("no service", [(("services",), {})], "services", "at least one service"),
    ("a service without servers", [(SERVERS, [])], "services.horizon.servers", "at least one server"),
    (
        "a service without a ready server",
        [((*SERVERS, 0, "state"), "drain"), ((*SERVERS, 1, "state"), "maintenance")],
        "services.horizon.servers",
        "Set at least one server to ready",
    ),
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
    (
        "a server's name that HAProxy does not accept",
        [((*SERVERS, 1, "name"), "cs 02")],
        "services.horizon.servers[1].name",
        "letters, digits, _, - and .",
    ),
    ("an unknown kind", [((*HORIZON, "kind"), "smtp")], "services.horizon.kind", "one of: horizon, appvolumes, tcp"),
    ("a kind that is only planned", [((*HORIZON, "kind"), "uag")], "services.horizon.kind", "not supported yet"),
    ("tcp without a port", [(("services", "ldap"), tcp(port=None))], "services.ldap.port", "from 1 to 65535"),
    (
        "another probe for Horizon than the supported one",
        [((*HORIZON, "healthPath"), "/broker/xml")],
        "services.horizon.healthPath",
        "no other probe than /favicon.ico",
    ),
    ("a service's name with a space", [(("services", "a b"), tcp())], 'services["a b"]', "a letter, then letters"),
    ("a service's name with a line break", [(("services", "a\nb"), tcp())], r'services["a\nb"]', "control characters"),
    ("a service called stats", [(("services", "stats"), tcp())], "services.stats", "Choose another name."),
    (
        "services that differ in upper and lower case only",
        [(("services", "Horizon"), tcp())],
        "services.horizon",
        "its own name",
    ),
    (
        "one DNS name for two VIPs",
        [((*HORIZON, "fqdn"), "APPVOL.lab.example")],
        "services.horizon.fqdn",
        "which services.appvol.fqdn is too, but the VIPs differ",
    ),
    # durations
    (
        "Horizon probed too often",
        [((*HORIZON, "healthInterval"), "29s")],
        "services.horizon.healthInterval",
        "30s to 10m",
    ),
    (
        "too many probes",
        [(("services", "l"), tcp(healthInterval="500ms"))],
        "services.l.healthInterval",
        "1s to 10m",
    ),
    ("too few probes", [(("services", "l"), tcp(healthInterval="1d"))], "services.l.healthInterval", "1s to 10m"),
    ("persistence that is too short", [((*HORIZON, "persistence"), "59s")], "services.horizon.persistence", "1m to 1d"),
    ("persistence that is too long", [((*HORIZON, "persistence"), "7d")], "services.horizon.persistence", "1m to 1d"),
    (
        "a connect timeout that is too short",
        [((*HORIZON, "timeouts", "connect"), "1ms")],
        "services.horizon.timeouts.connect",
        "100ms to",
    ),
    (
        "a client timeout that is too short",
        [((*HORIZON, "timeouts", "client"), "9ms")],
        "services.horizon.timeouts.client",
        "1s to 1d",
    ),
    (
        "a server timeout that is too short",
        [((*HORIZON, "timeouts", "server"), "9ms")],
        "services.horizon.timeouts.server",
        "1s to 1d",
    ),
    (
        "a tunnel timeout shorter than Horizon's heartbeats",
        [((*HORIZON, "timeouts", "tunnel"), "59m")],
        "services.horizon.timeouts.tunnel",
        "1h to 1d",
    ),
    (
        "a tunnel timeout that is too short",
        [(("services", "l"), tcp(timeouts={"tunnel": "59s"}))],
        "services.l.timeouts.tunnel",
        "1m to",
    ),
    # statistics
    ("no login", [(("stats", "users"), {})], "stats.users", "at least one login"),
    ("a login with a colon", [(("stats", "users", "a:b"), {})], "stats.users.a:b", "no colon"),
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
    # access
    (
        "a key twice",
        [(("access", "sshKeys"), [ssh_keys()[0], f"{ssh_keys()[0]} x"])],
        "access.sshKeys[1]",
        "each key once",
    ),
    ("a FIDO key on Photon 3.0", [(("access", "sshKeys", 0), fido_key())], "access.sshKeys[0]", "a newer release"),
    # packages and HAProxy
    (
        "a version for a package that nodes do not install by name",
        [(("packages", "versions"), {"haproxi": "2.2.31-1.ph3"})],
        "packages.versions.haproxi",
        "Did you mean haproxy?",
    ),
    (
        "a repository without TLS",
        [(("packages", "repository"), "http://mirror.example.com/photon")],
        "packages.repository",
        "over http instead of https",
    ),
    (
        "more connections than the memory carries",
        [(("haproxy", "maxconn"), derived_maxconn(2048) + 1)],
        "haproxy.maxconn",
        f"above the limit of {derived_maxconn(2048)} that a node with 2048 MiB",
    ),
    (
        "more connections than the smaller node's memory carries",
        [(("nodes", 0, "memoryMiB"), 65536), (("haproxy", "maxconn"), derived_maxconn(2048) + 1)],
        "haproxy.maxconn",
        "or raise nodes[].memoryMiB",
    ),
    ("too few connections", [(("haproxy", "maxconn"), 499)], "haproxy.maxconn", "below the limit of 500"),
]


@pytest.mark.parametrize(("changes", "path", "fragment"), [row[1:] for row in BREAKS], ids=[row[0] for row in BREAKS])
def test_a_violation_is_reported_at_its_place(changes: list[tuple[Location, object]], path: str, fragment: str) -> None:
    problems = problems_of(with_changes(*changes))
    assert path in paths(problems)
    assert any(fragment in str(problem) for problem in problems if problem.path == path), problems
    assert len(problems) == len(set(problems))


# Mistakes that cause several problems, and how many.
SEVERAL = {
    "a network too small for a pair": 5,  # the gateway, a node and two VIPs are then outside
    "no login": 3,  # and the two hashes have no login
}


def test_one_mistake_is_one_problem() -> None:
    counted = {name: len(problems_of(with_changes(*changes))) for name, changes, _, _ in BREAKS}
    assert {name: count for name, count in counted.items() if count != 1} == SEVERAL


PASSES: list[tuple[str, list[tuple[Location, object]]]] = [
    ("the lowest VRID", [(("vrrp", "routerId"), 1)]),
    ("the highest VRID", [(("vrrp", "routerId"), 255)]),
    ("services that share a VIP on different ports", [(("services", "ldap"), tcp(vip="192.168.6.123"))]),
    ("services that share servers", [(("services", "b"), tcp(port=8443, vip="192.168.6.124"))]),
    ("the statistics page on a service's VIP", [(("stats", "vip"), "192.168.6.123")]),
    ("a server behind the gateway", [((*SERVERS, 0, "address"), "10.9.8.7")]),
    ("a server in drain next to a ready one", [((*SERVERS, 0, "state"), "drain")]),
    ("Horizon's own probe, set explicitly", [((*HORIZON, "healthPath"), "/favicon.ico")]),
    ("another port for Horizon", [((*HORIZON, "port"), 8443)]),
    ("a service on the port that the peers use on the nodes' addresses", [(("services", "ldap"), tcp(port=10_000))]),
    ("one DNS name for one VIP's services", [(("services", "l"), tcp(vip="192.168.6.124", fqdn="appvol.lab.example"))]),
    ("as many connections as the memory allows", [(("haproxy", "maxconn"), derived_maxconn(2048))]),
    ("the largest management network", [(("managementNetworks",), ["10.0.0.0/8", "192.168.0.0/16"])]),
    ("a management network of one machine", [(("managementNetworks",), ["192.168.6.240/32"])]),
    ("a FIDO key on Photon 4.0", [(("image", "release"), "4.0"), (("access", "sshKeys", 0), fido_key())]),
    ("durations at their limits", [((*HORIZON, "healthInterval"), "30s"), ((*HORIZON, "timeouts", "tunnel"), "60m")]),
    ("BIOS without secure boot", [(("image", "firmware"), "bios"), (("image", "secureBoot"), False)]),
    ("null for an optional value", [((*HORIZON, "fqdn"), None), (("placement", "tags"), None)]),
    ("protection by the lifecycle", [(("protect",), "lifecycle")]),
    ("the gate switched off", [(("rollout", "gate"), False)]),
]


@pytest.mark.parametrize("changes", [row[1] for row in PASSES], ids=[row[0] for row in PASSES])
def test_a_valid_change_is_accepted(changes: list[tuple[Location, object]]) -> None:
    assert problems_of(with_changes(*changes)) == []


@pytest.mark.parametrize(
    ("lifecycle", "protect", "protected"),
    [
        ("lab", None, False),
        ("production", None, True),
        ("production", "lifecycle", True),
        ("production", False, False),
        ("lab", True, True),
    ],
)
def test_production_is_protected_unless_the_stack_file_sets_protect(
    lifecycle: str, protect: object, *, protected: bool
) -> None:
    config, _ = load(with_changes((("lifecycle",), lifecycle), (("protect",), protect)), valid_secrets())
    assert config.protected is protected


def test_an_ssh_key_or_a_root_password_is_required() -> None:
    raw = with_changes((("access", "sshKeys"), []))
    assert paths(problems_of(raw)) == ["access.sshKeys"]
    assert problems_of(raw, valid_secrets() | {"rootPasswordHash": HASH}) == []


def test_every_rule_ignores_a_configuration_whose_values_are_all_missing() -> None:
    assert rules.check(MISSING) == []


def test_every_rule_is_listed() -> None:
    """A function that yields problems and is not in RULES would never run."""
    for module in (rules, addressing):
        generators = {
            name
            for name, function in vars(module).items()
            if getattr(function, "__annotations__", {}).get("return") == "Iterator[Problem]"
            and not name.startswith("_")
            and function.__module__ == module.__name__
        }
        assert generators == {rule.__name__ for rule in module.RULES if rule.__module__ == module.__name__}


def test_the_ports_of_a_service_are_those_of_its_kind() -> None:
    config, _ = load(valid_configuration(), valid_secrets())
    ports = {(str(listener.vip), listener.port) for listener in addressing.listeners(config)}
    expected = {(str(config.stats.vip), config.stats.port)}
    for service in config.services.values():
        expected |= {(str(service.vip), port) for port in KINDS[service.kind].ports(service.port)}
    assert ports == expected
