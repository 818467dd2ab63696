"""The lab's command line: help, exit codes, and no traceback for a person."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lab.commands import app
from lab.errors import LabError
from lab.home.state import Paths
from lab.running import doctor
from lab.system.cache import CHECKOUT
from lab.vcenter import control

COMMANDS = ("up", "down", "status", "exec", "logs", "doctor", "build")


def run(*arguments: str, interpreter: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run ``python -m lab`` as a person does."""
    command = [sys.executable, *interpreter, "-m", "lab", *arguments]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)


def test_help_names_every_command() -> None:
    result = run("--help")
    assert result.returncode == 0
    assert not [name for name in COMMANDS if not re.search(rf"^  {name} ", result.stdout, re.MULTILINE)]


def test_a_wrong_command_is_exit_code_2() -> None:
    assert run("nonsense").returncode == 2


def test_without_the_locked_packages_it_shows_how_to_get_them() -> None:
    result = run("status", interpreter=("-S", "-E"))
    assert result.returncode == 2
    assert "is not installed in this Python. `make lab` installs everything" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_mistake_of_the_lab_is_one_sentence_and_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_paths: Paths) -> None:
        raise RuntimeError("nobody thought of this")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("lab.running.status.look", broken)
    monkeypatch.setattr(sys, "argv", ["lab", "status", "--state", str(tmp_path / "lab")])
    with pytest.raises(SystemExit) as caught:
        app.main()
    assert caught.value.code == 2
    output = capsys.readouterr().err
    assert "RuntimeError: nobody thought of this" in output
    assert "Traceback" not in output
    assert "Traceback" in (tmp_path / "lbstack/logs/lab-crash.log").read_text()


def test_status_without_a_lab_is_data_and_exit_code_1(tmp_path: Path) -> None:
    result = run("status", "--json", "--state", str(tmp_path / "none"))
    assert result.returncode == 1
    found = json.loads(result.stdout)
    assert found["exists"] is False
    assert found["vcenter"] == {"running": False}
    assert "`make lab` makes one" in found["problems"][0]


def test_a_path_that_is_too_long_for_a_socket_is_refused_with_the_limit(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"the kernel takes 107. Choose a shorter one with --state"):
        control.check_socket_path(Paths(tmp_path / ("x" * 100)))
    control.check_socket_path(Paths(Path("/tmp/lab")))


def test_a_directory_of_somebody_else_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        # Root may write anywhere, so the kernel's refusal is put in its place.
        def refuse(*_arguments: object, **_options: object) -> None:
            raise PermissionError(13, "Permission denied", str(tmp_path))

        monkeypatch.setattr("lab.home.state.prepare", refuse)
    else:
        tmp_path.chmod(0o500)
    from lab.running import lifecycle  # noqa: PLC0415 - after the patch

    with pytest.raises(LabError, match=r"Permission denied.*choose a directory of your own with --state"):
        lifecycle.up(Paths(tmp_path / "lab"), port=None, progress=print, show=print)


def test_the_doctor_gives_a_remedy_for_whatever_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.running.doctor.os.geteuid", lambda: 1000)
    monkeypatch.setattr("lab.running.doctor.platform.machine", lambda: "aarch64")
    monkeypatch.setattr("lab.running.doctor.distribution", lambda: "ubuntu 24.04")
    monkeypatch.setattr("lab.running.doctor.processes.owner_of_port", lambda _port: "nginx (pid 5)")
    monkeypatch.setattr("lab.running.doctor.MEMORY_GIB", 1 << 20)
    monkeypatch.setattr("lab.running.doctor.toolchain_missing", lambda: True)
    monkeypatch.setattr("lab.running.doctor.BUILD_GIB", 1 << 20)
    findings = {finding.name: finding for finding in doctor.examine(Paths(tmp_path / "lab"))}
    for name in ("platform", "memory", "disk (cache)"):
        assert findings[name].verdict is doctor.Verdict.MISSING
    for name in ("root", "vCenter's port"):
        assert findings[name].verdict is doctor.Verdict.LIMITED
    assert not [
        finding for finding in findings.values() if finding.verdict is not doctor.Verdict.OK and not finding.remedy
    ]


def test_make_help_lists_every_target() -> None:
    makefile = (CHECKOUT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony
    shown = subprocess.run(["make", "help"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    assert [target for target in phony[1].split() if not re.search(rf"^  {target} +\w", shown, re.MULTILINE)] == []
