"""This runner's questions are lost for a while in the middle of a roll: no client notices, and no node is guessed dead."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from lab.acts import roll
from lab.errors import LabError
from lab.system.waiting import until
from lab.vcenter import control
from tests.rehearsal.conftest import Rehearsal

LOST_S = 12.0
BEGINS_S = 120.0  # until vCenter has been asked to change a node


class Ended(Exception):
    """The roll is over before the moment came."""


class Tasks:
    """What vCenter was asked to do to the nodes since the roll began."""

    def __init__(self, pair: Rehearsal, over: threading.Event) -> None:
        self._pair, self._over = pair, over
        self._last = max((task["sequence"] for task in self._all()), default=0)

    def _all(self) -> list[dict[str, object]]:
        return list(control.control(self._pair.lab.paths, "GET", "/tasks") or [])

    def wait_for(self, node: str) -> None:
        """Wait until a node is being changed."""

        def begun() -> bool:
            if self._over.is_set():
                raise Ended
            return any(
                task["vm"] == node and task["operation"] in roll.TOUCHES
                for task in self._all()
                if int(str(task["sequence"])) > self._last
            )

        until(begun, BEGINS_S, f"{node} to be changed")


Moment = Callable[[Tasks, str, str], None]
MOMENTS: dict[str, tuple[Moment, float]] = {
    "as it begins": (lambda _tasks, _standby, _master: None, 1.0),
    "as the standby goes down": (lambda tasks, standby, _master: tasks.wait_for(standby), 0.0),
    "as the standby is back": (lambda tasks, standby, _master: tasks.wait_for(standby), 7.0),
    "as the master goes down": (lambda tasks, _standby, master: tasks.wait_for(master), 0.0),
}


@contextmanager
def deaf(pair: Rehearsal, moment: Moment, later_s: float) -> Iterator[list[str]]:
    """A roll's time, in which the runner hears no node for ``LOST_S`` from a moment on; what came of it."""
    came: list[str] = []
    over = threading.Event()
    tasks, standby, master = Tasks(pair, over), pair.standby, pair.master

    def lose() -> None:
        try:
            moment(tasks, standby, master)
            over.wait(later_s)
            with pair.scene.network.deaf():
                came.append("lost")
                over.wait(LOST_S)
        except (Ended, LabError) as error:
            came.append(repr(error))

    thread = threading.Thread(target=lose)
    thread.start()
    try:
        yield came
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("when", MOMENTS)
def test_questions_that_are_lost_for_twelve_seconds_cost_no_request(pair: Rehearsal, when: str) -> None:
    with deaf(pair, *MOMENTS[when]) as came:
        verdict = roll.roll(pair.scene, print, print)
    assert came == ["lost"]
    assert verdict.passed, "\n".join(verdict.lines())
    wanted = pair.lab.outputs()["config_hash"]
    assert {answer.config_hash for answer in pair.scene.healths().values()} == {wanted}
