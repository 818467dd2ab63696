"""What a run has seen of its nodes since it began: who was alive, and who has been silent for how long.

A question or its answer gets lost, and a node that this run reboots is silent: so silence alone shows nothing. The
rules that are built on this are in ``gate.py``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lbstack.nodes.health import Answer, Target

SILENCE_S = 15.0
"""How long a node that was never alive has to be silent until it is taken for one that does not serve.

Longer than what silences a whole pair without harm to users: a runner or a firewall that moves to another host, a
switch that learns its ports anew (spanning tree needs up to 15 s without its fast form; vMotion a second or two)."""

HOLE_S = 10.0  # between two questions, of which two that get no answer take 5 s; what was in between, nobody knows


@dataclass(frozen=True)
class Clock:
    """Time as a wait sees it.

    Args:
        now: Seconds on a clock that never goes back.
        sleep: Waits for so many seconds.
    """

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


REAL_CLOCK = Clock()


def alive(own: Answer, peer: Answer) -> bool:
    """Whether a node serves, by its own report or by its peer's: a backup receives the adverts of a master.

    A node that is full, or that this runner may not ask (another address, a filter), is silent and serves users.
    """
    return own.serves or (not own.config_hash and peer.serves and peer.vrrp == "backup")


class Seen:
    """What a run has seen; it may be told from several threads.

    Args:
        clock: The clock of the run.
    """

    def __init__(self, clock: Clock = REAL_CLOCK) -> None:
        self._now = clock.now
        self._lock = threading.Lock()
        self._alive: set[str] = set()
        self._away: set[str] = set()
        self._silent_since: dict[str, float] = {}
        self._asked: float | None = None
        self._picture: dict[str, Answer] = {}
        self._same_since: float | None = None

    def note(self, nodes: Sequence[Target], answers: Sequence[Answer]) -> None:
        """Keep what both nodes answered when they were asked together."""
        now = self._now()
        with self._lock:
            if self._asked is not None and now - self._asked > HOLE_S:
                self._silent_since.clear()
                self._picture = {}
            self._asked = now
            picture = {node.name: answer for node, answer in zip(nodes, answers, strict=True)}
            if picture != self._picture:
                self._picture, self._same_since = picture, now
            for node, own, peer in zip(nodes, answers, reversed(answers), strict=True):
                if own.config_hash:
                    self._silent_since.pop(node.name, None)
                else:
                    self._away.add(node.name)
                    self._silent_since.setdefault(node.name, now)
                if alive(own, peer):
                    self._alive.add(node.name)

    def was_alive(self, node: Target) -> bool:
        """Whether a node was alive at any time in this run."""
        with self._lock:
            return node.name in self._alive

    def answered_always(self, node: Target) -> bool:
        """Whether a node was alive in this run and has answered every question."""
        with self._lock:
            return node.name in self._alive and node.name not in self._away

    def same_since(self, nodes: Sequence[Target], answers: Sequence[Answer]) -> float | None:
        """Since when both nodes have answered each question just so; None where that was not the last answer."""
        with self._lock:
            picture = {node.name: answer for node, answer in zip(nodes, answers, strict=True)}
            return self._same_since if picture == self._picture else None

    def vrrp(self) -> dict[str, str]:
        """The VRRP state in the last answer of each node that serves."""
        with self._lock:
            return {name: answer.vrrp for name, answer in self._picture.items() if answer.serves}

    def taken_for_dead(self, node: Target) -> bool:
        """Whether a node was never alive in this run, and has been silent for ``SILENCE_S``."""
        with self._lock:
            since = self._silent_since.get(node.name)
            return node.name not in self._alive and since is not None and self._now() - since >= SILENCE_S
