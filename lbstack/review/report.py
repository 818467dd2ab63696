"""The report of a preview or a deployment as data, in order. ``text.py`` and ``markdown.py`` show it.

One module because this is the shape of what ``--json`` prints, and a reader of that looks in one place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum, unique

FORMAT = 1
"""Of the report as JSON: goes up when a name in it changes its meaning or is removed."""


NOT_ASKED = "not asked"
"""The state of a node that this runner cannot reach, by the stack's own setting."""


@unique
class Outcome(StrEnum):
    """What a reader has to know first."""

    NOTHING = "nothing"
    CHANGES = "changes"
    DRIFT = "drift"
    CHANGES_AND_DRIFT = "changes and drift"
    UNKNOWN = "unknown"
    APPLIED = "applied"
    FAILED = "failed"


@unique
class Action(StrEnum):
    """What happens to a node, from the least to the most."""

    NONE = "none"
    IN_PLACE = "in place"
    RELOAD = "reload"
    REBOOT = "reboot"
    CREATE = "create"
    REPLACE = "replace"
    DELETE = "delete"


@dataclass(frozen=True)
class FileDiff:
    """How one file differs, once for all nodes on which it differs in the same way.

    Args:
        path: The guest path, or a name in brackets for what is no file.
        nodes: On which nodes.
        change: ``changed``, ``added`` or ``removed``.
        lines: A unified diff without its two head lines; empty for files whose content is not shown.
        added: How many lines are new.
        removed: How many lines are removed.
        rights: How its owner or its mode changes, in words; empty where they do not.
        effect: What its change means for users: ``live, no session is cut``, ``hand-over``, ``reboot`` or ``new VM``;
            empty where nothing is known.
    """

    path: str
    nodes: tuple[str, ...]
    change: str
    lines: tuple[str, ...]
    added: int
    removed: int
    rights: str = ""
    effect: str = ""

    @property
    def word(self) -> str:
        """Whether it is new or removed; empty for one that only changes."""
        return "" if self.change == "changed" else self.change

    @property
    def counts(self) -> str:
        """How many lines change; empty where only its rights do."""
        return f" (+{self.added} -{self.removed})" if self.added or self.removed or not self.rights else ""


@dataclass(frozen=True)
class Drift:
    """One thing that vCenter has and that the last deployment did not write.

    Args:
        where: The node, or the resource in words.
        what: What differs: ``guestinfo``, ``CPUs``, ``power``, …
        text: How it differs, in a sentence.
        remedy: What `up` would do about it, or what to do where it does nothing.
        files: For guestinfo, the files: what was deployed → what vCenter has.
        seen: For a property, its value in vCenter, which is in ``text`` too.
        deployed: And as it was deployed.
    """

    where: str
    what: str
    text: str
    remedy: str
    files: tuple[FileDiff, ...] = ()
    seen: str = ""
    deployed: str = ""


@dataclass(frozen=True)
class Change:
    """One thing besides the files that a deployment changes, in a sentence."""

    where: str
    text: str


@dataclass(frozen=True)
class NodeImpact:
    """What a deployment does to one node.

    Args:
        order: 1 for the node that is touched first; 0 where it is not touched.
        node: Its name.
        action: What happens to it.
        reason: What makes that necessary.
        sessions: What that means for the users' sessions.
        state: What the node reported about itself just now; why it was not asked, if it was not.
    """

    order: int
    node: str
    action: Action
    reason: str
    sessions: str
    state: str


@dataclass(frozen=True)
class GuestFiles:
    """What is known of the installed files of one node, inside of its guest.

    Args:
        node: The node.
        number: How many are other than its set has them; None where that is unknown.
        kept: Whether the node leaves them so (``rollout.guestEdits``).
        paths: The first of them.
        text: The same in words.
        remedy: What becomes of them.
    """

    node: str
    number: int | None = None
    kept: bool = False
    paths: tuple[str, ...] = ()
    text: str = ""
    remedy: str = ""

    @property
    def drifts(self) -> bool:
        """Whether it is drift: edited, and not kept on purpose."""
        return bool(self.number) and not self.kept


@dataclass(frozen=True)
class Noon:
    """Whether a change may be made in working hours.

    Args:
        cut: Whether it cuts a session; None where that depends on what is not known.
        text: The same in a sentence, with whose and why.
    """

    cut: bool | None
    text: str


@dataclass(frozen=True)
class Failure:
    """Why the report is incomplete.

    Args:
        kind: A short name, for programs.
        message: The engine's message.
        remedy: What to do.
    """

    kind: str
    message: str
    remedy: str


