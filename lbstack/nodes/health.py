"""Query the health endpoint of one node: which set it serves, and what it reports about itself.

Every node answers there by plain HTTP (``cloudinit/haproxy.cfg.j2``). Nothing is changed.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

from lbstack.facts.limits import QUESTION_S
from lbstack.facts.ports import HEALTH_PORT
from lbstack.nodes.question import fetch

if TYPE_CHECKING:
    from lbstack.config.models import StackConfig

ASK_TIMEOUT_S = QUESTION_S
MAX_ANSWER = 1 << 16  # bytes; a node answers with 200
SERVING_STATES = ("master", "backup")
REFUSALS = ("refused", "fell-back", "failed")  # the phases of `lbstack-apply` in which a set was not taken
BUSY = "applying"  # its word while it takes a set in, which it may still fall back from
AT_IT = ("applying", "waiting")  # the phases in which it takes a set in, now or later by itself
LIVE = "live"  # the word by which a node announces that it does
SHOWN_DIGITS = 12  # of a set's hash, also in a node's words


@dataclass(frozen=True)
class Target:
    """A node as the gate sees it.

    Args:
        name: Its name.
        address: The address of its health endpoint.
        port: The port of its health endpoint.
        management: The networks that its firewall lets to that port; only shown, never enforced here.
    """

    name: str
    address: str
    port: int = HEALTH_PORT
    management: tuple[IPv4Network, ...] = ()

    def asked_from(self) -> IPv4Address | None:
        """The address of this machine that a question to the node comes from; None without a way there."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((self.address, self.port))  # chooses a route and sends nothing
            except OSError:
                return None
            return IPv4Address(probe.getsockname()[0])

    def may_be_asked(self) -> bool:
        """Whether the node's packet filter lets this runner ask; NAT on the way is not seen from here."""
        own = self.asked_from()
        return own is not None and any(own in network for network in self.management)

    def reach(self) -> str:
        """Whether this runner may ask the node at all, in words; NAT on the way is not seen from here."""
        own = self.asked_from()
        networks = ", ".join(map(str, self.management))
        if own is None:
            return f"this runner has no route to {self.address}"
        if not networks:
            return f"this runner asks from {own}"
        if self.may_be_asked():
            return f"this runner asks from {own}, which is inside `managementNetworks` ({networks})"
        return f"this runner asks from {own}, which is NOT inside `managementNetworks` ({networks})"


def targets_of(config: StackConfig) -> list[Target]:
    """Return both nodes of a stack, in the order of the stack file.

    Args:
        config: The validated configuration.
    """
    networks = config.management_networks
    return [Target(node.name, str(node.address), management=networks) for node in config.nodes]


@dataclass(frozen=True)
class Answer:
    """The answer of one node.

    Args:
        config_hash: The set that its HAProxy runs with (64 hex digits); empty when it did not answer.
        vrrp: ``master``, ``backup``, ``fault`` or ``unknown``.
        error: Why it does not serve, in words for a person; empty when it does.
        applied: The node's report on the last set that it was given.
        can: What it announces that it can do, in words with blanks between them; nothing before there was anything.
    """

    config_hash: str = ""
    vrrp: str = "unknown"
    error: str = ""
    applied: str = ""
    can: str = ""

    @property
    def phase(self) -> str:
        """The first word of its report on its last set: a phase of `lbstack-apply`."""
        return self.applied.partition(" ")[0]

    @property
    def can_live(self) -> bool:
        """Whether it takes in a set while it runs, from the set's own keys."""
        return LIVE in self.can.split()

    @property
    def serves(self) -> bool:
        """Whether this node could answer users now or after a fail-over."""
        return bool(self.config_hash) and self.vrrp in SERVING_STATES

    def serves_set(self, wanted: str) -> bool:
        """Whether it serves exactly the set named by ``wanted``, and is done with it."""
        return self.serves and self.config_hash == wanted and self.phase != BUSY

    def has_refused(self, wanted: str | None) -> bool:
        """Whether it was given the wanted set and did not take it; then waiting changes nothing."""
        named = self.applied.partition(" ")[2]
        return bool(wanted) and bool(self.refusal) and named.startswith(str(wanted)[:SHOWN_DIGITS])

    @property
    def refusal(self) -> str:
        """The node's report on a last set that it did not take; empty where it took it."""
        return self.applied if self.phase in REFUSALS else ""

    def __str__(self) -> str:
        if self.error:
            return self.error
        told = self.applied if self.phase in (*REFUSALS, *AT_IT) else ""
        reported = f"; {told}" if told else ""
        return f"serves set {self.config_hash[:SHOWN_DIGITS]} as VRRP {self.vrrp}{reported}"


Ask = Callable[[Target], Answer]


def ask(target: Target) -> Answer:
    """Ask a node's health endpoint once, within ``ASK_TIMEOUT_S`` whatever it sends; never raises."""
    try:
        status, text = fetch(target.address, target.port, "/health", within_s=ASK_TIMEOUT_S, at_most=MAX_ANSWER)
        body = json.loads(text) if status == http.client.OK else {}
        config_hash, vrrp, applied = str(body["hash"]), str(body["vrrp"]).lower(), str(body.get("apply", ""))
        can = str(body.get("can", ""))
    except (OSError, http.client.HTTPException) as error:
        return Answer(error=f"no answer from http://{target.address}:{target.port}/health ({error})")
    except (ValueError, KeyError, TypeError, RecursionError):
        return Answer(error=f"http://{target.address}:{target.port}/health answers, but not as a node of this kind")
    if vrrp not in SERVING_STATES:
        reason = f"HAProxy serves set {config_hash[:SHOWN_DIGITS]}, but VRRP is {vrrp} ({applied})"
        return Answer(config_hash, vrrp, reason, applied, can)
    return Answer(config_hash, vrrp, "", applied, can)
