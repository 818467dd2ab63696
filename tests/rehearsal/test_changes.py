"""Each row of the table of changes (``lbstack/facts/changes.py``), proven on a booted guest.

A node gets a set of its own stack in which one file has another text, the way `pulumi up` gives it: through its VM's
guestinfo. What has to follow is seen in the guest: which processes are others, whether it has booted, who is master,
and whether established sessions ended. New VMs are in the tier *deploy*; ``rollout.mode`` is in ``test_rolls.py``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from lab.guests.machine import Machine
from lab.system.waiting import until
from lbstack.facts.changes import ACTIONS, DROPINS, KEEPALIVED_CONF, Kind, kind_of
from tests.rehearsal.conftest import Rehearsal
from tests.rehearsal.live import HAPROXY, KEEPALIVED, WATCHER, given, held_sessions, running

SESSIONS = 20
WHOLE_S = 60.0
ROLES = ("standby", "master")
HAPROXY_CFG, IP4SAVE = "/etc/haproxy/haproxy.cfg", "/etc/systemd/scripts/ip4save"
SYSCTL, TMPFILES, SHADOW = (
    "/etc/sysctl.d/55-keepalived.conf",
    "/etc/tmpfiles.d/lbstack.conf",
    "/etc/lbstack/root.shadow",
)
TIMESYNC = "/etc/systemd/timesyncd.conf.d/lbstack.conf"
UNITS, PROGRAMS = "/etc/systemd/system", "/usr/local/lib/lbstack"
NETWORK = "/etc/systemd/network/10-static-en.network"
RULE = "-A INPUT -s 192.168.9.0/24 -p tcp -m tcp --dport 9 -j ACCEPT"
OTHER_HASH = "root:$6$rounds=5000$another$salt"


@dataclass(frozen=True)
class Row:
    """One kind of change.

    Args:
        path: The file.
        what: A text of it that is replaced.
        by: What it is replaced by.
        kind: What the table has to say.
        anew: The units that get another process, besides those that the kind names.
        at_work: A command in the guest that succeeds once the change is at work.
    """

    path: str
    what: str
    by: str
    kind: Kind
    anew: frozenset[str] = frozenset()
    at_work: str = "true"

    def edit(self, texts: dict[str, str]) -> None:
        """Change the file."""
        assert texts[self.path].count(self.what) >= 1, f"{self.path} has changed; this has to follow"
        texts[self.path] = texts[self.path].replace(self.what, self.by, 1)


def commented(path: str, kind: Kind, *anew: str, at_work: str = "true") -> Row:
    """A comment at the end of a file's first line."""
    return Row(path, "\n", "\n# another text\n", kind, frozenset(anew), at_work)


FRESH = "systemctl show -P NeedDaemonReload {} | grep -qx no"

