"""Report the files that were edited on the nodes: what vCenter does not know, since it is inside of the guests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lbstack.nodes.about import About
from lbstack.nodes.health import Answer
from lbstack.review.report import GuestFiles

RESTORED = (
    "The node restores them at the next change or boot. To keep what is in them, write it into the stack file; to keep "
    "them for now, set `lbstack:rollout: {guestEdits: keep}`."
)
KEPT = "The node keeps them until a change of the stack file changes them (`rollout.guestEdits`)."


def guests_of(
    nodes: Iterable[str], answers: Mapping[str, Answer] | None, told: Mapping[str, About] | None
) -> tuple[GuestFiles, ...]:
    """What is known of each node's own files.

    Args:
        nodes: The nodes' names.
        answers: What each node reported about its health; None where they were not asked.
        told: What each node told besides.
    """
    return tuple(_of(node, (answers or {}).get(node), (told or {}).get(node)) for node in nodes)


def _of(node: str, answer: Answer | None, about: About | None) -> GuestFiles:
    if answer is None or about is None:
        return GuestFiles(node, text="unknown: it was not asked.")
    if about.edits is None:
        why = "it does not tell, as nodes of an earlier release do not" if answer.config_hash else "it does not answer"
        return GuestFiles(node, text=f"unknown: {why}.")
    edits = about.edits
    if not edits.number:
        return GuestFiles(node, 0, text="as the set has them.")
    text = f"{edits.number} edited on the node: {edits}."
    return GuestFiles(node, edits.number, edits.kept, edits.paths, text, KEPT if edits.kept else RESTORED)
