"""What a node's watcher costs while there is nothing to do: time of a core, and memory."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.figures import Figure, Kind, Series
from lab.acts.scene import Scene
from lab.guests.machine import Machine
from lab.system.waiting import until

UNIT = "lbstack-watch.service"
GROUP = f"/sys/fs/cgroup/system.slice/{UNIT}"
SPAN_S = 30.0  # sixteen looks
WEIGHED = 10  # times in that span
CPU_BAR_PERCENT, MEMORY_BAR_MIB = 0.5, 20.0
PERCENT, MICRO, KIB_OF_MIB = 100.0, 1e6, 1024.0
# What the processes of a control group hold; one that has ended meanwhile holds nothing.
WEIGH = f"cat $(sed 's|.*|/proc/&/smaps_rollup|' {GROUP}/cgroup.procs) 2>/dev/null || true"


def used_s(stat: str) -> float:
    """Seconds of a core in the text of a control group's ``cpu.stat``."""
    return next(int(line.split()[1]) for line in stat.splitlines() if line.startswith("usage_usec ")) / MICRO


def held_mib(rollups: str) -> float:
    """The resident set sizes in the texts of several ``smaps_rollup``, in MiB; what they share counts for each."""
    return sum(int(line.split()[1]) for line in rollups.splitlines() if line.startswith("Rss:")) / KIB_OF_MIB


def measure(scene: Scene) -> Iterator[Figure]:
    """The figures of both nodes' watchers.

    Args:
        scene: A pair that is whole, and of which nobody changes anything.
    """
    cpu, memory = [], []
    for node in scene.nodes:
        guest = scene.guest(node)
        began, before = time.monotonic(), _used_s(guest)
        held = []
        for number in range(WEIGHED):
            at = began + (number + 1) * SPAN_S / WEIGHED
            until(lambda at=at: time.monotonic() >= at, SPAN_S, "the next look at the watcher")  # type: ignore[misc]
            held.append(held_mib(guest.run("sh", "-c", WEIGH).stdout))
        cpu.append((_used_s(guest) - before) / (time.monotonic() - began) * PERCENT)
        memory.append(max(held))
    name = "a node's watcher, idle"
    yield Figure(
        f"{name}: of a core", Series(f"{name}: of a core", tuple(cpu), "%"), None, CPU_BAR_PERCENT, Kind.AMOUNT
    )
    yield Figure(f"{name}: memory", Series(f"{name}: memory", tuple(memory), "MiB"), None, MEMORY_BAR_MIB, Kind.AMOUNT)


def _used_s(guest: Machine) -> float:
    return used_s(guest.run("cat", f"{GROUP}/cpu.stat").stdout)
