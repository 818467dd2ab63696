"""The figures of a change of one line: what is taken from each roll, and what stands beside what."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bench import changing
from bench.figures import Kind
from lab.acts.scene import Scene
from lab.acts.stage import Verdict
from lab.engine.workspace import NO_QUESTIONS
from lab.errors import LabError
from lbstack.render.keys import HASH

CHANGED_S, SERVED_S = 1000.0, 1001.25


def scene_of(own: Path) -> Scene:
    """A scene of one node, whose guestinfo changed at one time and which serves it at another."""
    (own / "guestinfo").mkdir()
    (own / "guestinfo" / HASH).write_text("a" * 64)
    os.utime(own / "guestinfo" / HASH, (CHANGED_S, CHANGED_S))

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        assert command[-1] == changing.STATUS
        return subprocess.CompletedProcess(command, 0, f"{SERVED_S:.9f}\n", "")

    guest = SimpleNamespace(own=own, run=run)
    return cast(Scene, SimpleNamespace(nodes=["lb1"], guest=lambda _node: guest))


def test_a_node_takes_from_the_changed_guestinfo_to_what_it_says_when_it_serves(tmp_path: Path) -> None:
    assert changing.took_s(scene_of(tmp_path), "lb1") == pytest.approx(SERVED_S - CHANGED_S)


def test_a_roll_that_did_not_pass_gives_no_figure(tmp_path: Path) -> None:
    verdict = Verdict("a roll")
    verdict.checks.append(("no established session was cut", False))
    with pytest.raises(LabError, match="no established session was cut"):
        changing._figures(scene_of(tmp_path), verdict)


def test_each_figure_stands_beside_the_same_change_done_otherwise() -> None:
    found: dict[str, dict[str, list[float]]] = {
        way: {"up": [number], "node": [number], "cut": [number], "failed": [0.0]}
        for number, way in enumerate((changing.LIVE, changing.BARE, changing.REBOOT), 1)
    }
    figures = {figure.name: figure for figure in changing._compared(found)}
    assert {figure.kind for figure in figures.values()} == {Kind.AMOUNT}
    beside: dict[str, Any] = {
        name: (figure.value, figure.baseline and figure.baseline.median, figure.bar) for name, figure in figures.items()
    }
    assert beside == {
        "`pulumi up` of one changed line": (1, 3, 26.0),
        "`pulumi up` of one changed line, without the provider's waits": (2, 1, 6.0),
        "guestinfo changed to the node serves it": (1, None, 3.0),
        "of 20 established sessions, cut": (1, 3, 0.0),
        "attempts refused or timed out": (0.0, 0.0, 0.0),
    }


@pytest.mark.parametrize(("waits", "inside"), [(True, None), (False, "1")])
def test_the_plugin_waits_again_afterwards(*, waits: bool, inside: str | None) -> None:
    with changing._plugin(waits=waits):
        assert os.environ.get(NO_QUESTIONS) == inside
    assert NO_QUESTIONS not in os.environ
