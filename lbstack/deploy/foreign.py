"""What others put on the VMs and what is left alone of it: which properties the engine ignores, which tags are kept.

The provider reads every tag, every custom attribute, the notes and the datastore of a VM back into the state, and
would undo what the program does not set. Upstream: terraform-provider-vsphere #749, #1289, #1344, #2025.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lbstack.config.models import Node, Tags
from lbstack.facts.names import ANNOTATION, ELSEWHERE, MADE_BY_US, PROVIDER_NOISE, TAGS
from lbstack.vcenter.marks import Marks


@dataclass(frozen=True)
class Foreign:
    """What is left alone on one VM.

    Args:
        ignored: The properties whose change the engine ignores.
        annotation: The notes that the program sets.
        kept: Ids of tags that the VM keeps besides the stack's own; only where ``tags`` is not ignored.
    """

    ignored: tuple[str, ...]
    annotation: str
    kept: tuple[str, ...] = ()


def foreign(node: Node, marks: Marks | None, marker: str, wanted: Tags | None, guestinfo: Mapping[str, str]) -> Foreign:
    """Decide what is left alone on the VM of one node.

    Args:
        node: The node.
        marks: What stands on its VM; None where there is none: a VM that is made anew gets what the program sets,
            whatever is ignored. Where its tags could not be read, they are left alone.
        marker: The notes by which the stack recognises its VMs.
        wanted: The tags of the stack file.
        guestinfo: The guestinfo that the VM is to have.
    """
    ignored = {*PROVIDER_NOISE, *ELSEWHERE, ANNOTATION, TAGS}
    if marks is None:
        return Foreign(tuple(sorted(ignored)), marker)
    annotation = marker
    if marker not in marks.annotation:
        ignored.discard(ANNOTATION)  # the marker is gone or another one: write it again
    elif marks.annotation != marker and _changes(node, marks, guestinfo):
        # Whatever changes on a VM, the provider sends its notes along: the ones that it has now.
        ignored.discard(ANNOTATION)
        annotation = marks.annotation
    if marks.tags is None:
        return Foreign(tuple(sorted(ignored)), annotation)
    category, names = (wanted.category, set(wanted.names)) if wanted else ("", set())
    own = [tag for tag in marks.tags if tag.category == category or MADE_BY_US in tag.descriptions]
    if {(tag.category, tag.name) for tag in own} == {(category, name) for name in names}:
        return Foreign(tuple(sorted(ignored)), annotation)
    ignored.discard(TAGS)
    return Foreign(tuple(sorted(ignored)), annotation, tuple(tag.id for tag in marks.tags if tag not in own))


def _changes(node: Node, marks: Marks, guestinfo: Mapping[str, str]) -> bool:
    """Whether the VM differs from what it is to be in what a stack file changes usually."""
    return (node.cpus, node.memory_mib) != (marks.cpus, marks.memory_mib) or any(
        marks.extra.get(key) != value for key, value in guestinfo.items()
    )
