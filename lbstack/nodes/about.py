"""What a node tells at ``/node`` besides its health: versions, old workers, edited files, what its applier is at.

Nodes of an earlier release have no such path, or tell less there. What a node does not tell is unknown, never well.
"""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Any

from lbstack.facts.limits import QUESTION_S
from lbstack.facts.ports import HEALTH_PORT
from lbstack.nodes.question import fetch

NODE_PATH = "/node"
UNKNOWN = "unknown"
KEEP = "keep"


@unique
class State(StrEnum):
    """What became of the set that a node was given last."""

    APPLIED = "applied"
    APPLYING = "applying"
    WAITING = "waiting"
    """It has as many old workers of HAProxy as it may have; the set is taken in when one of them has ended."""
    FAILED = "failed"
    """It was not taken; the one before serves, or (the report says so) not even that."""
    FELL_BACK = "fell-back"
    """It was tried and did not serve; the one before serves again."""
    UNKNOWN = UNKNOWN


STATES = {
    "ok": State.APPLIED,
    "applying": State.APPLYING,
    "trial": State.APPLYING,
    "waiting": State.WAITING,
    "refused": State.FAILED,
    "failed": State.FAILED,
    "fell-back": State.FELL_BACK,
}
"""The first word of a node's report, which is the phase of `lbstack-apply`, → the state."""


def state_of(report: str) -> State:
    """The state by a node's report on its last set; the set's hash or a colon follows the first word."""
    return STATES.get(re.split(r"[ :]", report, maxsplit=1)[0], State.UNKNOWN)


@dataclass(frozen=True)
class Edits:
    """The installed files that are other than the set has them.

    Args:
        number: How many.
        kept: Whether the node leaves them as they are (``rollout.guestEdits``), and does not restore them.
        paths: The first of them.
    """

    number: int
    kept: bool
    paths: tuple[str, ...]

    def __str__(self) -> str:
        rest = self.number - len(self.paths)
        more = f" and {rest} more" if rest > 0 else ""
        return f"{', '.join(self.paths)}{more}"


@dataclass(frozen=True)
class About:
    """A node's own words; each is None, or ``unknown``, where it does not tell.

    Args:
        state: What became of the last set that it was given.
        error: The first lines of why it did not take it; empty where it did.
        haproxy: The version of HAProxy.
        keepalived: The version of keepalived.
        old_workers: How many workers of HAProxy still serve sessions of before a reload.
        most_workers: How many there may be.
        edits: The files that were edited there.
    """

    state: State = State.UNKNOWN
    error: str = ""
    haproxy: str = UNKNOWN
    keepalived: str = UNKNOWN
    old_workers: int | None = None
    most_workers: int | None = None
    edits: Edits | None = None

    @property
    def at_the_bound(self) -> bool:
        """Whether the next change has to wait for an old worker."""
        return self.old_workers is not None and self.most_workers is not None and self.old_workers >= self.most_workers


MAX_ANSWER = 1 << 16  # bytes; a node answers with 1,000 at most


def get(address: str, path: str, *, at_most: int = MAX_ANSWER) -> Any:
    """The JSON that a health endpoint answers; None where it does not."""
    try:
        status, body = fetch(address, HEALTH_PORT, path, within_s=QUESTION_S, at_most=at_most)
        return json.loads(body) if status == http.client.OK else None
    except (OSError, http.client.HTTPException, ValueError, RecursionError):
        return None


def read(answer: Any, report: str = "") -> About:
    """Read what a node answers at ``/node``; nothing in it is believed that has not its form.

    Args:
        answer: The answer; None where there was none.
        report: The node's report on its last set from ``/health``, for nodes without ``/node``.
    """
    told = {str(key): str(value) for key, value in answer.items()} if isinstance(answer, dict) else {}
    report = told.get("apply", report)
    workers = re.fullmatch(r"([0-9]{1,6}) of ([0-9]{1,6})", told.get("workers", ""))
    state = state_of(report)
    return About(
        state=state,
        error="" if state is State.UNKNOWN else report.partition(": ")[2],
        haproxy=told.get("haproxy", UNKNOWN),
        keepalived=told.get("keepalived", UNKNOWN),
        old_workers=int(workers[1]) if workers else None,
        most_workers=int(workers[2]) if workers else None,
        edits=_edits(told.get("edits", "")),
    )


def _edits(text: str) -> Edits | None:
    found = re.fullmatch(r"([0-9]{1,6}) (keep|restore)((?: /[ -~]*)?)", text)
    return Edits(int(found[1]), found[2] == KEEP, tuple(found[3].split())) if found else None


def versions_differ(told: Sequence[tuple[str, About]]) -> list[str]:
    """A sentence for each daemon of which the nodes have different versions; for what is unknown there is none."""
    sentences = []
    for name, word in (("HAProxy", "haproxy"), ("keepalived", "keepalived")):
        versions = {node: str(getattr(each, word)) for node, each in told}
        if len(set(versions.values()) - {UNKNOWN}) > 1:
            listed = " and ".join(f"{version} on {node}" for node, version in versions.items())
            sentences.append(f"The nodes have different versions of {name}: {listed}.")
    return sentences


def notices(told: Sequence[tuple[str, About]], *, edits: bool = True) -> list[str]:
    """What is worth knowing of nodes that serve: versions, edited files, and changes that have to wait."""
    sentences = versions_differ(told)
    for node, each in told:
        if edits and each.edits and each.edits.number:
            files = f"{each.edits.number} file{'' if each.edits.number == 1 else 's'} of {node}"
            what = "kept" if each.edits.kept else "restored at the next change or boot"
            sentences.append(f"Edited on the node, to be {what}: {files}: {each.edits}.")
        if each.at_the_bound:
            sentences.append(
                f"{node} has {each.old_workers} old workers of HAProxy, as many as there may be: the next change waits "
                "until the sessions of one have ended, after `haproxy.hardStopAfter` at the latest."
            )
    return sentences
