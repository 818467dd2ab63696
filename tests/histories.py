"""Random histories of a roll: nodes that crash, hang, fill up and refuse, a runner that loses questions, a false clock.

One history is one run of ``lbstack.nodes.course.Course``, with its real rules and waits, over a simulated pair. Nothing
sleeps. The pair answers as its state is at that moment of the false clock; the runner hears that or, for at most
``LOST_S`` in a row, nothing. ``python -m tests.histories`` plays many (``--count``, ``--seed``).

What must never happen is written in ``World.touch``: the run takes a node out of service that serves, while its peer
does not. Lost questions never excuse that. Two things do, of a node of which the run never had a sign of life: that it
is silent all the time (it is full, or filters this runner), and that it was down while the run asked, and came up
unheard. Nobody can tell such a node from a dead one, which has to be repaired.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lbstack.nodes.course import Course
from lbstack.nodes.gate import GateClosed
from lbstack.nodes.health import ASK_TIMEOUT_S, SHOWN_DIGITS, Answer, Target
from lbstack.nodes.seen import SILENCE_S, Clock

COUNT = 100_000
SEED = 2026
WANTED, OLD = "a" * 64, "b" * 64
NODES = (Target("lb1", "192.0.2.1"), Target("lb2", "192.0.2.2"))
LIMIT_S = 300.0  # of a wait; what is longer than a history shows nothing more
LOST_S = 12.0  # what a serving pair may be silent for, however that comes about
HEARD_S = 6.0  # between two such times a question gets through
TAKE_OVER_S = 4.0  # a backup makes itself master after three adverts and the skew
HORIZON_S = 240.0  # everything that befalls the pair begins before
STALE_S = 2 * ASK_TIMEOUT_S + 1.0  # an answer may be as old as the next question and the wait after it
FOREVER = float("inf")

Span = tuple[float, float]


def _within(spans: Sequence[Span], now: float) -> bool:
    return any(begin <= now < end for begin, end in spans)


@dataclass
class Node:
    """One node of the simulated pair.

    Args:
        exists: Whether there is such a VM, from the beginning.
        serving: The set that its HAProxy runs with, once it is up.
        down: When it is off, hangs, boots or was never made.
        fault: When its VRRP is in fault.
        full: When it serves its users and answers nobody else.
        applied: Its report on its last set.
        touched: Whether the run has changed it.
    """

    exists: bool
    serving: str
    down: list[Span] = field(default_factory=list)
    fault: list[Span] = field(default_factory=list)
    full: list[Span] = field(default_factory=list)
    applied: str = "applied"

    def up(self, now: float) -> bool:
        return self.exists and not _within(self.down, now)

    def serves(self, now: float) -> bool:
        return self.up(now) and not _within(self.fault, now)

    def served_since(self, begin: float, now: float) -> bool:
        """Whether it served at any time from a moment until now; in steps that are finer than any answer."""
        steps = max(1, int((now - begin) / 0.25))
        return any(self.serves(begin + (now - begin) * step / steps) for step in range(steps + 1))


class Taken(AssertionError):
    """A serving pair was taken down, or a set was spread that the first node does not serve."""


class World:
    """A pair, its runner and a clock.

    Args:
        rng: Everything that happens is drawn from it.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.now = 0.0
        self.watched = rng.random() < 0.8  # whether the thread that asks all the time gets its turns
        new_pair = rng.random() < 0.1
        self.nodes = [Node(not new_pair, OLD), Node(not new_pair, OLD)]
        self.master = rng.randrange(2)
        self.apart = [self._span(30.0)] if rng.random() < 0.05 else []
        self.lost: list[Span] = []
        self.told: list[str] = []
        self.heard_alive: set[int] = set()
        self._draw_losses()
        for node in self.nodes:
            self._draw_faults(node)
        if not new_pair and rng.random() < 0.1:  # a rerun: an earlier run has changed one
            self.nodes[rng.randrange(2)].serving = WANTED
        self._overtaken = [-FOREVER, -FOREVER]

    def _span(self, longest: float) -> Span:
        begin = self.rng.uniform(-10.0, HORIZON_S)
        return begin, begin + self.rng.uniform(0.5, longest)

    def _draw_losses(self) -> None:
        """Times in which every question of the runner is lost, none longer than ``LOST_S``."""
        at = self.rng.choice((-5.0, 0.0, 0.0, self.rng.uniform(0.0, 60.0)))
        while at < HORIZON_S and len(self.lost) < self.rng.choice((0, 1, 1, 2, 3, 6)):
            end = at + self.rng.choice((2.0, 5.0, LOST_S, LOST_S))
            self.lost.append((at, end))
            at = end + HEARD_S + self.rng.expovariate(1 / 20)

    def _draw_faults(self, node: Node) -> None:
        rng = self.rng
        if rng.random() < 0.12:  # dead, or lost before the run begins
            node.down.append((-FOREVER, FOREVER if rng.random() < 0.7 else rng.uniform(0.0, 60.0)))
        if rng.random() < 0.2:  # crashes, and comes back or not
            begin, end = self._span(60.0)
            node.down.append((begin, FOREVER if rng.random() < 0.3 else end))
        if rng.random() < 0.2:
            node.fault.append(self._span(60.0) if rng.random() < 0.7 else (-FOREVER, FOREVER))
        if rng.random() < 0.15:
            node.full.append(self._span(60.0) if rng.random() < 0.5 else (-FOREVER, FOREVER))

    # -- the clock, and what the runner hears ----------------------------------------------------------------------

    def clock(self) -> Clock:
        return Clock(lambda: self.now, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def vrrp(self, index: int) -> str:
        """What a node reports: who is master stays so until it does not serve."""
        now, other = self.now, 1 - index
        if not self.nodes[index].serves(now):
            return "fault"
        if _within(self.apart, now):
            return "master"
        if not self.nodes[self.master].serves(now) and self.nodes[1 - self.master].serves(now):
            # Its peer goes on as backup for three adverts.
            if self.nodes[self.master].served_since(max(0.0, now - TAKE_OVER_S), now):
                return "backup"
            self.master = 1 - self.master
        return "master" if self.master == index or not self.nodes[other].exists else "backup"

    def ask(self, target: Target) -> Answer:
        index = NODES.index(target)
        node = self.nodes[index]
        lost = _within(self.lost, self.now) or _within(node.full, self.now) or not node.up(self.now)
        if lost:
            self.now += ASK_TIMEOUT_S
            return Answer(error="no answer")
        vrrp = self.vrrp(index)
        if vrrp == "fault":
            return Answer(node.serving, vrrp, "VRRP is fault", node.applied)
        self.heard_alive.add(index)
        if vrrp == "backup":  # then somebody sends it adverts, or did a moment ago
            self.heard_alive.add(1 - index)
        return Answer(node.serving, vrrp, "", node.applied)

    # -- what the run does ------------------------------------------------------------------------------------------

    def touch(self, index: int, *, second: bool) -> None:
        """The run changes a node; this is where it may go wrong.

        Raises:
            Taken: It was wrong.
        """
        own, peer, now = self.nodes[index], self.nodes[1 - index], self.now
        was_down = sum(max(0.0, min(end, now) - max(begin, 0.0)) for begin, end in own.down) > SILENCE_S - LOST_S
        unheard = index not in self.heard_alive and (bool(own.full) or was_down)
        if own.serves(now) and not unheard:
            if not peer.served_since(now - STALE_S, now):
                raise Taken(f"{NODES[index].name} served and was taken down at {now:.1f} s, its peer did not serve")
            if second and index in self.heard_alive and peer.serving != WANTED:
                raise Taken(f"{NODES[index].name} was changed at {now:.1f} s, its peer did not serve the wanted set")
        self._reboot(own)

    def _reboot(self, node: Node) -> None:
        rng, now = self.rng, self.now
        if node.exists and node.serving == WANTED:
            return  # nothing to change
        back = now + rng.choice((3.0, 10.0, 30.0, 90.0)) * rng.uniform(0.5, 1.5)
        if not node.exists or rng.random() < 0.1:  # made, or made anew: what was wrong with it is over
            node.down, node.fault, node.full, node.exists = [], [], [], True
        outcome = rng.random()
        node.down.append((now, FOREVER if outcome < 0.05 else back))
        if outcome < 0.15:
            node.applied = f"refused {WANTED[:SHOWN_DIGITS]}: a reason"
        else:
            node.serving, node.applied = WANTED, "applied"
        if rng.random() < 0.2:
            node.fault.append((back, back + rng.uniform(0.0, 20.0)))

    def provider(self, course: Course) -> None:
        """VCenter is at work on a node; meanwhile both are asked, if the thread that does it gets its turns."""
        until = self.now + self.rng.choice((0.0, 5.0, 20.0, 60.0))
        while self.now < until:
            self.sleep(1.0)
            if self.watched:
                course.look()


Make = Callable[[World], Course]


def course_of(world: World) -> Course:
    """A run as it is in the product."""
    return Course(NODES, WANTED, LIMIT_S, world.ask, world.clock())


def play(seed: object, make: Make = course_of) -> str:
    """One history; how it ended.

    Raises:
        Taken: A serving pair was taken down.
    """
    world = World(random.Random(str(seed)))
    course = make(world)
    try:
        course.begin(world.told.append)
        first, second = course.order
        world.sleep(world.rng.choice((0.0, 1.0, 5.0)))  # the engine registers what there is
        course.open_first(world.told.append)
        world.touch(first, second=False)
        world.provider(course)
        course.open_second(world.told.append)
        world.touch(second, second=True)
        world.provider(course)
        course.both_serve(world.told.append)
    except GateClosed as closed:
        return "refused: " + str(closed).partition("\n")[0].partition(" ")[2].partition(" after ")[0]
    return "done"


def main(arguments: Sequence[str]) -> int:
    """Play many; exit code 0 means that no serving pair was taken down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args(arguments)
    began, ends = time.monotonic(), dict.fromkeys(("done", "refused", "taken down"), 0)
    for number in range(options.count):
        try:
            ends[play(f"{options.seed}/{number}").partition(":")[0]] += 1
        except Taken as wrong:
            ends["taken down"] += 1
            sys.stdout.write(f"history {options.seed}/{number}: {wrong}\n")
    told = ", ".join(f"{count} {end}" for end, count in ends.items())
    sys.stdout.write(f"{options.count} histories of a roll: {told} ({time.monotonic() - began:.0f} s)\n")
    return 1 if ends["taken down"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
