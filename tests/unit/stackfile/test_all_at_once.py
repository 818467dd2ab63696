"""One mistake hides no other: wrong types, unknown keys, broken rules and wrong secrets are all reported at once."""

from __future__ import annotations

import pytest

from lbstack.problems import ConfigError
from lbstack.stackfile.load import load
from tests.keys import signing_key
from tests.unit.config.support import (
    HASH,
    REMOVE,
    leaves,
    paths,
    problems_of,
    valid_configuration,
    valid_secrets,
    with_changes,
)


def test_all_mistakes_of_one_file_are_reported_at_once() -> None:
    raw = with_changes(
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
    assert paths(problems_of(raw, secrets)) == [
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
    [location for location in leaves(valid_configuration()) if location != ("nodes", 0, "address")],
    ids=lambda location: ".".join(map(str, location)),
)
def test_a_wrong_type_anywhere_hides_no_rule_about_other_values(broken: tuple[str | int, ...]) -> None:
    """Two rules are broken, at a node's address and a VIP; the mistake elsewhere is a third problem."""
    raw = with_changes(
        (("nodes", 0, "address"), "192.168.6.240"),
        (("services", "horizon", "servers", 0, "address"), "192.168.6.240"),
        (("stats", "vip"), "10.1.1.1"),
        (broken, {"wrong": "type"}),
    )
    found = paths(problems_of(raw))
    wrong_itself = [path for path in found if path.startswith(_written(broken))]
    assert wrong_itself
    if broken != ("services", "horizon", "servers", 0, "address"):
        assert "services.horizon.servers[0].address" in found
    if broken not in {("stats", "vip"), ("network", "cidr")}:
        assert "stats.vip" in found


def _written(location: tuple[str | int, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")


@pytest.mark.parametrize("key", sorted(valid_configuration()))
def test_a_missing_section_hides_no_problem_of_other_sections(key: str) -> None:
    raw = with_changes((("vrrp", "routerId"), 0), (("nodes", 0, "cpus"), 0), ((key,), REMOVE))
    found = problems_of(raw)
    assert any(problem.path == key and problem.what == "is missing" for problem in found)
    assert ("vrrp.routerId" in paths(found)) is (key != "vrrp")
    assert ("nodes[0].cpus" in paths(found)) is (key != "nodes")


def test_a_missing_key_is_reported_with_its_description() -> None:
    problem = problems_of(with_changes((("network", "gateway"), REMOVE)))[0]
    assert str(problem) == "network.gateway: is missing. Add it: The default gateway in the network."


def test_an_unknown_key_is_reported_with_the_nearest_known_one_and_without_its_value() -> None:
    (problem,) = problems_of(with_changes((("nodes", 0, "memoryMib"), "hunter2")))
    assert problem.path == "nodes[0].memoryMib"
    assert problem.remedy == "Did you mean memoryMiB? Known keys: name, address, cpus, memoryMiB, diskGiB."
    (problem,) = problems_of(with_changes((("services", "horizon", "zzz"), 1)))
    assert problem.remedy.startswith("Remove it. Known keys: kind, vip, servers, port,")


def test_the_python_name_of_a_key_is_unknown_in_a_stack_file() -> None:
    (problem,) = problems_of(with_changes((("nodes", 0, "memory_mib"), 4096)))
    assert problem.path == "nodes[0].memory_mib"
    assert "Did you mean memoryMiB?" in problem.remedy


@pytest.mark.parametrize(
    ("value", "what", "remedy"),
    [
        ("text", 'is "text", but has to be a section with keys', "at least: routerId."),
        (None, "is empty, but has to be a section with keys", "at least: routerId."),
        ([], "is an empty list, but has to be a section with keys", "at least: routerId."),
    ],
)
def test_a_value_instead_of_a_section_is_reported_with_the_required_keys(value: object, what: str, remedy: str) -> None:
    (problem,) = problems_of(with_changes((("vrrp",), value)))
    assert problem.what == what
    assert problem.remedy.endswith(remedy)


def test_a_section_without_required_keys_may_be_empty_but_not_null() -> None:
    assert problems_of(with_changes((("packages",), {}), (("stats", "users", "admin"), {}))) == []
    (problem,) = problems_of(with_changes((("stats", "users", "admin"), None)))
    assert problem.remedy == "Write its keys below it, or {} for the defaults. Known keys: role."


def test_a_list_of_services_is_refused_because_services_need_names() -> None:
    (problem,) = problems_of(with_changes((("services",), [{"kind": "tcp"}])))
    assert problem.what == "is a list of 1 item, but has to be a section with keys"
    assert problem.remedy == "Write one name on each line, with a colon and its value."


def test_a_value_instead_of_a_list_is_reported_with_the_syntax_of_a_list() -> None:
    (problem,) = problems_of(with_changes((("managementNetworks",), "10.0.0.0/8")))
    assert problem.what == 'is "10.0.0.0/8", but has to be a list'
    assert "after a hyphen" in problem.remedy


@pytest.mark.parametrize(
    ("location", "value", "message"),
    [
        (("lifecycle",), "Production", 'is "Production". Did you mean production? Choose one of: lab, production.'),
        (("placement", "antiAffinity"), False, "Choose one of: mandatory, preferred, off, in quotes."),
        (("image", "firmware"), "uefi", "Did you mean efi? Choose one of: efi, bios."),
        (("vrrp", "profile"), "quick", "Choose one of: safe, fast."),
        (("services", "horizon", "servers", 0, "state"), "down", "Choose one of: ready, drain, maintenance."),
        (("stats", "users", "admin", "role"), None, "is empty. Choose one of: viewer, admin."),
    ],
)
def test_an_unknown_word_is_reported_with_the_known_ones(
    location: tuple[str | int, ...], value: object, message: str
) -> None:
    (problem,) = problems_of(with_changes((location, value)))
    assert message in str(problem)


@pytest.mark.parametrize("raw", [None, [], "text", 5, [{"lifecycle": "lab"}]])
def test_a_value_that_is_not_a_configuration_is_one_problem(raw: object) -> None:
    (problem,) = [problem for problem in problems_of(raw) if not problem.path.startswith("statsHash-")]
    assert problem.path == "config"
    assert "but has to be the stack's keys" in problem.what


def test_an_empty_configuration_lists_every_section_and_secret_that_it_needs() -> None:
    required = {"lifecycle", "placement", "image", "network", "nodes", "vrrp", "services", "stats", "access"}
    assert set(paths(problems_of({}, {}))) == required | {"managementNetworks", "signingKey"}


def test_the_message_is_written_for_people() -> None:
    """It has no jargon of the validator, no URL of its documentation, no Python type, and one line per problem."""
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


def test_secrets_are_kept_apart_from_the_configuration() -> None:
    config, secrets = load(valid_configuration(), valid_secrets())
    assert secrets.signing_key == signing_key()
    assert secrets.stats_hashes == {"admin": HASH, "stats": HASH}
    assert secrets.root_hash is None
    assert HASH not in repr(config)
