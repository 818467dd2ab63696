"""Predict a roll: what happens to which node, in which order, and which sessions are affected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lbstack.engine.values import lookup
from lbstack.facts.changes import NODE_JSON, Kind, generation_of
from lbstack.facts.names import HOW_ALONE, PROVIDER_NOISE, REBOOT_FLAG
from lbstack.nodes.gate import touch_order
from lbstack.nodes.health import Answer, Target
from lbstack.render.paths import HAPROXY_DIRECTORY, KEEPALIVED_DIRECTORY
from lbstack.review.effects import kind_on
from lbstack.review.report import NOT_ASKED, Action, FileDiff, NodeImpact
from lbstack.review.resources import Resource

NODES_OF_A_PAIR = 2
NEED_REBOOT = {"numCpus": "cpuHotAddEnabled", "memory": "memoryHotAddEnabled"}
HAPROXY, KEEPALIVED = f"{HAPROXY_DIRECTORY}/", f"{KEEPALIVED_DIRECTORY}/"
IDENTITY = ("virtual_router_id", "interface ")  # of the VRRP instance: nodes that differ in one both become master
ANCHOR, PEER = "virtual_ipaddress {", "unicast_peer {"  # a line between them and their `}` is an address
OWN_ADDRESS = "unicast_src_ip "


def action_of(resource: Resource) -> tuple[Action, str]:
    """What happens to a VM, and because of what."""
    operations = resource.operations
    if any("replace" in name for name in operations):
        return Action.REPLACE, _because(resource)
    if "create" in operations:
        return Action.CREATE, "it is not there yet"
    if "delete" in operations:
        return Action.DELETE, "the stack has it no more"
    return _update(resource) if operations else (Action.NONE, "")


def actions_of(machines: Iterable[Resource]) -> dict[str, Action]:
    """Node → what happens to its VM."""
    return {machine.label: action_of(machine)[0] for machine in machines}


def _update(resource: Resource) -> tuple[Action, str]:
    """What a change that keeps the VM does to it."""
    names = {path.partition(".")[0].partition("[")[0] for path in resource.changing} - set(PROVIDER_NOISE)
    if names and names <= set(HOW_ALONE):
        return Action.NONE, ""
    for name, hot in NEED_REBOOT.items():
        if name in names and not lookup(resource.old, hot):
            return Action.REBOOT, f"{'CPUs' if name == 'numCpus' else 'memory'} cannot be changed while it runs"
    if "extraConfig" in names:
        if lookup(resource.new, REBOOT_FLAG) is False:
            return Action.RELOAD, "its set changes; lbstack-apply takes it in while it runs"
        return Action.REBOOT, "its set changes, and is taken in at boot"
    return Action.IN_PLACE, f"{', '.join(sorted(names)) or 'its properties'} change"


def _because(resource: Resource) -> str:
    if "replaceTrigger" in resource.keys or "replaceTrigger" in resource.differing:
        return "its name, address or network changes, which only a first boot reads"
    if "clone" in resource.keys or "clone" in resource.differing or any("template" in key for key in resource.keys):
        return "its image changes"
    return f"{', '.join(resource.keys or resource.differing) or 'a property'} cannot be changed in place"


def words_of(resource: Resource) -> str:
    """How `up` would do it, as the end of a clause."""
    action, _ = action_of(resource)
    return {Action.REBOOT: " with a reboot", Action.RELOAD: " with a reload", Action.REPLACE: " by a replacement"}.get(
        action, ""
    )


def of_nodes(
    machines: Sequence[Resource],
    files: Sequence[FileDiff],
    names: Sequence[str],
    answers: Mapping[str, Answer] | None,
) -> tuple[list[NodeImpact], str]:
    """What happens to each node, in the order in which they are touched.

    Args:
        machines: The VMs, as the engine plans to change them.
        files: What changes in which file.
        names: The nodes' names, the preferred master first.
        answers: What each node reported about itself; None where they were not asked.

    Returns:
        The impacts, and who holds the VIPs now; nothing where no node is touched.
    """
    acts = {machine.label: action_of(machine) for machine in machines}
    touched = [name for name in _order(names, acts, answers) if acts[name][0] is not Action.NONE]
    if not touched:
        return [], ""
    holder = holder_of(answers)
    impacts = [
        NodeImpact(
            position,
            name,
            *acts[name],
            _sessions(acts[name][0], name, holder, files),
            str(answers[name]) if answers and name in answers else NOT_ASKED,
        )
        for position, name in enumerate(touched, start=1)
    ]
    return impacts, _holder_words(answers, holder)


def _order(
    names: Sequence[str], acts: Mapping[str, tuple[Action, str]], answers: Mapping[str, Answer] | None
) -> list[str]:
    """As the program will decide it: the standby first, who is standby is asked, else by priority."""
    known = [name for name in names if name in acts]
    others = sorted(set(acts) - set(known))
    if len(known) == NODES_OF_A_PAIR:
        given = [answers.get(name, Answer()) for name in known] if answers else [Answer(), Answer()]
        first, second = touch_order([Target(name, "") for name in known], given)
        known = [known[first], known[second]]
    return known + others


def holder_of(answers: Mapping[str, Answer] | None) -> str:
    """The one node that reports that it holds the VIPs; empty where there is no such node, or nobody was asked."""
    masters = [name for name, answer in (answers or {}).items() if answer.vrrp == "master"]
    return masters[0] if len(masters) == 1 else ""


def _holder_words(answers: Mapping[str, Answer] | None, holder: str) -> str:
    if answers is None:
        return "The nodes were not asked who holds the VIPs; the order is by priority, the preferred standby first."
    if holder:
        return f"{holder} holds the VIPs now."
    masters = [name for name, answer in answers.items() if answer.vrrp == "master"]
    if masters:
        return f"{' and '.join(masters)} both report that they hold the VIPs: look at that before anything is deployed."
    return "No node reports that it holds the VIPs; the order is by priority, the preferred standby first."


def _sessions(action: Action, name: str, holder: str, files: Sequence[FileDiff]) -> str:
    if action is Action.RELOAD:
        return _live_sessions(name, holder, files)
    if action is Action.IN_PLACE:
        return "none"
    if action is Action.CREATE:
        return "none: it serves nobody yet"
    if holder and name != holder:
        return "none: its peer holds the VIPs"
    if holder:
        return "all that go through the VIPs are lost once, when they move to its peer; clients learn of it by a reset"
    return "if it holds the VIPs then, all sessions are lost once, when they move to its peer; else none"


def _live_sessions(name: str, holder: str, files: Sequence[FileDiff]) -> str:
    if number := _generation(name, files):
        return _generation_sessions(number, name, holder)
    handed = kind_on(name, files) is Kind.HAND_OVER
    paths = [file.path for file in files if name in file.nodes]
    return _hand_over_sessions(name, holder) if handed else _reload_sessions(paths)


def _generation(name: str, files: Sequence[FileDiff]) -> int:
    """The generation of the packages that a node is asked for; 0 where that is no new one."""
    for file in files:
        if file.path == NODE_JSON and name in file.nodes:
            new, old = (
                generation_of("\n".join(line[1:] for line in file.lines if line.startswith(sign))) for sign in "+-"
            )
            return new if new > old else 0
    return 0


def _generation_sessions(number: int, name: str, holder: str) -> str:
    rest = "it reboots where the kernel or systemd is new"
    if holder and name != holder:
        return f"hand-over: packages generation {number}; none, its peer holds the VIPs meanwhile; {rest}"
    lost = "the VIPs go to its peer first, and their sessions are lost once"
    return f"hand-over: packages generation {number}; {lost}; {rest}"


def _hand_over_sessions(name: str, holder: str) -> str:
    if holder and name != holder:
        return "none: its peer holds the VIPs while it starts anew"
    return "a change that only a new process takes up: the VIPs go to its peer first, and their sessions are lost once"


def _reload_sessions(paths: Sequence[str]) -> str:
    if any(path.startswith(KEEPALIVED) for path in paths):
        return "live, no session is cut: keepalived reloads and keeps the VIPs"
    if any(path.startswith(HAPROXY) for path in paths):
        return "live, no session is cut: HAProxy's old process keeps them until they end, at most hard-stop-after"
    return "live, no session is cut"


def hazards(files: Sequence[FileDiff]) -> list[str]:
    """What in the files makes a roll dangerous although each node alone would be right."""
    output = []
    # All lines of a file that is new are new, also where a node has only another name: that is no change of them.
    changed = [file for file in files if file.path.startswith(KEEPALIVED) and file.change == "changed"]
    lines = [line[1:].strip() for file in changed for line in file.lines if line[:1] in "+-"]
    if any(line.startswith(IDENTITY) for line in lines):
        output.append(
            "The VRRP identity changes (router id or interface): while one node has the old one and the other the "
            "new one, both hold the VIPs. docs/runbooks/vrid.md describes how to change it."
        )
    if any(_changes_in(file, ANCHOR) for file in changed):
        output.append(
            "The anchor VIP (the one in the advert) changes: while the nodes differ in it, each drops the other's "
            "adverts and both hold the VIPs. docs/runbooks/vrid.md describes how to change it."
        )
    output += [
        f"The address of a node changes ({old} → {new}): until its peer changes too, the peer's VRRP and firewall know "
        "only the old one, neither receives the other's adverts, and both hold the VIPs. docs/runbooks/vrid.md "
        "describes how to change it."
        for old, new in _moves(changed)
    ]
    return output


def _moves(files: Sequence[FileDiff]) -> list[tuple[str, str]]:
    """Each change of a node's address, as (old, new): read from its own file and from its peer's.

    One of them is enough: a node that is renamed too has a new set of files, and only the peer's file shows it.
    """
    found: dict[tuple[str, str], None] = {}
    for file in files:
        own = [line for line in file.lines if line[1:].strip().startswith(OWN_ADDRESS)]
        for lines in (own, _changes_in(file, PEER)):
            old, new = ([line.split()[-1] for line in lines if line[0] == sign] for sign in "-+")
            found |= dict.fromkeys(zip(old, new, strict=False))
    return list(found)


def _changes_in(file: FileDiff, section: str) -> list[str]:
    """The lines directly in a section of keepalived's file that come or go away, with their sign."""
    found, inside = [], False
    for line in file.lines:
        text = line[1:].strip()
        if text == "}" or text.endswith("{") or line.startswith("@@"):
            inside = text == section
        elif inside and line[:1] in "+-":
            found.append(line)
    return found
