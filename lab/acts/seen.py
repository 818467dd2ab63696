"""What of a pair a change may alter besides its files, before and after it; and what the table asks of the change.

The table is the product's own (``lbstack/facts/changes.py``). What the lab adds is what it sees: which files each VM
was given, which guests have booted since, and which node was master.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lab.acts.scene import Scene
from lab.vcenter import machines
from lbstack.config.choices import Mode
from lbstack.facts.changes import Kind, kind_of, worst
from lbstack.render.joined import joined
from lbstack.render.keys import HASH

BOOT_ID = "/proc/sys/kernel/random/boot_id"
LIVE_AT_MOST = Kind.RESTART  # what asks for more may cost sessions


@dataclass(frozen=True)
class Seen:
    """One node.

    Args:
        uuid: Of its VM.
        size: CPUs and memory of the stack file, which only a VM without power takes.
        boot: Its guest's boot id.
        live: Whether it announces that it takes in a set while it runs.
        hash: Of the set that its VM was given.
        files: That set's files: guest path → content.
    """

    uuid: str
    size: tuple[object, ...]
    boot: str
    live: bool
    hash: str
    files: Mapping[str, str]


@dataclass(frozen=True)
class Moment:
    """The pair at one time.

    Args:
        master: The node that has every VIP; empty where there is none.
        nodes: Its nodes by name.
    """

    master: str
    nodes: Mapping[str, Seen]

    @property
    def text(self) -> str:
        """In words."""
        nodes = "; ".join(f"{name} has booted as {node.boot}" for name, node in self.nodes.items())
        return f"{self.master or 'no node'} is master; {nodes}"

    def rebooted_since(self, before: Moment) -> list[str]:
        """The nodes that have booted since."""
        return [name for name, node in self.nodes.items() if node.boot != before.nodes[name].boot]


def look(scene: Scene) -> Moment:
    """The pair now."""
    given = {vm.name: vm for vm in machines.virtual_machines(scene.paths)}
    sizes = {node["name"]: (node.get("cpus"), node.get("memoryMiB")) for node in scene.config["lbstack:nodes"]}
    answers = scene.healths()
    nodes = {}
    for name in scene.nodes:
        if name not in given:
            nodes[name] = Seen("", sizes[name], "", live=False, hash="", files={})
            continue
        held, guest = given[name].guestinfo, scene.guest(name)
        boot = guest.run("cat", BOOT_ID).stdout.strip() if guest.running else ""
        set_, identity = joined(held), held.get(HASH, "")
        # Each set's hash is written into some of its files, and changes nothing.
        files = {path: text.replace(identity, "") if identity else text for path, text in set_.files.items()}
        nodes[name] = Seen(given[name].uuid, sizes[name], boot, answers[name].can_live, identity, files)
    return Moment(scene.master(), nodes)


def asked(before: Moment, after: Moment, mode: Mode) -> Kind:
    """What a change asked for, of the node of which it asked most.

    Args:
        before: The pair before it.
        after: The pair after it.
        mode: The stack file's ``rollout.mode``.
    """
    return worst(_asked(before.nodes[name], node, mode) for name, node in after.nodes.items())


def _asked(before: Seen, after: Seen, mode: Mode) -> Kind:
    if after.uuid != before.uuid:
        return Kind.NEW_VM
    if after.size != before.size:
        return Kind.REBOOT
    if after.hash == before.hash:
        return Kind.NOTHING
    if mode is not Mode.LIVE or not before.live:
        return Kind.REBOOT
    paths = {*before.files, *after.files}
    return worst(kind_of(path, before.files.get(path, ""), after.files.get(path)) for path in paths)


def checks(before: Moment, after: Moment, mode: Mode, cut: int, of: int) -> Iterator[tuple[str, bool]]:
    """What a verdict says of sessions, boots and master, by what the change asked for.

    Args:
        before: The pair before the change.
        after: The pair after it.
        mode: The stack file's ``rollout.mode``.
        cut: How many established sessions were cut; those through a service that was removed are left out.
        of: How many there were.
    """
    kind = asked(before, after, mode)
    rebooted = after.rebooted_since(before)
    names = " and ".join(rebooted) or "none"
    if kind <= LIVE_AT_MOST:
        yield f"no established session of {of} was cut{f': {cut} were' if cut else ''}", not cut
    else:
        yield f"the change asks for a {kind.word}, which may cut established sessions: {cut} of {of}", True
    if kind < Kind.REBOOT:
        yield f"no node has booted meanwhile: {names}", not rebooted
    else:
        yield f"the change asks for a {kind.word}: {names} booted meanwhile", bool(rebooted)
    if kind <= LIVE_AT_MOST:
        moved = "" if after.master == before.master else f", it moved to {after.master or 'no node'}"
        yield f"the master stayed: {before.master}{moved}", not moved
