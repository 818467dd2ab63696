"""Wait for what both nodes answer: how long, how steady it has to be, and when waiting changes nothing.

The rules that decide what is waited for are in ``gate.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lbstack.facts.limits import READY_S
from lbstack.nodes import health
from lbstack.nodes.health import SHOWN_DIGITS, Answer, Ask, Target
from lbstack.nodes.seen import REAL_CLOCK, Clock, Seen

READY_TIMEOUT_S = READY_S  # of a wait that is given no other
ASK_INTERVAL_S = 1.0
ASK_LIVE_INTERVAL_S = 0.25  # where a node is changed while it runs: it is done within three seconds
STEADY_S = 5.0
"""How long what is seen has to last. A node that receives no adverts of its peer is backup for three of them (a second
each at most, and the skew) before it makes itself master: asked earlier, a split pair looks well."""
STEADY_LIVE_S = 1.0
"""The same for nodes that answered all the time in this run: one advert at the slowest profile. A node that was never
away has received its peer's adverts all along, and a state that the change upset shows with the next one."""
UNSEEN_S = 20.0
"""How long a node that is changed while it runs may show nothing of it. It looks every 2 s, and applying takes a
second; one that has neither the set nor a report on it after this does not see its guestinfo change."""
MOVED_S = 15.0  # an election takes four adverts; a state that is another one after this is there to stay
SPLIT_S = 30.0  # two masters that receive each other's adverts agree within an advert; these will not
REPORT_INTERVAL_S = 15.0  # a person who waits sees that something goes on


def split(one: Answer, other: Answer) -> bool:
    """Whether both nodes report that they are master: neither receives the other's adverts, and both have the VIPs."""
    return one.serves and other.serves and one.vrrp == other.vrrp == "master"


Progress = Callable[[str], None]


@dataclass
class Spell:
    """Since when something has been so without a break; None while it is not."""

    since: float | None = None

    def note(self, at: float, *, so: bool) -> None:
        """Note whether it is so; ``at`` is since when, where it was not so before."""
        self.since = (at if self.since is None else self.since) if so else None

    def lasts(self, seconds: float, now: float) -> bool:
        """Whether it has been so for that long."""
        return self.since is not None and now - self.since >= seconds


