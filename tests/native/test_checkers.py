"""The daemons' real checkers accept every golden, at its guest path in a real root file system."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbstack.render.files import File
from lbstack.render.pack import guestinfo
from lbstack.render.paths import (
    FIREWALL_PROGRAM,
    HAPROXY_CFG,
    IPV4_RULES,
    IPV6_RULES,
    KEEPALIVED_CONF,
    STATE_MAP,
    STATIC_NETWORK,
    SYSCTL_FILE,
    TRACK_FILE,
    UNIT_DIRECTORY,
)
from tests.goldens.cases import CASES, cases, rendered
from tests.guestinfo import decoded, metadata
from tests.native.sandbox import Sandbox, sandbox

BOOKWORM, BULLSEYE = "bookworm", "bullseye"
NODES = (0, 1)
# Cases of Photon releases with a newer HAProxy; Debian's HAProxy 2.2 cannot read their files.
NEEDS_NEWER_HAPROXY = ("large-5.0", "post-4.0", "post-5.0")

Guest = tuple[str, str, Sandbox]


@pytest.fixture(
    scope="module",
    params=[(case, node, image) for case in CASES for node in NODES for image in (BOOKWORM, BULLSEYE)],
    ids=lambda param: f"{param[0]}-node{param[1] + 1}-{param[2]}",
)
def guest(request: pytest.FixtureRequest) -> Iterator[Guest]:
    """One node of one case on one distribution: (case, distribution, sandbox)."""
    name, index, image = request.param
    case = cases()[name]
    node = case.config.nodes[index]
    files = dict(rendered(name).nodes[node.name])
    values = guestinfo(case.config, rendered(name), node.name, case.secrets)
    files["/tmp/userdata"] = File(decoded(values))
    files["/tmp/network"] = File(json.dumps({"network": metadata(values).get("network")}))
    with sandbox(
        image,
        files,
        interface=case.config.network.interface,
        addresses=[f"{node.address}/{case.config.network.cidr.prefixlen}"],
        environment={"NODE": node.name, "NODE_ADDRESS": str(node.address)},
    ) as box:
        yield name, image, box


def test_haproxy_accepts_its_file_without_a_warning(guest: Guest) -> None:
    name, image, box = guest
    result = box.run("haproxy", "-c", "-dW", "-f", HAPROXY_CFG)
    output = result.stdout + result.stderr
    if image == BULLSEYE and name in NEEDS_NEWER_HAPROXY:
        # Otherwise the table of releases would not need to distinguish this feature.
        assert result.returncode != 0
        assert "error-status" in output
        return
    assert result.returncode == 0, output
    assert output.strip() == "Configuration file is valid"


def test_keepalived_accepts_its_file_without_any_output(guest: Guest) -> None:
    _, _, box = guest
    result = box.run("keepalived", "-t", "-f", KEEPALIVED_CONF)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@pytest.mark.parametrize(("program", "path"), [("iptables-restore", IPV4_RULES), ("ip6tables-restore", IPV6_RULES)])
@pytest.mark.parametrize("variant", ["", "-legacy"])
def test_the_packet_filter_passes_its_test(guest: Guest, program: str, path: str, variant: str) -> None:
    _, _, box = guest
    tool = program.replace("tables", f"tables{variant}")
    assert box.must(tool, "--test", path) == ""


def test_the_firewall_program_loads_all_rules_of_both_families(guest: Guest) -> None:
    name, _, box = guest
    box.must(FIREWALL_PROGRAM)
    wanted = [
        line
        for line in rendered(name).nodes[box.environment["NODE"]][IPV4_RULES].content.splitlines()
        if line.startswith("-A ")
    ]
    loaded = [line for line in box.must("iptables", "-S").splitlines() if line.startswith("-A ")]
    assert len(loaded) == len(wanted)
    assert box.must("ip6tables", "-S").splitlines()[:2] == ["-P INPUT DROP", "-P FORWARD DROP"]


def test_every_kernel_setting_exists_and_accepts_its_value(guest: Guest) -> None:
    name, _, box = guest
    text = rendered(name).nodes[box.environment["NODE"]][SYSCTL_FILE].content
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    wanted = {key: value for key, _, value in (line.partition(" = ") for line in lines)}
    # Like the real rules, this loads the connection tracking module.
    box.must("iptables", "-A", "OUTPUT", "-m", "conntrack", "--ctstate", "INVALID")
    box.must("/usr/lib/systemd/systemd-sysctl", SYSCTL_FILE)
    # The size of the table is a setting of the machine, not of a network namespace, so only its existence is tested.
    assert box.must("cat", "/proc/sys/net/netfilter/nf_conntrack_max").strip().isdigit()
    wanted.pop("net.netfilter.nf_conntrack_max")
    now = {key: " ".join(box.must("cat", f"/proc/sys/{key.replace('.', '/')}").split()) for key in wanted}
    assert now == wanted


def test_systemd_supports_every_directive_of_the_units(guest: Guest) -> None:
    name, _, box = guest
    ours = [
        path
        for path in rendered(name).nodes[box.environment["NODE"]]
        if path.startswith(f"{UNIT_DIRECTORY}/") and path.endswith(".service")
    ]
    assert {Path(path).name for path in ours} == {
        "iptables.service",
        "lbstack-apply.service",
        "lbstack-live.service",
        "lbstack-look.service",
        "lbstack-verify.service",
        "lbstack-watch.service",
    }
    # The daemons' units belong to their packages; the set adds drop-ins.
    theirs = [f"/usr/lib/systemd/system/{daemon}.service" for daemon in ("haproxy", "keepalived")]
    result = box.run("systemd-analyze", "verify", *ours, *theirs)
    lines = (result.stdout + result.stderr).splitlines()
    assert not [line for line in lines if "Failed to initialize" in line], "it did not check anything"
    assert [line for line in lines if "lbstack" in line or "iptables" in line] == []


def test_runtime_files_are_created_with_their_initial_contents(guest: Guest) -> None:
    _, _, box = guest
    assert box.must("cat", TRACK_FILE) == "1\n"
    assert box.must("cat", STATE_MAP) == "vrrp unknown\napply unknown\n"
    assert box.must("stat", "-c", "%a %U", "/var/lib/haproxy", "/run/haproxy").splitlines() == ["755 root"] * 2


def test_cloud_init_accepts_the_userdata_without_a_warning(guest: Guest) -> None:
    _, image, box = guest
    command = ["cloud-init", "schema"] if image == BOOKWORM else ["cloud-init", "devel", "schema"]
    output = box.must(*command, "--config-file", "/tmp/userdata")
    assert "Valid cloud-config" in output
    assert "deprecat" not in output.lower()


def test_cloud_init_writes_the_nodes_address_from_the_metadata(guest: Guest) -> None:
    name, image, box = guest
    case = cases()[name]
    owner = "metadata" if json.loads(box.must("cat", "/tmp/network"))["network"] else "set"
    assert box.run("test", "-e", STATIC_NETWORK).returncode == 0  # for images that keep cloud-init from the network
    if owner == "set" or image == BULLSEYE:
        return  # bullseye's cloud-init has no class for Photon OS; Photon 3.0 R3 does not use this method
    box.must(
        *("cloud-init", "devel", "net-convert", "-p", "/tmp/network", "-k", "yaml"),
        *("-d", "/tmp/out", "-D", "photon", "-O", "networkd"),
    )
    interface = case.config.network.interface
    theirs = f"/etc/systemd/network/10-cloud-init-{interface}.network"
    assert theirs < STATIC_NETWORK, "networkd takes the first file that matches"
    text = box.must("cat", f"/tmp/out{theirs}")
    for line in (
        f"Name={interface}",
        f"Address={box.environment['NODE_ADDRESS']}/24",
        "DHCP=no",
        f"Gateway={case.config.network.gateway}",
    ):
        assert line in text.splitlines()
    assert text.count("[Route]") == 1