ROWS = {
    "package source": commented("/etc/yum.repos.d/photon.repo", Kind.NOTHING),
    "SSH keys": commented("/root/.ssh/authorized_keys", Kind.NOTHING),
    "program": commented(f"{PROGRAMS}/lbstack-check", Kind.NOTHING),
    "applier": commented(f"{PROGRAMS}/lbstack-apply", Kind.NOTHING),
    "HAProxy's file": Row(HAPROXY_CFG, "    retries 3\n", "    retries 2\n", Kind.RELOAD),
    "priority": Row(KEEPALIVED_CONF, "    priority 2", "    priority 1", Kind.RELOAD),
    "profile": Row(KEEPALIVED_CONF, "    advert_int 1\n", "    advert_int 0.25\n", Kind.RELOAD),
    "announcements": Row(KEEPALIVED_CONF, "refresh_repeat 2\n", "refresh_repeat 3\n", Kind.RELOAD),
    "interval of the check": Row(KEEPALIVED_CONF, "    fall 2\n", "    fall 3\n", Kind.RELOAD),
    "rule": Row(IP4SAVE, "COMMIT\n", f"{RULE}\nCOMMIT\n", Kind.RELOAD, at_work=f"iptables-save | grep -qxe '{RULE}'"),
    "kernel setting": Row(
        SYSCTL,
        "\n",
        "\nnet.ipv4.tcp_retries2 = 14\n",
        Kind.RELOAD,
        at_work="grep -qx 14 /proc/sys/net/ipv4/tcp_retries2",
    ),
    "runtime files": Row(
        TMPFILES, "\n", "\nd /run/lbstack/another 0755 root root\n", Kind.RELOAD, at_work="test -d /run/lbstack/another"
    ),
    "root's password": Row(
        SHADOW, "root:", f"{OTHER_HASH}:", Kind.RELOAD, at_work=f"grep -qe '^{OTHER_HASH}' /etc/shadow"
    ),
    "unit": commented(f"{UNITS}/lbstack-verify.service", Kind.RELOAD, at_work=FRESH.format("lbstack-verify")),
    "comment of a drop-in": commented(DROPINS[0], Kind.NOTHING, at_work=FRESH.format("haproxy")),
    "restart of a drop-in": Row(
        DROPINS[1],
        "RestartSec=100ms\n",
        "RestartSec=200ms\n",
        Kind.NOTHING,
        at_work="systemctl show -P RestartUSec keepalived | grep -qx 200ms",
    ),
    "clock": commented(TIMESYNC, Kind.RESTART),
    "watcher": commented(f"{PROGRAMS}/lbstack-watch", Kind.RESTART, WATCHER),
    "watcher's unit": commented(f"{UNITS}/lbstack-watch.service", Kind.RESTART, WATCHER),
    "limit of keepalived's time": Row(
        KEEPALIVED_CONF, "    vrrp_no_swap\n", "", Kind.HAND_OVER, frozenset({KEEPALIVED})
    ),
    "HAProxy's environment": Row(
        DROPINS[0],
        "LimitNOFILE=",
        "LimitCORE=0\nLimitNOFILE=",
        Kind.HAND_OVER,
        frozenset({HAPROXY}),
        "systemctl show -P LimitCORE haproxy | grep -qx 0",
    ),
    "keepalived's environment": Row(
        DROPINS[1], "Restart=always\n", "Restart=always\nLimitCORE=0\n", Kind.HAND_OVER, frozenset({KEEPALIVED})
    ),
    "network": commented(NETWORK, Kind.REBOOT),
}


# What a master takes up without letting go of a VIP or a session, a standby does too.
CASES = [(name, role) for name, row in ROWS.items() for role in ROLES if role == "master" or row.kind is Kind.HAND_OVER]


@pytest.mark.parametrize(("name", "role"), CASES)
def test_a_row_of_the_table_is_what_a_guest_does(pair: Rehearsal, name: str, role: str) -> None:
    row, node = ROWS[name], pair.scene.named(role)
    guest, master, before = pair.scene.guest(node), pair.master, running(pair.scene.guest(node))
    with held_sessions(pair, "row", SESSIONS) as ended, given(pair, node, row.edit, f"{name} {role}") as texts:
        assert kind_of(row.path, pair.rendered.nodes[node][row.path].content, texts[row.path]) is row.kind
        assert guest.run("cat", row.path).stdout == texts[row.path]
        after = running(guest)
        assert after.boot == before.boot
        moves = row.kind is Kind.HAND_OVER and role == "master"
        # A master's HAProxy is stopped only once keepalived has handed the VIPs over.
        assert after.anew_since(before) == row.anew | ({KEEPALIVED} if moves else set())
        assert guest.run("sh", "-c", row.at_work).returncode == 0
        until(lambda: not pair.scene.whole(), WHOLE_S, "the pair to be whole")
        assert pair.master == (pair.scene.peer(master) if moves else master)
        report = ended()
        assert report.refused_or_timed_out() == []
        cut = len(report.lost_sessions())
        assert len(report.established()) == SESSIONS
        # What goes through the standby is nothing, and a hand-over is what costs sessions.
        assert cut == (SESSIONS if moves else 0)
    until(lambda: not pair.scene.whole(), WHOLE_S, "the pair to be whole")


def warnings_of(guest: Machine) -> str:
    """What the applier warns of."""
    return guest.run("cat", "/run/lbstack/status.json").stdout


def test_a_changed_network_file_says_that_the_next_boot_takes_it_up(pair: Rehearsal) -> None:
    node = pair.standby
    with given(pair, node, ROWS["network"].edit, "a warning"):
        assert "the network files take effect at the next boot" in warnings_of(pair.scene.guest(node))


def test_every_row_of_the_table_is_proven_here() -> None:
    """Rows of ``ACTIONS`` by their pattern; the last one is every other file's."""

    def row_of(path: str) -> str:
        return next(pattern for pattern, _ in ACTIONS if re.fullmatch(pattern, path))

    assert {row_of(row.path) for row in ROWS.values()} == {pattern for pattern, _ in ACTIONS}
