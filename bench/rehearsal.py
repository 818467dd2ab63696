"""The cost of the rehearsal, and how long clients are without service: a lab from nothing to serving, and every act.

The labs are made as `make lab` makes them once everything is built, so time, memory and disk are those of its bars. A
client that asks the load balancer itself for one page a hundred times a second measures outages, so they are exact to
10 ms. Everything has a limit of time: what does not fit is left out, and n shows it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from bench import idle
from bench.figures import Figure, Kind, Progress, Series
from bench.weighing import Memory, disk_usage
from lab.acts import faults
from lab.acts.evidence import vouches
from lab.acts.scene import HTTP, Scene
from lab.errors import LabError
from lab.home import stackfile
from lab.home.state import Paths
from lab.running import lifecycle
from lab.running.surroundings import shortcomings
from lab.system.cache import CHECKOUT, cache_directory
from lab.system.waiting import until_nothing_is_missing
from lab.traffic.report import Report
from lab.traffic.traffic import Plan, Traffic
from lab.vcenter import control

FEW = 3  # of what takes a minute
LIMIT_S = 1500.0  # after it nothing new is begun
UP_LIMIT_S = 400.0
ASK_EVERY_S = 0.01
ANSWER_S = 0.25  # of a busy machine; far below the second after which a lost packet is sent again
GIB = 1 << 30
MS = 1000.0

# The bars. A pair is to serve 60 s after the first power-on, `make lab` to end after 90 s, in 2 GiB and on 3 GiB.
SERVING_BAR_S, UP_BAR_S, MEMORY_BAR_GIB, DISK_BAR_GIB = 60.0, 90.0, 2.0, 3.0
# Who resigns in good order is followed at once: by the skew of RFC 9568 (priority 246: 39 ms), and by ARP.
AT_ONCE_BAR_MS = 500.0
# Who falls silent is believed for three adverts of a second and the skew.
SILENCE_BAR_MS = 3500.0
# The check of HAProxy runs each second, waits for a second, and has to fail twice.
HANG_BAR_MS = 4500.0
PLANNED = "a planned reboot"


@dataclass(frozen=True)
class Job:
    """One thing that befalls the master.

    Args:
        name: What it is, in words.
        bar_ms: The longest outage that is wanted.
        do: Does it to a node.
    """

    name: str
    bar_ms: float
    do: Callable[[Scene, str], None]


def _reboot(scene: Scene, node: str) -> None:
    scene.vcenter(node, "RebootGuest")


JOBS = (
    Job(PLANNED, AT_ONCE_BAR_MS, _reboot),
    Job("HAProxy is killed", AT_ONCE_BAR_MS, faults.ACTS["haproxy"].do),
    Job("HAProxy hangs", HANG_BAR_MS, faults.ACTS["hang"].do),
    Job("keepalived is killed", SILENCE_BAR_MS, faults.ACTS["keepalived"].do),
    Job("the node loses its power", SILENCE_BAR_MS, faults.ACTS["node"].do),
)


@dataclass
class Cost:
    """What labs cost from nothing to serving.

    Args:
        up_s: Seconds of the whole command.
        serving_s: Seconds from the first power-on.
        memory_gib: The most that it took.
        disk_gib: What its directory holds then.
    """

    up_s: list[float] = field(default_factory=list)
    serving_s: list[float] = field(default_factory=list)
    memory_gib: list[float] = field(default_factory=list)
    disk_gib: list[float] = field(default_factory=list)


def measure(runs: int, progress: Progress) -> list[Figure]:
    """Make labs and take them down; run every act on the last one.

    Args:
        runs: How often each thing is done, a few times at most.
        progress: Receives what happens.

    Returns:
        The figures; none where guests cannot boot, which is said.

    Raises:
        LabError: A lab does not come up, the pair does not get over an act, or the clients did not ask all the time.
    """
    if not boots_guests("of the rehearsal", progress):
        return []
    turns, deadline = min(runs, FEW), time.monotonic() + LIMIT_S
    cost, watchers, outages = Cost(), list[Figure](), dict[str, list[float]]()
    for turn in range(1, turns + 1):
        with lab() as paths:
            progress(f"lab {turn} of {turns}, from nothing")
            _bring_up(paths, cost)
            last = turn == turns or time.monotonic() > deadline
            if last:
                progress("the nodes' watchers while nothing happens")
                watchers = list(idle.measure(Scene(paths)))
                outages = _run_jobs(Scene(paths), turns, deadline, progress)
        if last:
            break
    return [*_costs(cost), *watchers, *_outages(outages)]


def boots_guests(what: str, progress: Progress) -> bool:
    """Whether guests boot on this machine; where they do not, it is told that nothing ``what`` is measured."""
    missing = shortcomings(Path(tempfile.gettempdir()), stackfile.read(stackfile.SOURCE)["config"], progress)
    if missing:
        progress(f"nothing {what} is measured here: {'; '.join(missing)}")
    return not missing


@contextmanager
def lab() -> Iterator[Paths]:
    """The place of a lab, which is taken down at the end."""
    with tempfile.TemporaryDirectory(prefix="lbs-") as directory:
        paths = Paths(Path(directory) / "lab")
        try:
            yield paths
        finally:
            lifecycle.down(paths, progress=quiet, show=quiet)


def quiet(_line: str) -> None:
    """Nobody watches."""


def _bring_up(paths: Paths, cost: Cost) -> None:
    """What `make lab` does, timed and weighed."""
    with Memory(paths.root) as memory:
        began = time.monotonic()
        try:
            result = subprocess.run(
                [sys.executable, "-m", "lab", "up", "--state", str(paths.root)],
                cwd=CHECKOUT,
                capture_output=True,
                text=True,
                timeout=UP_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise LabError(f"`python -m lab up` did not end within {UP_LIMIT_S:.0f} s") from error
        ended, now = time.monotonic(), time.time()
    if result.returncode != 0:
        raise LabError(f"`python -m lab up` failed:\n{result.stdout}{result.stderr}")
    tasks = control.control(paths, "GET", "/tasks") or []
    powered = [datetime.fromisoformat(task["time"]).timestamp() for task in tasks if task["operation"] == "power-on"]
    cost.up_s.append(ended - began)
    cost.serving_s.append(now - min(powered))
    cost.memory_gib.append(memory.peak / GIB)
    cost.disk_gib.append(disk_usage(paths.root) / GIB)


def _costs(cost: Cost) -> Iterator[Figure]:
    kept = Series("what is kept between labs: tools, images", (disk_usage(cache_directory()) / GIB,), "GiB")
    for name, values, unit, baseline, bar in (
        ("`make lab`, everything built, to serving", cost.up_s, "s", None, UP_BAR_S),
        ("first power-on to both nodes serving", cost.serving_s, "s", None, SERVING_BAR_S),
        ("memory of a lab while it comes up, at most", cost.memory_gib, "GiB", None, MEMORY_BAR_GIB),
        ("disk of a lab's directory", cost.disk_gib, "GiB", kept, DISK_BAR_GIB),
    ):
        yield Figure(name, Series(name, tuple(values), unit), baseline, bar, Kind.AMOUNT)


def _run_jobs(scene: Scene, turns: int, deadline: float, progress: Progress) -> dict[str, list[float]]:
    """Run each job on the master by turns.

    Returns:
        Name of the job → the outage of each turn, in milliseconds.
    """
    outages: dict[str, list[float]] = {job.name: [] for job in JOBS}
    for turn in range(1, turns + 1):
        for job in JOBS:
            if outages[job.name] and time.monotonic() > deadline:
                progress(f"no time is left for {job.name} a {turn}. time")
                continue
            progress(f"outage {turn} of {turns}: {job.name}")
            outages[job.name].append(_outage_ms(scene, job))
            verdict = faults.heal(scene, quiet)
            if not verdict.passed:
                raise LabError("\n".join(verdict.lines()))
    return outages


def _outage_ms(scene: Scene, job: Job) -> float:
    """How long a client gets no answer when a job befalls the master."""
    scene.require_whole()
    node, peer_serves = scene.named("master"), faults.ACTS["node"].rest
    vip = scene.network.topology.services[0].vip
    plan = Plan.probe(scene.network, vip, HTTP, rate=1 / ASK_EVERY_S, limit_s=ANSWER_S, connect_only=False)
    with Traffic(plan, scene.paths.root / "traffic" / "bench.jsonl") as traffic:
        began = time.monotonic()
        job.do(scene, node)
        until_nothing_is_missing(lambda: peer_serves(scene, node), faults.REST_S, f"the peer to serve ({job.name})")
        seconds = time.monotonic() - began
        report = traffic.stop()
    return outage_ms(report, plan.rate, seconds)


def outage_ms(report: Report, rate: float, seconds: float) -> float:
    """The longest outage of a report that can tell.

    Args:
        report: Of a client.
        rate: Its requests in a second.
        seconds: How long it asked.

    Raises:
        LabError: It did not ask all the time, or nobody answered at the end.
    """
    if not vouches(report, rate, seconds):
        raise LabError(
            f"{len(report.attempts)} requests were made in {seconds:.1f} s, of {rate * seconds:.0f}: this machine has "
            "too much to do for a measurement. Run it again when it has not."
        )
    if unended := [outage for outage in report.outages() if outage.end is None]:
        raise LabError(f"The service did not come back: {unended[0]}")
    return report.longest_outage_s() * MS


def _outages(outages: dict[str, list[float]]) -> Iterator[Figure]:
    series = {name: Series(f"outage: {name}", tuple(values), "ms") for name, values in outages.items()}
    for job in JOBS:
        neighbours = None if job.name == PLANNED else series[PLANNED]
        yield Figure(f"outage: {job.name}", series[job.name], neighbours, job.bar_ms, Kind.AMOUNT)


# --- weighing ------------------------------------------------------------------------------------------------------
