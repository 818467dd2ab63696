"""What `make` does on a machine that lacks things: announced first, as root, with a remedy where it cannot be done."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lab import bootstrap
from lab.system import cache, debian
from lab.system import uv as uv_module

NOWHERE = debian.Package("no-such-package", "a reason", programs=("no-such-program",))
OPTIONAL = debian.Package("no-such-checker", "checks things", programs=("no-such-checker",), essential=False)


def program(directory: Path, name: str, body: str) -> Path:
    """A shell script that stands in for a program of the machine."""
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is the whole PATH, with the few programs that scripts here use."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in ("sh", "env", "chmod"):
        (directory / name).symlink_to(f"/bin/{name}" if Path(f"/bin/{name}").exists() else f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.setattr(debian, "SYSTEM_PATH", str(directory))
    return directory


def test_it_imports_nothing_but_the_standard_library() -> None:
    code = f"import sys; sys.path.insert(0, {str(cache.CHECKOUT)!r}); import lab.bootstrap"
    subprocess.run([sys.executable, "-S", "-E", "-c", code], check=True)


def test_wrong_arguments_are_answered_with_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["lab"], ["nonsense", "--", "true"], ["lab", "true", "x"]):
        assert bootstrap.main(arguments) == 2
    assert "usage: python3 -m lab.bootstrap {lab|" in capsys.readouterr().err


def test_apt_is_announced_with_reasons_before_it_runs(
    only: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = tmp_path / "calls"
    fake = f'echo "$DEBIAN_FRONTEND $*" >> {calls}; echo > {only}/no-such-program; chmod +x {only}/no-such-program'
    program(only, "apt-get", fake)
    program(only, "no-such-checker", "exit 0")
    monkeypatch.setattr(debian, "privilege", lambda: ())
    monkeypatch.setattr(debian, "PACKAGES", (NOWHERE, OPTIONAL))
    debian.install_packages("lab")
    announced = capsys.readouterr().err
    assert "Installing Debian packages with apt, as root:" in announced
    assert "no-such-package  a reason" in announced
    update, install = calls.read_text().splitlines()
    assert update.startswith("noninteractive -o DPkg::Lock::Timeout=300 update")
    assert install.endswith("install -y -q --no-install-recommends no-such-package")


def test_without_root_it_shows_what_root_has_to_run(only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(only, "apt-get", "exit 9")
    monkeypatch.setattr(debian, "privilege", lambda: None)
    monkeypatch.setattr(debian, "PACKAGES", (NOWHERE,))
    with pytest.raises(debian.NotPossible) as caught:
        debian.install_packages("lab")
    message = str(caught.value)
    assert "installing them needs root" in message
    assert "apt-get update && apt-get install -y --no-install-recommends no-such-package" in message


def test_without_root_what_only_tests_need_is_left_out(
    only: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(debian, "privilege", lambda: None)
    monkeypatch.setattr(debian, "PACKAGES", (OPTIONAL,))
    debian.install_packages("test")
    assert "what needs them is left out" in capsys.readouterr().err


def test_a_machine_that_has_everything_needs_no_root(only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(only, "no-such-program", "exit 0")
    monkeypatch.setattr(debian, "privilege", lambda: pytest.fail("nobody has to be root here"))
    monkeypatch.setattr(debian, "PACKAGES", (NOWHERE,))
    debian.install_packages("lab")


def test_a_failing_apt_is_shown_with_its_last_lines(only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(only, "apt-get", "echo 'E: the mirror is on fire'; exit 100")
    monkeypatch.setattr(debian, "privilege", lambda: ())
    monkeypatch.setattr(debian, "PACKAGES", (NOWHERE,))
    with pytest.raises(
        debian.NotPossible, match=r"(?s)exit code 100.*the mirror is on fire.*run the same target again"
    ):
        debian.install_packages("lab")


def test_sudo_is_used_only_where_it_asks_no_password(only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.system.debian.os.geteuid", lambda: 1000)
    assert debian.privilege() is None
    program(only, "sudo", "exit 1")
    assert debian.privilege() is None
    program(only, "sudo", "exit 0")
    assert debian.privilege() == ("sudo", "-n")
    monkeypatch.setattr("lab.system.debian.os.geteuid", lambda: 0)
    assert debian.privilege() == ()


def test_a_uv_that_is_new_enough_is_taken_from_the_machine(only: Path) -> None:
    own = program(only, "uv", "echo 'uv 99.0.1 (nowhere)'")
    assert uv_module.find_uv() == str(own)


def test_an_old_uv_is_passed_over_for_a_pinned_one_that_is_installed_once(
    only: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(only, "uv", "echo uv 0.4.30")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    installs: list[Path] = []

    def install(scratch: Path) -> Path:
        installs.append(scratch)
        return program(scratch, "uv", f"echo uv {uv_module.UV_VERSION}")

    monkeypatch.setattr("lab.system.uv.install_uv", install)
    first, second = uv_module.find_uv(), uv_module.find_uv()
    assert first == second == str(tmp_path / "lbstack" / f"uv-{uv_module.UV_VERSION}" / "uv")
    assert len(installs) == 1
    assert [entry.name for entry in Path(first).parent.iterdir()] == ["uv"]


def test_another_platform_is_refused_in_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lab.bootstrap.platform.machine", lambda: "aarch64")
    assert bootstrap.main(["lab", "--", "true"]) == 2
    assert "runs on Linux x86-64" in capsys.readouterr().err


def test_a_full_disk_is_refused_before_anything_is_half_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "CHECKOUT", tmp_path)
    usage = type("Usage", (), {"free": 5 << 20})
    monkeypatch.setattr("lab.bootstrap.shutil.disk_usage", lambda _path: usage)
    with pytest.raises(debian.NotPossible, match="has 5 MiB free; the virtual environment needs 1024 MiB"):
        bootstrap.check_disk()


def test_every_package_shows_what_for() -> None:
    names = [package.name for package in debian.PACKAGES]
    assert len(names) == len(set(names))
    for package in debian.PACKAGES:
        assert package.reason
        assert package.purposes <= set(debian.PURPOSES)
        assert package.programs or package.module or package.path, f"nothing shows whether {package.name} is there"


def test_modules_are_compiled_once_and_not_by_every_interpreter_that_the_engine_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(bootstrap, "CHECKOUT", tmp_path)
    monkeypatch.chdir(tmp_path)
    uv = program(tmp_path / "bin", "uv", f"echo $* >>{tmp_path}/calls; env >{tmp_path}/variables")
    bootstrap.sync(str(uv))
    assert "--compile-bytecode" in (tmp_path / "calls").read_text()
    assert "PYTHONDONTWRITEBYTECODE=1" in (tmp_path / "variables").read_text()
    child = f"from lab import bootstrap; bootstrap.become({str(uv)!r}, ['true'])"
    subprocess.run([sys.executable, "-c", child], check=True, cwd=Path(__file__).parents[4])
    assert (tmp_path / "calls").read_text().endswith("run --no-sync true\n")
    assert "PYTHONDONTWRITEBYTECODE" not in (tmp_path / "variables").read_text()
