"""One line for who asks whether a merge is safe in working hours: does it cut a session, whose, and why?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from lbstack.facts.changes import Kind
from lbstack.render.paths import KEEPALIVED_CONF
from lbstack.review.effects import WORDS, Texts, kind_on
from lbstack.review.report import Action, FileDiff, NodeImpact, Noon

TAKES_AWAY = {Action.REBOOT: "reboot", Action.REPLACE: "new VM", Action.DELETE: "the node is deleted"}
VIP = re.compile(r"^\s*([0-9]+(?:\.[0-9]+){3})/32 dev ", re.MULTILINE)


def noon_of(
    impacts: Sequence[NodeImpact],
    files: Sequence[FileDiff],
    holder: str,
    hazards: Sequence[str],
    texts: tuple[Texts, Texts],
) -> Noon | None:
    """Return the line; None where no node is touched.

    Args:
        impacts: What happens to each node.
        files: What changes in which file, with effects.
        holder: The node that holds the VIPs now; empty where that is not known.
        hazards: What makes a roll dangerous although each node alone would be right.
        texts: Node → path → text, as deployed and as wanted.
    """
    if not impacts:
        return None
    if hazards:
        return Noon(cut=True, text="Not safe at noon: both nodes would hold the VIPs for a while, see the warnings.")
    causes = {impact.node: cause for impact in impacts if (cause := _cause(impact, files))}
    certain = [node for node in causes if node == holder]
    parts = [f"sessions through {node} are cut: {causes[node]}" for node in certain]
    parts += [f"sessions through {vip} are cut: it goes away" for vip in _lost(impacts, texts)]
    if parts:
        return Noon(cut=True, text=f"Not safe at noon: {'; '.join(parts)}.")
    if causes and not holder:
        node = next(iter(causes))
        which = "the node that holds the VIPs" if len(causes) > 1 else f"{node}, if it holds the VIPs,"
        return Noon(cut=None, text=f"Perhaps not safe at noon: sessions through {which} are cut: {causes[node]}.")
    return Noon(cut=False, text="Safe at noon: no session is cut.")


def _cause(impact: NodeImpact, files: Sequence[FileDiff]) -> str:
    """What takes a node's sessions away, and why; empty where nothing does."""
    if impact.action in TAKES_AWAY:
        return f"{TAKES_AWAY[impact.action]}, because {impact.reason}"
    if impact.action is Action.RELOAD and kind_on(impact.node, files) >= Kind.HAND_OVER:
        word = WORDS[kind_on(impact.node, files)]
        paths = dict.fromkeys(file.path for file in files if impact.node in file.nodes and file.effect == word)
        return f"{word}, because of {' and '.join(paths)}"
    return ""


def _lost(impacts: Sequence[NodeImpact], texts: tuple[Texts, Texts]) -> list[str]:
    """The VIPs that a change takes away, from a node that goes on running, and so the sessions through them."""
    lost: dict[str, None] = {}
    for impact in impacts:
        if impact.action is not Action.RELOAD:
            continue
        before, after = (_vips(side, impact.node) for side in texts)
        lost |= dict.fromkeys(vip for vip in before if vip not in after)
    return list(lost)


def _vips(texts: Mapping[str, Mapping[str, str]], node: str) -> list[str]:
    return VIP.findall(texts.get(node, {}).get(KEEPALIVED_CONF, ""))
