"""Which form of guestinfo a VM gets, and how its change is made: while it runs, with a reboot, or with a new VM.

A pure function of what the stack file wishes, what vCenter has and what the node announces. A node that has not shown
that it reads the set's own keys gets the whole set in userdata, which every applier reads at boot, and is rebooted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from functools import cached_property
from typing import Protocol

from lbstack.config.choices import Mode
from lbstack.config.models import Node
from lbstack.facts.changes import Kind, kind_of
from lbstack.nodes.health import Answer
from lbstack.problems import ConfigError, Problem
from lbstack.render.joined import joined
from lbstack.render.keys import HASH, METADATA
from lbstack.render.paths import BOOTSTRAP
from lbstack.render.unpack import userdata_of
from lbstack.vcenter.marks import Marks

SILENT = Answer()


class Forms(Protocol):
    """A node's guestinfo in both forms (``render/pack.py``)."""

    @property
    def staged(self) -> Mapping[str, str] | None:
        """With the whole set in userdata; None where it does not fit."""

    @property
    def in_parts(self) -> Mapping[str, str]:
        """With the set in keys of its own."""


@unique
class Way(StrEnum):
    """What a change of guestinfo does to a VM."""

    NOTHING = "nothing"  # it has it already
    NEW = "new"  # there is no VM yet
    LIVE = "live"
    REBOOT = "reboot"
    REPLACE = "replace"


@dataclass(frozen=True)
class Manner:
    """How one node is changed.

    Args:
        guestinfo: What its VM gets.
        way: What that does to it.
        reason: Why it is not changed live; empty where it is, and where nothing has to be done.
        able: Whether it could be changed live, of a VM that has its guestinfo already: the engine may not know that it
            has, because it was killed, and then sends it again.
    """

    guestinfo: Mapping[str, str]
    way: Way
    reason: str = ""
    able: bool = False

    @property
    def reboot(self) -> bool:
        """The provider's ``extra_config_reboot_required``: false where nothing else needs a VM without power."""
        return not (self.able or self.way in (Way.LIVE, Way.NEW))


@dataclass(frozen=True)
class Known:
    """What is known of a node before a run.

    Args:
        marks: What stands on its VM in vCenter; None where there is none.
        own: What it answers; empty where it was not asked.
    """

    marks: Marks | None = None
    own: Answer = SILENT

    @property
    def there(self) -> bool:
        """Whether it has a VM. One that answers has, in whatever folder."""
        return self.marks is not None or bool(self.own.config_hash)

    @cached_property
    def from_parts(self) -> bool:
        """Whether its VM's userdata is the form whose applier reads the set's own keys."""
        return self.marks is not None and booted_from_parts(self.marks.extra)

    @property
    def reads(self) -> bool:
        """Whether it has shown that it reads the set's own keys."""
        return self.own.can_live or self.from_parts

    def holds(self, config_hash: str) -> bool:
        """Whether it was given a set."""
        return self.marks is not None and self.marks.extra.get(HASH) == config_hash


def for_release_before(nodes: Collection[Known], mode: Mode, earlier: Callable[[], str]) -> bool:
    """Whether a pair gets the set without the lines that the applier of the release before refuses.

    It does while one of its nodes has not shown that it has another applier, and after that until anything else
    changes, so that the run after the one that moved the pair changes nothing.

    Args:
        nodes: What is known of both.
        mode: The stack file's ``rollout.mode``.
        earlier: Gives the hash of that set; not called for a pair that has left it behind.
    """
    there = [node for node in nodes if node.there]
    if all(node.from_parts for node in there):
        return False
    if all(node.holds(earlier()) for node in there):
        return True
    return mode is not Mode.REPLACE and not all(node.reads for node in there)


