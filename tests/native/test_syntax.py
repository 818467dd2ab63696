"""networkd and shellcheck accept a node's files, and every checker refuses a broken file."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbstack.render.files import File
from lbstack.render.paths import DHCP_NETWORK, STATIC_NETWORK
from tests.goldens.cases import cases, rendered
from tests.native.sandbox import Sandbox, sandbox

CASES = ("post-3.0-r3", "large-3.0-r3")  # the release whose network files belong to the set
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


def networkd_output(box: Sandbox, interface: str = "eth0") -> tuple[str, str]:
    """Run networkd until it has configured the interface; return its output and the interface's addresses."""
    box.must("mkdir", "-p", "/run/systemd/netif/links", "/run/systemd/netif/leases", "/run/systemd/netif/lldp")
    box.must("chown", "-R", "systemd-network:", "/run/systemd/netif")
    with (box.root.parent / "networkd.log").open("w+") as log:
        networkd = box.start(NETWORKD, output=log)
        deadline = time.monotonic() + NETWORKD_LIMIT_S
        addresses = ""
        while ADDRESS not in addresses and time.monotonic() < deadline and networkd.poll() is None:
            addresses = box.must("ip", "-4", "-o", "address", "show", "dev", interface)
            time.sleep(0.05)
        networkd.terminate()  # the process of nsenter, which networkd has replaced
        networkd.wait(NETWORKD_LIMIT_S)
        log.seek(0)
        return log.read(), addresses


@pytest.mark.parametrize("case", CASES)
def test_networkd_accepts_the_network_files_without_a_warning(image: str, case: str) -> None:
    interface = cases()[case].config.network.interface
    with sandbox(image, a_set(case), interface=interface) as box:
        found = box.must("ls", str(Path(STATIC_NETWORK).parent)).split()
        output, addresses = networkd_output(box, interface)
    assert found == [Path(STATIC_NETWORK).name, Path(DHCP_NETWORK).name]
    assert ADDRESS in addresses, output
    assert ".network:" not in output, output


def test_networkd_reports_an_unknown_key(image: str) -> None:
    files = a_set()
    broken = files[STATIC_NETWORK].content.replace("Gateway=", "Gatewy=")
    with sandbox(image, files | {STATIC_NETWORK: File(broken)}) as box:
        output, _ = networkd_output(box)
    assert f"{STATIC_NETWORK}:" in output


def shell_scripts(checkout: Path) -> Iterator[Path]:
    """All shell scripts: the guest's programs, and the entry point of continuous integration."""
    for path in [*sorted((checkout / "cloudinit" / "guest").iterdir()), checkout / ".ci" / "run"]:
        if path.read_text().splitlines()[0].rsplit("/", 1)[-1].split()[-1] in ("sh", "bash"):
            yield path


def test_shellcheck_finds_nothing_in_the_shell_scripts(checkout: Path) -> None:
    scripts = list(shell_scripts(checkout))
    assert {path.name for path in scripts} >= {"lbstack-firewall", "lbstack-vips", "lbstack-check", "run"}
    result = subprocess.run([SHELLCHECK, *scripts], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_shellcheck_refuses_a_broken_script(tmp_path: Path) -> None:
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

# The exit code of systemd-analyze, and that of keepalived before 2.2, is 0 also for a broken file. So the tests of the
# goldens require that they print nothing.
JUDGED_BY_OUTPUT = {"bookworm": ("lbstack.service",), "bullseye": ("lbstack.service", "keepalived.conf")}


@pytest.mark.parametrize(("name", "command", "content"), BROKEN, ids=[name for name, _, _ in BROKEN])
def test_each_checker_refuses_a_broken_file(image: str, name: str, command: list[str], content: str) -> None:
    path = f"/etc/broken/{name}"
    with sandbox(image, a_set() | {path: File(content)}) as box:
        result = box.run(*command, path)
    output = result.stdout + result.stderr
    if name in JUDGED_BY_OUTPUT.get(image, ()):
        assert name in output, output
    else:
        assert result.returncode != 0, output
