"""The gate: which set does each node serve, and may the next node be changed?

Nodes are queried by plain HTTP at their health endpoint (``health.py``). The rule itself is pure (``may_touch``); what
it needs to know of the run until now is in ``seen.py``, the waits in ``waits.py``, the order of its questions in
``course.py``. This module
changes no node and does not use Pulumi.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lbstack.nodes.health import SHOWN_DIGITS, Answer, Target
from lbstack.nodes.seen import Seen, alive
from lbstack.nodes.waits import Patience, Stopped, split
from lbstack.problems import LbstackError
from lbstack.render.paths import APPLIER

SPLIT_REMEDY = (
    "They do not receive each other's VRRP adverts: look for a filter between them (port group security, NSX). Where "
    "this change is of a node's address, the router id or the anchor VIP, the nodes' sets differ in it: "
    "docs/runbooks/vrid.md."
)


UNSEEN = (
    "It answers as before the change and reports nothing about it: {name} does not see its guestinfo change while it "
    "runs. Set `lbstack:rollout: {{mode: reboot}}` for one run; then look there with `systemctl status lbstack-watch`."
)


def touch_order(nodes: Sequence[Target], answers: Sequence[Answer]) -> tuple[int, int]:
    """Which node to change first: one that does not serve, then the standby, then by priority.

    Of two that do not serve, the one that says so itself: the other one is silent, which shows nothing.

    Args:
        nodes: The two nodes, the preferred master first.
        answers: The answer of each, in the same order.

    Returns:
        The two indexes in the order in which the nodes are to be touched.
    """
    first, second = answers
    if len(nodes) != len(answers):  # pragma: no cover - a programming error, not an input
        raise ValueError("one answer for each node")
    standby_first = (1, 0)  # index 1 is the preferred standby
    if alive(first, second) != alive(second, first):
        return (1, 0) if alive(first, second) else (0, 1)
    if says_no(first) and not says_no(second) and not alive(second, first):
        return (0, 1)
    if first.vrrp == "backup" and second.vrrp != "backup":
        return (0, 1)
    return standby_first


def says_no(own: Answer) -> bool:
    """Whether a node says itself that it does not serve."""
    return bool(own.config_hash) and not own.serves


def may_touch(own: Answer, peer: Answer, wanted_of_peer: str | None, *, own_lived: bool, peer_lived: bool) -> bool:
    """Whether a node may be taken out of service now.

    A node may be touched while its peer serves: anything when it is the first of the two (``wanted_of_peer`` is None),
    exactly the wanted set when it is the second. Without that it may be touched only where it says itself that it does
    not serve, where it was never alive in this run and its peer serves, or where neither ever was. The silence of a
    node that was alive shows nothing: this runner's questions get lost, and this run itself reboots the first node.

    Args:
        own: The answer of the node.
        peer: The answer of its peer.
        wanted_of_peer: The set that the peer has to serve; None for the first node of a roll.
        own_lived: Whether the node was alive in this run, or may have been: it was not silent for long enough.
        peer_lived: Whether its peer was alive in this run.
    """
    if peer.serves if wanted_of_peer is None else peer.serves_set(wanted_of_peer):
        return True
    if says_no(own):
        return True
    if own_lived or alive(own, peer):
        return False
    return peer.serves or not peer_lived


class GateClosed(LbstackError):
    """A node may not be touched, or does not serve; with the failed check, the last answers and the remedy."""


def require_askable(nodes: Sequence[Target], answers: Sequence[Answer]) -> None:
    """Refuse to begin where silence means nothing: neither answers, and their filters drop this runner's questions.

    Such a run would touch both nodes without knowing of either whether it serves.

    Args:
        nodes: The two nodes.
        answers: The answer of each, in the same order.

    Raises:
        GateClosed: Nobody answers, and this runner is not inside ``managementNetworks``.
    """
    if any(answer.config_hash for answer in answers):
        return
    outside = [node for node in nodes if node.management and not node.may_be_asked()]
    if not outside:
        return
    lines = [
        "Nothing was touched: neither node answers, and this runner could not reach them if they did.",
        *(f"  last seen of {node.name}: {answer}" for node, answer in zip(nodes, answers, strict=True)),
        *dict.fromkeys(f"  {node.reach()}" for node in outside),
        "  Run it on a machine inside `managementNetworks`. Where there is none, or addresses are translated on the",
        "  way, `lbstack:rollout: {gate: false}` goes without asking: the second node does not wait for the first.",
    ]
    raise GateClosed("\n".join(lines))


def require_open(node: Target, peer: Target, wanted_of_peer: str | None, patience: Patience | None = None) -> None:
    """Wait until ``node`` may be touched.

    Args:
        node: The node that is about to be changed.
        peer: The other one.
        wanted_of_peer: The set that the peer has to serve first; None for the first node of a roll.
        patience: How to wait, with what this run has seen until now.

    Raises:
        GateClosed: The time is up, or the peer has refused the set.
    """
    patience = patience or Patience()
    seen = patience.seen or Seen(patience.clock)
    patience = replace(patience, seen=seen)

    def opens(other: Answer, own: Answer) -> bool:
        own_lived, peer_lived = not seen.taken_for_dead(node), seen.was_alive(peer)
        return may_touch(own, other, wanted_of_peer, own_lived=own_lived, peer_lived=peer_lived)

    def done(answers: Sequence[Answer]) -> bool | None:
        other, own = answers
        if opens(other, own):
            return not split(own, other)
        return None if other.has_refused(wanted_of_peer) else False

    # A silence of that length is steady enough, and the nodes of a new pair boot side by side.
    if seen.taken_for_dead(node):
        other, own = patience.ask((peer, node))
        if seen.taken_for_dead(node) and opens(other, own):
            return
    try:
        patience.until((peer, node), lambda answers: f"{node.name} waits for {peer.name}: {answers[0]}", done)
    except Stopped as stopped:
        raise _left_untouched(node, peer, wanted_of_peer, stopped, patience) from None


def _left_untouched(
    node: Target, peer: Target, wanted_of_peer: str | None, stopped: Stopped, patience: Patience
) -> GateClosed:
    other, own = stopped.answers
    shown = [(peer, other), (node, own)]
    if split(own, other):
        headline = f"{node.name} was left untouched: it and {peer.name} are both master. {SPLIT_REMEDY}"
        return GateClosed(_closed_message(headline, shown))
    headline = f"{node.name} was left untouched: its peer {peer.name} {_short(other, wanted_of_peer, stopped)}."
    if stopped.moved:
        headline = f"{node.name} was left untouched: {_moved(stopped, patience)}"
    if stopped.unseen:
        headline += f"\n  {UNSEEN.format(name=peer.name)}"
    if not own.config_hash:
        headline += f"\n  {node.name} does not answer either, which does not show that it does not serve."
    return GateClosed(_closed_message(headline, shown, wanted_of_peer))


def require_serving(node: Target, peer: Target, wanted: str, patience: Patience | None = None) -> None:
    """Wait until both nodes serve the set, so that a run that ends well ends with a whole pair.

    Args:
        node: The node that was changed last.
        peer: The other one. That it served when its turn was is not sure: of a new pair nobody does.
        wanted: The set that both have to serve.
        patience: How to wait.

    Raises:
        GateClosed: The time is up, or a node has refused the set.
    """

    def done(answers: Sequence[Answer]) -> bool | None:
        if all(answer.serves_set(wanted) for answer in answers):
            return not split(*answers)
        return None if any(answer.has_refused(wanted) for answer in answers) else False

    def waiting(answers: Sequence[Answer]) -> str:
        own, other = answers
        short, answer = (peer, other) if own.serves_set(wanted) else (node, own)
        return f"waiting for {short.name} to serve set {wanted[:SHOWN_DIGITS]}: {answer}"

    patience = patience or Patience()
    try:
        patience.until((node, peer), waiting, done)
    except Stopped as stopped:
        own, other = stopped.answers
        seen = [(node, own), (peer, other)]
        if split(own, other):
            raise GateClosed(
                _closed_message(f"{node.name} and {peer.name} are both master. {SPLIT_REMEDY}", seen)
            ) from None
        if own.serves_set(wanted) or (other.has_refused(wanted) and not own.has_refused(wanted)):
            seen.reverse()
        blamed, answer = seen[0]
        headline = f"{blamed.name} {_short(answer, wanted, stopped)}."
        if stopped.unseen:
            headline += f"\n  {UNSEEN.format(name=blamed.name)}"
        if stopped.moved:
            headline = _moved(stopped, patience)
        raise GateClosed(_closed_message(headline, seen, wanted)) from None


def _moved(stopped: Stopped, patience: Patience) -> str:
    """That VRRP is not as it was before a change that was not to change it."""
    were = " and ".join(f"{name} was VRRP {patience.vrrp[name]}" for name in stopped.moved)
    return (
        f"{were} before this change, which asks for no other state.\n  Look there with `journalctl -u keepalived`; "
        "the next run goes on with the nodes as they are then."
    )


def _short(answer: Answer, wanted: str | None, stopped: Stopped) -> str:
    """What a node falls short of."""
    if wanted and answer.has_refused(wanted):
        return f"has refused set {wanted[:SHOWN_DIGITS]}"
    want = f"serve set {wanted[:SHOWN_DIGITS]}" if wanted else "serve at all"
    return f"does not {want} after {stopped.seconds:.0f} s"


def _closed_message(headline: str, seen: Sequence[tuple[Target, Answer]], wanted: str | None = None) -> str:
    blamed, answer = seen[0]
    lines = [headline, *(f"  last seen of {target.name}: {last}" for target, last in seen)]
    if answer.config_hash:
        lines.append(f"  the node's report on its last set: {answer.applied or 'none'}")
    lines.append(f"  {blamed.reach()}")
    if answer.has_refused(wanted):
        lines += [
            "  Where the stack file is wrong, correct it and run this again. Where the node is, repair it and",
            f"  reboot it, or run `{APPLIER} boot` on it: `pulumi up` does not give a set again that has not changed.",
        ]
    else:
        lines.append(
            f"  Look on {blamed.name} with `{APPLIER} status`, then run this again: what is done stays as it is."
        )
    lines.append("  A runner that cannot reach the nodes sets `lbstack:rollout: {gate: false}`.")
    return "\n".join(lines)
