"""One mistake hides no other: wrong types, unknown keys, broken rules and wrong secrets are all reported at once."""

from __future__ import annotations

import pytest

from lbstack.problems import ConfigError
from lbstack.stackfile.load import load
from tests.strategies import signing_key
from tests.unit.config.support import (
    HASH,
    REMOVE,
    complaints,
    leaves,
    paths,
    right_configuration,
    right_secrets,
    spoiled,
)


def test_twenty_mistakes_in_one_file_are_twenty_problems() -> None:
    raw = spoiled(
        (("lifecycle",), "prod"),
        (("placement", "datacentre"), "DC0"),
        (("placement", "createFolder"), "yes"),
        (("image",), ["not", "a", "section"]),
        (("network", "gateway"), "192.168.7.1"),
        (("network", "dns"), "192.168.6.100"),
        (("nodes", 0, "memoryMiB"), "2048"),
        (("nodes", 0, "address"), "192.168.6.121"),
        (("nodes", 1, "diskGiB"), 8),
        (("vrrp", "routerId"), 256),
        (("services", "horizon", "vip"), "192.168.6.121"),
        (("services", "horizon", "timeouts"), {"tunnel": 3600}),
        (("services", "appvol", "kind"), "uag"),
        (("services", "appvol", "servers", 1), "192.168.6.119"),
        (("services", "ldap"), {"kind": "tcp", "vip": "192.168.6.125", "servers": []}),
        (("stats", "users", "stats"), {"role": "viewr"}),
        (("managementNetworks",), ["0.0.0.0/0"]),
        (("access", "sshKeys", 0), signing_key()),
        (("haproxy",), {"maxconn": 10**6}),
        (("colour",), "blue"),
    )
    secrets = {"signingKey": "hunter2", "statsHash-admin": HASH, "statsHash-ghost": HASH}
    assert paths(complaints(raw, secrets)) == [
        "access.sshKeys[0]",
        "colour",
        "haproxy.maxconn",
        "image",
        "lifecycle",
        "managementNetworks[0]",
        "network.dns",
        "network.gateway",
        "nodes[0].memoryMiB",
        "nodes[1].address",
        "nodes[1].diskGiB",
        "placement.createFolder",
        "placement.datacentre",
        "services.appvol.kind",
        "services.appvol.servers[1]",
        "services.horizon.timeouts.tunnel",
        "services.horizon.vip",
        "services.ldap.port",
        "services.ldap.servers",
        "signingKey",
        "stats.users.stats.role",
        "statsHash-ghost",
        "statsHash-stats",
        "vrrp.routerId",
    ]


@pytest.mark.parametrize(
    "broken",
    [location for location in leaves(right_configuration()) if location != ("nodes", 0, "address")],
    ids=lambda location: ".".join(map(str, location)),
)
def test_a_wrong_type_anywhere_hides_no_rule_about_other_values(broken: tuple[str | int, ...]) -> None:
    """Two rules are broken, at a node's address and a VIP; the mistake elsewhere makes three problems."""
    raw = spoiled(
        (("nodes", 0, "address"), "192.168.6.240"),
        (("services", "horizon", "servers", 0, "address"), "192.168.6.240"),
        (("stats", "vip"), "10.1.1.1"),
        (broken, {"wrong": "type"}),
    )
    found = paths(complaints(raw))
    wrong_itself = [path for path in found if path.startswith(_written(broken))]
    assert wrong_itself
    if broken != ("services", "horizon", "servers", 0, "address"):
        assert "services.horizon.servers[0].address" in found
    if broken not in {("stats", "vip"), ("network", "cidr")}:
        assert "stats.vip" in found


