"""The gate against random histories: a share of those of `make soak`, and proof that they find a gate that is wrong."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lbstack.nodes import gate, seen, waits
from lbstack.nodes.course import Course
from lbstack.nodes.health import Answer, Target
from tests import histories

SHARE = histories.COUNT // 50  # two per cent
ENOUGH = 500  # histories in which a gate that is wrong is found out


def test_no_serving_pair_is_taken_down_in_a_share_of_the_histories() -> None:
    ends = [histories.play(f"{histories.SEED}/{number}") for number in range(SHARE)]
    done = ends.count("done")
    assert SHARE / 4 < done < 3 * SHARE / 4  # histories in which nothing is ever done, or nothing refused, show little
    reasons = {end for end in ends if end != "done"}
    for part in ("does not serve at all", "does not serve set", "has refused set", "both master"):
        assert any(part in reason for reason in reasons), part


def found_out(make: histories.Make = histories.course_of) -> list[str]:
    """In which histories a serving pair is taken down."""
    found = []
    for number in range(ENOUGH):
        try:
            histories.play(f"{histories.SEED}/{number}", make)
        except histories.Taken as wrong:
            found.append(str(wrong))
    return found


class OldCourse(Course):
    """The gate as it was: the silence of both for five seconds opened it, and it remembered one thing."""

    nobody_served = False

    def begin(self, progress: waits.Progress) -> None:
        answers = self.look()
        self.nobody_served = not any(answer.config_hash for answer in answers)
        self.order = gate.touch_order(self.nodes, answers)

    def open_first(self, progress: waits.Progress) -> None:
        first, second = self._in_order()
        self._open(first, second, None)

    def open_second(self, progress: waits.Progress) -> None:
        first, second = self._in_order()
        self._open(second, first, self.wanted)

    def _open(self, node: Target, peer: Target, wanted: str | None) -> None:
        def old_rule(own: Answer, peer: Answer) -> bool:
            if not seen.alive(own, peer):
                return True
            return peer.serves if wanted is None else peer.serves_set(wanted)

        def done(answers: Sequence[Answer]) -> bool | None:
            other, own = answers
            if old_rule(own, other):
                return not waits.split(own, other)
            return None if other.has_refused(wanted) else False

        assert self.question
        if self.nobody_served and not self.question(node).config_hash:
            return
        try:
            self._patience(lambda _line: None).until((peer, node), lambda _answers: "", done)
        except waits.Stopped:
            raise gate.GateClosed("closed after a while") from None


def old_course(world: histories.World) -> Course:
    return OldCourse(histories.NODES, histories.WANTED, histories.LIMIT_S, world.ask, world.clock())


def test_the_histories_find_out_the_gate_that_opened_on_silence() -> None:
    assert any("was taken down" in wrong for wrong in found_out(old_course))


def test_the_histories_find_out_a_gate_that_forgets_who_was_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen.Seen, "was_alive", lambda *_: False)
    monkeypatch.setattr(seen.Seen, "taken_for_dead", lambda *_: True)
    assert found_out()


def test_the_histories_find_out_a_gate_that_takes_a_short_silence_for_death(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "SILENCE_S", 4.0)
    assert found_out()


def test_the_histories_find_out_a_gate_that_asks_the_second_node_for_any_set(monkeypatch: pytest.MonkeyPatch) -> None:
    real = gate.require_open
    monkeypatch.setattr(gate, "require_open", lambda node, peer, _wanted, patience: real(node, peer, None, patience))
    assert any("did not serve the wanted set" in wrong for wrong in found_out())
