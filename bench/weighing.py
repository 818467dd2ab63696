"""Measure the memory of a lab's processes and the disk space of its files."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil

from lab.network.network import Network, lab_id
from lab.system.processes import Process, everything

SAMPLE_S = 1.0  # looking at every process of the machine takes a twentieth of it
STAT_BLOCK = 512  # stat(2): whatever the file system's own blocks are


class Memory(threading.Thread):
    """Looks again and again how much memory a lab takes; use it with ``with``.

    It is the sum of the proportional set sizes of the lab's processes, so what they share is counted once: guests,
    vCenter, agent, watch, servers, and Pulumi with its plugins while it runs. The page cache is nobody's.

    Args:
        root: The lab's directory.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(name="memory", daemon=True)
        self._marks = (str(root), Network(lab_id(root), None).prefix)
        self._end = threading.Event()
        self.peak = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()

    def run(self) -> None:
        """Look until the end, and then once more."""
        ended = False
        while not ended:
            ended = self._end.wait(SAMPLE_S)
            self.peak = max(self.peak, sum(proportional(process) for process in self.processes()))

    def processes(self) -> list[Process]:
        """The lab's processes: those that name it, and all that these have started."""
        known = everything()
        children: dict[int, list[Process]] = {}
        for process in known:
            children.setdefault(process.parent, []).append(process)
        own = os.getpid()
        found: dict[int, Process] = {}
        waiting = [each for each in known if each.pid != own and self._names(each)]
        while waiting:
            process = waiting.pop()
            if process.pid not in found:
                found[process.pid] = process
                waiting += children.get(process.pid, [])
        return list(found.values())

    def _names(self, process: Process) -> bool:
        return any(mark in part for part in process.command for mark in self._marks)


def proportional(process: Process) -> int:
    """The proportional set size of a process in bytes; 0 of one that has ended."""
    try:
        return process.handle.memory_full_info().pss
    except (psutil.Error, OSError):
        return 0


def disk_usage(root: Path) -> int:
    """What a directory holds on the disk in bytes; a file with several names counts once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for directory, _, files in os.walk(root):
        for path in (Path(directory), *(Path(directory) / name for name in files)):
            with suppress(FileNotFoundError):  # a program of the lab has just removed it
                found = path.lstat()
                if (found.st_dev, found.st_ino) not in seen:
                    seen.add((found.st_dev, found.st_ino))
                    total += found.st_blocks * STAT_BLOCK
    return total
