"""Say of each changed file what its change means for users, by the table that the applier goes by too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lbstack.facts.changes import Kind, kind_of, worst
from lbstack.review.report import Action, FileDiff

LIVE = "live, no session is cut"
WORDS = {Kind.HAND_OVER: "hand-over", Kind.REBOOT: "reboot", Kind.NEW_VM: "new VM"}
OF_ACTIONS = {Action.REBOOT: "reboot", Action.REPLACE: "new VM", Action.CREATE: "new VM"}
ORDER = ("", LIVE, "hand-over", "reboot", "new VM")
FIRST_BOOT = "("  # begins the names of what is in guestinfo and is no file of the set: only a first boot reads it

Texts = Mapping[str, Mapping[str, str]]


def with_effects(
    files: Sequence[FileDiff], before: Texts, after: Texts, actions: Mapping[str, Action]
) -> tuple[FileDiff, ...]:
    """Return the files with what each means.

    Args:
        files: The files.
        before: Node → path → text as deployed.
        after: Node → path → text as wanted.
        actions: Node → what happens to its VM.
    """

    def effect(file: FileDiff, node: str) -> str:
        action = actions.get(node, Action.NONE)
        if action in OF_ACTIONS:
            return OF_ACTIONS[action]
        if action is not Action.RELOAD or file.path.startswith(FIRST_BOOT):
            return ""
        kind = kind_of(file.path, before.get(node, {}).get(file.path, ""), after.get(node, {}).get(file.path))
        return WORDS.get(kind, LIVE)

    return tuple(
        replace(file, effect=max((effect(file, node) for node in file.nodes), key=ORDER.index)) for file in files
    )


def kind_on(node: str, files: Sequence[FileDiff]) -> Kind:
    """What all files of a node together ask for, by the effects that are written on them."""
    kinds = {word: kind for kind, word in WORDS.items()}
    return worst(kinds.get(file.effect, Kind.RELOAD) for file in files if node in file.nodes)
