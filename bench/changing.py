"""A change of one line on a pair that serves: while the nodes run, and by reboot, by turns on the same lab.

The provider waits for questions of the VM after every reconfiguration, 10 s in all; the lab's plugin waits as long. The
same change without that shows what engine, program, gate and nodes take.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from bench.figures import Figure, Kind, Progress, Series
from bench.rehearsal import FEW, boots_guests, lab, quiet
from lab.acts.roll import configure, roll, usual_change, workspace_of
from lab.acts.scene import Scene
from lab.acts.stage import Verdict
from lab.engine.workspace import NO_QUESTIONS
from lab.errors import LabError
from lab.running import lifecycle
from lbstack.render.keys import HASH

SESSIONS = 20
STATUS = "/run/lbstack/status.json"  # the applier writes it when HAProxy serves the set and VRRP is as before
MODE = "lbstack:rollout.mode"
LIVE, BARE, REBOOT = "live", "live, without the provider's waits", "by reboot"
WAYS: Mapping[str, tuple[str, bool]] = {LIVE: ("live", True), BARE: ("live", False), REBOOT: ("reboot", True)}
"""Way → `rollout.mode`, and whether the provider waits."""
# The bars: `pulumi up` until both nodes serve the change, with the provider's 10 s a VM and without; a node alone.
UP_BAR_S, BARE_BAR_S, NODE_BAR_S = 26.0, 6.0, 3.0


def measure(runs: int, progress: Progress) -> list[Figure]:
    """Make a lab, and change one time-out again and again, in each way by turns.

    Args:
        runs: How often each way is taken, a few times at most.
        progress: Receives what happens.

    Returns:
        The figures; none where guests cannot boot, which is said.

    Raises:
        LabError: The lab does not come up, or a roll does not pass its verdict.
    """
    if not boots_guests("of changes", progress):
        return []
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with lab() as paths:
        lifecycle.up(paths, port=None, progress=quiet, show=quiet)
        scene = Scene(paths)
        for turn in range(1, min(runs, FEW) + 1):
            for way, (mode, waits) in WAYS.items():
                progress(f"change {turn} of {min(runs, FEW)}: {way}")
                configure(workspace_of(scene), [(MODE, mode)])
                with _plugin(waits=waits):
                    verdict = roll(scene, quiet, quiet, changes=[usual_change(scene.config)], sessions=SESSIONS)
                for name, value in _figures(scene, verdict).items():
                    found[way][name] += value
    return [*_compared(found)]


@contextmanager
def _plugin(*, waits: bool) -> Iterator[None]:
    """How the lab's plugin behaves meanwhile."""
    if not waits:
        os.environ[NO_QUESTIONS] = "1"
    try:
        yield
    finally:
        os.environ.pop(NO_QUESTIONS, None)


def _figures(scene: Scene, verdict: Verdict) -> dict[str, list[float]]:
    if not verdict.passed:
        raise LabError("\n".join(verdict.lines()))
    return {
        "up": [verdict.figures["up_s"]],
        "node": [took_s(scene, node) for node in scene.nodes],
        "cut": [verdict.figures["lost_sessions"]],
        "failed": [verdict.figures["failed"]],
    }


def took_s(scene: Scene, node: str) -> float:
    """Seconds from a node's guestinfo being another until it serves, VRRP is as before, and it says so."""
    guest = scene.guest(node)
    changed = (guest.own / "guestinfo" / HASH).stat().st_mtime_ns
    served = float(guest.run("stat", "-c", "%.9Y", STATUS).stdout)
    return served - changed / 1e9


def _compared(found: Mapping[str, Mapping[str, list[float]]]) -> Iterator[Figure]:
    def series(way: str, what: str, words: str, unit: str = "s") -> Series:
        return Series(f"{words}, {way}", tuple(found[way][what]), unit)

    up, cut = "`pulumi up` of one changed line", f"of {SESSIONS} established sessions, cut"
    yield Figure(up, series(LIVE, "up", up), series(REBOOT, "up", up), UP_BAR_S, Kind.AMOUNT)
    name = f"{up}, without the provider's waits"
    yield Figure(name, series(BARE, "up", up), series(LIVE, "up", up), BARE_BAR_S, Kind.AMOUNT)
    name = "guestinfo changed to the node serves it"
    yield Figure(name, series(LIVE, "node", name), None, NODE_BAR_S, Kind.AMOUNT)
    yield Figure(cut, series(LIVE, "cut", cut, ""), series(REBOOT, "cut", cut, ""), 0.0, Kind.AMOUNT)
    name = "attempts refused or timed out"
    yield Figure(name, series(LIVE, "failed", name, ""), series(REBOOT, "failed", name, ""), 0.0, Kind.AMOUNT)
