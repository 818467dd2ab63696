"""The gate: what set does each node serve, and may the next node be touched?

Asking is plain HTTP to the health endpoint that every node answers on (``render.py``). The rule is pure and stands
in ``may_touch``. Nothing here changes a node, and nothing here knows Pulumi.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lbstack.problems import LbstackError

HEALTH_PORT = 8405
ASK_TIMEOUT_S = 2.0  # one question; a node that needs longer does not serve users either
READY_TIMEOUT_S = 300.0  # a reboot with its VMware checks takes a minute or two; more means that it hangs
ASK_INTERVAL_S = 1.0
SERVING_STATES = ("master", "backup")


@dataclass(frozen=True)
class Target:
    """A node as the gate sees it: its name and the address of its health endpoint."""

    name: str
    address: str
    port: int = HEALTH_PORT


@dataclass(frozen=True)
class Answer:
    """What one node said.

    Args:
        config_hash: The set that its HAProxy runs with (64 hex digits); empty when it did not answer.
        vrrp: ``master``, ``backup``, ``fault`` or ``unknown``.
        error: Why it does not serve, in words for a person; empty when it does.
    """

    config_hash: str = ""
    vrrp: str = "unknown"
    error: str = ""

    @property
    def serves(self) -> bool:
        """Whether this node could answer users now or after a fail-over."""
        return bool(self.config_hash) and self.vrrp in SERVING_STATES

    def serves_set(self, wanted: str) -> bool:
        """Whether it serves exactly the set named by ``wanted``."""
        return self.serves and self.config_hash == wanted

    def __str__(self) -> str:
        if self.error:
            return self.error
        return f"serves set {self.config_hash[:12]} as VRRP {self.vrrp}"


Ask = Callable[[Target], Answer]


def ask(target: Target) -> Answer:
    """Ask a node's health endpoint once, within ``ASK_TIMEOUT_S``; never raises."""
    connection = http.client.HTTPConnection(target.address, target.port, timeout=ASK_TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        response = connection.getresponse()
        body = json.loads(response.read(65536))
        config_hash, vrrp, applied = str(body["hash"]), str(body["vrrp"]).lower(), str(body.get("apply", ""))
    except (OSError, http.client.HTTPException) as error:
        return Answer(error=f"no answer from http://{target.address}:{target.port}/health ({error})")
    except (ValueError, KeyError, TypeError):
        return Answer(error=f"http://{target.address}:{target.port}/health answers, but not as a node of this kind")
    finally:
        connection.close()
    if vrrp not in SERVING_STATES:
        return Answer(config_hash, vrrp, f"HAProxy serves set {config_hash[:12]}, but VRRP is {vrrp} ({applied})")
    return Answer(config_hash, vrrp)


def touch_order(nodes: Sequence[Target], answers: Sequence[Answer]) -> tuple[int, int]:
    """Which node to change first: one that does not serve, then the standby, then by priority.

    Args:
        nodes: The two nodes, the preferred master first.
        answers: What each of them said, in the same order.

    Returns:
        The two indexes in the order in which the nodes are to be touched.
    """
    first, second = answers
    if len(nodes) != len(answers):  # pragma: no cover - a programming error, not an input
        raise ValueError("one answer for each node")
    standby_first = (1, 0)  # index 1 is the preferred standby
    if first.serves != second.serves:
        return (1, 0) if first.serves else (0, 1)
    if second.vrrp == "master" and first.vrrp == "backup":
        return (0, 1)
    return standby_first


def may_touch(own: Answer, peer: Answer, wanted_of_peer: str | None) -> bool:
    """Whether a node may be taken out of service now.

    A node that does not serve may always be touched. A serving node may be touched while its peer serves: anything
    when it is the first of the two (``wanted_of_peer`` is None), exactly the wanted set when it is the second.
    """
    if not own.serves:
        return True
    if wanted_of_peer is None:
        return peer.serves
    return peer.serves_set(wanted_of_peer)


class GateClosed(LbstackError):
    """A node may not be touched; says which check failed, what was seen last and what to do."""


def require_open(
    node: Target,
    peer: Target,
    wanted_of_peer: str | None,
    *,
    progress: Callable[[str], None] = lambda _line: None,
    question: Ask | None = None,
    timeout_s: float | None = None,
) -> None:
    """Wait until ``node`` may be touched.

    Args:
        node: The node that is about to be changed.
        peer: The other one.
        wanted_of_peer: The set that the peer has to serve first; None for the first node of a roll.
        progress: Receives a line whenever what the peer says has changed.
        question: How a node is asked; over HTTP unless given.
        timeout_s: How long to wait, in seconds; ``READY_TIMEOUT_S`` unless given.

    Raises:
        GateClosed: When the time is up.
    """
    question = question or ask
    limit_s = READY_TIMEOUT_S if timeout_s is None else timeout_s
    deadline = time.monotonic() + limit_s
    seen = ""
    while True:
        own, other = question(node), question(peer)
        if may_touch(own, other, wanted_of_peer):
            return
        if str(other) != seen:
            seen = str(other)
            progress(f"{node.name} waits for {peer.name}: {seen}")
        if time.monotonic() >= deadline:
            want = f"serve set {wanted_of_peer[:12]}" if wanted_of_peer else "serve at all"
            raise GateClosed(
                f"{node.name} was left untouched: its peer {peer.name} does not {want} after {limit_s:.0f} s.\n"
                f"  last seen of {peer.name}: {other}\n"
                f"  last seen of {node.name}: {own}\n"
                f"  look on {peer.name} with `/usr/local/lib/lbstack/lbstack-apply status`; "
                "is this runner inside `managementNetworks`?\n"
                "  A runner that cannot reach the nodes sets `lbstack:rollout: {gate: false}`."
            )
        time.sleep(ASK_INTERVAL_S)