@dataclass(frozen=True)
class Patience:
    """How a wait is done; everything has a default.

    Args:
        progress: Receives a line whenever what is seen has changed, and every ``REPORT_INTERVAL_S``.
        question: How a node is asked; over HTTP unless given.
        timeout_s: How long to wait, in seconds; ``READY_TIMEOUT_S`` unless given.
        steady_s: How long the answers have to stay good, in seconds; ``STEADY_S`` unless given.
        clock: The clock that it goes by.
        seen: What this run has seen of the nodes until now; nothing unless given. What is seen meanwhile is added.
        brief: Whether no node is away by this run: then ``STEADY_LIVE_S`` is enough, if both answered all the time.
        live: The name of the node that was changed while it runs, and the set that it was given; nothing unless given.
        vrrp: Node → the VRRP state that it has to be in, because that was not to change; nothing unless given.
    """

    progress: Progress = lambda _line: None
    question: Ask | None = None
    timeout_s: float | None = None
    steady_s: float | None = None
    clock: Clock = REAL_CLOCK
    seen: Seen | None = None
    brief: bool = False
    live: tuple[str, str] = ("", "")
    vrrp: Mapping[str, str] = field(default_factory=dict)

    def steady(self, targets: Sequence[Target]) -> float:
        """How long the answers have to stay good."""
        if self.steady_s is not None:
            return self.steady_s
        return STEADY_LIVE_S if self._undisturbed(targets) else STEADY_S

    def _undisturbed(self, targets: Sequence[Target]) -> bool:
        """Whether no node is away by this run, and none was."""
        return self.brief and self.seen is not None and all(map(self.seen.answered_always, targets))

    def since(self, targets: Sequence[Target], answers: Sequence[Answer], now: float) -> float:
        """Since when it has been as it is now: of nodes that nobody disturbs, also before this wait."""
        if not self._undisturbed(targets) or self.seen is None:
            return now
        same = self.seen.same_since(targets, answers)
        return now if same is None else same

    def moved(self, targets: Sequence[Target], answers: Sequence[Answer]) -> Sequence[str]:
        """The nodes whose VRRP state is not what it has to be."""
        pairs = zip(targets, answers, strict=True)
        return [node.name for node, own in pairs if own.config_hash and own.vrrp != self.vrrp.get(node.name, own.vrrp)]

    def ask(self, targets: Sequence[Target]) -> list[Answer]:
        """Ask both nodes once, and keep what they answer."""
        question = self.question or health.ask
        answers = [question(target) for target in targets]
        if self.seen:
            self.seen.note(targets, answers)
        return answers

    def until(
        self,
        targets: Sequence[Target],
        waiting: Callable[[Sequence[Answer]], str],
        done: Callable[[Sequence[Answer]], bool | None],
    ) -> None:
        """Ask every target again and again.

        Args:
            targets: Both nodes.
            waiting: Is given the answers; a line of progress, such as ``lb1 waits for lb2: no answer``.
            done: Is given the answers; True once it has been so for ``steady_s`` ends the wait, None gives up at once.

        Raises:
            Stopped: The time is up, or there is nothing to wait for, or both have been master for ``SPLIT_S``.
        """
        limit_s = READY_TIMEOUT_S if self.timeout_s is None else self.timeout_s
        began = self.clock.now()
        seen, reported = "", began
        unchanged: dict[str, tuple[str, str]] = {}
        good, divided, elsewhere = Spell(), Spell(), Spell()
        interval_s = ASK_LIVE_INTERVAL_S if self.live[0] else ASK_INTERVAL_S
        while True:
            answers = self.ask(targets)
            moved = self.moved(targets, answers)
            verdict = done(answers)
            now = self.clock.now()
            elsewhere.note(now, so=bool(verdict and moved))
            verdict = verdict and not moved
            good.note(self.since(targets, answers, now), so=bool(verdict))
            steady_s = self.steady(targets)
            if good.since is not None:
                if good.lasts(steady_s, now):
                    return
                self.clock.sleep(min(interval_s, steady_s - (now - good.since)))
                continue
            divided.note(now, so=split(*answers))
            if verdict is None or divided.lasts(SPLIT_S, now) or now - began >= limit_s:
                raise Stopped(answers, now - began)
            if elsewhere.lasts(MOVED_S, now):
                raise Stopped(answers, now - began, moved=moved)
            if self._sees_nothing(targets, answers, unchanged) and now - began >= UNSEEN_S:
                raise Stopped(answers, now - began, unseen=True)
            line = waiting(answers)
            if line != seen or now - reported >= REPORT_INTERVAL_S:
                left = f" ({limit_s - (now - began):.0f} s left)" if seen else ""
                seen, reported = line, now
                self.progress(f"{line}{left}")
            self.clock.sleep(interval_s)

    def _sees_nothing(
        self, targets: Sequence[Target], answers: Sequence[Answer], unchanged: dict[str, tuple[str, str]]
    ) -> bool:
        """Whether the node that is changed while it runs answers, and just as it did when this wait began."""
        for target, answer in zip(targets, answers, strict=True):
            name, given = self.live
            told = answer.config_hash == given or answer.applied.partition(" ")[2].startswith(given[:SHOWN_DIGITS])
            if target.name == name and answer.config_hash and not told:
                now = (answer.config_hash, answer.applied)
                return unchanged.setdefault(target.name, now) == now
        return False


class Stopped(Exception):
    """A wait without success: what was seen last, after how long.

    ``unseen``: a node saw nothing of its change. ``moved``: the nodes whose VRRP state is another one.
    """

    def __init__(
        self, answers: Sequence[Answer], seconds: float, *, unseen: bool = False, moved: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.answers = answers
        self.seconds = seconds
        self.unseen = unseen
        self.moved = moved
