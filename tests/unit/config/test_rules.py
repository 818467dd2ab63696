"""Rules between values: a violation is reported at its place, with limit and remedy. Addresses: test_addressing.py."""

from __future__ import annotations

import pytest

from lbstack.config import addressing, rules
from lbstack.config.missing import MISSING
from lbstack.facts.kinds import derived_maxconn
from lbstack.stackfile.load import load
from tests.keys import fido_key, ssh_keys
from tests.unit.config.support import (
    HASH,
    HORIZON,
    REMOVE,
    SERVERS,
    Change,
    Violation,
    paths,
    problems_of,
    require_reported,
    tcp,
    valid_configuration,
    valid_secrets,
    with_changes,
)

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def test_the_valid_configuration_has_no_problem() -> None:
    assert problems_of(valid_configuration()) == []


VIOLATIONS: list[Violation] = [
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
    # VRRP
    ("VRID 0", [(("vrrp", "routerId"), 0)], "vrrp.routerId", "below the limit of 1"),
    ("VRID 256", [(("vrrp", "routerId"), 256)], "vrrp.routerId", "above the limit of 255"),
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
    (
        "an alias of another VIP's name",
        [((*HORIZON, "aliases"), ["appvol.lab.example"])],
        "services.horizon.aliases[0]",
        "which services.appvol.fqdn is too, but the VIPs differ",
    ),
    (
        "a name twice",
        [((*HORIZON, "aliases"), ["a.lab.example", "HORIZON.lab.example"])],
        "services.horizon.aliases[1]",
        "which fqdn is too",
    ),
    (
        "aliases that nothing uses",
        [(("services", "l"), tcp(aliases=["l.lab.example"]))],
        "services.l.aliases",
        "only Connection Servers check names",
    ),
    (
        "a CA that tdnf of the release does not take",
        [(("packages", "ca"), PEM), (("image", "release"), "3.0-r3")],
        "packages.ca",
        "Put the CA into the image's trust store",
    ),
    ("a CA that is none", [(("packages", "ca"), "certificate")], "packages.ca", "CA certificates in PEM form"),
    ("a proxy with a login", [(("packages", "proxy"), "http://a:b@proxy")], "packages.proxy", "needs no login"),
    ("a proxy over TLS", [(("packages", "proxy"), "https://proxy:3128")], "packages.proxy", "an http URL"),
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
        "a generation of the packages below one",
        [(("packages", "generation"), 0)],
        "packages.generation",
        "Count from 1",
    ),
    (
        "a generation of the packages that is no number",
        [(("packages", "generation"), "next")],
        "packages.generation",
        "Count from 1",
    ),
    (
        "a generation of the packages with more digits than a node reads",
        [(("packages", "generation"), 10**9)],
        "packages.generation",
        "999999999",
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
    (
        "old workers that end before the other node's turn",
        [(("haproxy", "hardStopAfter"), "59s")],
        "haproxy.hardStopAfter",
        "is 59s, below the limit of 1m",
    ),
    (
        "old workers that stay for ever",
        [(("haproxy", "hardStopAfter"), "8d")],
        "haproxy.hardStopAfter",
        "Write a duration from 1m to 7d",
    ),
    ("a hard stop that is no duration", [(("haproxy", "hardStopAfter"), "10 h")], "haproxy.hardStopAfter", "not a HAP"),
    ("edits that are lost", [(("rollout", "guestEdits"), "lose")], "rollout.guestEdits", "restore, keep"),
]


@pytest.mark.parametrize(
    ("changes", "path", "fragment"), [row[1:] for row in VIOLATIONS], ids=[row[0] for row in VIOLATIONS]
)
def test_a_violation_is_reported_at_its_place(changes: list[Change], path: str, fragment: str) -> None:
    require_reported(changes, path, fragment)


# Mistakes that cause several problems, and how many.
SEVERAL = {
    "no login": 3,  # and the two hashes have no login
}


def test_one_mistake_is_one_problem() -> None:
    counted = {name: len(problems_of(with_changes(*changes))) for name, changes, _, _ in VIOLATIONS}
    assert {name: count for name, count in counted.items() if count != 1} == SEVERAL


ACCEPTED: list[tuple[str, list[Change]]] = [
    ("the lowest VRID", [(("vrrp", "routerId"), 1)]),
    ("the highest VRID", [(("vrrp", "routerId"), 255)]),
    ("a server in drain next to a ready one", [((*SERVERS, 0, "state"), "drain")]),
    ("Horizon's own probe, set explicitly", [((*HORIZON, "healthPath"), "/favicon.ico")]),
    ("one DNS name for one VIP's services", [(("services", "l"), tcp(vip="192.168.6.124", fqdn="appvol.lab.example"))]),
    ("as many connections as the memory allows", [(("haproxy", "maxconn"), derived_maxconn(2048))]),
    ("a FIDO key on Photon 4.0", [(("image", "release"), "4.0"), (("access", "sshKeys", 0), fido_key())]),
    ("durations at their limits", [((*HORIZON, "healthInterval"), "30s"), ((*HORIZON, "timeouts", "tunnel"), "60m")]),
    ("BIOS without secure boot", [(("image", "firmware"), "bios"), (("image", "secureBoot"), False)]),
    ("null for an optional value", [((*HORIZON, "fqdn"), None), (("placement", "tags"), None)]),
    ("protection by the lifecycle", [(("protect",), "lifecycle")]),
    ("the shortest and", [(("haproxy", "hardStopAfter"), "60000ms")]),
    ("the longest hard stop", [(("haproxy", "hardStopAfter"), "168h")]),
    ("edits that are kept", [(("rollout", "guestEdits"), "keep")]),
    ("the gate switched off", [(("rollout", "gate"), False)]),
]


@pytest.mark.parametrize("changes", [row[1] for row in ACCEPTED], ids=[row[0] for row in ACCEPTED])
def test_a_valid_change_is_accepted(changes: list[Change]) -> None:
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
