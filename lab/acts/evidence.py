"""Decide whether the recording of an act is good enough for a verdict.

"Nothing was refused" is also true when nothing was sent, and proves nothing. This module is pure: records in, sentences
out. The clients' record is good when their sender reached its end and began about as many attempts as its rate
requires. The network capture is good when it began before the act, contains adverts of the master, and contains the ARP
request that a client sends at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

from lab.network.network import CLIENT
from lab.network.record import BELIEVED_INTERVALS, Record
from lab.traffic.report import Report

# Attempts begin on a clock, and those that a busy machine delays are caught up on; what is missing beyond a fifth was
# not sent by a sender that worked.
SHARE = 0.8

Check = tuple[str, bool]


@dataclass(frozen=True)
class Evidence:
    """What was recorded while something was done.

    Args:
        report: Of the clients.
        wire: Everything that the watch has in its file, from before the beginning on.
        began: When the clients began.
        ended: When they were asked to end.
        asked: When, after that, a client asked the whole network for the VIPs.
        rate: How many requests in a second were promised.
    """

    report: Report
    wire: Record
    began: float
    ended: float
    asked: float
    rate: float

    @property
    def record(self) -> Record:
        """What the watch saw meanwhile."""
        return self.wire.since(self.began)

    @property
    def still_watched(self) -> bool:
        """Whether the watch saw the question at the end."""
        return any(arp.port == CLIENT and arp.at >= self.asked for arp in self.wire.arps)

    def traffic(self) -> Check:
        """Whether the clients asked all the time."""
        seconds = self.ended - self.began
        wanted = self.rate * seconds
        asked = f"{len(self.report.attempts)} requests in {seconds:.1f} s, of {wanted:.0f} at {self.rate:g} in a second"
        ended = "" if self.report.complete else "; the sender died on the way"
        return f"the clients asked all the time: {asked}{ended}", vouches(self.report, self.rate, seconds)

    def watch(self, advert_s: float) -> Check:
        """Whether the network was captured all the time.

        Args:
            advert_s: The time between two adverts of a master. Who is silent for longer than a peer believes it is
                none, so a pair that is whole at the beginning is heard within that time before it or after it.
        """
        near = self.wire.since(self.began - BELIEVED_INTERVALS * advert_s).adverts
        reasons = (
            ("it began too late", self.wire.started > self.began),
            ("it saw no advert", not near),
            ("it did not see what a client asked at the end", not self.still_watched),
        )
        missing = [reason for reason, true in reasons if true]
        return f"the network was captured all the time: {'; '.join(missing) or f'{len(near)} adverts'}", not missing


def vouches(report: Report, rate: float, seconds: float) -> bool:
    """Whether a sender reached its end and made the attempts that it was to make.

    Args:
        report: What it recorded.
        rate: Requests in a second.
        seconds: For how long.
    """
    return report.complete and len(report.attempts) >= SHARE * rate * seconds
