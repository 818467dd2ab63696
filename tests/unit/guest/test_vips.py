"""``lbstack-vips`` removes VIPs that keepalived no longer manages, or reports why it cannot."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.guest.processes import PROGRAM

VIPS = PROGRAM.with_name("lbstack-vips")
LISTED = (
    "2: eth0    inet 192.168.6.120/24 brd 192.168.6.255 scope global eth0\\       valid_lft forever\n"
    "2: eth0    inet 192.168.6.122/32 scope global eth0\\       valid_lft forever preferred_lft forever\n"
    "2: eth0    inet 192.168.6.123/32 scope global eth0\\       valid_lft forever preferred_lft forever\n"
)


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """A directory with an ``ip`` and no other command, because the script may use only that and the shell."""
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
    """Run the script with only these commands on its PATH."""
    shell = shutil.which("dash") or "/bin/sh"
    environment = {"PATH": str(commands)}
    return subprocess.run([shell, str(VIPS), *argv], env=environment, capture_output=True, text=True, check=False)


def deleted(commands: Path) -> list[str]:
    """The addresses that were removed."""
    log = commands.parent / "deleted"
    return [line.split()[2] for line in log.read_text().splitlines()] if log.exists() else []


def test_every_vip_is_removed_without_awk_or_any_program_except_ip(commands: Path) -> None:
    answer = run(commands, "eth0", "192.168.6.120")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert deleted(commands) == ["192.168.6.122/32", "192.168.6.123/32"]
    assert "lbstack-vips: removing 192.168.6.122/32 from eth0" in answer.stdout


def test_the_nodes_own_address_stays_even_with_prefix_length_32(commands: Path) -> None:
    assert run(commands, "eth0", "192.168.6.122").returncode == 0
    assert deleted(commands) == ["192.168.6.123/32"]


def test_an_interface_without_addresses_needs_no_change(commands: Path) -> None:
    (commands.parent / "listed").write_text("")
    assert run(commands, "eth0", "192.168.6.120").returncode == 0
    assert deleted(commands) == []


def test_a_failing_ip_is_reported(commands: Path) -> None:
    (commands.parent / "fails").touch()
    answer = run(commands, "eth0", "192.168.6.120")
    assert answer.returncode == 1
    assert 'Device "eth0" does not exist.' in answer.stderr
    assert "lbstack-vips: ip does not tell the addresses of eth0, so none was removed" in answer.stderr


def test_a_missing_ip_is_reported(commands: Path) -> None:
    (commands / "ip").unlink()
    answer = run(commands, "eth0", "192.168.6.120")
    assert answer.returncode == 1
    assert "so none was removed" in answer.stderr


def test_an_address_that_cannot_be_removed_is_a_failure_but_the_others_are_removed(commands: Path) -> None:
    (commands.parent / "stuck").touch()
    assert run(commands, "eth0", "192.168.6.120").returncode == 1
    assert deleted(commands) == ["192.168.6.122/32", "192.168.6.123/32"]


def test_an_interface_and_an_address_are_required(commands: Path) -> None:
    answer = run(commands, "eth0")
    assert answer.returncode == 2
    assert answer.stderr == "usage: lbstack-vips INTERFACE NODE_ADDRESS\n"
