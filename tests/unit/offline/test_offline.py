"""`lbstack render` and `lbstack check`: their output, their errors, and that they neither need nor show a secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from lbstack.cli import main
from lbstack.engine.stack import find_stack
from lbstack.offline import checkers, guest
from lbstack.offline.stack import PLACEHOLDER_HASH, load_offline
from lbstack.problems import ConfigError, LbstackError
from lbstack.render.files import HASH_PLACEHOLDER
from lbstack.stackfile.load import load_file

CHECKOUT = Path(__file__).parents[3]
LAB = CHECKOUT / "Pulumi.lab.yaml"
PASSED, REFUSED = 0, 1


def stack_file(directory: Path, **changes: object) -> Path:
    document = yaml.safe_load(LAB.read_text())
    document["config"].update({f"lbstack:{key}": value for key, value in changes.items()})
    path = directory / "Pulumi.trial.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_every_file_of_every_node_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", str(LAB), "--out", str(tmp_path / "out")]) == 0
    stack = load_offline(LAB)
    for node, files in stack.pair.nodes.items():
        for path in files:
            assert (tmp_path / "out" / node / path.removeprefix("/")).is_file()
        assert len((tmp_path / "out" / f"{node}.files").read_text().splitlines()) == len(files)
    assert "Secrets were not decrypted" in capsys.readouterr().err


def test_render_shows_neither_password_hashes_nor_the_sets_hash(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", str(LAB)]) == 0
    shown = capsys.readouterr().out
    stack = load_offline(LAB)
    assert PLACEHOLDER_HASH not in shown
    assert stack.pair.config_hash not in shown
    assert HASH_PLACEHOLDER in shown
    assert "user admin password <redacted>" in shown
    # A file that is equal on both nodes is shown once.
    assert shown.count("/etc/haproxy/haproxy.cfg  (root:root 0600)") == 1


def test_render_shows_one_node_and_refuses_an_unknown_node(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", str(LAB), "--node", "PhotonLB-02"]) == 0
    assert "PhotonLB-01:" not in capsys.readouterr().out
    assert main(["render", str(LAB), "--node", "PhotonLB-03"]) == 2
    assert "PhotonLB-01 and PhotonLB-02" in capsys.readouterr().err


def test_a_directory_with_other_content_is_not_emptied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.txt"
    other.write_text("important")
    assert main(["render", str(LAB), "--out", str(tmp_path)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert other.read_text() == "important"


def test_a_second_run_removes_the_files_of_the_first(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["render", str(LAB), "--out", str(out)]) == 0
    assert main(["render", str(LAB), "--out", str(out), "--node", "PhotonLB-01"]) == 0
    assert not (out / "PhotonLB-02").exists()


def test_check_reports_sizes_checkers_and_missing_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(LAB), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True
    assert [size["node"] for size in found["sizes"]] == ["PhotonLB-01", "PhotonLB-02"]
    assert all(0 < size["encoded"] <= size["limit"] == 65536 for size in found["sizes"])
    programs = {checker.program for checker in checkers.CHECKERS} | {"lbstack-apply"}
    assert {verdict["checker"] for verdict in found["verdicts"]} == programs
    assert "signingKey" in found["missing_secrets"]
    assert list(found) == ["ok", "problems", "sizes", "verdicts", "missing_secrets", "advice"]
    assert list(found["verdicts"][0]) == ["node", "checker", "path", "outcome", "said"]


def test_a_checker_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkers, "find", lambda _program: None)
    assert main(["check", str(LAB)]) == 0
    output = capsys.readouterr().out
    assert (
        "NOT CHECKED on this machine: cloud-init, haproxy, ip6tables-restore, iptables-restore, keepalived." in output
    )


def test_a_checker_that_refuses_a_file_gives_exit_code_1_and_its_output(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = tmp_path / "haproxy"
    fake.write_text('#!/bin/sh\necho "line 7: what is $6$salt$digest?" >&2\nexit 1\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert main(["check", str(LAB)]) == 1
    assert "line 7: what is" in capsys.readouterr().out


def test_the_appliers_own_checks_run_on_both_nodes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guest.applier(), "check_haproxy", lambda _text: ["line 7: lua-load is refused"])
    assert main(["check", str(LAB)]) == 1
    shown = capsys.readouterr().out
    for node in ("PhotonLB-01", "PhotonLB-02"):
        assert f"{node}: lbstack-apply refused /var/lib/lbstack/staging:\n    line 7: lua-load is refused" in shown


def test_a_machine_on_which_the_applier_cannot_be_loaded_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> None:
        raise ImportError("fcntl")

    monkeypatch.setattr(guest, "applier", missing)
    assert main(["check", str(LAB)]) == 0
    assert "lbstack-apply not run /var/lib/lbstack/staging (needs a Python for Linux" in capsys.readouterr().out


def test_a_package_version_with_every_permitted_character_is_accepted_by_the_node(tmp_path: Path) -> None:
    path = stack_file(tmp_path, packages={"versions": {"haproxy": "2.2.31-1_a+b~c^d.ph3"}})
    assert main(["check", str(path)]) == 0


def test_every_problem_of_a_stack_file_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = stack_file(tmp_path, vrrp={"routerId": 300}, managementNetworks=["0.0.0.0/0"])
    assert main(["check", str(path), "--json"]) == 2
    shown = capsys.readouterr()
    paths = {problem["path"] for problem in json.loads(shown.out)["problems"]}
    assert {"vrrp.routerId", "managementNetworks[0]"} <= paths
    assert "vrrp.routerId" in shown.err


def test_only_a_lab_has_a_time_to_live(tmp_path: Path) -> None:
    assert load_file(stack_file(tmp_path, lab={"ttlHours": 24})).lab.ttl_hours == 24
    with pytest.raises(ConfigError) as refused:
        load_file(stack_file(tmp_path, lab={"ttlHours": 24}, lifecycle="production"))
    assert [problem.path for problem in refused.value.problems] == ["lab.ttlHours"]
    with pytest.raises(ConfigError):
        load_file(stack_file(tmp_path, lab={"ttlHours": 0}))


@pytest.mark.parametrize("text", ["nowhere", "nowhere.yaml", "a b", "../x", "stack.example.yaml"])
def test_an_unknown_stack_is_refused(text: str) -> None:
    with pytest.raises(LbstackError):
        find_stack(text, environment={}, directory=CHECKOUT)


def test_a_stack_is_found_by_name_by_path_and_by_the_engines_environment_variable(tmp_path: Path) -> None:
    path = stack_file(tmp_path)
    assert find_stack("lab", environment={}, directory=CHECKOUT).file == LAB
    assert find_stack("lab", environment={}, directory=CHECKOUT).usual_file
    assert find_stack(str(path), environment={}, directory=CHECKOUT).name == "trial"
    assert find_stack("x", environment={"PULUMI_OPTION_CONFIG_FILE": str(path)}, directory=CHECKOUT).file == path


@pytest.mark.parametrize("command", ["preview", "up"])
@pytest.mark.parametrize("name", ["nowhere/report.md", "."])
def test_a_report_file_that_cannot_be_written_is_refused_before_anything_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str, name: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no engine: anything that is done would fail with another error
    file = tmp_path / "Pulumi.trial.yaml"
    file.write_text("config: {}\n")
    assert main([command, str(file), "--markdown", str(tmp_path / name)]) == 2
    assert "Nothing was done" in capsys.readouterr().err
