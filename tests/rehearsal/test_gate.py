"""This runner's questions are lost for a while in the middle of a roll: no client notices, no node is guessed dead."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.acts import roll
from lab.acts.scene import Scene
from lab.home import stackfile
from tests.rehearsal.conftest import Rehearsal

LOST_S = 12.0
# When the runner grows deaf: at the first line of Pulumi's that has these words; {first} and {second} are VMs.
MOMENTS = {
    "as it begins": "Updating",
    "as the standby goes down": "{first} updating",
    "as vCenter is done with the standby": "{first} updated",
    "as the master goes down": "{second} updating",
    "as vCenter is done with the master": "{second} updated",
}


class Deaf:
    """The runner, who hears no node for ``LOST_S`` from a moment on."""

    def __init__(self, scene: Scene, words: str) -> None:
        self._scene, self._words = scene, words
        self._come, self._over = threading.Event(), threading.Event()
        self.was = False
        self._thread = threading.Thread(target=self._lose)

    def hear(self, line: str) -> None:
        """A line of Pulumi's."""
        if self._words in line:
            self._come.set()

    def _lose(self) -> None:
        self._come.wait()
        if not self._over.is_set():
            with self._scene.network.deaf():
                self.was = True
                self._over.wait(LOST_S)

    @contextmanager
    def during(self) -> Iterator[None]:
        """The time of a roll."""
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._come.set()
            self._thread.join()


def deaf(pair: Rehearsal, when: str) -> Deaf:
    first, second = (f"pair-node{pair.scene.nodes.index(node) + 1}" for node in (pair.standby, pair.master))
    return Deaf(pair.scene, MOMENTS[when].format(first=first, second=second))


@pytest.fixture
def by_reboot(pair: Rehearsal) -> Iterator[None]:
    """The pair is changed as earlier releases changed it: each node is away for a while."""
    pair.lab.edit(lambda config: config.update({stackfile.ROLLOUT: {"mode": "reboot"}}))
    yield
    pair.lab.edit(lambda config: config.pop(stackfile.ROLLOUT))


@pytest.mark.usefixtures("by_reboot")
@pytest.mark.parametrize("when", MOMENTS)
def test_questions_that_are_lost_for_twelve_seconds_cost_no_request(pair: Rehearsal, when: str) -> None:
    judge(pair, when)


@pytest.mark.parametrize("when", ["as vCenter is done with the standby", "as vCenter is done with the master"])
def test_questions_that_are_lost_for_twelve_seconds_of_a_live_roll_cut_no_session(pair: Rehearsal, when: str) -> None:
    judge(pair, when)


def judge(pair: Rehearsal, when: str) -> None:
    """Roll a changed timeout, and lose the questions meanwhile."""
    lost = deaf(pair, when)
    with lost.during():
        verdict = roll.roll(pair.scene, print, lost.hear)
    assert lost.was
    assert verdict.passed, "\n".join(verdict.lines())
    wanted = pair.lab.outputs()["config_hash"]
    assert {answer.config_hash for answer in pair.scene.healths().values()} == {wanted}
