"""Say what a change of each guest file asks for on a node that serves: the table of applier, preview and docs.

The applier is one file that has to judge on its own, so it holds the same table again (``ACTIONS``, ``FIXED`` and
``AT_ONCE`` of ``lbstack-apply``); a test compares both, and what they say of each file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import IntEnum


class Kind(IntEnum):
    """What a change asks for, the least first."""

    NOTHING = 0
    """The file is replaced, and whoever reads it next reads the new one."""
    RELOAD = 1
    """Taken up by what runs, without an interruption."""
    RESTART = 2
    """A helper that serves no client starts anew."""
    HAND_OVER = 3
    """Only a new process takes it up: the VIPs go to the peer first, and with them the sessions through this node."""
    REBOOT = 4
    """It takes effect at the next boot."""
    NEW_VM = 5
    """Only a first boot reads it: own address, host name, network of cloud-init. No file asks for it; the VM's
    ``replace_trigger`` does."""

    @property
    def word(self) -> str:
        """Its name, as the applier prints it."""
        return "new VM" if self is Kind.NEW_VM else self.name.lower().replace("_", "-")


NODE_JSON = "/etc/lbstack/node.json"
KEEPALIVED_CONF = "/etc/keepalived/keepalived.conf"
DROPINS = (
    "/etc/systemd/system/haproxy.service.d/lbstack.conf",
    "/etc/systemd/system/keepalived.service.d/lbstack.conf",
)

ACTIONS = (
    (r"/etc/haproxy/haproxy\.cfg", Kind.RELOAD),
    (r"/etc/keepalived/keepalived\.conf", Kind.RELOAD),
    (r"/etc/systemd/system/(haproxy|keepalived)\.service\.d/lbstack\.conf", Kind.HAND_OVER),
    (r"/etc/systemd/network/.*", Kind.REBOOT),
    (r"/etc/(systemd/scripts/ip[46]save|sysctl\.d/.*|tmpfiles\.d/.*|lbstack/root\.shadow)", Kind.RELOAD),
    (
        r"/etc/systemd/timesyncd\.conf\.d/.*|/(etc/systemd/system|usr/local/lib/lbstack)/lbstack-watch(\.service)?",
        Kind.RESTART,
    ),
    (r"/etc/systemd/system/.*", Kind.RELOAD),
    (r".*", Kind.NOTHING),
)
"""Pattern of the guest path → what its change asks for at most; the first that matches counts."""

FIXED = (
    r"(router_id|vrrp_version|enable_script_security|script_user|vrrp_rt_priority|vrrp_rlimit_rtime|vrrp_no_swap|"
    r"vrrp_instance|state|interface|virtual_router_id|unicast_src_ip)\b.*"
)
"""Lines of keepalived.conf that a running keepalived does not take up, or by dropping the VIPs unannounced."""

AT_ONCE = (
    r"\s*(#.*)?|\[.*|(Description|After|Before|Wants|StartLimit\w+|Restart\w*|KillMode|ExecStartPre|ExecStartPost|"
    r"ExecReload|ExecStopPost|RuntimeDirectory\w*)=.*"
)
"""Lines of a drop-in that are at work once systemd has read them; all others need a new process."""


GENERATION = r'"generation": *([0-9]{1,9})'
"""The generation of the packages in node.json. A higher one has the node give up the VIPs, and roll its packages."""


def generation_of(text: str | None) -> int:
    """Return the generation of the packages in a node.json; 0 where it has none."""
    found = re.search(GENERATION, text or "")
    return int(found[1]) if found else 0


def _lines(text: str, pattern: str, *, matching: bool) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if bool(re.fullmatch(pattern, line)) is matching]


def kind_of(path: str, old: str | None, new: str | None) -> Kind:
    """Return what a change of one file asks for.

    Args:
        path: The guest path.
        old: Its text before; empty where it is new, None where it is not known.
        new: Its text afterwards; None where it goes away.
    """
    if old is not None and old == new:
        return Kind.NOTHING
    if path == NODE_JSON and old is not None and generation_of(new) > generation_of(old):
        return Kind.HAND_OVER
    kind = next(kind for pattern, kind in ACTIONS if re.fullmatch(pattern, path))
    if path == KEEPALIVED_CONF and old is not None:
        same = _lines(old, FIXED, matching=True) == _lines(new or "", FIXED, matching=True)
        return Kind.RELOAD if same else Kind.HAND_OVER
    if path in DROPINS and old is not None:
        same = _lines(old, AT_ONCE, matching=False) == _lines(new or "", AT_ONCE, matching=False)
        return Kind.NOTHING if same else Kind.HAND_OVER
    return kind


def worst(kinds: Iterable[Kind]) -> Kind:
    """Return what all changes together ask for."""
    return max(kinds, default=Kind.NOTHING)
