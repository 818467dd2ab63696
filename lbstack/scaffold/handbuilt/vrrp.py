"""Judge each statement of the nodes' ``keepalived.conf``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lbstack.scaffold.handbuilt.keepalived import Statement
from lbstack.scaffold.handbuilt.ledger import Ledger, Verdict
from lbstack.scaffold.handbuilt.lines import Line
from lbstack.scaffold.handbuilt.nodetables import VRRP
from lbstack.scaffold.handbuilt.tables import apply
from lbstack.scaffold.handbuilt.today import RUNBOOK, Today, add, address

HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
# What how-tos call every node; no machine has it as its name.
NO_NAMES = ("LVS_DEVEL", "LVS_MAIN")
ASKS_FOR_A_PROCESS = re.compile(r"\b(?:kill|killall|pkill|pidof|pgrep)\b|systemctl is-active|service \w+ status")
INTERFACE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,14}")
# What another distribution calls its interface (ens192) would be nothing on the new nodes.
ONE_INTERFACE = "network.interface: a Photon VM has one, and calls it eth0"
SHORTEST_ADVERT, SAFE_ADVERT = 0.01, 1.0  # seconds; RFC 5798 has centiseconds
PROGRAMS = ("vrrp_script", "vrrp_track_process", "vrrp_track_file")
EXCLUDED = "virtual_ipaddress_excluded"


@dataclass
class _Instance:
    """One node's instance while it is judged."""

    ledger: Ledger
    today: Today
    node: int

    def judge(self, block: Statement) -> None:
        """Judge the instance and everything in it."""
        apply(self.ledger, block.line, VRRP["vrrp_instance"])
        for statement in block.inner:
            handler = HANDLERS.get(statement.name)
            if handler:
                handler(self, statement)
            else:
                _by_table(self.ledger, statement)
        if not block.all("nopreempt"):
            self.ledger.absent["A10"] = "no `nopreempt`: a node that returns takes the VIPs back"

    def interface(self, statement: Statement) -> None:
        name = statement.value
        if not INTERFACE.fullmatch(name) or self.today.interface not in ("", name):
            why = "a node has one interface, the first that is named; lay VIPs of another one into its network"
            self.ledger.left_out(statement.line, why)
            return
        self.today.interface = name
        self.ledger.ours(statement.line, ONE_INTERFACE)

    def state(self, statement: Statement) -> None:
        if statement.value == "MASTER":
            why = "both nodes begin as BACKUP; the first of `nodes` is preferred"
            self.ledger.corrected(statement.line, "A10", why, "nodes")
        else:
            self.ledger.ours(statement.line, "both nodes begin as BACKUP")

    def priority(self, statement: Statement) -> None:
        value = int(statement.value) if re.fullmatch("[0-9]{1,3}", statement.value) else 0
        self.today.nodes[self.node].priority = max(value, self.today.nodes[self.node].priority)
        self.ledger.taken(statement.line, "nodes", "the order of `nodes`; the priorities are 254 and 246")

    def router_id(self, statement: Statement) -> None:
        if re.fullmatch("[0-9]{1,3}", statement.value):
            add(self.today.router_ids, statement.value)
        why = "another one for the new pair, which must not meet this one"
        self.ledger.taken(statement.line, "vrrp.routerId", why)

    def advert(self, statement: Statement) -> None:
        try:
            seconds = float(statement.value)
        except ValueError:
            seconds = 0.0
        if seconds == SAFE_ADVERT:
            self.ledger.taken(statement.line, "vrrp.profile", "safe, the default")
        elif SHORTEST_ADVERT <= seconds < SAFE_ADVERT:
            self.today.fast = True
            self.ledger.taken(statement.line, "vrrp.profile", "fast: four adverts a second")
        else:
            self.ledger.left_out(statement.line, "adverts are sent every second, or with profile fast four times")

    def nopreempt(self, statement: Statement) -> None:
        self.ledger.taken(statement.line, "vrrp.preemption", "false, the default")

    def delay(self, statement: Statement) -> None:
        self.ledger.ours(statement.line, "without preemption there is nothing to delay")

    def own_address(self, statement: Statement) -> None:
        if address(statement.value):
            self.today.nodes[self.node].address = statement.value
        why = "another one for the new node, which must not meet this one"
        self.ledger.taken(statement.line, f"nodes[{self.today.order.index(self.node)}].address", why)

    def peers(self, statement: Statement) -> None:
        self.ledger.ours(statement.line, "each node's peer is the other node")
        for peer in statement.inner:
            own = self.today.nodes[self.node].address
            others = [node.address for number, node in enumerate(self.today.nodes) if number != self.node]
            if peer.name in others or (not any(others) and _near(own, peer.name)):
                self.ledger.ours(peer.line, "each node's peer is the other node of the stack file")
            else:
                why = "this is not the other node's address; each node's peer is the other node of the stack file"
                self.ledger.corrected(peer.line, "A3", why)

    def addresses(self, statement: Statement) -> None:
        self.ledger.ours(statement.line, "the VIPs are those of services and statistics page")
        for entry in statement.inner:
            self._vip(entry.line)

    def _vip(self, line: Line) -> None:
        text = line.words[0].partition("/")[0]
        device = line.after("dev")
        if address(text) is None:
            self.ledger.left_out(line, "a VIP is an IPv4 address; there is no IPv6 yet")
        elif device and self.today.interface and device != self.today.interface:
            why = "a node has one interface; give this VIP a place in its network"
            self.ledger.left_out(line, why)
        else:
            if self.node and self.today.vips and text not in self.today.vips:
                self.ledger.left_out(line, "only this node has it; the VIPs are the same on both")
            add(self.today.vips, text)
            self.today.vip_lines.setdefault(text, []).append(line)


