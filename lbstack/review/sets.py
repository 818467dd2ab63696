"""The files of each node as deployed and as wanted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lbstack.facts.names import VIRTUAL_MACHINE
from lbstack.render.unpack import Opened, only_known
from lbstack.review import filediff
from lbstack.review.drift import View
from lbstack.review.effects import with_effects
from lbstack.review.report import Action, FileDiff
from lbstack.review.resources import Guestinfo, opened, outputs_of


def sets_of(view: View) -> tuple[dict[str, Opened], dict[str, Opened]]:
    """Node → its set as deployed and as wanted."""
    deployed: dict[str, Opened] = {}
    wanted: dict[str, Opened] = {}
    for urn, resource in view.planned.items():
        if resource.kind != VIRTUAL_MACHINE:
            continue
        info = view.planned_info.get(urn, Guestinfo())
        if resource.old is not None:
            deployed[resource.label] = opened(info.deployed, view.redactor)
        if resource.operations != ["delete"]:
            wanted[resource.label] = opened(info.wanted, view.redactor)
    return deployed, wanted


def contents_of(sets: Mapping[str, Opened]) -> dict[str, Mapping[str, str]]:
    """Node → path → content of its set."""
    return {node: held.files for node, held in sets.items()}


def files_of(
    view: View, deployed: Mapping[str, Opened], wanted: Mapping[str, Opened], actions: Mapping[str, Action]
) -> tuple[FileDiff, ...]:
    """What changes in which file, and what that means; from the stack's output where the calls could not be read.

    Args:
        view: What the engine told.
        deployed: Node → its set as deployed.
        wanted: Node → its set as wanted.
        actions: Node → what happens to its VM.
    """
    after = contents_of(wanted)
    # What the state has may be what somebody wrote, when a refresh has taken it in.
    before = {node: only_known(held, wanted.get(node), view.redactor) for node, held in deployed.items()}
    if not any(before.values()) and not any(after.values()):
        old, new = outputs_of(view.planned, "files")
        before, after = _as_files(old), _as_files(new)
    first = not any(before.values())
    rights = (
        {node: set_.rights for node, set_ in deployed.items()},
        {node: set_.rights for node, set_ in wanted.items()},
    )
    found = filediff.compare(before, after, rights, contents=not first)
    return with_effects(found, contents_of(deployed), contents_of(wanted), actions)


def _as_files(output: Any) -> dict[str, Mapping[str, str]]:
    if not isinstance(output, dict):
        return {}
    return {str(node): dict(files) for node, files in output.items() if isinstance(files, dict)}
