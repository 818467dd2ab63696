"""What has to be true of every booted node, whichever image it boots from: asked inside the guest, or by SSH.

Each check returns what is wrong in words, so that a test reports all of it at once; nothing wrong is an empty list.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lab.guests.machine import Machine
from lab.system.waiting import COSTLY_S, until
from tests.rehearsal.conftest import Rehearsal

BOOT_S = 90.0
LOGIN_S = 30.0
CLOUD_INIT_OFF = "/etc/cloud/cloud-init.disabled"
CLOUD_INIT_RESULT = "/var/lib/cloud/data/result.json"
APPLIER = "/usr/local/lib/lbstack/lbstack-apply"
SYSCTL_FILE = "/etc/sysctl.d/55-keepalived.conf"
HARDENING_FILE = "/etc/sysctl.d/50-security-hardening.conf"
NETWORK_KEYS = "net."  # all others are the kernel's, and a guest's kernel is the machine's
# Before Linux 6.16 there was one for all network namespaces, and only the first of them might change it. The applier
# warns where it could not.
OF_THE_MACHINE = "net.netfilter.nf_conntrack_max"
# The rules as this very guest's tools would show them: loaded by them into a namespace where nothing else is.
ALONE = 'unshare --net sh -c \'printf %s "$1" | {family}-restore && {family}-save\' sh "$1"'
FAMILIES: Mapping[str, str] = {
    "iptables": "/etc/systemd/scripts/ip4save",
    "ip6tables": "/etc/systemd/scripts/ip6save",
}


def differing_files(pair: Rehearsal, node: str) -> list[str]:
    """Every file that is not as rendered, by content, owner or mode."""
    guest = pair.scene.guest(node)
    wrong = []
    for path, file in pair.rendered.nodes[node].items():
        if guest.run("cat", path).stdout != file.content:
            wrong.append(f"{path}: another content")
        found = guest.run("stat", "-c", "%U:%G %04a", path).stdout.strip()
        if found != f"{file.owner} {file.mode:04o}":
            wrong.append(f"{path}: {found}, not {file.owner} {file.mode:04o}")
    return wrong


def settings(text: str) -> dict[str, str]:
    """The settings of a file in sysctl.d: key → value with single blanks."""
    lines = (line.partition("=") for line in text.splitlines() if line.strip() and line[0] not in "#;")
    return {key.strip(): " ".join(value.split()) for key, _, value in lines}


def differing_settings(pair: Rehearsal, node: str) -> list[str]:
    """Every kernel setting that is not as the set, or the image's own hardening, has it."""
    guest = pair.scene.guest(node)
    rendered = settings(pair.rendered.nodes[node][SYSCTL_FILE].content)
    hardening = settings(guest.run("cat", HARDENING_FILE).stdout)
    assert rendered  # else there would be nothing to compare
    assert hardening
    warned = [word for warning in status(guest)["warnings"] for word in str(warning).replace(":", " ").split()]
    wrong = []
    for key, wanted in (hardening | rendered).items():
        if not key.startswith(NETWORK_KEYS) or (key == OF_THE_MACHINE and key in warned):
            continue
        found = " ".join(guest.run("cat", f"/proc/sys/{key.replace('.', '/')}").stdout.split())
        if found != wanted:
            wrong.append(f"{key} is {found or 'not there'}, not {wanted}")
    return wrong


def differing_rules(pair: Rehearsal, node: str) -> list[str]:
    """Every difference between the packet filter in force and the set's, both families, line by line and in order."""
    guest = pair.scene.guest(node)
    wrong = []
    for family, path in FAMILIES.items():
        rendered = pair.rendered.nodes[node][path].content
        alone = guest.run("sh", "-c", ALONE.format(family=family), "sh", rendered)
        assert alone.returncode == 0, alone.stderr
        wanted, found = rules(alone.stdout), rules(guest.run(f"{family}-save").stdout)
        assert len(wanted) > len(CHAINS)
        wrong += [f"{family}: {line} is not in force" for line in wanted if line not in found]
        wrong += [f"{family}: {line} is not in the set" for line in found if line not in wanted]
        if not wrong and wanted != found:
            wrong.append(f"{family}: the order is another one: {found}")
    return wrong