def _written(location: tuple[str | int, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")


@pytest.mark.parametrize("key", sorted(right_configuration()))
def test_a_missing_section_hides_no_problem_of_the_others(key: str) -> None:
    raw = spoiled((("vrrp", "routerId"), 0), (("nodes", 0, "cpus"), 0), ((key,), REMOVE))
    found = complaints(raw)
    assert any(problem.path == key and problem.what == "is missing" for problem in found)
    assert ("vrrp.routerId" in paths(found)) is (key != "vrrp")
    assert ("nodes[0].cpus" in paths(found)) is (key != "nodes")


def test_a_missing_key_says_what_belongs_there() -> None:
    problem = complaints(spoiled((("network", "gateway"), REMOVE)))[0]
    assert str(problem) == "network.gateway: is missing. Add it: The default gateway in it."


def test_an_unknown_key_is_answered_with_the_nearest_known_one_and_never_with_its_value() -> None:
    (problem,) = complaints(spoiled((("nodes", 0, "memoryMib"), "hunter2")))
    assert problem.path == "nodes[0].memoryMib"
    assert problem.remedy == "Did you mean memoryMiB? Known are: name, address, cpus, memoryMiB, diskGiB."
    (problem,) = complaints(spoiled((("services", "horizon", "zzz"), 1)))
    assert problem.remedy.startswith("Remove it. Known are: kind, vip, servers, port,")


def test_the_python_name_of_a_key_is_unknown_in_a_stack_file() -> None:
    (problem,) = complaints(spoiled((("nodes", 0, "memory_mib"), 4096)))
    assert problem.path == "nodes[0].memory_mib"
    assert "Did you mean memoryMiB?" in problem.remedy


@pytest.mark.parametrize(
    ("value", "what", "remedy"),
    [
        ("text", 'is "text", where a section with keys belongs', "at least: routerId."),
        (None, "is empty, where a section with keys belongs", "at least: routerId."),
        ([], "is an empty list, where a section with keys belongs", "at least: routerId."),
    ],
)
def test_a_section_that_is_none_says_which_keys_it_needs(value: object, what: str, remedy: str) -> None:
    (problem,) = complaints(spoiled((("vrrp",), value)))
    assert problem.what == what
    assert problem.remedy.endswith(remedy)


def test_a_section_without_required_keys_may_be_empty_but_not_nothing() -> None:
    assert complaints(spoiled((("packages",), {}), (("stats", "users", "admin"), {}))) == []
    (problem,) = complaints(spoiled((("stats", "users", "admin"), None)))
    assert problem.remedy == "Write its keys below it, or {} for its defaults; known are: role."


def test_services_that_are_a_list_are_told_to_have_names() -> None:
    (problem,) = complaints(spoiled((("services",), [{"kind": "tcp"}])))
    assert problem.what == "is a list of 1, where a section with keys belongs"
    assert problem.remedy == "Write one name a line, each with a colon and what belongs to it."


def test_a_list_that_is_none_is_told_how_to_be_one() -> None:
    (problem,) = complaints(spoiled((("managementNetworks",), "10.0.0.0/8")))
    assert problem.what == 'is "10.0.0.0/8", where a list belongs'
    assert "each behind a hyphen" in problem.remedy


@pytest.mark.parametrize(
    ("location", "value", "said"),
    [
        (("lifecycle",), "Production", 'is "Production". Did you mean production? Choose one of: lab, production.'),
        (("placement", "antiAffinity"), False, "Choose one of: mandatory, preferred, off, in quotes."),
        (("image", "firmware"), "uefi", "Did you mean efi? Choose one of: efi, bios."),
        (("vrrp", "profile"), "quick", "Choose one of: safe, fast."),
        (("services", "horizon", "servers", 0, "state"), "down", "Choose one of: ready, drain, maintenance."),
        (("stats", "users", "admin", "role"), None, "is empty. Choose one of: viewer, admin."),
    ],
)
def test_a_choice_that_there_is_not_lists_those_that_there_are(
    location: tuple[str | int, ...], value: object, said: str
) -> None:
    (problem,) = complaints(spoiled((location, value)))
    assert said in str(problem)


@pytest.mark.parametrize("raw", [None, [], "text", 5, [{"lifecycle": "lab"}]])
def test_what_is_no_configuration_at_all_is_one_problem(raw: object) -> None:
    (problem,) = [problem for problem in complaints(raw) if not problem.path.startswith("statsHash-")]
    assert problem.path == "config"
    assert "where the stack's keys belong" in problem.what


def test_an_empty_configuration_lists_every_section_and_secret_that_it_needs() -> None:
    required = {"lifecycle", "placement", "image", "network", "nodes", "vrrp", "services", "stats", "access"}
    assert set(paths(complaints({}, {}))) == required | {"managementNetworks", "signingKey"}


def test_the_message_is_for_people() -> None:
    """No word of the validator's, no address of its documentation, no Python type, one line for each problem."""
    with pytest.raises(ConfigError) as caught:
        load(
            {"nodes": [1, {"name": 5}], "services": {"a": None}, "network": 3, "protect": "x", "stats": {"vip": {}}}, {}
        )
    message = str(caught.value)
    for jargon in ("pydantic", "http", "input", "type=", "dict", "NoneType", "tuple", "MISSING", "Error"):
        assert jargon not in message, jargon
    assert len(message.splitlines()) == len(caught.value.problems) + 1
    for problem in caught.value.problems:
        assert problem.remedy.endswith("."), problem
        assert not problem.what.endswith("."), problem


def test_secrets_of_the_right_configuration_are_kept_apart_from_it() -> None:
    config, secrets = load(right_configuration(), right_secrets())
    assert secrets.signing_key == signing_key()
    assert secrets.stats_hashes == {"admin": HASH, "stats": HASH}
    assert secrets.root_hash is None
    assert HASH not in repr(config)
