"""Stack files are read without the engine, and configurations have only values that a stack file can hold."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lbstack.problems import ConfigError, Problem
from lbstack.stackfile.load import MAX_DEPTH, MAX_VALUES, PASSED_LIMIT, load, load_config, load_file, read_file
from tests.unit.config.support import LAB, ROOT, paths, problems_of, valid_configuration, valid_secrets, with_changes

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(text: str) -> Path:
        path = tmp_path / "Pulumi.test.yaml"
        path.write_text(text)
        return path

    return to_file


def file_problems(path: Path) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        read_file(path)
    return list(caught.value.problems)


def test_the_example_of_a_production_stack_is_valid_and_protected() -> None:
    config = load_file(ROOT / "stack.example.yaml")
    assert config.protected
    assert {service.kind for service in config.services.values()} == {"horizon", "appvolumes", "tcp"}


def large(services: int, name: str) -> dict[str, Any]:
    """Services of 12 servers with names of one form."""
    return {
        f"desktop-{number}": {
            "kind": "horizon",
            "vip": f"192.168.8.{1 + number}",
            "fqdn": f"desktop-{number}.lab.example",
            "servers": [{"name": name.format(index), "address": f"10.168.{number}.{index + 1}"} for index in range(12)],
        }
        for number in range(services)
    }


def test_more_than_the_engine_can_pass_to_the_program_is_refused_before_it_would_end_without_a_word(
    write: Write,
) -> None:
    document = yaml.safe_load((ROOT / "Pulumi.lab.yaml").read_text())
    document["config"]["lbstack:network"]["cidr"] = "192.168.0.0/16"
    for services, name, fits in ((100, "Horizon_Connection_Server_{:02}", True), (200, "Horizon_{:02}", False)):
        document["config"]["lbstack:services"] = large(services, name)
        path = write(yaml.safe_dump(document))
        if fits:
            assert len(load_file(path).services) == services
            continue
        with pytest.raises(ConfigError) as caught:
            load_file(path)
        (problem,) = caught.value.problems
        assert problem.path == "services"
        assert f"over the limit of {PASSED_LIMIT}: the engine" in problem.what
        assert "second stack" in problem.remedy


def test_the_engine_does_not_list_the_example_as_a_stack() -> None:
    assert sorted(path.name for path in ROOT.glob("Pulumi.*.yaml")) == ["Pulumi.lab.yaml"]


def test_the_lab_has_the_environment_of_the_source_post() -> None:
    config = load_config(read_file(LAB))
    assert [(node.name, str(node.address)) for node in config.nodes] == [
        ("PhotonLB-01", "192.168.6.120"),
        ("PhotonLB-02", "192.168.6.121"),
    ]
    vips = [config.stats.vip, *(service.vip for service in config.services.values())]
    assert sorted(map(str, vips)) == ["192.168.6.122", "192.168.6.123", "192.168.6.124"]
    assert config.vrrp.router_id == 11
    assert not config.protected


def test_secrets_and_other_namespaces_are_left_out(write: Write) -> None:
    path = write(
        "encryptionsalt: v1:abc\n"
        "config:\n"
        "  vsphere:user: someone\n"
        "  lbstack:signingKey: {secure: v1:abc}\n"
        "  lbstack:statsHash-admin: {secure: v1:abc}\n"
        "  lbstack:lifecycle: lab\n"
        "  lbstack:config:protect: true\n"
    )
    assert read_file(path) == {"lifecycle": "lab", "protect": True}


def test_values_are_read_like_the_engine_reads_them(write: Write) -> None:
    path = write(
        "config:\n"
        "  lbstack:a: off\n"
        "  lbstack:b: yes\n"
        "  lbstack:c: 2026-01-31\n"
        "  lbstack:d: 12:30:00\n"
        "  lbstack:e: true\n"
        "  lbstack:f: 2048\n"
        "  lbstack:g: 4.0\n"
        "  lbstack:h: ~\n"
        "  lbstack:i: -5\n"
    )
    assert read_file(path) == {
        "a": "off", "b": "yes", "c": "2026-01-31", "d": "12:30:00", "e": True, "f": 2048, "g": 4.0, "h": None, "i": -5,
    }  # fmt: skip


@pytest.mark.parametrize("number", ["017", "0o17", "0x11", "1_000", "+017", "9" * 30, "9" * 5000])
def test_a_number_that_yaml_readers_read_differently_is_refused_with_a_remedy(write: Write, number: str) -> None:
    path = write(LAB.read_text().replace("routerId: 11", f"routerId: {number}"))
    with pytest.raises(ConfigError) as caught:
        load_file(path)
    (problem,) = caught.value.problems
    assert problem.path == "vrrp.routerId"
    assert problem.remedy.startswith("Write a whole number from 1 to 255, without quotes.")


def test_off_needs_no_quotes(write: Write) -> None:
    path = write(LAB.read_text().replace("antiAffinity: preferred", "antiAffinity: off"))
    assert load_file(path).placement.anti_affinity == "off"


@pytest.mark.parametrize("name", ["signingKey", "rootPasswordHash", "statsHash-admin"])
def test_a_secret_in_plain_text_is_refused_without_being_shown(write: Write, name: str) -> None:
    (problem,) = file_problems(write(f"config:\n  lbstack:{name}: hunter2hunter2\n"))
    assert problem.path == name
    assert f"`pulumi config set --secret {name}`" in problem.remedy
    assert "hunter2" not in str(problem)


def test_a_command_in_a_remedy_is_safe_to_paste_into_a_shell(write: Write) -> None:
    (problem,) = file_problems(write('config:\n  "lbstack:statsHash-$(id)\\n": hunter2hunter2\n'))
    assert "`pulumi config set --secret <key>`" in problem.remedy
    assert str(problem).isprintable()


def test_an_encrypted_value_that_is_not_a_secret_is_refused(write: Write) -> None:
    (problem,) = file_problems(write("config:\n  lbstack:nodes: {secure: v1:abc}\n"))
    assert (problem.path, problem.what) == ("nodes", "is encrypted and cannot be read here")


def test_a_key_without_a_namespace_is_reported_with_the_right_one(write: Write) -> None:
    (problem,) = file_problems(write("config:\n  lifecycle: lab\n"))
    assert str(problem) == "lifecycle: has no namespace. Write lbstack: before it."


def test_the_problems_of_the_file_and_of_the_configuration_are_reported_together(write: Write) -> None:
    path = write(LAB.read_text().replace("routerId: 11", "routerId: 0") + "  lbstack:signingKey: hunter2\n")
    with pytest.raises(ConfigError) as caught:
        load_file(path)
    assert [problem.path for problem in caught.value.problems] == ["signingKey", "vrrp.routerId"]
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("config:\n  lbstack:a: 1\n  lbstack:a: 2\n", 'line 3, column 3: the key "lbstack:a" is repeated'),
        ("config:\n  lbstack:a: {b: 1, b: 2}\n", "is repeated"),
        ("config: [\n", "is not YAML, line 2, column 1"),
        ("config:\n\tlbstack:a: 1\n", "is not YAML, line 2, column 1"),
        ("config: !!python/object:os.system x\n", "is not YAML, line 1"),
        ("config: \x07\n", "has control characters"),
        ("config: " + "[" * 5000, "is nested too deeply"),
        ("config: *unknown\n", "is not YAML, line 1"),
        ("config: {? [a] : b}\n", "is not YAML, line 1"),
    ],
    ids=["a key twice", "a key twice inside", "open list", "tab", "object", "bell", "deep", "no anchor", "list as key"],
)
def test_invalid_yaml_is_refused_with_its_place(write: Write, text: str, what: str) -> None:
    (problem,) = file_problems(write(text))
    assert what in problem.what


@pytest.mark.parametrize("text", ["", "- a\n", "text\n", "config:\n", "config: 5\n", "encryptionsalt: v1:abc\n"])
def test_a_yaml_file_that_is_not_a_stack_file_is_refused(write: Write, text: str) -> None:
    (problem,) = file_problems(write(text))
    assert problem.path == "config"
    assert "see stack.example.yaml" in problem.remedy


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    (problem,) = file_problems(tmp_path / "Pulumi.none.yaml")
    assert problem.path.endswith("Pulumi.none.yaml")
    assert "No such file" in problem.what
    assert file_problems(tmp_path)  # a folder


def test_a_file_that_is_not_text_or_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"config: \xff\n")
    assert "is not UTF-8 text (byte 8)" in file_problems(tmp_path / "a")[0].what
    (tmp_path / "b").write_bytes(b"#" * (2 << 20))
    assert "has more than 1048576 bytes" in file_problems(tmp_path / "b")[0].what


def test_services_are_sorted_whatever_their_order_in_the_file() -> None:
    raw = valid_configuration()
    reordered = raw | {"services": dict(reversed(raw["services"].items()))}
    one, _ = load(raw, valid_secrets())
    other, _ = load(reordered, valid_secrets())
    assert list(one.services) == list(other.services) == ["appvol", "horizon"]
    assert one == other


def test_loading_does_not_change_its_input() -> None:
    raw = with_changes((("vrrp", "routerId"), 0), (("colour",), 1))
    before = repr(raw)
    problems_of(raw)
    assert repr(raw) == before


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (dt.date(2026, 1, 31), "a value of the type date, which a stack file cannot hold"),
        (b"x", "a value of the type bytes"),
        ({1, 2}, "a value of the type set"),
        (object(), "a value of the type object"),
        (float("nan"), "is the number nan"),
        (float("inf"), "is the number inf"),
    ],
)
def test_a_value_that_no_stack_file_can_hold_is_refused_and_hides_no_other_problem(value: object, message: str) -> None:
    problems = problems_of(with_changes((("network", "interface"), value), (("vrrp", "routerId"), 0)))
    assert paths(problems) == ["network.interface", "vrrp.routerId"]
    assert message in problems[0].what


@pytest.mark.parametrize("key", [1, None, True, 1.5, (1, 2)])
def test_a_key_that_is_not_a_string_is_refused(key: Any) -> None:
    raw = valid_configuration()
    raw["services"][key] = {}
    (problem,) = problems_of(raw)
    assert problem.path == "services"
    assert problem.what.startswith("has a key that is ")


def test_a_key_with_half_a_character_is_refused() -> None:
    problems = problems_of(with_changes((("\ud800",), 1), (("nodes", 0, "a\udfff"), 1)))
    assert paths(problems) == [r'["\ud800"]', r'nodes[0]["a\udfff"]']


def test_a_configuration_that_contains_itself_is_refused_with_one_problem() -> None:
    raw = valid_configuration()
    raw["network"]["dns"] = raw["network"]
    loop: list[Any] = []
    loop.extend([loop] * 10)
    raw["nodes"] = loop
    problems = problems_of(raw)
    assert [problem for problem in problems if f"nested more than {MAX_DEPTH} levels deep" in problem.what]
    assert len([problem for problem in problems if "anchor" in problem.remedy]) == 1


def test_a_configuration_with_too_many_values_is_refused() -> None:
    problems = problems_of(with_changes((("access", "sshKeys"), [0] * (MAX_VALUES + 10))))
    assert [problem for problem in problems if problem.what == f"has more than {MAX_VALUES} values"]