@dataclass(frozen=True)
class Report:
    """Everything that a preview or a deployment reports, in this order.

    Args:
        stack: The stack's name.
        verdict: One line.
        outcome: The same for programs.
        drift: What vCenter has and was not deployed.
        noise: Known noise of the provider that was left out of it: ``property (source)``.
        foreign: What other products put on the VMs, which `up` leaves alone: a sentence for each VM.
        files: What changes in which file on which node.
        services: Services and servers added, removed, moved.
        changes: What changes besides the files.
        nodes: The disruption, node by node, in the order in which they are changed.
        holder: Who holds the VIPs now, in words; empty where nothing is disrupted.
        warnings: What else a reader should know.
        failure: Why it is incomplete; of what was applied, why it ended.
        seconds: How long the engine worked.
        applied: Whether it reports what was done (``up``) and not what would be.
        noon: Whether the change cuts a session; None where no node is touched, and for what was applied.
        guests: What is known of the files inside of the guests; of what was applied, nothing.
    """

    stack: str
    verdict: str
    outcome: Outcome
    drift: tuple[Drift, ...] = ()
    noise: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    files: tuple[FileDiff, ...] = ()
    services: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    nodes: tuple[NodeImpact, ...] = ()
    holder: str = ""
    warnings: tuple[str, ...] = ()
    failure: Failure | None = None
    seconds: float = 0.0
    applied: bool = False
    noon: Noon | None = None
    guests: tuple[GuestFiles, ...] = ()

    @property
    def drifting(self) -> bool:
        """Whether anything drifted, in vCenter or inside of a guest."""
        return bool(self.drift) or any(guest.drifts for guest in self.guests)

    @property
    def changing(self) -> bool:
        """Whether a deployment changes anything, be it shown or not."""
        return bool(self.files or self.changes or self.nodes)

    def as_data(self) -> dict[str, object]:
        """The report as data for JSON."""
        return {"format": FORMAT} | asdict(self)


def failed(stack: str, failure: Failure) -> Report:
    """The report of a preview that did not come to its end."""
    first = failure.message.partition("\n")[0]
    return Report(stack, f"Unknown: {first}", Outcome.UNKNOWN, failure=failure)


def applied_verdict(
    files: Sequence[FileDiff], changes: Sequence[Change], nodes: Sequence[NodeImpact], failure: Failure | None
) -> tuple[str, Outcome]:
    """The one line about a deployment, and its short form."""
    done = _change_words(files, changes, nodes, past=True) if files or changes or nodes else ""
    if failure:
        first = failure.message.partition("\n")[0].rstrip(".")
        return f"Failed, {f'after {done}' if done else 'and nothing was changed'}: {first}.", Outcome.FAILED
    return (f"Applied: {done}.", Outcome.APPLIED) if done else ("Nothing was to be done.", Outcome.NOTHING)


def verdict_of(
    drift: Sequence[Drift],
    files: Sequence[FileDiff],
    changes: Sequence[Change],
    nodes: Sequence[NodeImpact],
    guests: Sequence[GuestFiles] = (),
) -> tuple[str, Outcome]:
    """The one line that stands first, and its short form."""
    output = []
    places = sorted({item.where for item in drift} | {guest.node for guest in guests if guest.drifts})
    if files or changes or nodes:
        output.append(_change_words(files, changes, nodes))
    if places:
        output.append(f"drift on {_words(places)}")
    if not output:
        return "No change, no drift.", Outcome.NOTHING
    changed = bool(files or changes or nodes)
    outcome = Outcome.CHANGES_AND_DRIFT if changed and places else Outcome.CHANGES if changed else Outcome.DRIFT
    text = "; ".join(output)
    if not changed:
        text += "; no change in the stack file"
    return f"{text[0].upper()}{text[1:]}.", outcome


def _change_words(
    files: Sequence[FileDiff], changes: Sequence[Change], nodes: Sequence[NodeImpact], *, past: bool = False
) -> str:
    touched = {node for file in files for node in file.nodes}
    verb = "changed" if past else "changes" if len(files) == 1 else "change"
    if files:
        text = f"{_count(len({file.path for file in files}), 'file')} on {_count(len(touched), 'node')} {verb}"
    elif changes:
        text = f"{_count(len(changes), 'change')} outside of the files"
    else:
        text = "a change that is not shown"
    order = list(Action)
    acted = [impact.action for impact in nodes if impact.action is not Action.NONE]
    if acted:
        text += f" ({max(acted, key=order.index).value})"
    return text


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _words(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
