"""`lbstack import` of the usual how-to's three parts: a stack file that serves the same, and a word about each line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from lbstack import cli
from lbstack.config.credentials import Secrets
from lbstack.config.undecided import MARK, WHAT
from lbstack.offline.stack import PLACEHOLDER_HASH
from lbstack.problems import ConfigError
from lbstack.render.files import render_pair
from lbstack.scaffold.handbuilt.corrections import BEYOND_THE_FILES, CORRECTIONS
from lbstack.scaffold.handbuilt.ledger import Verdict
from lbstack.scaffold.handbuilt.report import BEYOND, NOT_HERE
from lbstack.stackfile.load import load_config, load_file, read_file
from tests.unit.config.support import valid_configuration
from tests.unit.scaffold.handbuilt.support import HOW_TOS, decided, entry, imported, raw_of

CHECKOUT = Path(__file__).parents[4]
HAPROXY = "/etc/haproxy/haproxy.cfg"


def test_the_how_tos_pair_with_the_labs_decisions_renders_the_labs_files(tmp_path: Path) -> None:
    lab = valid_configuration()
    raw = raw_of(imported("how-to-1"), tmp_path)
    for section in ("placement", "image", "managementNetworks", "access"):
        raw[section] = lab[section]
    for node, known in zip(raw["nodes"], lab["nodes"], strict=True):
        assert all(value.startswith(MARK) for value in node.values())
        node.update(known)
    raw["vrrp"]["routerId"] = lab["vrrp"]["routerId"]
    raw["stats"]["vip"] = lab["stats"]["vip"]
    raw["network"]["ntp"] = lab["network"]["ntp"]
    for name, service in lab["services"].items():
        raw["services"][name] |= {key: service[key] for key in ("vip", "fqdn")}
    raw["lifecycle"] = lab["lifecycle"]
    secrets = Secrets("", dict.fromkeys(("admin", "stats"), PLACEHOLDER_HASH), None)
    made, expected = (render_pair(load_config(each), secrets) for each in (raw, lab))
    assert made.nodes == expected.nodes


def test_each_decision_is_refused_at_its_place_with_the_sentence_what_to_decide(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.prod.yaml"
    path.write_text(imported("how-to-1").stack_file)
    with pytest.raises(ConfigError) as refused:
        load_file(path)
    problems = {problem.path: problem for problem in refused.value.problems}
    assert {problem.what for problem in problems.values()} == {WHAT}
    assert problems["nodes[0].address"].remedy == (
        "A free address in 192.168.6.0/24 for the preferred master, not 192.168.6.120, which the pair of today has."
    )
    for place, today in (
        ("nodes[0].name", "PhotonLB-01"),
        ("nodes[1].name", "PhotonLB-02"),
        ("nodes[1].address", "192.168.6.121"),
        ("vrrp.routerId", "11"),
        ("stats.vip", "192.168.6.122"),
        ("services.horizon.vip", "192.168.6.123"),
        ("services.appvol.vip", "192.168.6.124"),
    ):
        assert f", not {today}, which the pair of today has" in problems[place].remedy
    assert {"placement.vcenterUuid", "image.release", "managementNetworks[0]", "access.sshKeys[0]"} <= set(problems)
    assert "vsphere:vsphereServer" in problems


def test_nothing_of_the_pair_of_today_is_a_value_of_the_stack_file(tmp_path: Path) -> None:
    """Its names and addresses stand in sentences and comments only."""
    text = imported("how-to-3").stack_file
    values = "\n".join(line for line in text.splitlines() if MARK not in line and not line.strip().startswith("#"))
    assert not re.search(r"PhotonLB|192\.168\.6\.12[0-5]\b|routerId", values)
    assert "# today: 192.168.6.123\n" in text


@pytest.mark.parametrize("name", HOW_TOS)
def test_with_every_decision_taken_the_stack_file_is_valid(tmp_path: Path, name: str) -> None:
    load_config(decided(raw_of(imported(name), tmp_path)))


@pytest.mark.parametrize("name", HOW_TOS)
def test_lbstack_check_passes_once_every_decision_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """With the rules, the applier's own checks, and the daemons' where they are installed."""
    raw = decided(raw_of(imported(name), tmp_path))
    path = tmp_path / "Pulumi.prod.yaml"
    path.write_text(yaml.safe_dump({"config": {f"lbstack:{key}": value for key, value in raw.items()}}))
    assert cli.main(["check", str(path)]) == 0
    assert "The stack file is valid" in capsys.readouterr().out


def test_the_second_part_keeps_its_persistence_and_loses_its_dead_lines(tmp_path: Path) -> None:
    made = imported("how-to-2")
    horizon = raw_of(made, tmp_path)["services"]["horizon"]
    assert horizon["persistence"] == "200m"
    assert "timeouts" not in horizon
    assert entry(made, "node1/haproxy.cfg", "timeout client 91s").numbers == ("A11",)
    assert entry(made, "node1/haproxy.cfg", "option httpchk").verdict is Verdict.TAKEN
    ignored = [each for each in made.report.entries if each.line.words == ("timeout", "server", "91s")]
    assert {each.verdict for each in ignored} == {Verdict.CORRECTED, Verdict.NOT_EXPRESSED}
    assert any("HAProxy ignores it" in each.why for each in ignored)


def test_the_third_parts_gateways_are_services_with_a_warning_about_their_ports(tmp_path: Path) -> None:
    made = imported("how-to-3")
    services = raw_of(made, tmp_path)["services"]
    assert {name: service.get("port") for name, service in services.items()} == {
        "horizon": None,
        "appvol": None,
        "uag-443": 443,
        "uag-8443": 8443,
    }
    assert services["uag-443"]["healthPath"] == "/favicon.ico"
    assert "persistence" not in services["uag-443"]
    warned = entry(made, "node1/haproxy.cfg", "frontend uag-blast")
    assert warned.verdict is Verdict.NOT_EXPRESSED
    assert "give each gateway a VIP of its own" in warned.why
    assert "# today: 192.168.6.125; one address for services.uag-443, services.uag-8443\n" in made.stack_file


def test_the_report_says_of_every_known_mistake_where_it_is() -> None:
    report = imported("how-to-1").report
    found = {number: report.found(number) for number in CORRECTIONS}
    assert {number for number, where in found.items() if where == BEYOND} == set(BEYOND_THE_FILES)
    assert NOT_HERE not in found.values()
    lines = {number: [each for each in report.entries if number in each.numbers] for number in CORRECTIONS}
    for number, beginnings in (
        ("A1", ["backend statistics", "server PhotonLB01", "server PhotonLB02"]),
        ("A2", ["option ssl-hello-chk", "option ssl-hello-chk"]),
        ("A5", ["authentication {", "auth_type AH"]),
        ("A6", ["auth_pass Pass1234"]),
        ("A7", ["vrrp_garp_interval 0", "vrrp_gna_interval 0"]),
        ("A9", ["vrrp_script", "script /usr", "interval 2", "weight 2", "track_script {", "chk_haproxy"]),
        ("A11", ["timeout client 30s", "timeout server 30s"]),
        ("A12", ["balance source", "balance source"]),
        ("A16", ["stats socket"]),
        ("A17", ["user admin", "user stats", "bind *:8404", "stats admin"]),
        ("A18", ["net.ipv4.ip_forward 1"]),
        ("A19", ["-A INPUT -p tcp --dport 8404"]),
        ("A20", ["server Horizon", "server Horizon", "server AppVolumes", "server AppVolumes"]),
        ("A23", ["-A INPUT -p tcp -m tcp --dport 22"]),
    ):
        for node in ("node1/", "node2/"):
            own = [" ".join(each.line.words) for each in lines[number] if each.line.file.startswith(node)]
            assert len(own) == len(beginnings), number
            assert all(text.startswith(start) for text, start in zip(own, beginnings, strict=True)), number
            assert node in found[number]
    assert [each.line.words for each in lines["A3"]] == [("192.168.1.121",), ("192.168.1.120",)]
    assert [each.line.words for each in lines["A10"]] == [("state", "MASTER")]
    for number, missing in (
        ("A4", "no rule for VRRP"),
        ("A8", "no `enable_script_security`"),
        ("A10", "no `nopreempt`"),
        ("A13", "no `maxconn`"),
        ("A14", "no `log`"),
        ("A15", "no `user`"),
        ("A19", "no file for IPv6"),
    ):
        assert missing in found[number], number


def test_the_numbers_are_those_of_the_documentation() -> None:
    rows = re.findall(r"^\| (A[0-9A, ]+) \|", (CHECKOUT / "docs" / "differences.md").read_text(), re.MULTILINE)
    assert [number for row in rows for number in row.split(", ")] == list(CORRECTIONS)


def test_no_line_of_the_first_part_is_left_unexpressed() -> None:
    assert imported("how-to-1").report.count(Verdict.NOT_EXPRESSED) == 0


def test_the_lab_is_what_the_comparison_means() -> None:
    services = read_file(CHECKOUT / "Pulumi.lab.yaml")["services"]
    assert isinstance(services, dict)
    assert set(services) == {"horizon", "appvol"}
