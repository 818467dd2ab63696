"""The course of one roll, without Pulumi: who comes first, and what each step waits for.

One ``Course`` is one run. It asks both nodes from its beginning to its end, also while it waits for vCenter, because
what it may conclude from a node's silence depends on whether that node was alive at any time in this run
(``seen.py``).
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lbstack.facts.limits import READY_S
from lbstack.nodes import gate, seen, waits
from lbstack.nodes.health import Answer, Ask, Target
from lbstack.nodes.seen import REAL_CLOCK, Clock, Seen
from lbstack.nodes.waits import Patience, Progress

STANDBY_FIRST = (1, 0)  # positions in `nodes`: the preferred standby, then the preferred master


@dataclass
class Course:
    """One run over both nodes.

    Args:
        nodes: Both, in the order of the stack file.
        wanted: Hash of the set that both have to serve in the end.
        limit_s: How long a node may take to serve after it was changed, in seconds.
        question: How a node is asked; over HTTP unless given.
        clock: The clock that it goes by.
        live: The names of the nodes that are changed while they run.
        absent: The names of the nodes whose VM is not there, as vCenter has it.
        fresh: Whether the pair is made by this run: neither vCenter nor the record of earlier runs has a VM of it.
            Where nobody answers for it either, there is nothing to take out of service, and no step waits.
        preemption: Whether a node takes the VIPs without being asked to, so that a change may move them.
        early: What the nodes answered before, if this run has asked them already.
    """

    nodes: Sequence[Target]
    wanted: str
    limit_s: float
    question: Ask | None = None
    clock: Clock = REAL_CLOCK
    live: Collection[str] = ()
    absent: Collection[str] = ()
    fresh: bool = False
    preemption: bool = False
    early: Seen | None = None
    order: tuple[int, int] = field(default=STANDBY_FIRST, init=False)
    _seen: Seen = field(init=False)
    _vrrp: Mapping[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._seen = self.early or Seen(self.clock)

    def look(self) -> Sequence[Answer]:
        """Ask both nodes once, and keep what they answer."""
        return self._patience(lambda _line: None).ask(self.nodes)

    def begin(self, progress: Progress) -> None:
        """Decide which node is changed first.

        Where neither answers, both are asked again for ``SILENCE_S``, unless the pair is made by this run: a pair that
        serves must not begin with the wrong node because this runner's questions were lost for a moment. Where only one
        of them is there, the other one is first: what a killed run has made may still boot, would serve before long,
        and then wait in vain for a peer that nobody makes.

        Args:
            progress: Receives a line when that takes longer than one question.

        Raises:
            GateClosed: This runner could not reach the nodes at all; nothing was made or changed.
        """
        began = self.clock.now()
        answers = self.look()
        self.fresh = self.fresh and not _heard(answers)
        if not _heard(answers) and not self.fresh:
            progress(f"no node answers; asking again for {seen.SILENCE_S:.0f} s, since an answer may be lost")
        while not _heard(answers) and not self.fresh and self.clock.now() - began < seen.SILENCE_S:
            self.clock.sleep(waits.ASK_INTERVAL_S)
            answers = self.look()
        gate.require_askable(self.nodes, answers)
        self.order = gate.touch_order(self.nodes, answers)
        # One that answers is there, wherever its VM is now.
        pairs = zip(self.nodes, answers, strict=True)
        to_make = [node.name in self.absent and not answer.config_hash for node, answer in pairs]
        if to_make[0] != to_make[1]:
            self.order = (0, 1) if to_make[0] else (1, 0)

    def open_first(self, progress: Progress) -> None:
        """Wait until the first node may be changed.

        Raises:
            GateClosed: It may not.
        """
        if self.fresh:
            return
        first, second = self._in_order()
        patience = replace(
            self._patience(progress), timeout_s=READY_S, brief=first.name in self.live
        )  # nobody is changing its peer
        gate.require_open(first, second, None, patience)
        self._vrrp = self._seen.vrrp()

    def open_second(self, progress: Progress) -> None:
        """Wait until the second node may be changed.

        Raises:
            GateClosed: It may not.
        """
        if self.fresh:  # both nodes boot side by side; only the end of the run waits for them
            return
        first, second = self._in_order()
        gate.require_open(second, first, self.wanted, self._after(first, progress))
        self._vrrp = self._seen.vrrp()

    def both_serve(self, progress: Progress) -> None:
        """Wait until both nodes serve the wanted set.

        Raises:
            GateClosed: They do not.
        """
        first, second = self._in_order()
        gate.require_serving(second, first, self.wanted, self._after(second, progress))

    def _patience(self, progress: Progress) -> Patience:
        return Patience(progress, self.question, timeout_s=self.limit_s, clock=self.clock, seen=self._seen)

    def _after(self, changed: Target, progress: Progress) -> Patience:
        """How to wait after a node was changed."""
        if changed.name not in self.live:
            return self._patience(progress)
        # A standby stays one. A master may hand its VIPs over; its applier knows whether it was to.
        stays = self._vrrp.get(changed.name) == "backup" and not self.preemption
        return replace(
            self._patience(progress),
            brief=True,
            live=(changed.name, self.wanted),
            vrrp=self._vrrp if stays else {},
        )

    def _in_order(self) -> tuple[Target, Target]:
        first, second = self.order
        return self.nodes[first], self.nodes[second]


def _heard(answers: Sequence[Answer]) -> bool:
    return any(answer.config_hash for answer in answers)


class Watch:
    """Asks both nodes of a course all the time, in a thread of its own, until it is stopped or the process ends."""

    def __init__(self, course: Course) -> None:
        self._course = course
        self._end = threading.Event()
        # A daemon, so that a program that fails somewhere else ends.
        self._thread = threading.Thread(target=self._run, name="watch over the nodes", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the question that is being asked."""
        self._end.set()

    def _run(self) -> None:
        while not self._end.wait(waits.ASK_INTERVAL_S):
            self._course.look()
