"""The known mistakes of the usual how-to, by their numbers: ``docs/differences.md`` has the reasons and tests."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

CORRECTIONS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "A1": ("the statistics page has its own port as servers", "a frontend without servers"),
        "A2": ("`option ssl-hello-chk`", "TLS and a request that the server documents"),
        "A3": ("unicast peers typed by hand", "each node's peer is the other node of the stack file"),
        "A4": ("no firewall rule for VRRP", "protocol 112 from the peer"),
        "A5": ("`auth_type`", "VRRPv3 without a password, the peer's address checked"),
        "A6": ("`auth_pass`", "there is none"),
        "A7": ("`vrrp_garp_interval 0`", "left away"),
        "A8": ("script security off", "on"),
        "A9": ("a check for a process, with a weight", "a track file, and a script that asks HAProxy"),
        "A10": ("`state MASTER`, preemption", "both BACKUP, `nopreempt`"),
        "A11": ("idle time-outs of seconds", "a tunnel time-out of an hour and more"),
        "A12": ("`balance source`", "leastconn, and a stick table that the nodes share"),
        "A13": ("no `maxconn`", "derived from the node's memory"),
        "A14": ("no log", "the journal"),
        "A15": ("HAProxy runs as root", "a user of its own"),
        "A16": ("the admin socket in the chroot", "outside it"),
        "A17": ("clear passwords, the page open to all", "hashes from secrets, roles, management networks"),
        "A18": ("`ip_forward = 1`", "not set"),
        "A19": ("ports open to all, nothing for IPv6", "least open ports, both families in one step"),
        "A20": ("a sick server is probed every few seconds", "every 30 s"),
        "A21": ("both VMs may share a host", "an anti-affinity rule: placement.antiAffinity"),
        "A22": ("`mv keepalived.conf`", "files are written after every package operation"),
        "A23": ("the image's root password, SSH for all", "keys, management networks"),
        "A24": ("a restart of both", "a reload, one node after the other"),
        "A25": ("the image's own package repositories", "an input with a current default: packages.repository"),
    }
)
"""Number → what is done by hand, and what is done here."""

BEYOND_THE_FILES = ("A21", "A22", "A24", "A25")
"""Corrections of what is done to the VMs: no file shows it."""
