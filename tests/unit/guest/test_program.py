"""The applier as a program: the Python version it needs, its size, its command line, its lock, its units."""

from __future__ import annotations

import ast
import base64
import fcntl
import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lbstack.render.shorter import shorter
from tests.unit.guest.host import Host
from tests.unit.guest.processes import PROGRAM, program_text, python

TEMPLATES = PROGRAM.parents[1]


def call(host: Host, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run the program from its own file, like on a node."""
    return subprocess.run(
        [python(), "-I", str(PROGRAM), *argv],
        env=host.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def python_programs() -> list[Path]:
    """Every program that a guest's Python runs, found by its first line."""
    return [path for path in sorted(PROGRAM.parent.iterdir()) if path.read_text().startswith("#!/usr/bin/python3\n")]


def test_both_python_programs_of_a_guest_are_found() -> None:
    assert {path.name for path in python_programs()} >= {"lbstack-apply", "lbstack-notify"}


@pytest.mark.parametrize("path", python_programs(), ids=lambda path: path.name)
def test_its_syntax_is_that_of_python_3_7(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 7))


@pytest.mark.parametrize("path", python_programs(), ids=lambda path: path.name)
def test_it_uses_nothing_newer_than_python_3_7(path: Path) -> None:
    answer = subprocess.run(
        [str(Path(sys.executable).with_name("vermin")), "-t=3.7-", "--no-tips", "--violations", str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize("path", python_programs(), ids=lambda path: path.name)
def test_it_imports_the_standard_library_only(path: Path) -> None:
    tree = ast.parse(path.read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    names = [alias.name for node in imports for alias in node.names]
    names += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {name.split(".")[0] for name in names} <= set(sys.stdlib_module_names)


def test_it_leaves_a_third_of_a_guestinfo_value_to_the_sets_other_files() -> None:
    # Only a pair that moves to the keys of its own still gets all of its set in one value.
    encoded = base64.b64encode(gzip.compress(shorter(program_text()).encode(), mtime=0))
    assert len(encoded) < 40 * 1024


def test_it_is_executable_and_prints_its_version() -> None:
    assert os.access(PROGRAM, os.X_OK)
    assert program_text().startswith("#!/usr/bin/python3\n")
    answer = subprocess.run([str(PROGRAM), "--version"], capture_output=True, text=True, check=False, timeout=60)
    assert answer.stdout == "lbstack-apply, format 1\n"


@pytest.mark.parametrize("argv", [[], ["alive"], ["boot", "extra"], ["--root"]])
def test_wrong_usage_exits_2_with_a_usage_line(fresh: Host, argv: list[str]) -> None:
    answer = call(fresh, *argv)
    assert answer.returncode == 2
    assert answer.stderr.startswith("usage: lbstack-apply ")
    assert "Traceback" not in answer.stderr


def test_a_complete_first_boot_works_with_the_programs_own_file(fresh: Host) -> None:
    parts = fresh.make("a", {"/usr/local/lib/lbstack/lbstack-apply": program_text()})
    fresh.stage(parts)
    fresh.endpoint.file = fresh.fakes / "serving"
    staged = fresh.at("/var/lib/lbstack/staging/files/usr/local/lib/lbstack/lbstack-apply")
    argv = [python(), str(staged), "--root", str(fresh.root), "boot"]
    answer = subprocess.run(argv, env=fresh.environment(), capture_output=True, text=True, check=False, timeout=60)
    assert answer.returncode == 0, answer.stderr
    assert fresh.has(parts)
    own = fresh.at("/usr/local/lib/lbstack/lbstack-apply")
    answer = subprocess.run(
        [python(), str(own), "--root", str(fresh.root), "prepare"],
        env=fresh.environment() | {"JOURNAL_STREAM": "8:1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.returncode == 0
    assert answer.stderr == f"<6>lbstack-apply: ok; installed: {parts.hash}\n"


def test_status_is_printed_as_text_and_as_json(node: Host) -> None:
    bad = node.make("b", append={"/etc/haproxy/haproxy.cfg": "# bad-word\n"})
    node.give(bad)
    assert node.run("prepare") == 1
    answer = call(node, "--root", str(node.root), "status")
    assert answer.returncode == 0
    assert "phase      refused\n" in answer.stdout
    assert f"wanted     {bad.hash}\n" in answer.stdout
    assert "error      /etc/haproxy/haproxy.cfg: haproxy refuses it" in answer.stdout
    status = json.loads(call(node, "--root", str(node.root), "status", "--json").stdout)
    assert set(status) == {"format", "time", "phase", "wanted", "installed", "previous", "error", "warnings"}
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", status["time"])


def test_status_works_before_anything_ran(fresh: Host) -> None:
    answer = call(fresh, "--root", str(fresh.root), "status")
    assert (answer.returncode, answer.stdout) == (0, "phase      did not run since boot\n")


def test_every_user_can_read_the_status(node: Host) -> None:
    node.run("prepare")
    assert node.at("/run/lbstack/status.json").stat().st_mode & 0o777 == 0o644
    assert node.at("/run/lbstack").stat().st_mode & 0o777 == 0o755


def test_two_concurrent_runs_wait_for_each_other_until_a_limit(node: Host) -> None:
    with node.at("/run/lbstack/apply.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert node.run("prepare") == 2
    assert node.output == "lbstack-apply: another process holds /run/lbstack/apply.lock (waited 60 s)\n"
    assert node.log() == []
    assert node.run("prepare") == 0


def test_a_set_that_does_not_fit_on_the_disk_is_refused_and_the_previous_set_serves(node: Host) -> None:
    node.give(node.make("b", append={"/etc/haproxy/haproxy.cfg": "# long\n" * 60_000}))
    served = node.make("a")
    assert node.run("prepare", file_limit=200_000) == 1
    assert "File too large" in node.error()
    assert node.has(served)


@pytest.mark.parametrize("name", ["lbstack-apply", "lbstack-verify"])
def test_the_units_are_static_and_call_the_installed_program(name: str) -> None:
    text = (TEMPLATES / f"{name}.service.j2").read_text(encoding="utf-8")
    assert "{{" not in text
    assert "{%" not in text
    command = {"lbstack-apply": "prepare", "lbstack-verify": "verify"}[name]
    assert f"ExecStart=/usr/bin/python3 -I /usr/local/lib/lbstack/lbstack-apply {command}\n" in text
    assert "WantedBy=multi-user.target" in text


def test_prepare_runs_before_and_verify_after_the_services() -> None:
    def unit(name: str) -> dict[str, list[str]]:
        lines = (TEMPLATES / f"{name}.service.j2").read_text(encoding="utf-8").splitlines()
        pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
        return {key: value.split() for key, _, value in pairs}

    services = {"haproxy.service", "keepalived.service"}
    assert services <= set(unit("lbstack-apply")["Before"])
    assert "iptables.service" in unit("lbstack-apply")["After"]
    assert services | {"lbstack-apply.service"} <= set(unit("lbstack-verify")["After"])
    # With a requirement, the verification would not run when a service failed, and a refusal would stop services.
    for name in ("lbstack-apply", "lbstack-verify"):
        assert not {"Requires", "Wants", "BindsTo", "PartOf"} & set(unit(name))


def test_every_path_of_a_set_matches_exactly_one_rule_of_the_table(program: ModuleType, node: Host) -> None:
    for path in node.make("a").files:
        assert sum(bool(re.match(f"(?:{rule[0]})\\Z", path)) for rule in program.ALLOWED) == 1, path


def test_every_required_path_is_allowed(program: ModuleType) -> None:
    for path in program.REQUIRED:
        assert any(re.match(f"(?:{rule[0]})\\Z", path) for rule in program.ALLOWED), path


def test_long_error_messages_are_shortened_in_the_middle_and_have_no_hashes(program: ModuleType) -> None:
    text = program.clean("first\n" + "x" * 2000 + "\n$6$rounds=5000$salt$hash last")
    assert text.startswith("first | xxx")
    assert text.endswith("xxx | <hash> last")
    assert len(text) < 720


def test_the_real_openssl_verifies_the_stacks_signature(node: Host) -> None:
    node.give(node.make("b"))
    assert (node.base / "bin" / "openssl").resolve().name == "openssl"
    assert node.boot() == 0, node.output
