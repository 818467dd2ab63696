"""Record traffic and network while something is done to the pair, and collect the verdict.

The timeline holds the events, the network capture and the observations of the clients, on one clock. The verdict is a
list of sentences, each true or false. Two of them are about the recording itself: without clients and without a capture
no verdict is good. Figures are reported, not judged: the benchmark judges them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Self

from lab.acts.evidence import Evidence
from lab.acts.scene import Scene
from lab.errors import LabError
from lab.servers import farm
from lab.system.waiting import until, until_nothing_is_missing
from lab.traffic.report import Report
from lab.traffic.sender import Target
from lab.traffic.traffic import Plan, Traffic
from lbstack.config.choices import Profile
from lbstack.render.node import ADVERT_INTERVALS_S

WHOLE_S = 120.0  # a node boots
RATE = 50.0
SESSIONS = 20
SESSION_PING_S = 1.0  # as often as a quiet display protocol sends something
HEARD_S = 5.0  # the watch writes within milliseconds; a busy machine needs more
Progress = Callable[[str], None]


@dataclass
class Verdict:
    """How an act, a heal or a roll went.

    Args:
        what: What was done.
        timeline: Seconds since the beginning and what happened then.
        checks: A sentence and whether it is true.
        figures: What was measured, by name.
    """

    what: str
    timeline: list[tuple[float, str]] = field(default_factory=list)
    checks: list[tuple[str, bool]] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every sentence is true."""
        return all(true for _, true in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """As data."""
        return {
            "what": self.what,
            "passed": self.passed,
            "timeline": [{"at_s": round(at, 3), "event": event} for at, event in self.timeline],
            "checks": [{"check": sentence, "true": true} for sentence, true in self.checks],
            "figures": self.figures,
        }

    def lines(self) -> Iterator[str]:
        """For people."""
        yield self.what
        for at, event in sorted(self.timeline):
            yield f"{at:8.3f} s  {event}"
        if self.figures.get("sessions"):
            yield f"{self.figures['sessions']} long-lived sessions, {self.figures['lost_sessions']} lost"
        if "attempts" in self.figures:
            slowest = self.figures["slowest_s"] or 0.0
            yield (
                f"{self.figures['attempts']} requests, {self.figures['failed']} failed, the slowest answer took "
                f"{slowest * 1000:.0f} ms"
            )
        for sentence, true in self.checks:
            yield f"  {'yes' if true else 'NO '}  {sentence}"
        yield "Verdict: " + ("passed" if self.passed else "FAILED")


class Stage:
    """A time in which traffic flows and everything is recorded; use it with ``with``.

    Args:
        scene: The lab.
        what: What is done, for the verdict.
        progress: Receives a line now and then.
        rate: Requests in a second.
        services: Only these are asked; None is all.
        sessions: Long-lived sessions that are held besides.
        session_targets: What these go through; None is what is asked.
    """

    def __init__(
        self,
        scene: Scene,
        what: str,
        progress: Progress,
        *,
        rate: float = RATE,
        services: Collection[str] | None = None,
        sessions: int = 0,
        session_targets: Sequence[Target] | None = None,
    ) -> None:
        self.scene = scene
        self.verdict = Verdict(what)
        self._progress = progress
        self._rate = rate
        plan = Plan.of(scene.network, farm.ca_file(scene.paths.root), rate=rate)
        if services is not None:
            plan = replace(plan, targets=tuple(target for target in plan.targets if target.service in services))
        if sessions:
            through = None if session_targets is None else tuple(session_targets)
            plan = replace(plan, sessions=sessions, session_targets=through, ping_s=SESSION_PING_S)
        file = scene.paths.root / "traffic" / f"{time.strftime('%H%M%S')}.jsonl"
        self._traffic = Traffic(plan, file)
        self.began = 0.0
        self._evidence: Evidence | None = None

    def __enter__(self) -> Self:
        self._traffic.start()
        self.began = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        ended = time.monotonic()
        report = self._traffic.stop()
        if kind is not None:
            return
        seen = self._evidence = self._heard_to_the_end(report, ended)
        reported = [(arp.at, f"{arp.port} takes {arp.sender} (gratuitous ARP)") for arp in seen.record.moves()]
        reported += [
            (run.first, f"{run.sender} begins to advertise as master of {run.vrid}")
            for run in seen.wire.runs()
            if run.first >= self.began
        ]
        self.verdict.timeline += [(at - self.began, text) for at, text in reported]
        for outage in report.outages():
            self.verdict.timeline.append((outage.start - self.began, f"outage of {outage}"))
        self.verdict.timeline += [(cut.at - self.began, str(cut)) for cut in report.cuts()]
        self.verdict.figures |= report.as_dict() | {"traffic": str(self._traffic.file)}

    def _heard_to_the_end(self, report: Report, ended: float) -> Evidence:
        """What was recorded, once the watch has written the question that ends it, or does not in time."""
        asked = time.monotonic()
        self.scene.holders()

        def look() -> Evidence:
            return Evidence(report, self.scene.wire(), self.began, ended, asked, self._rate)

        def heard() -> Evidence | None:
            seen = look()
            return seen if seen.still_watched else None

        with suppress(LabError):  # then the evidence shows it
            return until(heard, HEARD_S, "the watch to see a question")
        return look()

    @property
    def evidence(self) -> Evidence:
        """What was recorded; known at the end."""
        assert self._evidence is not None, "the stage is not over"
        return self._evidence

    def check_clients(self) -> None:
        """Add to the verdict that there were clients all the time."""
        sentence, true = self.evidence.traffic()
        self.check(sentence, true=true)

    def check_watch(self) -> None:
        """Add to the verdict that the wire was watched; for a pair that was whole at the beginning."""
        sentence, true = self.evidence.watch(advert_s(self.scene))
        self.check(sentence, true=true)

    def mark(self, event: str) -> None:
        """Write into the timeline what happens now, and report it."""
        self.verdict.timeline.append((time.monotonic() - self.began, event))
        self._progress(event)

    def check(self, sentence: str, *, true: bool) -> None:
        """Add to the verdict."""
        self.verdict.checks.append((sentence, true))

    def rests(self, missing: Callable[[], str], limit_s: float) -> bool:
        """Wait for the pair to settle; whether it did. What is still missing goes into the timeline."""
        try:
            until_nothing_is_missing(missing, limit_s, "the pair to settle")
        except LabError as error:
            self.mark(str(error))
            return False
        return True


def advert_s(scene: Scene) -> float:
    """The time between two adverts of a master, as the stack file has it."""
    profile = (scene.config.get("lbstack:vrrp") or {}).get("profile", Profile.SAFE)
    return float(ADVERT_INTERVALS_S[Profile(profile)])
