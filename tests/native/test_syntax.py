"""What a node gets through its last readers, networkd and shellcheck; and that every checker refuses a broken file."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbstack.render.files import File
from tests.goldens.cases import cases, rendered
from tests.native.sandbox import Sandbox, sandbox

CASES = ("post-3.0-r3", "large-3.0-r3")  # the release whose network files are ours
NETWORK_FILE = "/etc/systemd/network/10-static-en.network"
NETWORKD = "/usr/lib/systemd/systemd-networkd"
NETWORKD_LIMIT_S = 15.0
ADDRESS = "192.168.6.120/24"
SHELLCHECK = Path(sys.executable).with_name("shellcheck")


def a_set(case: str = CASES[0]) -> dict[str, File]:
    """The files of the first node."""
    return dict(rendered(case).nodes[cases()[case].config.nodes[0].name])


@pytest.fixture(params=["bookworm", "bullseye"])
def image(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def networkd_says(box: Sandbox, interface: str = "eth0") -> tuple[str, str]:
    """Run networkd until it has configured the interface; what it said, and the addresses that are there then."""
    box.must("mkdir", "-p", "/run/systemd/netif/links", "/run/systemd/netif/leases", "/run/systemd/netif/lldp")
    box.must("chown", "-R", "systemd-network:", "/run/systemd/netif")
    with (box.root.parent / "networkd.log").open("w+") as log:
        networkd = box.start(NETWORKD, output=log)
        deadline = time.monotonic() + NETWORKD_LIMIT_S
        addresses = ""
        while ADDRESS not in addresses and time.monotonic() < deadline and networkd.poll() is None:
            addresses = box.must("ip", "-4", "-o", "address", "show", "dev", interface)
            time.sleep(0.05)
        networkd.terminate()  # nsenter, which is replaced by networkd: the same process
        networkd.wait(NETWORKD_LIMIT_S)
        log.seek(0)
        return log.read(), addresses


@pytest.mark.parametrize("case", CASES)
def test_networkd_takes_the_network_files_without_a_word_about_them(image: str, case: str) -> None:
    interface = cases()[case].config.network.interface
    with sandbox(image, a_set(case), interface=interface) as box:
        found = box.must("ls", "/etc/systemd/network").split()
        said, addresses = networkd_says(box, interface)
    assert found == ["10-static-en.network", "99-dhcp-en.network"]
    assert ADDRESS in addresses, said
    assert ".network:" not in said, said


def test_networkd_objects_to_an_unknown_key(image: str) -> None:
    files = a_set()
    broken = files[NETWORK_FILE].content.replace("Gateway=", "Gatewy=")
    with sandbox(image, files | {NETWORK_FILE: File(broken)}) as box:
        said, _ = networkd_says(box)
    assert f"{NETWORK_FILE}:" in said


def shell_scripts(checkout: Path) -> Iterator[Path]:
    """Everything here that a shell runs: in the guest, and the entry of continuous integration."""
    for path in [*sorted((checkout / "cloudinit" / "guest").iterdir()), checkout / ".ci" / "run"]:
        if path.read_text().splitlines()[0].rsplit("/", 1)[-1].split()[-1] in ("sh", "bash"):
            yield path


def test_shellcheck_finds_nothing_in_the_shell_scripts(checkout: Path) -> None:
    scripts = list(shell_scripts(checkout))
    assert {path.name for path in scripts} >= {"lbstack-firewall", "lbstack-vips", "lbstack-check", "run"}
    result = subprocess.run([SHELLCHECK, *scripts], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_shellcheck_objects_to_a_broken_script(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text('#!/bin/sh\nrm -rf $1/*\nif [ "$1" = a ]; then\n')
    assert subprocess.run([SHELLCHECK, broken], capture_output=True, check=False).returncode != 0


BROKEN: list[tuple[str, list[str], str]] = [
    ("haproxy.cfg", ["haproxy", "-c", "-dW", "-f"], "defaults\n timeout client 1s\n timout server 1s\n"),
    ("keepalived.conf", ["keepalived", "-t", "-f"], "vrrp_instance a {\n virtual_router_id 300\n}\n"),
    ("ip4save", ["iptables-restore", "--test"], "*filter\n-A INPUT -p vrp -j ACCEPT\nCOMMIT\n"),
    ("ip6save", ["ip6tables-restore", "--test"], "*filter\n:INPUT DROP [0:0]\n"),
    ("lbstack.service", ["systemd-analyze", "verify"], "[Service]\nExecStart=/bin/true\nRestrt=always\n"),
]

# Their exit codes say nothing: systemd-analyze's anywhere, and keepalived's before 2.2. So the tests of the goldens
# demand that they say no word.
JUDGED_BY_WORDS = {"bookworm": ("lbstack.service",), "bullseye": ("lbstack.service", "keepalived.conf")}


@pytest.mark.parametrize(("name", "command", "content"), BROKEN, ids=[name for name, _, _ in BROKEN])
def test_each_checker_objects_to_a_broken_file(image: str, name: str, command: list[str], content: str) -> None:
    place = f"/etc/broken/{name}"
    with sandbox(image, a_set() | {place: File(content)}) as box:
        result = box.run(*command, place)
    said = result.stdout + result.stderr
    if name in JUDGED_BY_WORDS.get(image, ()):
        assert place.rpartition("/")[2] in said, said
    else:
        assert result.returncode != 0, said
