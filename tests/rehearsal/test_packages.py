"""A plain image, without HAProxy and keepalived: what a node does about it with a repository, and without one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
import yaml

from lab.errors import LabError
from lab.guests import machine as machines
from lab.guests import preflight
from lab.guests.layers import ensure_layers
from lab.guests.machine import Machine
from lab.home import limits
from lab.network.network import DNS, MANAGEMENT, Network, lab_id
from lab.network.topology import Topology
from lab.system.cache import CHECKOUT
from lab.system.waiting import until
from lab.traffic.request import request
from lbstack.render.files import render_pair
from lbstack.render.pack import guestinfo
from tests.goldens.cases import load, post
from tests.rehearsal import guest_checks
from tests.rehearsal.repository import PORT, Repository, plain_image
from tests.tiers import refuse, require

BOOT_S = 90.0
HEALTH_PORT = 8405
RELEASE = "3.0"
PATHS = [f"photon/{RELEASE}/photon_{part}_{RELEASE}_x86_64" for part in ("release", "updates")]
MISSING = "after tdnf install there is no /usr/sbin/haproxy, /usr/sbin/keepalived"


@dataclass(frozen=True)
class Plain:
    """A node that boots from the plain image, and the repository that it uses.

    Args:
        machine: The node; powered off at first.
        network: Where it is.
        repository: What would be served.
        address: Where.
    """

    machine: Machine
    network: Network
    repository: Repository
    address: str

    def serves(self) -> bool:
        """Whether the node answers the gate's question."""
        where = self.network.topology.nodes[self.machine.name]
        return request(self.network.namespace(MANAGEMENT), where, HEALTH_PORT, "/health").status == 200


@pytest.fixture(scope="module")
def plain() -> Iterator[Plain]:
    """One node alone: it needs no peer to take its set in."""
    require("root")
    if problems := list(preflight.preflight()):
        refuse("; ".join(problems))
    try:
        layers = ensure_layers("bookworm", lambda _line: None)
    except LabError as error:
        refuse(str(error))
    state = Path(tempfile.mkdtemp(prefix="plain-"))
    network = Network(lab_id(state), Topology.of(yaml.safe_load((CHECKOUT / "Pulumi.lab.yaml").read_text())["config"]))
    address = str(network.topology.dns)
    raw = post()
    raw["image"]["release"] = RELEASE
    raw["haproxy"] = {"maxconn": min(limits.connections(), 20_000)}
    authority = trustme.CA()
    raw["packages"] = {
        "repository": f"https://{address}:{PORT}/photon",
        "ca": authority.cert_pem.bytes().decode(),
    }
    config, secrets = load(raw)
    node = next(iter(network.topology.nodes))
    try:
        network.up()
        lower = plain_image(layers, state / "plain")
        machine = Machine(node, network, state / "machine", lower)
        machine.give(guestinfo(config, render_pair(config, secrets), node, secrets))
        yield Plain(machine, network, Repository(layers, state / "repository", PATHS, authority), address)
    finally:
        machines.end_all(network)
        network.down()
        shutil.rmtree(state, ignore_errors=True)


@pytest.fixture(scope="module")
def without(plain: Plain) -> Plain:
    """The node after a first boot at which no repository answered."""
    plain.machine.power_on()
    until(lambda: guest_checks.boot_of(plain.machine).datasource, BOOT_S, "cloud-init to end")
    return plain


@pytest.fixture(scope="module")
def served(without: Plain) -> Iterator[Plain]:
    """The same node, booted again, now that there is a repository."""
    with without.repository.served(without.network.namespace(DNS), without.address):
        without.machine.shut_down()
        without.machine.power_on()
        until(without.serves, BOOT_S, "the node to serve")
        yield without


def test_a_node_whose_repository_is_dead_shows_what_it_lacks_and_where_it_looked(without: Plain) -> None:
    reported = guest_checks.status(without.machine)
    assert (reported["phase"], reported["installed"]) == ("failed", None)
    assert MISSING in reported["error"]
    assert f"https://{without.address}:{PORT}/photon/" in reported["error"]
    assert "Failed to synchronize cache for repo" in reported["error"]
    log = without.machine.run("cat", "/var/log/tdnf.log").stdout
    assert "tdnf makecache\n" in log
    assert "tdnf install -y haproxy keepalived\n" in log


def test_a_dead_repository_that_may_be_skipped_is_skipped_without_a_word(without: Plain) -> None:
    """So the images' own repositories are: what a person sees is that there is no such package."""
    guest = without.machine
    guest.run("sh", "-c", "mkdir /tmp/kept && cp /etc/yum.repos.d/* /tmp/kept/")
    guest.run("sh", "-c", "sed -i s/skip_if_unavailable=0/skip_if_unavailable=1/ /etc/yum.repos.d/*")
    try:
        assert guest.run("tdnf", "makecache").stderr == ""
        result = guest.run("tdnf", "install", "-y", "haproxy")
        assert (result.returncode, result.stderr) == (245, "Error(1011) : No matching packages\n")
    finally:
        guest.run("sh", "-c", "cp /tmp/kept/* /etc/yum.repos.d/")
    assert guest.run("rpm", "-q", "haproxy").returncode == 1


def test_the_next_boot_installs_what_is_missing_once_the_repository_answers(served: Plain) -> None:
    assert guest_checks.status(served.machine)["phase"] in ("ok", "trial")
    for name in ("haproxy", "keepalived"):
        assert served.machine.run("rpm", "-q", name).returncode == 0
        assert served.machine.run("systemctl", "is-active", f"{name}.service").stdout.strip() == "active"


def test_a_package_that_nobody_known_has_signed_is_refused(served: Plain) -> None:
    guest = served.machine
    assert guest.run("tdnf", "install", "-y", "haproxy").returncode == 0
    assert "is unknown" in guest.run("tdnf", "install", "-y", "stranger").stderr
    assert guest.run("tdnf", "install", "-y", "curl").returncode == 245


def test_a_node_whose_image_keeps_cloud_init_from_the_network_has_its_address_by_the_sets_file(without: Plain) -> None:
    guest = without.machine
    assert guest.run("sh", "-c", "ls /etc/systemd/network").stdout.split() == [
        "10-static-en.network",
        "99-dhcp-en.network",
    ]
    assert "10-static-en.network" in guest.run("networkctl", "status", "eth0").stdout
    where = without.network.topology.nodes[guest.name]
    assert f" {where}/" in guest.run("ip", "-4", "-o", "addr", "show", "dev", "eth0").stdout