def manner(node: Node, known: Known, forms: Forms, mode: Mode) -> Manner:
    """Decide it for one node.

    Args:
        node: The node.
        known: What is known of it.
        forms: Its guestinfo.
        mode: The stack file's ``rollout.mode``.

    Raises:
        ConfigError: Its VM needs the whole set in userdata, and that does not fit.
    """
    if not known.there:
        return Manner(forms.in_parts, Way.NEW)
    marks = known.marks or Marks("", node.cpus, node.memory_mib, {})  # it runs, and its VM is in another folder
    reads = known.reads
    if held := _held(marks, forms, reads=reads):
        # A killed run may have left it without power: where the engine gives the set again, it is switched on.
        way = Way.NOTHING if marks.runs else Way.REBOOT
        return Manner(held, way, able=reads and not _against_live(node, marks, mode))
    if mode is Mode.REPLACE:
        return Manner(forms.in_parts, Way.REPLACE, "`rollout.mode` is replace")
    if not reads:
        return _for_an_earlier_release(node, marks, forms)
    if reason := _against_live(node, marks, mode) or _at_boot_alone(marks, forms):
        return Manner(forms.in_parts, Way.REBOOT, reason)
    return Manner(forms.in_parts, Way.LIVE)


def _for_an_earlier_release(node: Node, marks: Marks, forms: Forms) -> Manner:
    if forms.staged is not None:
        return Manner(forms.staged, Way.REBOOT, "it has not announced that it takes in a set while it runs")
    if marks.extra.get(METADATA) != forms.in_parts[METADATA]:
        return Manner(forms.in_parts, Way.NEW)  # the VM is replaced
    raise _too_early(node)


def _against_live(node: Node, marks: Marks, mode: Mode) -> str:
    """Why a node that takes in a set while it runs is rebooted all the same; empty where it is not."""
    if mode is Mode.REBOOT:
        return "`rollout.mode` is reboot"
    if not marks.runs:
        return "its VM does not run"
    needs = power_off(node, marks)
    return f"{needs} cannot be changed while it runs" if needs else ""


def _at_boot_alone(marks: Marks, forms: Forms) -> str:
    """Which changed file takes effect at a boot alone; empty where none does, or the files before are not known."""
    before = joined(marks.extra).files
    after = joined(forms.in_parts).files if before else {}
    paths = [
        path
        for path in sorted({*before, *after})
        if kind_of(path, before.get(path, ""), after.get(path)) is Kind.REBOOT
    ]
    return f"{paths[0]} takes effect at a boot alone" if paths else ""


def has(marks: Marks, guestinfo: Mapping[str, str]) -> bool:
    """Whether a VM has exactly this in vCenter."""
    return all(marks.extra.get(key) == value for key, value in guestinfo.items())


def power_off(node: Node, marks: Marks) -> str:
    """What differs that only a VM without power can get, in words."""
    found = []
    if node.cpus != marks.cpus:
        found.append("CPUs")
    if node.memory_mib != marks.memory_mib:
        found.append("memory")
    if not marks.logging:
        found.append("the log of the VM")
    return " and ".join(found)


def booted_from_parts(extra: Mapping[str, str]) -> bool:
    """Whether a VM's userdata is the form whose applier reads the set from its own keys."""
    return HASH in extra and f'"path": "{BOOTSTRAP}"' in userdata_of(extra)


def _held(marks: Marks, forms: Forms, *, reads: bool) -> Mapping[str, str] | None:
    """The form that a VM has already of this very set; so a run after one that migrated it changes nothing."""
    if reads and has(marks, forms.in_parts):
        return forms.in_parts
    # The staged form is made only where the VM has this set's hash: that takes a moment.
    if marks.extra.get(HASH) == forms.in_parts[HASH] and forms.staged and has(marks, forms.staged):
        return forms.staged
    return None


def _too_early(node: Node) -> ConfigError:
    what = (
        f"do not fit into the one guestinfo value that the VM of {node.name} can read: its applier is of an earlier "
        "release, or it has not answered"
    )
    remedy = (
        "Deploy the present services with this release first, which moves the pair to a form without this limit; then "
        "add the others. Where those do not fit either, `lbstack:rollout: {mode: replace}` makes new VMs for one run. "
        "A node that should be able to and does not answer has to answer first."
    )
    return ConfigError([Problem("services", what, remedy)])