CHAINS = ("INPUT", "FORWARD", "OUTPUT")


def rules(saved: str) -> list[str]:
    """What a dump of all tables contains: each filter chain's policy without its counters, each rule of any table."""
    found, table = [], ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":") and table == "filter":
            found.append(" ".join(line.split()[:2]))
        elif line.startswith("-"):
            found.append(line if table == "filter" else f"{table}: {line}")
    return found


@dataclass(frozen=True)
class Boot:
    """How a guest's boot ended.

    Args:
        failed: The units that failed.
        errors: cloud-init's errors.
        datasource: Where cloud-init had its data from.
        over: Whether cloud-init is switched off from now on.
    """

    failed: tuple[str, ...]
    errors: tuple[str, ...]
    datasource: str
    over: bool


def boot_of(guest: Machine) -> Boot:
    """Wait until a guest has booted; how that went."""

    def booted() -> bool:
        return guest.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")

    until(booted, BOOT_S, "the boot to end", COSTLY_S)
    units = guest.run("systemctl", "--failed", "--no-legend", "--plain").stdout.splitlines()
    result = json.loads(guest.run("cat", CLOUD_INIT_RESULT).stdout)["v1"]
    over = guest.run("test", "-e", CLOUD_INIT_OFF).returncode == 0
    return Boot(tuple(line.split()[0] for line in units), tuple(result["errors"]), result["datasource"], over)


def status(guest: Machine) -> dict[str, Any]:
    """What the applier reports of a node, in the node itself."""
    result = guest.run("python3", "-I", APPLIER, "status", "--json")
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout))


# --- SSH -----------------------------------------------------------------------------------------------------------


def ssh(pair: Rehearsal, node: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Log in from the management station with the lab's key."""
    address = pair.scene.network.topology.nodes[node]
    key = pair.lab.workspace.credentials.ssh_key
    options = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=5")
    login = ["ssh", "-q", "-i", str(key), *(part for option in options for part in ("-o", option)), f"root@{address}"]
    argv = pair.scene.network.command("mgmt", [*login, *command])
    return subprocess.run(argv, capture_output=True, text=True, timeout=BOOT_S, check=False)


def logs_in(pair: Rehearsal, node: str) -> bool:
    """Whether the lab's key opens a node, and it is that node."""
    return ssh(pair, node, "uname", "-n").stdout.strip() == node


@contextmanager
def sshd_of_another_day(guest: Machine, days: int) -> Iterator[None]:
    """The guest's sshd with a clock that is days ahead; PAM, which judges the age of passwords, runs inside it."""
    # Debian keeps the library where no linker looks.
    library = guest.run("sh", "-c", "ls /usr/lib/*/faketime/libfaketime.so.1").stdout.strip()
    clock = [f"--setenv=LD_PRELOAD={library}", f"--setenv=FAKETIME=+{days}d"]
    guest.run("systemctl", "stop", "ssh.service", "ssh.socket")
    unit = ["--unit=another-day", "--property=RuntimeDirectory=sshd"]
    started = guest.run("systemd-run", *unit, *clock, "/usr/sbin/sshd", "-D")
    assert started.returncode == 0, started.stderr
    try:
        yield
    finally:
        guest.run("systemctl", "stop", "another-day.service")
        guest.run("systemctl", "start", "ssh.service")


def assert_a_key_opens_in_days(pair: Rehearsal, node: str, days: int) -> None:
    """A key opens a node so many days on, and would not with the image's own ageing of passwords."""
    guest = pair.scene.guest(node)
    with sshd_of_another_day(guest, days):
        until(lambda: logs_in(pair, node), LOGIN_S, f"a login in {days} days", every_s=1)
        # The same login with the image's ageing: else this would show nothing.
        guest.run("chage", "-d", guest.run("date", "+%F").stdout.strip(), "-M", "90", "root")
        try:
            assert not logs_in(pair, node)
        finally:
            guest.run("chage", "-M", "-1", "root")
        assert logs_in(pair, node)
