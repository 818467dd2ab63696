"""What a watcher costs, from the texts of its control group and of its processes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any, cast

import pytest

from bench import idle
from lab.acts.scene import Scene

ROLLUP = "5581-7ffd ---p 00000000 00:00 0    [rollup]\nRss:    {} kB\nPss:    180 kB\nPss_Dirty:   100 kB\n"


class Node:
    """A guest whose watcher uses 0.3 % of a core and holds 3 MiB, 5 MiB at most."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now, self.looks = now, 0

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        if command[0] == "cat":
            text = f"usage_usec {int(self.now() * 3000)}\nuser_usec 1\nsystem_usec 2\n"
        else:
            self.looks += 1
            text = ROLLUP.format(2048) + ROLLUP.format(3072 if self.looks == 4 else 1024)
        return subprocess.CompletedProcess(command, 0, text, "")


def test_a_watchers_share_of_a_core_and_the_most_that_it_held_are_its_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    time = [0.0]

    def wait(check: Callable[[], bool], *_arguments: Any) -> None:
        while not check():
            time[0] += 0.5

    monkeypatch.setattr(idle, "until", wait)
    monkeypatch.setattr("bench.idle.time.monotonic", lambda: time[0])

    class Pair:
        nodes = ("a", "b")

        def guest(self, _node: str) -> Node:
            return Node(lambda: time[0])

    cpu, memory = idle.measure(cast(Scene, Pair()))
    assert cpu.measured.values == pytest.approx((0.3, 0.3))
    assert memory.measured.values == (5.0, 5.0)
    assert (cpu.unit, cpu.bar, memory.unit, memory.bar) == ("%", 0.5, "MiB", 20.0)