def _near(own: str, other: str) -> bool:
    """Whether two addresses look like neighbours: all but the last number are equal."""
    return bool(own) and own.rpartition(".")[0] == other.rpartition(".")[0]


HANDLERS: dict[str, Callable[[_Instance, Statement], None]] = {
    "interface": _Instance.interface,
    "state": _Instance.state,
    "priority": _Instance.priority,
    "virtual_router_id": _Instance.router_id,
    "advert_int": _Instance.advert,
    "nopreempt": _Instance.nopreempt,
    "preempt_delay": _Instance.delay,
    "unicast_src_ip": _Instance.own_address,
    "unicast_peer": _Instance.peers,
    "virtual_ipaddress": _Instance.addresses,
    EXCLUDED: _Instance.addresses,
}


def judge(ledger: Ledger, today: Today, files: Sequence[tuple[int, Sequence[Statement]]]) -> None:
    """Judge the files of all nodes, and learn from them what the pair of today has.

    Args:
        ledger: The ledger.
        today: What is known of the pair; it is added to.
        files: For each file the node's number and its statements.
    """
    _learn(today, files)
    for node, top in files:
        instance = _Instance(ledger, today, node)
        scripts = False
        for block in top:
            if block.name == "vrrp_instance":
                instance.judge(block)
            elif block.name == "global_defs":
                _global(ledger, block)
            elif block.name in PROGRAMS:
                scripts = True
                _script(ledger, block)
            else:
                _by_table(ledger, block)
        secured = any(each.name == "enable_script_security" for block in top for each in block.everything())
        if scripts and not secured:
            ledger.absent["A8"] = "no `enable_script_security`: `keepalived -t` ends with 6"


def _learn(today: Today, files: Sequence[tuple[int, Sequence[Statement]]]) -> None:
    """Take names and addresses of all nodes in, which the judgement of each compares."""
    names = [
        (node, each.value)
        for node, top in files
        for each in _everything(top, "router_id")
        if each.value not in NO_NAMES
    ]
    for node, name in names:
        same = any(other != node and value == name for other, value in names)
        if HOST_NAME.fullmatch(name) and not same:
            today.nodes[node].name = name
    for node, top in files:
        for each in _everything(top, "unicast_src_ip", "mcast_src_ip"):
            if address(each.value):
                today.nodes[node].address = each.value
        for each in _everything(top, "priority"):
            if re.fullmatch("[0-9]{1,3}", each.value):
                today.nodes[node].priority = max(today.nodes[node].priority, int(each.value))


def _everything(top: Sequence[Statement], *names: str) -> list[Statement]:
    return [each for block in top for each in block.everything() if each.name in names]


def _global(ledger: Ledger, block: Statement) -> None:
    apply(ledger, block.line, VRRP["global_defs"])
    for statement in block.inner:
        if statement.name == "router_id":
            why = f"the node's name, another one for the new node, which must not meet this one ({RUNBOOK})"
            ledger.taken(statement.line, "nodes", why)
        elif statement.name in ("vrrp_garp_interval", "vrrp_gna_interval"):
            if re.fullmatch(r"0+(?:\.0*)?", statement.value):
                ledger.corrected(statement.line, "A7", "out of range: keepalived ignores it; it is left away")
            else:
                ledger.ours(statement.line, "the pause between announcements is keepalived's own")
        else:
            _by_table(ledger, statement)


def _script(ledger: Ledger, block: Statement) -> None:
    command = " ".join(word for each in block.all("script") for word in each.line.words[1:])
    for each in block.everything():
        if block.name == "vrrp_script" and command and not ASKS_FOR_A_PROCESS.search(command):
            why = "a check of your own cannot be expressed: the VIPs follow HAProxy, which is asked itself"
            ledger.left_out(each.line, why)
        else:
            apply(ledger, each.line, VRRP["track_script"])


def _by_table(ledger: Ledger, statement: Statement) -> None:
    """Judge a statement by the table, and everything in it alike where it is not in the table itself."""
    row = VRRP.get(statement.name)
    if apply(ledger, statement.line, row):
        for inner in statement.inner:
            for each in inner.everything():
                own = VRRP.get(each.name) if row and row.verdict is not Verdict.NOT_EXPRESSED else None
                apply(ledger, each.line, own or row)
