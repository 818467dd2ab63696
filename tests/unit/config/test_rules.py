"""Every rule of the configuration: what breaks it is named by its place, with limit and remedy."""

from __future__ import annotations

from typing import Any

import pytest

from lbstack.config import addressing, rules
from lbstack.config.forms import MISSING
from lbstack.facts.kinds import KINDS, derived_maxconn
from lbstack.stackfile.load import load
from tests.strategies import fido_key, ssh_keys
from tests.unit.config.support import (
    HASH,
    REMOVE,
    Location,
    complaints,
    paths,
    right_configuration,
    right_secrets,
    spoiled,
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


def test_the_right_configuration_has_no_problem() -> None:
    assert complaints(right_configuration()) == []


# Sentence, what is changed, where the problem is, and what is said there (limit or remedy).
BREAKS: list[tuple[str, list[tuple[Location, object]], str, str]] = [
    # nodes
    ("one node is no pair", [(("nodes", 1), REMOVE)], "nodes", "List exactly 2 nodes"),
    ("no node is no pair", [(("nodes",), [])], "nodes", "List exactly 2 nodes"),
    (
        "three nodes are no pair",
        [(("nodes",), [{"name": f"n{i}", "address": f"192.168.6.{130 + i}"} for i in range(3)])],
        "nodes",
        "has 3 entries",
    ),
    (
        "two nodes of one name, whatever its capitals",
        [(("nodes", 1, "name"), "photonlb-01")],
        "nodes[1].name",
        "as nodes[0] is called",
    ),
    (
        "two nodes of one address",
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
    ("memory in no step of vSphere's", [(("nodes", 0, "memoryMiB"), 2050)], "nodes[0].memoryMiB", "write 2048 or 2052"),
    ("a disk smaller than the image's", [(("nodes", 0, "diskGiB"), 15)], "nodes[0].diskGiB", "the limit of 16 GiB"),
    ("a name that is no host name", [(("nodes", 0, "name"), "Photon_LB")], "nodes[0].name", "no host name"),
    ("a name over vSphere's limit", [(("nodes", 0, "name"), "x" * 81)], "nodes[0].name", "limit of 80 for a VM's"),
    # image and placement
    (
        "secure boot with BIOS",
        [(("image", "firmware"), "bios")],
        "image.secureBoot",
        "Set it to false, or use an image that boots with efi.",
    ),
    ("an unknown release", [(("image", "release"), "6.0")], "image.release", "Choose one of: 3.0-r3, 3.0, 4.0, 5.0."),
    ("a folder to be made without a name", [(("placement", "folder"), REMOVE)], "placement.createFolder", "Name the"),
    ("no tags in a category", [(("placement", "tags", "names"), [])], "placement.tags.names", "at least one tag"),
    ("a tag twice", [(("placement", "tags", "names"), ["a", "b", "a"])], "placement.tags.names[2]", "each tag once"),
    # network
    (
        "a network too small for a pair",
        [(("network", "cidr"), "192.168.6.120/30")],
        "network.cidr",
        "the smallest that holds a pair is a /29",
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
    ("a time server twice", [(("network", "ntp"), ["a.b", "A.b"])], "network.ntp[1]", "as network.ntp[0] is"),
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
        "on port 443 of 192.168.6.124, where service appvol is already",
    ),
    (
        "a service on the port of another's redirect",
        [(("services", "ldap"), tcp(vip="192.168.6.123", port=80))],
        "services.ldap.port",
        "where service horizon's redirect to https is already",
    ),
    (
        "a service on its own redirect",
        [((*HORIZON, "port"), 80)],
        "services.horizon.port",
        "redirect to https on port 80",
    ),
    (
        "a service on the statistics page's VIP and port",
        [(("services", "ldap"), tcp(vip="192.168.6.122", port=8404))],
        "services.ldap.port",
        "where the statistics page is already",
    ),
    (
        "the statistics page on a service's VIP and port",
        [(("stats",), {"vip": "192.168.6.123", "port": 443, "users": {"admin": {}, "stats": {}}})],
        "services.horizon.vip",
        "where the statistics page is already",
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
        "Leave at least one ready",
    ),
    (
        "two servers of one name in a service",
        [((*SERVERS, 1, "name"), "horizon_connection_server_01")],
        "services.horizon.servers[1].name",
        "as servers[0] is called",
    ),
    (
        "two servers of one address in a service",
        [((*SERVERS, 1, "address"), "192.168.6.113")],
        "services.horizon.servers[1].address",
        "as servers[0] has",
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
        "a server's name that HAProxy cannot carry",
        [((*SERVERS, 1, "name"), "cs 02")],
        "services.horizon.servers[1].name",
        "letters, digits, _, - and .",
    ),
    ("an unknown kind", [((*HORIZON, "kind"), "smtp")], "services.horizon.kind", "one of: horizon, appvolumes, tcp"),
    ("a kind that is only planned", [((*HORIZON, "kind"), "uag")], "services.horizon.kind", "not offered yet"),
    ("tcp without a port", [(("services", "ldap"), tcp(port=None))], "services.ldap.port", "from 1 to 65535"),
    (
        "another probe for Horizon than the supported one",
        [((*HORIZON, "healthPath"), "/broker/xml")],
        "services.horizon.healthPath",
        "no other probe than /favicon.ico",
    ),
    ("a service's name with a blank", [(("services", "a b"), tcp())], 'services["a b"]', "a letter, then letters"),
    ("a service's name with a line break", [(("services", "a\nb"), tcp())], r'services["a\nb"]', "control characters"),
    ("a service called stats", [(("services", "stats"), tcp())], "services.stats", "Choose another name."),
    ("services that differ in capitals", [(("services", "Horizon"), tcp())], "services.horizon", "its own name"),
    (
        "one DNS name for two VIPs",
        [((*HORIZON, "fqdn"), "APPVOL.lab.example")],
        "services.horizon.fqdn",
        "as services.appvol.fqdn is, but the VIPs differ",
    ),
    # durations
    (
        "Horizon probed too often",
        [((*HORIZON, "healthInterval"), "29s")],
        "services.horizon.healthInterval",
        "30s to 10m",
    ),
    (
        "a probe every moment",
        [(("services", "l"), tcp(healthInterval="500ms"))],
        "services.l.healthInterval",
        "1s to 10m",
    ),
    ("a probe once a day", [(("services", "l"), tcp(healthInterval="1d"))], "services.l.healthInterval", "1s to 10m"),
    ("persistence of a blink", [((*HORIZON, "persistence"), "59s")], "services.horizon.persistence", "1m to 1d"),
    ("persistence of a week", [((*HORIZON, "persistence"), "7d")], "services.horizon.persistence", "1m to 1d"),
    (
        "connect within 1 ms",
        [((*HORIZON, "timeouts", "connect"), "1ms")],
        "services.horizon.timeouts.connect",
        "100ms to",
    ),
    ("a client's blink", [((*HORIZON, "timeouts", "client"), "9ms")], "services.horizon.timeouts.client", "1s to 1d"),
    ("a server's blink", [((*HORIZON, "timeouts", "server"), "9ms")], "services.horizon.timeouts.server", "1s to 1d"),
    (
        "a tunnel shorter than Horizon's heartbeats",
        [((*HORIZON, "timeouts", "tunnel"), "59m")],
        "services.horizon.timeouts.tunnel",
        "1h to 1d",
    ),
    (
        "a tunnel of seconds",
        [(("services", "l"), tcp(timeouts={"tunnel": "59s"}))],
        "services.l.timeouts.tunnel",
        "1m to",
    ),
    # statistics
    ("no login", [(("stats", "users"), {})], "stats.users", "at least one login"),
    ("a login with a colon", [(("stats", "users", "a:b"), {})], "stats.users.a:b", "no colon"),
    # management networks
    ("nobody manages", [(("managementNetworks",), [])], "managementNetworks", "of the machine that runs Pulumi"),
    ("everybody manages", [(("managementNetworks", 0), "0.0.0.0/0")], "managementNetworks[0]", "which is everybody"),
    ("half the world manages", [(("managementNetworks", 0), "0.0.0.0/1")], "managementNetworks[0]", "prefix is /8"),
    (
        "a management network twice",
        [(("managementNetworks",), ["10.0.0.0/24", "10.0.0.0/24"])],
        "managementNetworks[1]",
        "is 10.0.0.0/24, again",
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
        "a version for a package that no node installs by name",
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
    ("hardly any connections", [(("haproxy", "maxconn"), 499)], "haproxy.maxconn", "below the limit of 500"),
]


@pytest.mark.parametrize(("changes", "path", "said"), [row[1:] for row in BREAKS], ids=[row[0] for row in BREAKS])
def test_refused_at_its_place_is(changes: list[tuple[Location, object]], path: str, said: str) -> None:
    problems = complaints(spoiled(*changes))
    assert path in paths(problems)
    assert any(said in str(problem) for problem in problems if problem.path == path), problems
    assert len(problems) == len(set(problems))


# Mistakes that break several rules at once, and how many problems that makes.
SEVERAL = {
    "a network too small for a pair": 5,  # gateway, a node and two VIPs are then outside it
    "no login": 3,  # and the two hashes belong to nobody
}


def test_one_mistake_is_one_problem() -> None:
    counted = {sentence: len(complaints(spoiled(*changes))) for sentence, changes, _, _ in BREAKS}
    assert {sentence: count for sentence, count in counted.items() if count != 1} == SEVERAL


PASSES: list[tuple[str, list[tuple[Location, object]]]] = [
    ("the lowest and the highest VRID", [(("vrrp", "routerId"), 1)]),
    ("VRID 255", [(("vrrp", "routerId"), 255)]),
    ("services that share a VIP on different ports", [(("services", "ldap"), tcp(vip="192.168.6.123"))]),
    ("services that share servers", [(("services", "b"), tcp(port=8443, vip="192.168.6.124"))]),
    ("the statistics page on a service's VIP", [(("stats", "vip"), "192.168.6.123")]),
    ("a server behind the gateway", [((*SERVERS, 0, "address"), "10.9.8.7")]),
    ("a server in drain beside a ready one", [((*SERVERS, 0, "state"), "drain")]),
    ("Horizon's own probe said explicitly", [((*HORIZON, "healthPath"), "/favicon.ico")]),
    ("another port for Horizon", [((*HORIZON, "port"), 8443)]),
    ("a service on the port that the peers have on the nodes' addresses", [(("services", "ldap"), tcp(port=10_000))]),
    ("one DNS name for one VIP's services", [(("services", "l"), tcp(vip="192.168.6.124", fqdn="appvol.lab.example"))]),
    ("as many connections as the memory carries", [(("haproxy", "maxconn"), derived_maxconn(2048))]),
    ("the largest management network", [(("managementNetworks",), ["10.0.0.0/8", "192.168.0.0/16"])]),
    ("one machine that manages", [(("managementNetworks",), ["192.168.6.240/32"])]),
    ("a FIDO key on Photon 4.0", [(("image", "release"), "4.0"), (("access", "sshKeys", 0), fido_key())]),
    ("durations at their limits", [((*HORIZON, "healthInterval"), "30s"), ((*HORIZON, "timeouts", "tunnel"), "60m")]),
    ("BIOS without secure boot", [(("image", "firmware"), "bios"), (("image", "secureBoot"), False)]),
    ("null where something is optional", [((*HORIZON, "fqdn"), None), (("placement", "tags"), None)]),
    ("protection by the lifecycle", [(("protect",), "lifecycle")]),
    ("the gate switched off", [(("rollout", "gate"), False)]),
]


@pytest.mark.parametrize("changes", [row[1] for row in PASSES], ids=[row[0] for row in PASSES])
def test_allowed_is(changes: list[tuple[Location, object]]) -> None:
    assert complaints(spoiled(*changes)) == []


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
def test_production_is_protected_unless_the_stack_file_says_otherwise(
    lifecycle: str, protect: object, *, protected: bool
) -> None:
    config, _ = load(spoiled((("lifecycle",), lifecycle), (("protect",), protect)), right_secrets())
    assert config.protected is protected


def test_without_a_key_and_without_a_password_nobody_could_log_in() -> None:
    raw = spoiled((("access", "sshKeys"), []))
    assert paths(complaints(raw)) == ["access.sshKeys"]
    assert complaints(raw, right_secrets() | {"rootPasswordHash": HASH}) == []


def test_every_rule_is_silent_about_a_configuration_of_which_nothing_is_known() -> None:
    assert rules.check(MISSING) == []


def test_every_rule_is_on_the_list() -> None:
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
    config, _ = load(right_configuration(), right_secrets())
    ports = {(str(listener.vip), listener.port) for listener in addressing.listeners(config)}
    expected = {(str(config.stats.vip), config.stats.port)}
    for service in config.services.values():
        expected |= {(str(service.vip), port) for port in KINDS[service.kind].ports(service.port)}
    assert ports == expected
