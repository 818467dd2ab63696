"""Virtual addresses that nobody manages any more: taken off the interface, or the reason why that cannot be done."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.guest.host import PROGRAM

VIPS = PROGRAM.with_name("lbstack-vips")
LISTED = (
    "2: eth0    inet 192.168.6.120/24 brd 192.168.6.255 scope global eth0\\       valid_lft forever\n"
    "2: eth0    inet 192.168.6.122/32 scope global eth0\\       valid_lft forever preferred_lft forever\n"
    "2: eth0    inet 192.168.6.123/32 scope global eth0\\       valid_lft forever preferred_lft forever\n"
)


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """A directory with an ``ip`` and no other command: all that the script may need is in the shell itself."""
    folder = tmp_path / "bin"
    folder.mkdir()
    fake = folder / "ip"
    fake.write_text(
        "#!/bin/sh\n"
        'if [ "$2" = delete ]; then\n'
        f'    echo "$*" >>{tmp_path}/deleted\n'
        f"    ! [ -e {tmp_path}/stuck ]\n"
        f"elif [ -e {tmp_path}/fails ]; then\n"
        '    echo "Device \\"eth0\\" does not exist." >&2\n'
        "    exit 1\n"
        "else\n"
        f"    while IFS= read -r line; do\n        printf '%s\\n' \"$line\"\n    done <{tmp_path}/listed\n"
        "fi\n"
    )
    fake.chmod(0o755)
    (tmp_path / "listed").write_text(LISTED)
    return folder


def run(commands: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Runs the script with nothing but these commands on its PATH."""
    shell = shutil.which("dash") or "/bin/sh"
    environment = {"PATH": str(commands)}
    return subprocess.run([shell, str(VIPS), *argv], env=environment, capture_output=True, text=True, check=False)


def deleted(commands: Path) -> list[str]:
    """The addresses that were taken off."""
    log = commands.parent / "deleted"
    return [line.split()[2] for line in log.read_text().splitlines()] if log.exists() else []


def test_every_vip_is_taken_off_without_awk_or_any_program_but_ip(commands: Path) -> None:
    answer = run(commands, "eth0", "192.168.6.120")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert deleted(commands) == ["192.168.6.122/32", "192.168.6.123/32"]
    assert "lbstack-vips: removing 192.168.6.122/32 from eth0" in answer.stdout


def test_the_nodes_own_address_stays_even_as_a_32(commands: Path) -> None:
    assert run(commands, "eth0", "192.168.6.122").returncode == 0
    assert deleted(commands) == ["192.168.6.123/32"]


def test_an_interface_without_addresses_has_nothing_to_take_off(commands: Path) -> None:
    (commands.parent / "listed").write_text("")
    assert run(commands, "eth0", "192.168.6.120").returncode == 0
    assert deleted(commands) == []


def test_an_ip_that_fails_is_told_and_fails(commands: Path) -> None:
    (commands.parent / "fails").touch()
    answer = run(commands, "eth0", "192.168.6.120")
    assert answer.returncode == 1
    assert 'Device "eth0" does not exist.' in answer.stderr
    assert "lbstack-vips: ip does not tell the addresses of eth0, so none was removed" in answer.stderr


def test_without_ip_it_fails(commands: Path) -> None:
    (commands / "ip").unlink()
    answer = run(commands, "eth0", "192.168.6.120")
    assert answer.returncode == 1
    assert "so none was removed" in answer.stderr


def test_an_address_that_cannot_be_taken_off_does_not_keep_it_from_the_others_and_fails(commands: Path) -> None:
    (commands.parent / "stuck").touch()
    assert run(commands, "eth0", "192.168.6.120").returncode == 1
    assert deleted(commands) == ["192.168.6.122/32", "192.168.6.123/32"]


def test_it_wants_an_interface_and_an_address(commands: Path) -> None:
    answer = run(commands, "eth0")
    assert answer.returncode == 2
    assert answer.stderr == "usage: lbstack-vips INTERFACE NODE_ADDRESS\n"
